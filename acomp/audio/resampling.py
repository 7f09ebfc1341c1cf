"""Sample rate conversion, of a stream or of a whole recording."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from acomp.audio.samples import Audio, Samples, as_samples, check_audio, check_layout
from acomp.errors import AudioError
from acomp.scalars import whole_number

MAX_RATIO = 256
"""Largest ratio of two sample rates; it bounds how much output a few samples can give."""
_SILENCE = 1024
_PIECE = 1 << 16  # soxr's own buffers grow with what it is given at once


class Resampler:
    """Converts a stream of samples from one sample rate to another, with soxr's `HQ` filters.

    n input samples give ceil(n * target_rate / source_rate) output samples, which are bit for bit
    the same however the input is cut into pieces.

    Args:
        source_rate: sample rate of the input in Hz.
        target_rate: sample rate of the output in Hz.
        channels: number of channels.
        hold: number of output samples per channel that are held back until `finish`, which can cut
            them off. Decoded audio needs it: it is padded to whole frames, and its length is known
            only at the end.

    Raises:
        AudioError: one sample rate is more than 256 times the other, or is out of bounds.
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
        """Take samples `[channels, n]` and return the output that is ready, `[channels, m]`."""
        samples = as_samples(samples)
        if samples.shape[0] != self._channels:
            raise AudioError(f"{samples.shape[0]} channels, where {self._channels} are expected")
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
        """Return the rest of the output, `[channels, m]`.

        Args:
            length: samples per channel of the whole output, which is cut or padded with silence to
                that length; None gives ceil(n * target_rate / source_rate).

        Raises:
            AudioError: more than `length` samples have been returned already; see `hold`.
        """
        if self._finished:
            raise AudioError("this resampler has finished: make a new one")
        natural = -(-self._taken * self._target_rate // self._source_rate)
        total = natural if length is None else length
        if total < self._given:
            raise AudioError(f"the audio is {self._given} samples or longer, not {total}")
        # soxr's own flush returns wrong samples, and too many, if it comes before the first output
        # (soxr 1.1). Silence pushed by hand gives what a correct flush would.
        silence = np.zeros((self._channels, _SILENCE), np.float32)
        pieces, needed = [self._held], min(natural, total) - self._given
        ready = self._held.shape[1]
        while ready < needed:
            pieces.append(self._convert(silence))
            ready += pieces[-1].shape[1]
        rest = self._join(pieces)[:, :needed]
        padding = total - self._given - needed
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
    """Resample audio with soxr's `HQ` filters.

        >>> acomp.resample(acomp.read_audio("speech.flac"), 16_000)
        Audio(1 channel, 3.45 s at 16000 Hz)

    Args:
        audio: the audio to resample.
        sample_rate: the new sample rate in Hz.

    Returns:
        Audio of ceil(audio.length * sample_rate / audio.sample_rate) samples per channel.

    Raises:
        AudioError: one sample rate is more than 256 times the other.
    """
    check_audio(audio)
    sample_rate = whole_number(sample_rate, "the sample rate", AudioError)
    if sample_rate == audio.sample_rate:
        return audio
    resampler = Resampler(audio.sample_rate, sample_rate, audio.channels)
    samples = np.concatenate([resampler.push(audio.samples), resampler.finish()], axis=1)
    return Audio(samples, sample_rate)
