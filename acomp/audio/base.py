"""The reader that every form of audio gives."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from acomp.audio.findings import Findings
from acomp.audio.samples import Samples, check_layout
from acomp.errors import AudioError
from acomp.files import Closing, reason_of

FAR = 8.0
"""How many times full scale sound may reach before that is remarked on."""


class AudioReader(Closing):
    """Audio that is open for reading, block by block: a context manager, made by `open_audio`.

    Attributes:
        name: what errors call the source.
        sample_rate: in Hz.
        channels: number of channels.
        length: samples per channel that the source states; None where it states none. Where files
            were joined, the first may speak for itself alone, and more come.
    """

    def __init__(
        self, findings: Findings, sample_rate: int, channels: int, length: int | None
    ) -> None:
        check_layout(findings.name, sample_rate, channels)
        self._findings = findings
        self.name = findings.name
        self._position = 0
        self._peak = FAR
        self.resources = ExitStack()
        """What is closed with the reader."""
        self.sample_rate = sample_rate
        self.channels = channels
        self.length = length

    def __repr__(self) -> str:
        lasting = "" if self.length is None else f", {self.length / self.sample_rate:.2f} s"
        channels = f"{self.channels} channel{'s' * (self.channels > 1)}"
        return f"<reader of {self.name}: {channels} at {self.sample_rate} Hz{lasting}>"

    @property
    def damage(self) -> list[str]:
        """What was lost so far, where the reader was to recover what it can; one line each."""
        return self._findings.damage

    @property
    def remarks(self) -> list[str]:
        """What is odd about the source, so far, though nothing is lost; one line each."""
        return self._findings.remarks

    def blocks(self, frames: int) -> Iterator[Samples]:
        """The audio from here on, in blocks `[channels, n]` with n from 1 to `frames`.

        The samples do not depend on `frames`. A pipe's blocks come as its samples arrive: all that
        is there, and where that is less than 20 ms what else comes within 20 ms. Memory never grows
        with the length of the audio.

        Raises:
            AudioError: the audio is damaged, ends early, or has samples that are not finite; with
                `recover` that is told by `damage` instead.
        """
        if frames < 1:
            raise ValueError(f"blocks of {frames} samples")
        while True:
            try:
                block = self.take(frames)
            except OSError as failure:
                raise unreadable(self.name, failure) from failure
            if not block.shape[1]:
                break
            yield self._checked(block)
        self.check_end()

    def take(self, frames: int) -> Samples:
        """The next samples as they are, unchecked: for a reader that reads by this one."""
        block = self._read(frames)
        self._position += block.shape[1]
        return block

    def check_end(self) -> None:
        """See whether all is there that was stated, once there is no more.

        Raises:
            AudioError: it is not, and is not to be recovered.
        """
        if self.length is not None and self._position < self.length:
            self._findings.lost(promised(self.length, self._position, "samples"))

    def close(self) -> None:
        self.resources.close()

    @property
    def _seconds(self) -> float:
        """How much has been given so far."""
        return self._position / self.sample_rate

    @abstractmethod
    def _read(self, frames: int) -> Samples:
        """Up to `frames` samples per channel, `[channels, n]`; none at the end alone."""

    def _checked(self, block: Samples) -> Samples:
        """The block that was taken last, of finite numbers alone."""
        begin = f"{(self._position - block.shape[1]) / self.sample_rate:.1f} s in"
        peak = float(np.abs(block).max())
        if not np.isfinite(peak):
            broken = ~np.isfinite(block)
            if not self._findings.recover:
                raise AudioError(
                    f"{self.name} has samples that are not finite numbers, {begin} or later"
                )
            self._findings.lost(
                f"damaged: {broken.sum()} samples, {begin} or later, are not finite numbers, and "
                "became silence"
            )
            block = np.where(broken, np.float32(0), block)
            peak = float(np.abs(block).max())
        if peak > self._peak:
            self._peak = float("inf")  # which is said once
            self._findings.remark(
                f"reaches {peak:.3g} times full scale, {begin} or later: its samples are not in "
                "the range from -1 to 1, and are used as they are"
            )
        return block


def promised(due: int, there: int, unit: str) -> str:
    """What is the matter with a source whose header promises more than there is."""
    return f"truncated: the header promises {due} {unit}, {there} are there"


def unreadable(name: str, failure: OSError) -> AudioError:
    return AudioError(f"cannot read {name}: {reason_of(failure)}")
