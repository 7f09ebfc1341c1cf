"""The user's audio around a codec's streams: any rate, any channels, the true length."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from acomp.audio import Resampler, to_channels
from acomp.audio.loudness import LoudnessMeter, gains
from acomp.audio.samples import Samples, as_samples
from acomp.codes import Block, CodesInfo, check_block, join
from acomp.errors import AcompWarning, AudioError, CodecError
from acomp.scalars import whole_number

if TYPE_CHECKING:
    from acomp.backends.base import Codec

LOUDEST = 100.0
"""What no sound at full scale +-1 reaches: beyond lie samples at the scale of integers."""


class _Stream:
    """What streams of both directions keep: one call at a time, and none after the end."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._finished = False

    @contextmanager
    def _turn(self, *, last: bool = False) -> Iterator[None]:
        """One thread at a time, in the order in which they come, and as numpy is by default."""
        with self._lock, np.errstate(all="ignore"):
            if self._finished:
                raise CodecError(
                    f"this {type(self).__name__} has finished: make a new one for other audio"
                )
            yield
            self._finished = last

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise CodecError(
            f"a stream in progress cannot be copied or pickled: make a new {type(self).__name__} "
            "of its codec and info"
        )


class Encoder(_Stream):
    """Encodes a stream of audio of any rate; `Codec.encode` block by block.

    Push samples as they come, write each block, then finish. Where threads share one, each push is
    whole before the next begins.

        >>> codec, audio = acomp.load("nano"), acomp.read_audio("speech.flac")
        >>> encoder = acomp.Encoder(codec, codec.info(audio, bandwidth=6))
        >>> blocks = [encoder.push(part) for part in np.array_split(audio.samples, 3, axis=1)]
        >>> sum(block.frames for block in [*blocks, encoder.finish()])
        260

    Args:
        codec: what encodes.
        info: as `codec.info` gives it.
        measure: whether to measure the loudness, for a file form that keeps it.

    Attributes:
        info: as given.
        length: samples per channel taken so far, at `info.source_rate`.
        loudness: in LUFS, of each channel that was coded, once the stream has finished; None where
            it is not measured.
    """

    def __init__(self, codec: Codec, info: CodesInfo, *, measure: bool = False) -> None:
        super().__init__()
        self.info = info
        self.length = 0
        self.loudness: tuple[float, ...] | None = None
        self._meter = LoudnessMeter(info.sample_rate, info.channels) if measure else None
        self._resampler = Resampler(info.source_rate, info.sample_rate, info.channels)
        self._stream = codec.stream_encoder(info)
        self._channels: int | None = None
        """Of the samples so far."""
        self._told = False
        """Whether the user was warned of a level that no sound has."""

    def push(self, samples: Samples) -> Block:
        """Take samples `[channels, time]` at `info.source_rate`; give the frames that are ready.

        Samples are floats, full scale +-1, of an array or a tensor; `[time]` is one channel.

        Raises:
            AudioError: they are not finite, or of other channels than before.
            CodecError: the stream has finished.
        """
        with self._turn():
            samples = as_samples(samples)
            if self._channels not in (None, samples.shape[0]):
                raise AudioError(
                    f"{samples.shape[0]} channels after {self._channels}: [channels, time] of the "
                    "same audio is due"
                )
            mixed = to_channels(samples, self.info.channels)
            self._warn_if_loud(samples)
            self._channels = samples.shape[0]
            self.length += samples.shape[1]
            return self._coded(self._resampler.push(mixed))

    def finish(self) -> Block:
        """Give the last frames.

        Raises:
            AudioError: there was not a single sample.
            CodecError: the stream has finished.
        """
        with self._turn(last=True):
            if self.length == 0:
                raise AudioError("the audio holds no samples: there is nothing to encode")
            rest = self._coded(self._resampler.finish())
            if self._meter is not None:
                self.loudness = self._meter.finish()
            return join(self.info, [rest, self._stream.finish()])

    def _coded(self, samples: Samples) -> Block:
        if self._meter is not None:
            self._meter.push(samples)
        return self._stream.push(samples)

    def _warn_if_loud(self, samples: Samples) -> None:
        if self._told or not samples.size:
            return
        peak = max(float(samples.max()), -float(samples.min()))
        if peak > LOUDEST:
            self._told = True
            warnings.warn(
                f"the audio reaches {peak:.0f} where full scale is 1: samples of 16-bit integers "
                "must be divided by 32768 first",
                AcompWarning,
                stacklevel=3,
            )


