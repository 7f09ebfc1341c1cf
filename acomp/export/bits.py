"""Weights in fewer bits than they are kept in: as float16, or as whole numbers with scales."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Bits = Literal[16, 8]
BITS: Mapping[str, Bits] = {"16": 16, "8": 8}
"""As they are written."""
QUANTISER = {"quantise", "dequantise", "books", "codebooks"}
"""Parts of networks that hold codebooks and what leads to them and away: one of these is in the
names of their weights. They decide about codes, so that they have 16 bits where others have 8."""
SHORT = 16
"""Numbers of a row up to which 8 bits and a scale are not worth it."""
LARGEST = float(np.finfo(np.float16).max)


def narrowed(
    name: str, kept: Sequence[NDArray[np.generic]], bits: Bits
) -> Sequence[NDArray[np.generic]]:
    """A weight as it is kept, with its scales if it has any, in so many bits if it has more.

    Vectors stay as they are: they are small, and much hangs on each number.
    """
    weight = kept[0]
    is_vector = weight.size <= max(weight.shape, default=1)
    if len(kept) > 1 or is_vector or weight.dtype not in (np.float32, np.float16):
        return kept
    if bits == 8 and weight[0].size > SHORT and QUANTISER.isdisjoint(name.split(".")):
        return _in_rows(weight.astype(np.float32))
    if weight.dtype != np.float32 or np.abs(weight).max() > LARGEST:
        return kept
    return [weight.astype(np.float16)]


def _in_rows(weight: NDArray[np.float32]) -> list[NDArray[np.generic]]:
    """Whole numbers of 8 bits, and a scale for each row: what gives one output of a layer."""
    axes = tuple(range(1, weight.ndim))
    scale = np.abs(weight).max(axes, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1
    return [np.round(weight / scale).astype(np.int8), scale]
