"""EnCodec's published language models (https://arxiv.org/abs/2210.13438, section 3.3): a causal
transformer that predicts all codebooks of a frame at once.

The weights and the network are those of `encodec.model.LMModel`. The arithmetic is that of `exact`,
so that the probabilities are the same on every machine; they differ from the official ones by
rounding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from acomp.entropy.base import CONTEXT_FRAMES, Entries, LanguageModel, Memory
from acomp.entropy.exact import (
    Array,
    LayerNorm,
    Linear,
    gelu,
    product,
    quantise,
    snap,
    softmax_product,
    turns,
)
from acomp.errors import WeightsError

HEADS = 8
PERIOD = 10_000.0
CONTEXT_SECONDS = 3.5
WIDTH = 200
LAYERS = 5
CODEBOOK_SIZE = 1024

State = Mapping[str, NDArray[Any]]


class EncodecLanguageModel(LanguageModel):
    """The language model with its weights, for 75 frames/s; `at_rate` gives it for other rates.

    Args:
        state: the state dict of `LMModel`.
        fingerprint: first 16 hexadecimal digits of the SHA-256 of the weights.

    Raises:
        WeightsError: `state` is no such state dict.
    """

    codebook_size = CODEBOOK_SIZE

    def __init__(self, state: State, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self.codebooks = sum(name.startswith("emb.") for name in state)
        if {name: array.shape for name, array in state.items()} != _layout(self.codebooks):
            raise WeightsError("it does not hold weights of an EnCodec language model")
        self._embeddings = [
            snap(state[f"emb.{level}.weight"].astype(np.float64)) for level in range(self.codebooks)
        ]
        self._norm = _norm(state, "transformer.norm_in")
        self._past_context = CONTEXT_FRAMES
        self._layers = [_Layer(state, f"transformer.layers.{number}") for number in range(LAYERS)]
        names = [f"linears.{level}" for level in range(self.codebooks)]
        weights, biases = (
            np.concatenate([state[f"{name}.{part}"] for name in names])
            for part in ("weight", "bias")
        )
        self._linears = Linear.of(weights, biases)

    def at_rate(self, frame_rate: float) -> EncodecLanguageModel:
        paced = copy(self)
        # A file can name any frame rate, and a context beyond a run would coarsen the rounding.
        paced._past_context = min(int(CONTEXT_SECONDS * frame_rate), CONTEXT_FRAMES)
        return paced

    def stages(self, codebooks: int) -> Sequence[range]:
        return [range(codebooks)]

    def start(self, sequences: int, frames: int) -> Memory:
        position = np.zeros((1, 1, 1))
        return [
            position,
            *(array for layer in self._layers for array in layer.start(sequences, frames)),
        ]

    def contexts(self, before: Entries, memory: Memory) -> tuple[Array, Memory]:
        position, *kept = memory
        frames = before.shape[2]
        first = int(position[0, 0, 0])
        x = sum(self._embeddings[level][before[:, level]] for level in range(before.shape[1]))
        positions = turns(CONTEXT_FRAMES, WIDTH, PERIOD)[first : first + frames]
        x = snap(self._norm(snap(np.asarray(x)))) + positions
        for number, layer in enumerate(self._layers):
            x = layer(x, first, _Kept(*kept[4 * number : 4 * number + 4]), self._past_context)
        return x, [position + frames, *kept]

    def logits(self, context: Array, stage: range) -> Array:
        # All codebooks are one product, which rounds the context once. The many rows of codebooks
        # that are not asked for are left out.
        logits = self._linears(context, outputs=len(stage) * CODEBOOK_SIZE)
        return logits.reshape(*context.shape[:2], len(stage), CODEBOOK_SIZE)

    def absorb(self, context: Array, stage: range, codes: Entries) -> Array:  # noqa: ARG002
        return context


class _Kept(NamedTuple):
    """The keys and values of `capacity` frames in a layer, as whole numbers with scales.

    The first frame is one of zeros, with which each layer begins.
    """

    keys: Any
    """`[sequences, heads, width / heads, capacity]`."""
    key_scales: Any
    """`[sequences, heads, 1, capacity]`."""
    values: Any
    """`[sequences, heads, capacity, width / heads]`."""
    value_scales: Any
    """`[sequences, heads, capacity, 1]`."""

    def put(self, first: int, keys: Array, values: Array) -> None:
        """Store consecutive frames, `[sequences, heads, frames, width / heads]`."""
        here = slice(first, first + keys.shape[2])
        whole, scales = quantise(keys)
        self.keys[..., here] = np.swapaxes(whole, 2, 3)
        self.key_scales[..., here] = np.swapaxes(scales, 2, 3)
        self.values[:, :, here], scales = quantise(values)
        self.value_scales[..., here] = np.swapaxes(scales, 2, 3)


class _Layer:
    """A layer of the transformer, with a normalisation after attention and after the MLP."""

    def __init__(self, state: State, name: str) -> None:
        attention = f"{name}.self_attn"
        self._into = Linear.of(
            state[f"{attention}.in_proj_weight"], state[f"{attention}.in_proj_bias"]
        )
        self._out = _linear(state, f"{attention}.out_proj")
        self._first = _linear(state, f"{name}.linear1")
        self._second = _linear(state, f"{name}.linear2")
        self._norms = _norm(state, f"{name}.norm1"), _norm(state, f"{name}.norm2")

    def start(self, sequences: int, frames: int) -> _Kept:
        heads, capacity = (sequences, HEADS), frames + 1
        kept = _Kept(
            np.zeros((*heads, WIDTH // HEADS, capacity), np.float32),
            np.zeros((*heads, 1, capacity)),
            np.zeros((*heads, capacity, WIDTH // HEADS), np.float32),
            np.zeros((*heads, 1, capacity)),
        )
        _, keys, values = self._project(np.zeros((sequences, 1, WIDTH)))
        kept.put(0, keys, values)
        return kept

    def __call__(self, x: Array, first: int, kept: _Kept, past_context: int) -> Array:
        """Run the layer on the frames from `first` on, `[sequences, frames, width]`; each frame
        attends to `past_context` frames before it.
        """
        attended = self._attend(x, first, kept, past_context)
        x = snap(self._norms[0](snap(x + self._out(attended))))
        return snap(self._norms[1](snap(x + self._second(gelu(self._first(x))))))

    def _project(self, x: Array) -> Array:
        """Queries, keys and values, each `[sequences, heads, frames, width / heads]`."""
        sequences, frames, _ = x.shape
        parts = self._into(x).reshape(sequences, frames, 3, HEADS, -1)
        return parts.transpose(2, 0, 3, 1, 4)

    def _attend(self, x: Array, first: int, kept: _Kept, past_context: int) -> Array:
        frames = x.shape[1]
        queries, keys, values = self._project(x)
        kept.put(first + 1, keys, values)
        seen = slice(max(0, first + 1 - past_context), first + 1 + frames)
        scores = product(queries, kept.keys[..., seen]) * kept.key_scales[..., seen]
        scores /= np.sqrt(float(queries.shape[-1]))
        if frames > 1:  # one frame sees all of these
            scores[..., ~_sees(frames, scores.shape[-1], past_context)] = -np.inf
        gathered = softmax_product(
            scores, kept.values[:, :, seen], kept.value_scales[..., seen], past_context + 1
        )
        return gathered.transpose(0, 2, 1, 3).reshape(x.shape)


def _sees(frames: int, keys: int, past_context: int) -> NDArray[np.bool_]:
    """Which keys each frame attends to, `[frames, keys]`; the last keys are those of the frames."""
    distance = np.arange(keys - frames, keys)[:, np.newaxis] - np.arange(keys)
    seen: NDArray[np.bool_] = (distance >= 0) & (distance <= past_context)
    return seen


def _linear(state: State, name: str) -> Linear:
    return Linear.of(state[f"{name}.weight"], state[f"{name}.bias"])


def _norm(state: State, name: str) -> LayerNorm:
    return LayerNorm(state[f"{name}.weight"], state[f"{name}.bias"])


def _layout(codebooks: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of `LMModel`'s state dict."""
    layout: dict[str, tuple[int, ...]] = {}

    def add(name: str, *shape: int) -> None:
        layout[f"{name}.weight"], layout[f"{name}.bias"] = shape, shape[:1]

    add("transformer.norm_in", WIDTH)
    for number in range(LAYERS):
        name = f"transformer.layers.{number}"
        layout[f"{name}.self_attn.in_proj_weight"] = (3 * WIDTH, WIDTH)
        layout[f"{name}.self_attn.in_proj_bias"] = (3 * WIDTH,)
        add(f"{name}.self_attn.out_proj", WIDTH, WIDTH)
        add(f"{name}.linear1", 4 * WIDTH, WIDTH)
        add(f"{name}.linear2", WIDTH, 4 * WIDTH)
        add(f"{name}.norm1", WIDTH)
        add(f"{name}.norm2", WIDTH)
    for level in range(codebooks):
        layout[f"emb.{level}.weight"] = (CODEBOOK_SIZE + 1, WIDTH)
        add(f"linears.{level}", CODEBOOK_SIZE, WIDTH)
    return layout
