"""`Audio`: samples and their rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acomp.errors import AudioError

MAX_CHANNELS = 64
MAX_SAMPLE_RATE = 1_000_000

Samples = NDArray[np.float32]
"""Samples `[channels, time]`, full scale +-1."""


@dataclass(frozen=True, eq=False)
class Audio:
    """A recording, whole in memory.

    Raises:
        AudioError: the samples are not float32 `[channels, time]`, or a number is out of bounds.
    """

    samples: Samples
    """Samples `[channels, time]`, full scale +-1."""
    sample_rate: int
    """Sample rate in Hz."""

    def __post_init__(self) -> None:
        if self.samples.ndim != 2 or self.samples.dtype != np.float32:
            raise AudioError(
                f"samples are {self.samples.dtype} with {self.samples.ndim} axes; "
                "float32 [channels, time] is due"
            )
        check_layout("audio", self.sample_rate, self.channels)

    @property
    def channels(self) -> int:
        return int(self.samples.shape[0])

    @property
    def length(self) -> int:
        """Samples per channel."""
        return int(self.samples.shape[1])

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return self.length / self.sample_rate


def check_layout(name: str, sample_rate: int, channels: int) -> None:
    """Raise AudioError, which names `name`, unless rate and channels are what audio can have."""
    if not 1 <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"{name} has {sample_rate} Hz; 1 to {MAX_SAMPLE_RATE} Hz can be used")
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{name} has {channels} channels; 1 to {MAX_CHANNELS} can be used")


def to_channels(samples: Samples, channels: int) -> Samples:
    """`samples` `[c, time]` as `[channels, time]`.

    One channel is the mean of all; from one channel every other number is filled with copies.

    Raises:
        AudioError: more than one channel is asked for, of audio that has another number.
    """
    present = samples.shape[0]
    if present == channels:
        return samples
    if channels == 1:
        mono: Samples = samples.mean(axis=0, keepdims=True, dtype=np.float32)
        return mono
    if present == 1:
        return np.repeat(samples, channels, axis=0)
    raise AudioError(
        f"the audio has {present} channels, which cannot become {channels}; use --channels mono"
    )
