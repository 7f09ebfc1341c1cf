"""`AudioReader`, the base class of the readers of all forms of audio."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np

from acomp.audio.findings import Findings
from acomp.audio.samples import Samples, check_layout
from acomp.errors import AudioError
from acomp.files import Closing, reason_of
from acomp.scalars import whole_number

FAR = 8.0
"""Absolute sample value above which a remark is made; full scale is 1."""


class AudioReader(Closing):
    """An open source of audio, read block by block; `open_audio` returns it.

    It is a context manager and closes its file at the end of the `with` block.

        >>> with acomp.open_audio("speech.flac") as reader:
        ...     sum(block.shape[1] for block in reader.blocks(48_000))
        165531

    Attributes:
        name: name of the source in messages.
        sample_rate: sample rate in Hz.
        channels: number of channels.
        length: samples per channel according to the header; None where the header does not say.
            In concatenated files it may be the first part's length only; more samples can follow.
    """

    def __init__(
        self, findings: Findings, sample_rate: int, channels: int, length: int | None
    ) -> None:
        check_layout(findings.name, sample_rate, channels)
        self._findings = findings
        self.name = findings.name
        self._position = 0
        self._closed = False
        self._peak = FAR
        self.resources = ExitStack()
        """Closed with the reader."""
        self.sample_rate = sample_rate
        self.channels = channels
        self.length = length

    def __repr__(self) -> str:
        lasting = "" if self.length is None else f", {self.length / self.sample_rate:.2f} s"
        channels = f"{self.channels} channel{'s' * (self.channels > 1)}"
        return f"<reader of {self.name}: {channels} at {self.sample_rate} Hz{lasting}>"

    @property
    def damage(self) -> list[str]:
        """What was lost so far, one line each; only with `recover`, otherwise it is an error."""
        return self._findings.damage

    @property
    def remarks(self) -> list[str]:
        """What is unusual about the source but loses no audio, so far; one line each."""
        return self._findings.remarks

    def blocks(self, samples: int) -> Iterator[Samples]:
        """The rest of the audio in blocks, float32 `[channels, n]`, full scale +-1.

        Memory does not grow with the length of the audio. From a pipe, a block holds the samples
        that have arrived; if they last less than 20 ms, the reader waits up to 20 ms for more.

        Args:
            samples: largest number n of samples per channel in a block, at least 1. The audio does
                not depend on it.

        Raises:
            AudioError: the audio is damaged, ends early, or has samples that are not finite; with
                `recover` the reader lists that in `damage` instead. Or `samples` is not a whole
                number of 1 or more, or the reader is closed.
        """
        most = whole_number(samples, "the length of a block", AudioError)
        if most < 1:
            raise AudioError(f"a block holds at least 1 sample per channel, not {most}")
        self._check_open()
        return self._blocks(most)

    def _blocks(self, most: int) -> Iterator[Samples]:
        while True:
            self._check_open()
            try:
                block = self._next(most)
            except OSError as failure:
                raise unreadable(self.name, failure) from failure
            if not block.shape[1]:
                break
            yield self._checked(block)
        self._check_end()

    def _check_open(self) -> None:
        if self._closed:
            raise AudioError(f"{self.name} is closed: read it within its `with` block")

    def _next(self, count: int) -> Samples:
        """Up to `count` samples per channel; unchecked; used by readers that wrap this one."""
        block = self._read(count)
        self._position += block.shape[1]
        return block

    def _check_end(self) -> None:
        """Check, at the end of the source, that it had as many samples as its header states.

        Raises:
            AudioError: it had fewer, and the reader was not opened with `recover`.
        """
        if self.length is not None and self._position < self.length:
            self._findings.lost(promised(self.length, self._position, "samples"))

    def close(self) -> None:
        """Close the source; `with` does so."""
        self._closed = True
        self.resources.close()

    @property
    def _seconds(self) -> float:
        """Seconds of audio returned so far."""
        return self._position / self.sample_rate

    @abstractmethod
    def _read(self, count: int) -> Samples:
        """Up to `count` samples per channel, `[channels, n]`; n is 0 only at the end."""

    def _checked(self, block: Samples) -> Samples:
        """`block`, the one that was taken last, with only finite samples."""
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
            self._peak = float("inf")  # the remark is made once
            self._findings.remark(
                f"reaches {peak:.3g} times full scale, {begin} or later: its samples are not in "
                "the range from -1 to 1, and are used as they are"
            )
        return block


def promised(expected: int, there: int, unit: str) -> str:
    """The message about a source that holds less than its header states."""
    return f"truncated: the header promises {expected} {unit}, {there} are there"


def unreadable(name: str, failure: OSError) -> AudioError:
    return AudioError(f"cannot read {name}: {reason_of(failure)}")
