"""From file to file: audio to codes and codes to audio, in blocks.

    source -> AudioReader -> Encoder -> CodesWriter -> target
    source -> CodesReader -> Decoder -> AudioWriter -> target

Memory does not grow with the length of the audio, and a target is whole or not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil, gcd, isfinite, lcm
from os import PathLike
from tempfile import TemporaryFile
from time import perf_counter, thread_time
from typing import BinaryIO, ParamSpec, TypeVar

import numpy as np

from acomp.audio import AudioReader, AudioWriter, Pcm, PcmFormat, fitting_rate, open_audio
from acomp.backends.base import BLOCK_SECONDS, CHANNELS, Codec, Decoder, Encoder, Samples
from acomp.codes import Block, CodesInfo, split, tail
from acomp.engines.base import preparation
from acomp.errors import AudioError, CodecError
from acomp.files import Closing, reason_of
from acomp.formats import CodesReader, Reading, Writing, reading_codes, writing_codes

Source = str | PathLike[str] | BinaryIO
Target = str | PathLike[str] | BinaryIO
Progress = Callable[[float, float | None], None]
"""Called with the seconds of audio done and, where it is known, their total."""

BLOCK_VALUES = 1 << 22
"""Samples of all channels that are read at a time, at most: rates and channels can be many."""
LAST_STEP_SECONDS = 0.25
"""How much more is decoded at a time, once a stretch should be at its end."""
MAX_SECONDS = 1e9
"""Where a stretch can begin and how long it can be; no file of codes is half as long."""


@dataclass(frozen=True)
class Result:
    """What was done."""

    info: CodesInfo
    audio_seconds: float
    codec_seconds: float
    """Time that coding took, to the bytes of codes or from them; reading and writing sound, and
    waiting for the other end of a pipe, are left out."""
    damage: tuple[str, ...] = ()
    """What was passed over in a damaged file."""
    preparing_seconds: float = 0.0
    """Time that compiling networks took, which `codec_seconds` leaves out: a first run's."""


@dataclass(frozen=True)
class Coding:
    """What is coded of the audio, and in how many codes."""

    bandwidth: float | None = None
    """In kbps, of one stream."""
    codebooks: int | None = None
    """Instead of a bandwidth."""
    channels: str = "auto"
    """auto, mono, stereo or each."""


@dataclass(frozen=True)
class Span:
    """What is decoded of the codes.

    Raises:
        AudioError: no audio lasts so long.
    """

    start: float = 0.0
    """Seconds to leave out at the beginning."""
    duration: float | None = None
    """Seconds to decode; None is all."""

    def __post_init__(self) -> None:
        for option, seconds in (("start", self.start), ("duration", self.duration)):
            if seconds is not None and not (isfinite(seconds) and 0 <= seconds <= MAX_SECONDS):
                raise AudioError(f"{option} is {seconds:g} s, which no audio lasts")


@dataclass(frozen=True)
class Sound:
    """How decoded audio is written."""

    sample_rate: int | None = None
    """In Hz; None is that of the encoded audio, or where the target's form does not have that the
    next one that it has."""
    raw: PcmFormat | None = None
    """PCM of this format with no header, whatever the target."""
    replace: bool = True
    """Whether a file that exists is replaced."""
    subtype: str | None = None
    """Of the samples, as `AudioWriter` has it: PCM_16, PCM_24 or FLOAT."""


