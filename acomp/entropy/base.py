"""`LanguageModel`, which predicts the probabilities of the next codes from those before."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from acomp.entropy.exact import Array

Entries = NDArray[np.integer]
"""Codes, or 1 + codes where 0 stands for no code."""
Memory = list[Array]
"""The state that a model carries from frame to frame; arrays whose first axis is the sequences."""

CONTEXT_FRAMES = 192
"""Most frames of a run, which is coded without those before it: 2.6 s at 75 frames/s. Runs can be
decoded side by side, which is several times as fast and costs few bits (docs/entropy.md)."""


def runs(frames: int) -> list[int]:
    """The lengths in frames of the runs that `frames` consecutive frames are cut into.

    The runs are nearly equal, and at most `CONTEXT_FRAMES` long.
    """
    count = max(1, -(-frames // CONTEXT_FRAMES))
    longest = -(-frames // count)
    return [longest] * (count - 1) + [frames - longest * (count - 1)]


class LanguageModel(ABC):
    """Predicts each frame of codes from those before it, with `exact` arithmetic.

    Sequences are processed side by side and independently. The result for a frame is the same, to
    the last bit, however many frames or sequences are processed at a time.

    Attributes:
        codebooks: number of codebooks that the model predicts, the first ones of the codec.
        codebook_size: number of entries of a codebook.
        fingerprint: first 16 hexadecimal digits of the SHA-256 of the weights.
    """

    codebooks: int
    codebook_size: int
    fingerprint: str

    def at_rate(self, frame_rate: float) -> LanguageModel:  # noqa: ARG002
        """The model for a frame rate in frames/s, if its context is a duration."""
        return self

    @abstractmethod
    def stages(self, codebooks: int) -> Sequence[range]:
        """The groups of codebooks that are predicted at once, in order."""

    @abstractmethod
    def start(self, sequences: int, frames: int) -> Memory:
        """The state before the first frame of sequences with at most `frames` frames each."""

    @abstractmethod
    def contexts(self, before: Entries, memory: Memory) -> tuple[Array, Memory]:
        """The context from which consecutive frames are predicted, before any of their codes.

        Args:
            before: 1 + the codes of the frame before each frame, 0 where there is no such frame:
                `[sequences, codebooks, frames]`.
            memory: the state after the frames before; it may be changed in place.

        Returns:
            The context, `[sequences, frames, width]`, and the state for the next frames.
        """

    @abstractmethod
    def logits(self, context: Array, stage: range) -> Array:
        """The logits of the codebooks of a stage, `[sequences, frames, len(stage), size]`."""

    @abstractmethod
    def absorb(self, context: Array, stage: range, codes: Entries) -> Array:
        """The context after the codes of a stage, `[sequences, len(stage), frames]`, are known."""
