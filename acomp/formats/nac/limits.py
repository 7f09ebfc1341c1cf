"""What both readers and the writer of `.nac` keep to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from acomp.codes import CodesInfo
from acomp.formats.nac.layout import (
    CODED,
    PACKED,
    Layout,
)
from acomp.formats.nac.payload import MAX_PACKED_FRAMES

if TYPE_CHECKING:
    from acomp.entropy.coding import BlockCoder


LAYOUTS = {layout.version: layout for layout in (PACKED, CODED)}
LANGUAGE_MODEL = "language_model"
"""What the metadata calls the fingerprint of the language model."""
MAX_FRAMES = (1 << 32) - 1
MAX_SEQUENCES = 64
"""Segments times streams of an entropy-coded block of several segments, and runs times streams of
several blocks that are decoded at once, at most: bounds memory."""


def coder_of(info: CodesInfo, file: Path | None) -> BlockCoder:
    """The entropy coder of a codec's codes, with its language model or with that of a file.

    Raises:
        FormatError: there is none, or it is of other codes.
        WeightsError: its weights cannot be had.
    """
    # The one thing in formats that needs a model, and only for files that are made with one.
    from acomp.entropy.loading import load_coder

    return load_coder(info, file)


def most_segments(info: CodesInfo, layout: Layout) -> int:
    """Segments of a block, at most."""
    return max(1, MAX_SEQUENCES // info.streams) if layout.coded else MAX_PACKED_FRAMES