def encode_file(
    codec_for: Callable[[int], Codec],
    source: Source,
    target: Target,
    coding: Coding | None = None,
    writing: Writing | None = None,
    *,
    raw: Pcm | None = None,
    recover: bool = False,
    check: Target | None = None,
    progress: Progress | None = None,
) -> Result:
    """Encode one audio file into a file of codes.

    Args:
        codec_for: gives the codec for a number of channels to code.
        source: a path, or a stream that need not be seekable.
        target: a path, whose suffix names the form, or a stream.
        coding: what is coded of it.
        writing: how the codes are written.
        raw: what the source holds, where it is PCM without a header.
        recover: take what can be read of damaged audio; warnings say what is lost.
        check: where to write the decoded codes as audio, to listen to.
        progress: told how far it is.

    Raises:
        AcompError: its message says what is wrong; the target is left as it was.
    """
    coding, writing = coding or Coding(), writing or Writing()
    with _naming(source), ExitStack() as files:
        reader = files.enter_context(open_audio(source, raw=raw, recover=recover))
        if reader.length == 0:
            raise AudioError(f"{_name(source)} holds no samples: there is nothing to encode")
        codec = codec_for(_coded_channels(reader, coding.channels))
        info = codec.info(
            reader,
            bandwidth=coding.bandwidth,
            codebooks=coding.codebooks,
            channels=coding.channels,
        )
        writer = files.enter_context(writing_codes(target, info, writing))
        encoder = Encoder(codec, info, measure=writer.wants_loudness)
        listener = None
        if check is not None:
            rate = fitting_rate(check, info.source_rate)
            decoder = Decoder(codec, info, rate, measure=writer.wants_loudness)
            layout = (decoder.sample_rate, info.channels)
            audio = files.enter_context(AudioWriter(check, *layout, replace=writing.replace))
            level = files.enter_context(_Level(decoder)) if writer.wants_loudness else None
            listener = _Listener(decoder, audio, level)
        clock = _Clock()
        for block in _encoded(encoder, reader, clock, progress):
            clock.own(writer.write, block)
            if listener is not None:
                listener.write(block)
        clock.own(writer.finish, encoder.length, encoder.loudness)
        if listener is not None:
            listener.finish(encoder.length, encoder.loudness)
    seconds = encoder.length / info.source_rate
    return Result(info, seconds, clock.seconds, preparing_seconds=clock.preparing)


def decode_file(
    codec_for: Callable[[CodesInfo], Codec],
    source: Source,
    target: Target,
    span: Span | None = None,
    reading: Reading | None = None,
    sound: Sound | None = None,
    *,
    progress: Progress | None = None,
) -> Result:
    """Decode one file of codes into an audio file.

    Where the codes name a loudness, all of them are decoded, whatever stretch is asked for, and the
    audio waits in a temporary file: only the whole tells how loud it is.

    Args:
        codec_for: gives the codec that decodes such codes.
        source: a path, or a stream that need not be seekable.
        target: a path, whose suffix names the form, or a stream, which gets a WAV.
        span: what is decoded.
        reading: how the codes are read.
        sound: how the audio is written.
        progress: told how far it is.

    Raises:
        AcompError: its message says what is wrong; the target is left as it was.
    """
    span, sound = span or Span(), sound or Sound()
    with _naming(source), ExitStack() as files:
        reader = files.enter_context(reading_codes(source, reading or Reading()))
        codec = codec_for(reader.info)
        own_rate = reader.info.source_rate
        rate = sound.sample_rate or (own_rate if sound.raw else fitting_rate(target, own_rate))
        decoder = Decoder(codec, reader.info, rate)
        clock = _Clock()
        stretch = _Stretch(codec, reader, decoder, clock, span)
        layout = (decoder.sample_rate, reader.info.channels)
        sink = files.enter_context(
            AudioWriter(
                target, *layout, subtype=sound.subtype, raw=sound.raw, replace=sound.replace
            )
        )
        level = None
        if reader.info.loudness is not None:
            level = files.enter_context(_Level(decoder))
        for part in stretch.samples(progress):
            (level or sink).write(part)
        if level is not None:
            level.pass_on(sink)
        if stretch.written == 0 and span.start > 0 and span.duration != 0:
            raise AudioError(
                f"{_name(source)} ends before {span.start:g} s: there is nothing to decode"
            )
        if stretch.written == 0 and reader.damage:
            raise AudioError(f"nothing of {_name(source)} can be recovered: {reader.damage[0]}")
    seconds = stretch.written / decoder.sample_rate
    return Result(
        reader.info, seconds, clock.seconds, tuple(reader.damage), preparing_seconds=clock.preparing
    )


