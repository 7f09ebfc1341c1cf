"""Codes of levels that run at several rates (SNAC): between one array a level and frames.

A frame is as long as a code of the coarsest level, and its codes stand level by level, in order of
time within a level: 1, 2, 4, ... slots. So codes stay a rectangle, and the first 1, 3, 7, ...
codebooks are whole levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray


def fold(levels: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The codes of each level, `[streams, time]` as `SNAC.encode` gives them, to
    `[streams, codebooks, frames]`.
    """
    streams, frames = levels[0].shape
    slots = [codes.reshape(streams, frames, -1).transpose(0, 2, 1) for codes in levels]
    return np.concatenate(slots, axis=1)


def unfold(codes: NDArray[np.uint16], levels: Sequence[int]) -> list[NDArray[np.int64]]:
    """The reverse of `fold`, as `SNAC.decode` takes codes.

    Args:
        codes: `[streams, codebooks, frames]`.
        levels: codes that each level has in a frame, together the codebooks.
    """
    slots = np.split(codes.astype(np.int64), list(accumulate(levels))[:-1], axis=1)
    return [part.transpose(0, 2, 1).reshape(len(codes), -1) for part in slots]
