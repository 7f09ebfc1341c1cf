"""Sample rate conversion, in pieces or whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from acomp.audio.samples import Audio, Samples, as_samples, check_layout
from acomp.errors import AudioError
from acomp.scalars import whole_number

MAX_RATIO = 256
"""Largest ratio of two rates. It bounds what a few samples can grow to."""
_SILENCE = 1024
_PIECE = 1 << 16  # soxr's own buffers grow with what it is given at once


class Resampler:
    """Converts a stream of samples from one rate to another, with soxr's `HQ` filters.

    `n` samples give ceil(n * target / source), and the result does not depend on how they are
    cut into pieces: the same samples give the same output, bit for bit.

    Args:
        source_rate: in Hz.
        target_rate: in Hz.
        channels: number of channels.
        hold: how many of the last samples of the output to keep back until `finish`, which then
            can cut them off: for audio that was padded to whole frames, and whose length is not
            known before its end.

    Raises:
        AudioError: the two rates are more than `MAX_RATIO` apart, or one is out of bounds.
    """

    def __init__(self, source_rate: int, target_rate: int, channels: int, *, hold: int = 0) -> None:
        source_rate = whole_number(source_rate, "the sample rate", AudioError)
        target_rate = whole_number(target_rate, "the sample rate", AudioError)
        for rate in (source_rate, target_rate):
            check_layout("the audio", rate, channels)
        if max(source_rate, target_rate) > MAX_RATIO * min(source_rate, target_rate):
            raise AudioError(f"cannot resample from {source_rate} Hz to {target_rate} Hz")
        self._source_rate = source_rate
        self._target_rate = target_rate
        self._channels = channels
        self._hold = hold
        self._held = np.zeros((channels, 0), np.float32)
        self._taken = 0
        self._given = 0
        self._finished = False
        if source_rate != target_rate:
            import soxr

            self._stream = soxr.ResampleStream(
                source_rate, target_rate, channels, dtype="float32", quality="HQ"
            )

    def push(self, samples: Samples) -> Samples:
        """Take samples `[channels, n]`; give what is ready, `[channels, m]`."""
        samples = as_samples(samples)
        if samples.shape[0] != self._channels:
            raise AudioError(f"{samples.shape[0]} channels, where {self._channels} are due")
        if self._finished:
            raise AudioError("this resampler has finished: make a new one")
        self._taken += samples.shape[1]
        ready = samples
        if self._source_rate != self._target_rate:
            ready = self._join([self._convert(piece) for piece in _pieces(samples)])
        if self._hold:
            ready = self._join([self._held, ready])
            end = max(0, ready.shape[1] - self._hold)
            ready, self._held = ready[:, :end], ready[:, end:].copy()
        self._given += ready.shape[1]
        return ready

    def finish(self, length: int | None = None) -> Samples:
        """The rest of the output, `[channels, m]`.

        Args:
            length: samples per channel that the whole output shall have; the end is cut or padded
                with silence. Where it is None, ceil(n * target / source).

        Raises:
            AudioError: more than `length` samples have been given already; see `hold`.
        """
        if self._finished:
            raise AudioError("this resampler has finished: make a new one")
        natural = -(-self._taken * self._target_rate // self._source_rate)
        total = natural if length is None else length
        if total < self._given:
            raise AudioError(f"the audio is {self._given} samples or longer, not {total}")
        # Not soxr's own flush: before its first output it gives wrong samples, and too many
        # (soxr 1.1). The filter sees silence beyond the end either way.
        silence = np.zeros((self._channels, _SILENCE), np.float32)
        pieces, due = [self._held], min(natural, total) - self._given
        ready = self._held.shape[1]
        while ready < due:
            pieces.append(self._convert(silence))
            ready += pieces[-1].shape[1]
        rest = self._join(pieces)[:, :due]
        padding = total - self._given - due
        self._given = total
        self._finished = True
        return np.pad(rest, ((0, 0), (0, padding)))

    def _convert(self, samples: Samples) -> Samples:
        converted: Samples = self._stream.resample_chunk(np.ascontiguousarray(samples.T)).T
        return converted

    def _join(self, pieces: list[Samples]) -> Samples:
        return np.concatenate([np.zeros((self._channels, 0), np.float32), *pieces], axis=1)


def _pieces(samples: Samples) -> Iterator[Samples]:
    for start in range(0, samples.shape[1], _PIECE):
        yield samples[:, start : start + _PIECE]


def resample(audio: Audio, sample_rate: int) -> Audio:
    """`audio` at `sample_rate` Hz: ceil(length * sample_rate / audio.sample_rate) samples.

        >>> acomp.resample(acomp.read_audio("speech.flac"), 16_000)
        Audio(1 channel, 3.45 s at 16000 Hz)

    Raises:
        AudioError: the two rates are more than `MAX_RATIO` apart.
    """
    sample_rate = whole_number(sample_rate, "the sample rate", AudioError)
    if sample_rate == audio.sample_rate:
        return audio
    resampler = Resampler(audio.sample_rate, sample_rate, audio.channels)
    samples = np.concatenate([resampler.push(audio.samples), resampler.finish()], axis=1)
    return Audio(samples, sample_rate)