class _Level(Closing):
    """Samples that wait in a temporary file for the gains that the decoder ends with."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        with _keeping():
            self._file = TemporaryFile()  # noqa: SIM115 - `close` closes it

    def write(self, samples: Samples) -> None:
        with _keeping():
            self._file.write(samples.T.tobytes())

    def pass_on(self, sink: AudioWriter) -> None:
        """Give a sink all of them, at the loudness that is due; the decoder has finished."""
        gains, channels = self._decoder.gains, self._decoder.info.channels
        assert gains is not None
        with _keeping():
            self._file.seek(0)
        while data := self._file.read(BLOCK_VALUES // channels * channels * 4):
            sink.write(np.frombuffer(data, np.float32).reshape(-1, channels).T * gains)

    def close(self) -> None:
        with _keeping():
            self._file.close()


@contextmanager
def _keeping() -> Iterator[None]:
    try:
        yield
    except OSError as failure:
        raise AudioError(
            "the decoded audio, which waits until its loudness is known, cannot be kept in "
            f"the folder for temporary files: {reason_of(failure)}"
        ) from failure


class _Listener:
    """Decodes the codes that a writer gets, to listen to: the sound that decoding its file gives.

    `level` is where the sound waits, where that form keeps a loudness.
    """

    def __init__(self, decoder: Decoder, audio: AudioWriter, level: _Level | None) -> None:
        self._decoder = decoder
        self._audio = audio
        self._level = level

    def write(self, block: Block) -> None:
        (self._level or self._audio).write(self._decoder.push(block))

    def finish(self, length: int, loudness: tuple[float, ...] | None = None) -> None:
        rest = self._decoder.finish(length, loudness)
        (self._level or self._audio).write(rest)
        if self._level is not None:
            self._level.pass_on(self._audio)


P = ParamSpec("P")
T = TypeVar("T")


class _Clock:
    """Calls functions and adds up the time they take, without that of compiling networks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.preparing = 0.0

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._adding(perf_counter):
            return function(*args, **kwargs)

    def own(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same, without the time that is waited: for the other end of a pipe."""
        with self._adding(thread_time):
            return function(*args, **kwargs)

    @contextmanager
    def _adding(self, now: Callable[[], float]) -> Iterator[None]:
        began, before = now(), preparation.seconds
        try:
            yield
        finally:
            preparing = preparation.seconds - before
            self.seconds += now() - began - preparing
            self.preparing += preparing


def _coded_channels(reader: AudioReader, channels: str) -> int:
    """The number of channels by which the alias `encodec` chooses: where each is coded alone, 1."""
    if channels == "each":
        return 1
    return CHANNELS.get(channels) or reader.channels


def _encoded(
    encoder: Encoder, reader: AudioReader, clock: _Clock, progress: Progress | None
) -> Iterator[Block]:
    rate = reader.sample_rate
    total = reader.length and reader.length / rate
    if progress is not None:
        progress(0, total)
    for samples in reader.blocks(min(BLOCK_SECONDS * rate, BLOCK_VALUES // reader.channels)):
        yield clock(encoder.push, samples)
        if progress is not None:
            progress(encoder.length / rate, total)
    yield clock(encoder.finish)


class _Stretch:
    """The samples of a span of a file of codes."""

    def __init__(
        self,
        codec: Codec,
        reader: CodesReader,
        decoder: Decoder,
        clock: _Clock,
        span: Span,
    ) -> None:
        rate = decoder.sample_rate
        self._whole = reader.info.loudness is not None
        """Whether all must be decoded, to know how loud it is."""
        self._reader = reader
        self._decoder = decoder
        self._clock = clock
        self._first_frame, self._first_sample = _seek(codec, reader.info, rate, span.start)
        offset = self._first_sample * rate // codec.spec.sample_rate
        self._begin = round(span.start * rate) - offset
        self._end = None if span.duration is None else self._begin + round(span.duration * rate)
        self._pushed = 0
        """Frames given to the decoder so far."""
        self.written = 0
        """Samples per channel given so far."""

    def samples(self, progress: Progress | None) -> Iterator[Samples]:
        rate = self._decoder.sample_rate
        if progress is not None:
            progress(0, self._total(rate))
        position = 0
        for decoded in self._decoded():
            begin = max(0, self._begin - position)
            position += decoded.shape[1]
            past_end = 0 if self._end is None else max(0, position - self._end)
            wanted = decoded[:, begin : max(0, decoded.shape[1] - past_end)]
            if wanted.shape[1]:
                self.written += wanted.shape[1]
                yield wanted
            if progress is not None:
                progress(self.written / rate, self._total(rate))
            if self._end is not None and position >= self._end and not self._whole:
                return

    def _decoded(self) -> Iterator[Samples]:
        """The samples from `_first_sample` on."""
        info = self._reader.info
        blocks = self._reader.blocks(self._first_frame)
        while (found := self._clock.own(next, blocks, None)) is not None:
            first, block = found
            for part in self._parts(tail(block, self._first_frame - first)):
                yield self._clock(self._decoder.push, part)
        length = self._reader.length or 0
        before = self._first_sample * info.source_rate // info.sample_rate
        left, damaged = max(0, length - before), bool(self._reader.damage)
        yield self._clock(self._decoder.finish, left, damaged=damaged)

    def _parts(self, block: Block) -> Iterator[Block]:
        while block.frames:
            part = next(split(block, self._step()))
            self._pushed += part.frames
            block = tail(block, part.frames)
            yield part

    def _step(self) -> int:
        """Frames to decode next: no more than memory holds, and not far beyond the end."""
        frame_rate = self._reader.info.frame_rate
        most = max(1, int(BLOCK_SECONDS * frame_rate))
        if self._end is None or self._whole:
            return most
        due = ceil(self._end * frame_rate / self._decoder.sample_rate) - self._pushed
        # The decoder and the resampler keep the last few frames back: the end takes some more.
        return min(most, max(1, due, int(LAST_STEP_SECONDS * frame_rate)))

    def _total(self, rate: int) -> float | None:
        """Seconds that there are to decode, where that is known."""
        asked = None if self._end is None else (self._end - self._begin) / rate
        length = self._reader.length
        if length is None:
            return asked
        skipped = self._begin / rate + self._first_sample / self._reader.info.sample_rate
        there = max(0.0, length / self._reader.info.source_rate - skipped)
        return there if asked is None else min(asked, there)


def _seek(codec: Codec, info: CodesInfo, rate: int, start: float) -> tuple[int, int]:
    """As `codec.seek`, for `start` seconds, to a sample that is a whole one at the other rates too.

    A resampler that began between two samples would shift the sound by less than a sample. Where a
    loudness is to be restored, all is decoded; and chunks hold fewer samples than their frames say.
    """
    if info.loudness is not None or info.chunk is not None:
        return 0, 0
    due = codec.spec.sample_rate
    whole = lcm(due // gcd(due, rate), due // gcd(due, info.source_rate))
    sample = int(start * due)
    frame, first = codec.seek(sample)
    while first % whole:
        sample -= codec.spec.hop_length
        frame, first = codec.seek(max(0, sample))
    return frame, first


@contextmanager
def _naming(source: Source) -> Iterator[None]:
    """Put the name of the source before messages that do not have it."""
    try:
        yield
    except (AudioError, CodecError) as error:
        name = _name(source)
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from error


def _name(source: Source) -> str:
    return str(source) if isinstance(source, str | PathLike) else "standard input"
