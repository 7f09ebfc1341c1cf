"""One audio file to one file of codes, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from acomp.audio import AudioReader, AudioWriter, fitting_rate, open_audio
from acomp.backends.base import BLOCK_SECONDS, Codec, info_for
from acomp.backends.streaming import Decoder, Encoder
from acomp.codecs import CHANNEL_COUNTS
from acomp.codes import Block
from acomp.errors import AudioError
from acomp.formats import Writing, writing_codes
from acomp.pipeline.clock import Clock
from acomp.pipeline.level import Level
from acomp.pipeline.names import name_of, naming
from acomp.pipeline.settings import Progress, Recording, Result, Source, Target
from acomp.settings import Channels, Coding

BLOCK_VALUES = 1 << 22
"""Samples of all channels that are read at a time, at most: rates and channels can be many."""


def encode_file(
    codec_for: Callable[[int], Codec],
    source: Source,
    target: Target,
    coding: Coding | None = None,
    writing: Writing | None = None,
    recording: Recording | None = None,
    *,
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
        recording: how the audio is read.
        check: where to write the decoded codes as audio, to listen to.
        progress: told how far it is.

    Raises:
        AcompError: its message says what is wrong; the target is left as it was.
    """
    coding, writing = coding or Coding(), writing or Writing()
    recording = recording or Recording()
    with naming(source), ExitStack() as files:
        reader = files.enter_context(
            open_audio(source, raw=recording.raw, recover=recording.recover)
        )
        if reader.length == 0:
            raise AudioError(f"{name_of(source)} holds no samples: there is nothing to encode")
        codec = codec_for(coded_channels(reader, coding.channels))
        info = info_for(codec, reader, coding)
        writer = files.enter_context(writing_codes(target, info, writing))
        encoder = Encoder(codec, info, measure=writer.wants_loudness)
        listener = None
        if check is not None:
            rate = fitting_rate(check, info.source_rate)
            decoder = Decoder(codec, info, rate, measure=writer.wants_loudness)
            layout = (decoder.sample_rate, info.channels)
            audio = files.enter_context(AudioWriter(check, *layout, replace=writing.replace))
            level = files.enter_context(Level(decoder)) if writer.wants_loudness else None
            listener = _Listener(decoder, audio, level)
        clock = Clock()
        for block in encoded(encoder, reader, clock, progress):
            clock.own(writer.write, block)
            if listener is not None:
                listener.write(block)
        clock.own(writer.finish, encoder.length, encoder.loudness)
        if listener is not None:
            listener.finish(encoder.length, encoder.loudness)
    seconds = encoder.length / info.source_rate
    return Result(info, seconds, clock.seconds, preparing_seconds=clock.preparing)


class _Listener:
    """Decodes the codes that a writer gets, to listen to: the sound that decoding its file gives.

    `level` is where the sound waits, where that form keeps a loudness.
    """

    def __init__(self, decoder: Decoder, audio: AudioWriter, level: Level | None) -> None:
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


def coded_channels(reader: AudioReader, channels: Channels | int) -> int:
    """The number of channels by which the alias `encodec` chooses: where each is coded alone, 1."""
    if channels == "each":
        return 1
    if isinstance(channels, int):
        return channels
    return CHANNEL_COUNTS.get(channels, reader.channels)


def encoded(
    encoder: Encoder, reader: AudioReader, clock: Clock, progress: Progress | None
) -> Iterator[Block]:
    """The blocks that an encoder gives for what is read; the clock has the time that it takes."""
    rate = reader.sample_rate
    total = reader.length and reader.length / rate
    if progress is not None:
        progress(0, total)
    for samples in reader.blocks(min(BLOCK_SECONDS * rate, BLOCK_VALUES // reader.channels)):
        yield clock(encoder.push, samples)
        if progress is not None:
            progress(encoder.length / rate, total)
    yield clock(encoder.finish)
