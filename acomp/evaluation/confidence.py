"""How far means over files may be trusted: bootstrap over the files, the same at every run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVEL = 0.95
LEAST_FILES = 5
"""Fewer files say too little about others: there is no interval."""
_DRAWS = 2000
_AT_ONCE = 1 << 20
"""Values that are drawn at once: memory does not grow with the files."""


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of a mean over files, by the percentiles of means over files drawn anew.

    Returns:
        Its ends; None for fewer than five files.
    """
    if len(values) < LEAST_FILES:
        return None
    random = np.random.default_rng(0)
    array = np.array(values, np.float64)
    rows = max(1, _AT_ONCE // len(array))
    means = [
        array[random.integers(len(array), size=(min(rows, _DRAWS - done), len(array)))].mean(axis=1)
        for done in range(0, _DRAWS, rows)
    ]
    low, high = np.quantile(np.concatenate(means), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def may_be_chance(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether the means of two settings over the same files differ by no more than chance may
    bring: whether the interval of the mean difference of a file holds 0.

    Args:
        first: the figures of one setting, file by file; at least five.
        second: those of the other, of the same files in the same order.
    """
    ends = interval(np.subtract(first, second).tolist())
    assert ends is not None
    return ends[0] <= 0 <= ends[1]
