"""Arithmetic with the same result, to the last bit, on every machine.

The encoder and the decoder of an entropy coder must compute the same bits, whatever their machines,
threads and libraries are. What usually differs is sums: libraries add in different orders, and each
addition rounds. Here every sum is one of whole numbers so small that no order of additions rounds
(Ballé, Johnston and Minnen, "Integer networks for data compression with latent-variable models",
ICLR 2019). All else is elementwise: +, -, *, /, square roots and rounding, for which IEEE 754 fixes
every bit, and tables of rounded values of functions.

Arrays are float64 unless stated otherwise.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Whole = NDArray[np.float32]
"""Whole numbers, in the type whose matrix products are fast."""

WEIGHT_LIMIT = 127
"""Largest absolute value of a weight: 8 bits."""
COUNTED = 1 << 24
"""Float32 holds every whole number up to this."""
MAX_INPUTS = 1032
"""Most products in a sum; with so many, numbers are still rounded to 8 bits."""
GRID = 2.0**-12
"""Sums of layers are rounded to multiples of this."""
TOTAL = 1 << 24
"""Sum of the frequencies of all entries: the precision of the range coder."""

_TINY = 1e-30
_FEW_TERMS, _FEW_ROWS = 1_000_000, 16
_STEPS = 64
"""Steps in which `powers` halves."""
_OCTAVES = 30


def quantise(weight: NDArray[Any]) -> tuple[Whole, Array]:
    """A matrix `[rows, columns]` as 8-bit numbers and the scale of each row, `[rows, 1]`."""
    weight = weight.astype(np.float64)
    scale = np.maximum(np.abs(weight).max(axis=-1, keepdims=True), _TINY) / WEIGHT_LIMIT
    return np.rint(weight / scale).astype(np.float32), scale


def product(x: Array, y: Whole, terms: int | None = None) -> Array:
    """`x @ y` with each row of `x` rounded to whole numbers and a scale.

    The rounding is as fine as exact sums in float32 allow: 9 bits and more where a sum has up to
    512 products.

    Args:
        x: `[..., rows, n]`.
        y: whole numbers from -`WEIGHT_LIMIT` to `WEIGHT_LIMIT`, `[..., n, columns]`.
        terms: most numbers in a row of `x` that are not 0, at most `MAX_INPUTS`; by default n.
    """
    limit = (COUNTED - 1) // (WEIGHT_LIMIT * (terms or x.shape[-1]))
    scale = np.maximum(np.abs(x).max(axis=-1, keepdims=True), _TINY) / limit
    sums = _multiply(np.rint(x / scale).astype(np.float32), y)
    rescaled: Array = sums * scale
    return rescaled


def _multiply(x: Whole, y: Whole) -> Whole:
    """`x @ y`, in parts of `y` where `x` has few rows.

    OpenBLAS, which numpy brings, copies a matrix before a product of more than a million terms,
    which for few rows takes most of the time.
    """
    columns = _FEW_TERMS // x[..., 0].size // x.shape[-1] // 16 * 16
    if x.ndim > 2 or len(x) > _FEW_ROWS or columns >= y.shape[1]:
        return x @ y
    parts = [x @ y[:, first : first + columns] for first in range(0, y.shape[1], columns)]
    return np.concatenate(parts, axis=1)


class Linear:
    """A linear map with 8-bit weights."""

    def __init__(self, weight: Whole, scale: Array, bias: NDArray[Any] | None = None) -> None:
        """`weight` is `[outputs, inputs]`, `scale` `[outputs, 1]`, `bias` `[outputs]`."""
        self._weight = np.ascontiguousarray(weight.T)
        self._scale = scale[:, 0]
        self._bias = None if bias is None else bias.astype(np.float64)

    @classmethod
    def of(cls, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> Linear:
        """The linear map of a matrix `[outputs, inputs]` of any numbers, rounded to 8 bits."""
        return cls(*quantise(weight), bias)

    def __call__(self, x: Array, outputs: int | None = None) -> Array:
        """`[..., inputs]` to `[..., outputs]`; only the first `outputs`, if that is given."""
        # As one matrix: numpy would multiply those of a stack one after the other.
        y = product(x.reshape(-1, x.shape[-1]), self._weight[:, :outputs]) * self._scale[:outputs]
        if self._bias is not None:
            y += self._bias[:outputs]
        return y.reshape(*x.shape[:-1], -1)


def snap(x: Array) -> Array:
    """Round to multiples of `GRID`, whose sums are exact below 2**40."""
    rounded: Array = np.rint(x * (1 / GRID)) * GRID
    return rounded


class LayerNorm:
    """Layer normalisation (https://arxiv.org/abs/1607.06450) of numbers on `GRID`."""

    EPSILON = 1e-5

    def __init__(self, weight: NDArray[Any], bias: NDArray[Any]) -> None:
        self._weight = weight.astype(np.float64)
        self._bias = bias.astype(np.float64)

    def __call__(self, x: Array) -> Array:
        """Normalise `[..., width]` over the last axis."""
        width = x.shape[-1]
        # Squares of numbers below 2**9 on the grid have 42 bits, of which 1024 can be added.
        centred = snap(x - x.sum(axis=-1, keepdims=True) / width).clip(-512, 512)
        variance = np.square(centred).sum(axis=-1, keepdims=True) / width
        y: Array = centred / np.sqrt(variance + self.EPSILON) * self._weight + self._bias
        return y


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


@cache
def _gelu_table() -> Array:
    """GELU at the multiples of 1/1024 from -8 to 8, rounded to 2**-14."""
    values = (x / 1024 for x in range(-8 * 1024, 8 * 1024 + 1))
    return np.array([gelu_value(x) for x in values]).round() / 2**14


def gelu_value(x: float) -> float:
    """X * P(N(0, 1) < x) (https://arxiv.org/abs/1606.08415), times 2**14."""
    return 2**14 * x * 0.5 * math.erfc(-x / math.sqrt(2))


def gelu(x: Array) -> Array:
    """GELU of `x` rounded to a multiple of 1/1024."""
    inner = _gelu_table()[np.rint(x.clip(-8, 8) * 1024).astype(np.intp) + 8 * 1024]
    return np.where(x > 8, x, inner)


@cache
def powers() -> Array:
    """2**(30 - i/64) rounded, for i from 0 on; 0 at the end."""
    exact = [2.0 ** (_OCTAVES - i / _STEPS) for i in range(_STEPS * _OCTAVES)]
    return np.array([*np.rint(exact), 0.0])


def exponentials(x: Array) -> Array:
    """Whole numbers in proportion to exp(x) along the last axis; the greatest is 2**30.

    They are rounded to steps of a factor of 2**(1/64), which costs a code 0.00001 bits.
    """
    below = (x.max(axis=-1, keepdims=True) - x) * (_STEPS / math.log(2))
    # Minus infinity stands for an entry that is left out.
    steps = np.minimum(np.rint(below), _STEPS * _OCTAVES).astype(np.intp)
    weights: Array = powers()[steps]
    return weights


def frequencies(logits: Array) -> NDArray[np.float32]:
    """The frequencies of the entries, less 1 each, from logits `[..., size]`.

    They are whole numbers; with the 1 that the range coder adds to each, so that no entry is
    impossible, their sum is `TOTAL`.
    """
    weights = exponentials(logits)
    free = TOTAL - logits.shape[-1]
    shares = np.floor(weights * (free / weights.sum(axis=-1, keepdims=True)))
    # What is left by rounding down goes to the first of the likeliest entries.
    rest = free - shares.sum(axis=-1, keepdims=True)
    likeliest = weights.argmax(axis=-1)[..., np.newaxis]
    most = np.take_along_axis(shares, likeliest, axis=-1)
    np.put_along_axis(shares, likeliest, most + rest, axis=-1)
    counts: NDArray[np.float32] = shares.astype(np.float32)
    return counts


def softmax_product(scores: Array, values: Whole, scales: Array, most: int) -> Array:
    """The result of attention: the mean of values, weighted by the softmax of scores.

    Args:
        scores: `[..., queries, keys]`; minus infinity where a query does not attend to a key.
        values: `[..., keys, width]`, whole numbers from -`WEIGHT_LIMIT` to `WEIGHT_LIMIT`.
        scales: factor of the values of each key, `[..., 1, keys]`.
        most: most keys that a query attends to.
    """
    weights = exponentials(scores)
    mean: Array = product(weights * scales, values, most) / weights.sum(axis=-1, keepdims=True)
    return mean


@lru_cache(maxsize=1)
def turns(frames: int, width: int, period: float) -> Array:
    """EnCodec's sinusoidal embedding of the positions from 0 on, `[frames, width]`, on `GRID`."""
    half = width // 2
    rates = np.array([period ** (i / (half - 1)) for i in range(half)])
    phases = np.arange(frames)[:, np.newaxis] / rates
    return snap(np.concatenate([np.cos(phases), np.sin(phases)], axis=1))
