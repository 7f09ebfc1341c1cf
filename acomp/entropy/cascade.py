"""acomp's own language model of codes: causal convolutions over the frames, and within a frame one
codebook after the other.

The embeddings of a frame's codes are added up, and blocks of dilated convolutions look back over
these sums (as in WaveNet, https://arxiv.org/abs/1609.03499). Their output is the context of the
next frame. The frame's codebooks are predicted in turn, and the vector of each code is added to the
context before the next codebook is predicted, because the levels of a residual quantiser depend on
one another. `acomp train --language-model` trains the model (`acomp.training.language_model`); this
module runs it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acomp.entropy.base import Entries, LanguageModel, Memory
from acomp.entropy.exact import MAX_INPUTS, Array, LayerNorm, Linear, product, relu, snap
from acomp.errors import WeightsError
from acomp.plain import brief

FAMILY = "cascade"
"""Name of this kind of model in files."""
MAX_WEIGHTS = 1 << 28


@dataclass(frozen=True)
class CascadeShape:
    """The sizes that the layout of the weights depends on.

    Attributes:
        codebooks: number of codebooks that are predicted.
        codebook_size: number of entries of a codebook.
        embedding: dimension of the embedding of a code.
        width: dimension of the context of a frame.
        hidden: dimension inside a block.
        narrow: dimension from which the logits of a codebook are computed.
        dilations: frames that each block looks back.

    Raises:
        WeightsError: no model can have this shape.
    """

    codebooks: int
    codebook_size: int
    embedding: int = 64
    width: int = 256
    hidden: int = 384
    narrow: int = 96
    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)

    def __post_init__(self) -> None:
        numbers = [getattr(self, field.name) for field in fields(self)[:-1]]
        whole = [*numbers, *self.dilations]
        if (
            any(type(number) is not int or not 1 <= number <= 1 << 16 for number in whole)
            or max(self.embedding, 2 * self.width, self.hidden, self.narrow) > MAX_INPUTS
            or len(self.dilations) > 32
            or max(self.dilations, default=1) > 1024
            or self.codebooks * self.codebook_size * (2 * self.width + self.narrow) > MAX_WEIGHTS
        ):
            shape = ", ".join(f"{name}={brief(value)}" for name, value in vars(self).items())
            raise WeightsError(f"no language model has the shape {shape}")

    def to_dict(self) -> dict[str, Any]:
        """The shape as values that JSON and YAML can hold."""
        return {**asdict(self), "family": FAMILY, "dilations": list(self.dilations)}

    def matrices(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights that are stored in 8 bits with a scale for each row, by name."""
        books, depth = self.codebooks, len(self.dilations)
        return {
            "embedding": (books, self.codebook_size, self.embedding),
            "before": (books, self.width, self.embedding),
            "within": (books, self.width, self.embedding),
            "first": (depth, self.hidden, 2 * self.width),
            "second": (depth, self.width, self.hidden),
            "narrow": (books, self.narrow, self.width),
            "entries": (books, self.codebook_size, self.narrow),
        }

    def vectors(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights that are stored as float32, by name."""
        books, depth = self.codebooks, len(self.dilations)
        return {
            "number": (books, self.width),
            "norm": (depth + 1, 2, self.width),
            "first_bias": (depth, self.hidden),
            "second_bias": (depth, self.width),
            "narrow_bias": (books, self.narrow),
            "entries_bias": (books, self.codebook_size),
        }


class Cascade(LanguageModel):
    """The language model with its weights.

    Args:
        shape: the sizes of the model.
        weights: the vectors of `shape`, its matrices as int8, and for each matrix the scales of
            its rows as `NAME_scale`.
        fingerprint: first 16 hexadecimal digits of the SHA-256 of the weights.
    """

    def __init__(
        self, shape: CascadeShape, weights: Mapping[str, NDArray[Any]], fingerprint: str
    ) -> None:
        self.codebooks, self.codebook_size = shape.codebooks, shape.codebook_size
        self.fingerprint = fingerprint
        self._shape = shape
        self._before = _vectors(weights, "before")
        self._within = _vectors(weights, "within")
        self._number = snap(weights["number"].astype(np.float64))
        norms = [LayerNorm(*norm) for norm in weights["norm"]]
        self._blocks = [
            _Block(dilation, norm, *linears)
            for dilation, norm, *linears in zip(
                shape.dilations,
                norms,
                _linears(weights, "first"),
                _linears(weights, "second"),
                strict=False,
            )
        ]
        self._norm = norms[-1]
        self._narrow = _linears(weights, "narrow")
        self._entries = _linears(weights, "entries")

    def stages(self, codebooks: int) -> Sequence[range]:
        return [range(level, level + 1) for level in range(codebooks)]

    def start(self, sequences: int, frames: int) -> Memory:  # noqa: ARG002
        width = self._shape.width
        return [np.zeros((sequences, dilation, width)) for dilation in self._shape.dilations]

    def contexts(self, before: Entries, memory: Memory) -> tuple[Array, Memory]:
        books = before.shape[1]
        x = self._number[books - 1] + sum(
            self._before[level][before[:, level]] for level in range(books)
        )
        after = []
        for block, past in zip(self._blocks, memory, strict=True):
            x, past = block(x, past)
            after.append(past)
        return x, after

    def logits(self, context: Array, stage: range) -> Array:
        (level,) = stage
        narrow = relu(self._narrow[level](self._norm(context)))
        return self._entries[level](narrow)[:, :, np.newaxis]

    def absorb(self, context: Array, stage: range, codes: Entries) -> Array:
        (level,) = stage
        return context + self._within[level][codes[:, 0] + 1]


class _Block:
    """One block of convolutions; its state is its last normalised inputs."""

    def __init__(self, dilation: int, norm: LayerNorm, first: Linear, second: Linear) -> None:
        self._dilation = dilation
        self._norm = norm
        self._first = first
        self._second = second

    def __call__(self, x: Array, past: Array) -> tuple[Array, Array]:
        frames = x.shape[1]
        seen = np.concatenate([past, self._norm(x)], axis=1)
        both = np.concatenate([seen[:, self._dilation :], seen[:, :frames]], axis=2)
        return snap(x + self._second(relu(self._first(both)))), seen[:, frames:]


def _linears(weights: Mapping[str, NDArray[Any]], name: str) -> list[Linear]:
    biases = weights[f"{name}_bias"]
    scales = weights[f"{name}_scale"].astype(np.float64)
    return [
        Linear(matrix.astype(np.float32), scale, bias)
        for matrix, scale, bias in zip(weights[name], scales, biases, strict=True)
    ]


def _vectors(weights: Mapping[str, NDArray[Any]], name: str) -> list[Array]:
    """The vectors of the codes of each codebook, `[1 + size, width]`; row 0, for no code, is 0."""
    vectors = []
    scales = weights["embedding_scale"].astype(np.float64), weights[f"{name}_scale"]
    for embedding, scale, matrix, rows in zip(
        weights["embedding"], scales[0], weights[name], scales[1], strict=True
    ):
        of_codes = product(embedding * scale, matrix.T.astype(np.float32)) * rows[:, 0]
        vectors.append(np.concatenate([np.zeros((1, len(matrix))), snap(of_codes)]))
    return vectors