class Decoder(_Stream):
    """Decodes a stream of blocks; `Codec.decode` block by block.

    It leaves the level as it was coded. Where there is a loudness to restore, `gains` do that.

    Args:
        codec: what decodes.
        info: of the codes.
        sample_rate: of the samples that it gives, in Hz; that of the encoded audio by default.
        measure: whether `finish` will be told a loudness that `info` does not have.

    Attributes:
        info: as given.
        sample_rate: of the samples that it gives, in Hz.
        gains: factors `[channels, 1]` of all samples that restore the loudness, once the stream
            has finished: only the whole tells how loud it is. None where there is none to restore.
    """

    def __init__(
        self,
        codec: Codec,
        info: CodesInfo,
        sample_rate: int | None = None,
        *,
        measure: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(info, CodesInfo):
            raise CodecError(f"the info of codes is due (codes.info), not {type(info).__name__}")
        codec.check(info)
        self.info = info
        if sample_rate is None:
            sample_rate = info.source_rate
        self.sample_rate = whole_number(sample_rate, "the sample rate", AudioError)
        self.gains: Samples | None = None
        self._meter = None
        if measure or info.loudness is not None:
            self._meter = LoudnessMeter(info.sample_rate, info.channels)
        # The last frame, or chunk, is padded, and only the end tells by how much.
        padded = info.hop_length * (info.chunk or codec.spec.unit)
        hold = -(-padded * self.sample_rate // info.sample_rate)
        self._resampler = Resampler(info.sample_rate, self.sample_rate, info.channels, hold=hold)
        self._stream = codec.stream_decoder(info)
        self._decoded = 0
        """Samples per channel from the codec so far, at its own rate."""

    def push(self, block: Block) -> Samples:
        """Take frames; give the samples `[channels, time]` that are ready.

        Raises:
            FormatError: the block is not one of `info`'s codes.
            CodecError: the stream has finished.
        """
        with self._turn():
            check_block(self.info, block)
            if block.frames == 0:
                return np.zeros((self.info.channels, 0), np.float32)
            return self._resample(self._stream.push(block))

    def finish(
        self, length: int, loudness: tuple[float, ...] | None = None, *, damaged: bool = False
    ) -> Samples:
        """Give the last samples, so that all are what `length` samples of the source rate last.

        Args:
            length: in samples per channel at `info.source_rate`.
            loudness: to restore, in LUFS of each channel, instead of `info.loudness`; an encoder
                knows it only at the end.
            damaged: whether codes are missing, so that they may hold less than the length.

        Raises:
            CodecError: the codes do not hold that much audio, and are not damaged.
        """
        with self._turn(last=True):
            return self._end(whole_number(length, "length", CodecError), loudness, damaged)

    def _end(self, length: int, loudness: tuple[float, ...] | None, damaged: bool) -> Samples:
        info = self.info
        rest = self._resample(self._stream.finish())
        wanted = loudness or info.loudness
        if self._meter is not None and wanted is not None:
            self.gains = gains(wanted, self._meter.finish())
        expected = -(-length * info.sample_rate // info.source_rate)
        if damaged and expected > self._decoded:
            length = self._decoded * info.source_rate // info.sample_rate
        elif expected > self._decoded + info.hop_length:
            raise CodecError(
                f"the codes hold {self._decoded / info.sample_rate:.2f} s of audio, not the "
                f"{length / info.source_rate:.2f} s that they claim"
            )
        due = -(-length * self.sample_rate // info.source_rate)
        return np.concatenate([rest, self._resampler.finish(due)], axis=1)

    def _resample(self, samples: Samples) -> Samples:
        self._decoded += samples.shape[1]
        samples = as_samples(samples, "the decoded samples")
        if self._meter is not None:
            self._meter.push(samples)
        return self._resampler.push(samples)
