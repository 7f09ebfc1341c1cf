"""What a language model of codes is: it tells how likely each entry is to come next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from acomp.entropy.exact import Array

Entries = NDArray[np.integer]
"""Codes, or 1 + codes where 0 stands for none."""
Memory = list[Array]
"""What a model carries from frame to frame, the sequences first."""

CONTEXT_FRAMES = 192
"""Frames after which coding begins anew: 2.6 s at 75 frames/s. What is coded apart can be decoded
side by side, which is several times as fast and costs few bits (docs/entropy.md)."""


def runs(frames: int) -> list[int]:
    """The lengths of the stretches, nearly equal and of one context at most, in which consecutive
    frames are coded side by side.
    """
    count = max(1, -(-frames // CONTEXT_FRAMES))
    longest = -(-frames // count)
    return [longest] * (count - 1) + [frames - longest * (count - 1)]


class LanguageModel(ABC):
    """Predicts each frame of codes from those before it, on `exact` arithmetic.

    Sequences are worked on side by side and do not touch one another. What is computed for a frame
    does not depend, to the last bit, on how many frames or sequences are given at a time.
    """

    codebooks: int
    """Codebooks that it knows, the first of a codec's."""
    codebook_size: int
    fingerprint: str
    """First 16 hexadecimal digits of the SHA-256 of its weights."""

    def at_rate(self, frame_rate: float) -> LanguageModel:  # noqa: ARG002
        """The model for codes of so many frames a second, where it looks back by time."""
        return self

    @abstractmethod
    def stages(self, codebooks: int) -> Sequence[range]:
        """The codebooks that are predicted at once, in the order in which they are."""

    @abstractmethod
    def start(self, sequences: int, frames: int) -> Memory:
        """The memory before the first of at most so many frames."""

    @abstractmethod
    def contexts(self, before: Entries, memory: Memory) -> tuple[Array, Memory]:
        """What is known of some consecutive frames before any code of them is.

        Args:
            before: 1 + the codes of the frame before each of them, 0 where there is none:
                `[sequences, codebooks, frames]`.
            memory: what was left by the frames before; may be changed.

        Returns:
            `[sequences, frames, width]`, and what the next frames need.
        """

    @abstractmethod
    def logits(self, context: Array, stage: range) -> Array:
        """How likely the entries of a stage's codebooks are: logarithms, not normalised,
        `[sequences, frames, len(stage), codebook_size]`.
        """

    @abstractmethod
    def absorb(self, context: Array, stage: range, codes: Entries) -> Array:
        """The context once the codes of a stage, `[sequences, len(stage), frames]`, are known."""
