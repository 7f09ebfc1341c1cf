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
from acomp.errors import AcompWarning, AudioError, CodecError, check_type
from acomp.scalars import whole_number

if TYPE_CHECKING:
    from acomp.backends.base import Codec
    from acomp.backends.streams import StreamDecoder, StreamEncoder

LOUDEST = 100.0
"""Absolute sample value above which a warning says that the samples have the scale of integers;
full scale is 1."""


class _Stream:
    """Base class of `Encoder` and `Decoder`: one call at a time, and none after `finish`."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._finished = False

    @contextmanager
    def _turn(self, *, last: bool = False) -> Iterator[None]:
        """Let one thread work at a time, and none after `finish`."""
        with self._lock, np.errstate(all="ignore"):
            if self._finished:
                raise CodecError(
                    f"this {type(self).__name__} has finished: make a new one for other audio"
                )
            yield
            self._finished = last

    @property
    def _state(self) -> str:
        return ", finished" if self._finished else " so far"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise CodecError(
            f"a stream in progress cannot be copied or pickled: make a new {type(self).__name__} "
            "of its codec and info"
        )


def _check_codec(codec: object) -> None:
    from acomp.backends.base import Codec

    check_type(codec, Codec, CodecError, "an acomp.Codec is", "acomp.load(name) returns one")


class Encoder(_Stream):
    """Encodes a stream of audio block by block; the codes are those of `Codec.encode`.

        >>> codec = acomp.load("nano")
        >>> with acomp.open_audio("speech.flac") as reader:
        ...     encoder = acomp.Encoder(codec, codec.info(reader, bandwidth=6))
        ...     blocks = [encoder.push(samples) for samples in reader.blocks(48_000)]
        >>> blocks.append(encoder.finish())
        >>> acomp.Codes.from_blocks(encoder.info, blocks, encoder.length)
        Codes(nano-2, 1 x 12 x 174 (streams, codebooks, frames), 3.45 s, 6 kbps)

    The codes do not depend on how the samples are cut into pieces. Threads may share an encoder:
    one push ends before the next begins.

        >>> codec, audio = acomp.load("nano"), acomp.read_audio("speech.flac")
        >>> encoder = acomp.Encoder(codec, codec.info(audio, bandwidth=6))
        >>> blocks = [encoder.push(part) for part in np.array_split(audio.samples, 3, axis=1)]
        >>> sum(block.frames for block in [*blocks, encoder.finish()])
        174

    Args:
        codec: the codec.
        info: what the codes will be of; `codec.info` returns it.
        measure: whether to measure the loudness, for file forms that store it.

    Attributes:
        info: the argument `info`.
        length: samples per channel pushed so far, at `info.source_rate`.
        loudness: loudness in LUFS of each coded channel; None before `finish`, or if it is not
            measured.
    """

    def __init__(self, codec: Codec, info: CodesInfo, *, measure: bool = False) -> None:
        super().__init__()
        _check_codec(codec)
        hint = "codec.info(audio) returns it"
        check_type(info, CodesInfo, CodecError, "an acomp.CodesInfo is", hint)
        self.info = info
        self.length = 0
        self.loudness: tuple[float, ...] | None = None
        self._meter = LoudnessMeter(info.sample_rate, info.channels) if measure else None
        self._resampler = Resampler(info.source_rate, info.sample_rate, info.channels)
        self._stream = self._start(codec, info)
        self._channels: int | None = None
        """Channels of the samples so far."""
        self._told = False
        """Whether the warning about the level was given."""

    def __repr__(self) -> str:
        seconds = self.length / self.info.source_rate
        return f"<encoder of {self.info}: {seconds:.2f} s{self._state}>"

    def push(self, samples: Samples) -> Block:
        """Encode the next samples and return the frames that are complete, possibly none.

        Args:
            samples: floats `[channels, time]`, full scale +-1, at `info.source_rate`, as an array
                or a tensor; `[time]` is one channel.

        Raises:
            AudioError: the samples are not finite, or have another number of channels than before.
            CodecError: `finish` was called before.
        """
        with self._turn():
            samples = as_samples(samples)
            if self._channels not in (None, samples.shape[0]):
                raise AudioError(
                    f"{samples.shape[0]} channels after {self._channels}: [channels, time] of the "
                    "same audio is expected"
                )
            mixed = to_channels(samples, self.info.channels)
            self._warn_if_loud(samples)
            self._channels = samples.shape[0]
            self.length += samples.shape[1]
            return self._coded(self._resampler.push(mixed))

    def finish(self) -> Block:
        """Return the last frames; nothing can be pushed after this.

        Raises:
            AudioError: no samples were pushed.
            CodecError: `finish` was called before.
        """
        with self._turn(last=True):
            if self.length == 0:
                raise AudioError("the audio holds no samples: there is nothing to encode")
            rest = self._coded(self._resampler.finish())
            if self._meter is not None:
                self.loudness = self._meter.finish()
            return join(self.info, [rest, self._stream.finish()])

    def _start(self, codec: Codec, info: CodesInfo) -> StreamEncoder:
        return codec.stream_encoder(info)

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
    """Decodes a stream of codes block by block; the samples are those of `Codec.decode`.

        >>> codec = acomp.load("nano")
        >>> codes = codec.encode(acomp.read_audio("speech.flac"), bandwidth=6)
        >>> decoder = acomp.Decoder(codec, codes.info)
        >>> samples = [decoder.push(codes.block), decoder.finish(codes.length)]
        >>> acomp.Audio(np.concatenate(samples, axis=1), decoder.sample_rate)
        Audio(1 channel, 3.45 s at 48000 Hz)

    The loudness of codes that state one (`CodesInfo.loudness`) is not restored block by block,
    because it can be measured only at the end: multiply all samples by `gains`.

    Args:
        codec: the codec.
        info: what the codes are of (`Codes.info`).
        sample_rate: sample rate of the result in Hz; by default that of the encoded audio.
        measure: whether to measure the loudness though `info` states none, because `finish` will.

    Attributes:
        info: the argument `info`.
        sample_rate: sample rate of the result in Hz.
        gains: factors `[channels, 1]` that give the samples the loudness of the codes; None before
            `finish`, or if the codes state no loudness.
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
        _check_codec(codec)
        check_type(info, CodesInfo, CodecError, "an acomp.CodesInfo is", "codes.info is one")
        codec.check(info)
        self.info = info
        if sample_rate is None:
            sample_rate = info.source_rate
        self.sample_rate = whole_number(sample_rate, "the sample rate", AudioError)
        self.gains: Samples | None = None
        self._meter = None
        if measure or info.loudness is not None:
            self._meter = LoudnessMeter(info.sample_rate, info.channels)
        # The last frame or chunk is padded, and how much is known only at the end.
        self._padded = info.hop_length * (info.chunk or codec.spec.unit)
        hold = -(-self._padded * self.sample_rate // info.sample_rate)
        self._resampler = Resampler(info.sample_rate, self.sample_rate, info.channels, hold=hold)
        self._stream = self._start(codec, info)
        self._decoded = 0
        """Samples per channel decoded so far, at the codec's sample rate."""

    def __repr__(self) -> str:
        seconds = self._decoded / self.info.sample_rate
        return f"<decoder of {self.info} to {self.sample_rate} Hz: {seconds:.2f} s{self._state}>"

    def push(self, block: Block) -> Samples:
        """Decode the next frames and return the samples that are ready, possibly none.

        Args:
            block: the next frames.

        Returns:
            Samples `[channels, time]` at `sample_rate`, full scale +-1.

        Raises:
            FormatError: the block does not have the shape that `info` states.
            CodecError: `finish` was called before.
        """
        with self._turn():
            check_block(self.info, block)
            if block.frames == 0:
                return np.zeros((self.info.channels, 0), np.float32)
            return self._resample(self._stream.push(block))

    def finish(
        self, length: int, loudness: tuple[float, ...] | None = None, *, damaged: bool = False
    ) -> Samples:
        """Return the last samples; nothing can be pushed after this.

        Args:
            length: samples per channel of the encoded audio, at `info.source_rate`
                (`Codes.length`); the padding of the last frame is cut off.
            loudness: loudness in LUFS of each channel to restore, instead of `info.loudness`, where
                it was known only after the encoder had finished.
            damaged: whether codes are missing, so that they may decode to less than `length`.

        Raises:
            CodecError: the codes decode to less than `length` samples, and `damaged` is False; or
                `finish` was called before.
        """
        with self._turn(last=True):
            return self._end(whole_number(length, "length", CodecError), loudness, damaged)

    def _start(self, codec: Codec, info: CodesInfo) -> StreamDecoder:
        return codec.stream_decoder(info)

    def _end(self, length: int, loudness: tuple[float, ...] | None, damaged: bool) -> Samples:
        info = self.info
        expected = -(-length * info.sample_rate // info.source_rate)
        last = self._stream.finish()
        # Where a cut ended between two segments, the last one goes on into the next.
        rest = self._resample(last[:, : max(0, expected + self._padded - self._decoded)])
        wanted = loudness or info.loudness
        if self._meter is not None and wanted is not None:
            self.gains = gains(wanted, self._meter.finish())
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
