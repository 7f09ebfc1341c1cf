"""EnCodec's published language models (https://arxiv.org/abs/2210.13438, section 3.3): a causal
transformer that predicts all codebooks of a frame at once.

The weights and the network are those of `encodec.model.LMModel`; the arithmetic is `exact`'s, so
that the probabilities, but for rounding the official ones, are the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acomp.entropy.base import CONTEXT_FRAMES, Entries, LanguageModel, Memory
from acomp.entropy.exact import (
    Array,
    LayerNorm,
    Linear,
    Whole,
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
    """The model on its weights."""

    codebook_size = CODEBOOK_SIZE

    def __init__(self, state: State, frame_rate: float, fingerprint: str) -> None:
        """`state` is `LMModel`'s state dict.

        Raises:
            WeightsError: it is not.
        """
        self.fingerprint = fingerprint
        self.codebooks = sum(name.startswith("emb.") for name in state)
        if {name: array.shape for name, array in state.items()} != _layout(self.codebooks):
            raise WeightsError("it does not hold weights of an EnCodec language model")
        self._embeddings = [
            snap(state[f"emb.{level}.weight"].astype(np.float64)) for level in range(self.codebooks)
        ]
        self._norm = _norm(state, "transformer.norm_in")
        self._layers = [
            _Layer(state, f"transformer.layers.{number}", int(CONTEXT_SECONDS * frame_rate))
            for number in range(LAYERS)
        ]
        self._linears = [_linear(state, f"linears.{level}") for level in range(self.codebooks)]

    def stages(self, codebooks: int) -> Sequence[range]:
        return [range(codebooks)]

    def start(self, sequences: int) -> Memory:
        position = np.zeros((sequences, 1, 1))
        # Each layer begins with the memory of one frame of zeros.
        pasts = [layer.start(sequences) for layer in self._layers]
        return [position, *(array for past in pasts for array in past)]

    def contexts(self, before: Entries, memory: Memory) -> tuple[Array, Memory]:
        position, *pasts = memory
        frames = before.shape[2]
        first = int(position[0, 0, 0])
        x = sum(self._embeddings[level][before[:, level]] for level in range(before.shape[1]))
        positions = turns(CONTEXT_FRAMES, WIDTH, PERIOD)[first : first + frames]
        x = snap(self._norm(snap(np.asarray(x)))) + positions
        after = [position + frames]
        for number, layer in enumerate(self._layers):
            x, past = layer(x, pasts[_KEPT * number : _KEPT * (number + 1)])
            after.extend(past)
        return x, after

    def logits(self, context: Array, stage: range) -> Array:
        return np.stack([self._linears[level](context) for level in stage], axis=2)

    def absorb(self, context: Array, stage: range, codes: Entries) -> Array:  # noqa: ARG002
        return context


_KEPT = 4
"""Arrays that a layer remembers: keys, values, and the scales of either."""


class _Layer:
    """A layer of the transformer, normalised after each of its halves."""

    def __init__(self, state: State, name: str, past_context: int) -> None:
        self._past_context = past_context
        attention = f"{name}.self_attn"
        self._into = Linear.of(
            state[f"{attention}.in_proj_weight"], state[f"{attention}.in_proj_bias"]
        )
        self._out = _linear(state, f"{attention}.out_proj")
        self._first = _linear(state, f"{name}.linear1")
        self._second = _linear(state, f"{name}.linear2")
        self._norms = _norm(state, f"{name}.norm1"), _norm(state, f"{name}.norm2")

    def start(self, sequences: int) -> list[Any]:
        _, *kept = self._project(np.zeros((sequences, 1, WIDTH)))
        return kept

    def __call__(self, x: Array, past: Sequence[Any]) -> tuple[Array, list[Any]]:
        """`[sequences, frames, width]` to the same shape, and what the next frames see."""
        gathered, past = self._attend(x, past)
        x = snap(self._norms[0](snap(x + self._out(gathered))))
        x = self._norms[1](snap(x + self._second(gelu(self._first(x)))))
        return snap(x), past

    def _project(self, x: Array) -> tuple[Any, ...]:
        """Queries, keys and values, `[sequences, heads, frames, width / heads]`; the latter two as
        whole numbers, and behind them their scales, `[sequences, heads, frames, 1]`.
        """
        sequences, frames, _ = x.shape
        parts = self._into(x).reshape(sequences, frames, 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
        queries, keys, values = parts
        return queries, *quantise(keys), *quantise(values)

    def _attend(self, x: Array, past: Sequence[Any]) -> tuple[Array, list[Any]]:
        queries, *new = self._project(x)
        keys, key_scales, values, value_scales = (
            np.concatenate([old, more], axis=2) for old, more in zip(past, new, strict=True)
        )
        scores = _scores(queries, keys, key_scales)
        if x.shape[1] > 1:  # one frame sees all that is kept
            scores[..., ~self._seen(x.shape[1], keys.shape[2])] = -np.inf
        gathered = softmax_product(scores, values, _row(value_scales), self._past_context + 1)
        joined = gathered.transpose(0, 2, 1, 3).reshape(x.shape)
        kept = (keys, key_scales, values, value_scales)
        return joined, [array[:, :, -self._past_context :] for array in kept]

    def _seen(self, frames: int, keys: int) -> NDArray[np.bool_]:
        """Which keys, the last of which are the frames' own, each frame sees."""
        distance = np.arange(keys - frames, keys)[:, np.newaxis] - np.arange(keys)
        return (distance >= 0) & (distance <= self._past_context)


def _scores(queries: Array, keys: Whole, scales: Array) -> Array:
    scaled = product(queries, np.swapaxes(keys, -1, -2)) * _row(scales)
    scores: Array = scaled / np.sqrt(float(queries.shape[-1]))
    return scores


def _row(scales: Array) -> Array:
    """`[..., keys, 1]` to `[..., 1, keys]`."""
    return np.swapaxes(scales, -1, -2)


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
