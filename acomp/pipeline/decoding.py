"""One file of codes, or a stretch of it, to one audio file."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from acomp.audio import AudioWriter, fitting_rate
from acomp.backends.base import Codec
from acomp.backends.streaming import Decoder
from acomp.codes import CodesInfo
from acomp.errors import AudioError
from acomp.formats import Reading, reading_codes
from acomp.pipeline.clock import Clock
from acomp.pipeline.level import Level
from acomp.pipeline.names import name_of, naming
from acomp.pipeline.settings import Progress, Result, Sound, Source, Span, Target
from acomp.pipeline.stretch import Stretch


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
    with naming(source), ExitStack() as files:
        reader = files.enter_context(reading_codes(source, reading or Reading()))
        codec = codec_for(reader.info)
        own_rate = reader.info.source_rate
        rate = sound.sample_rate or (own_rate if sound.raw else fitting_rate(target, own_rate))
        decoder = Decoder(codec, reader.info, rate)
        clock = Clock()
        stretch = Stretch(codec, reader, decoder, clock, span)
        layout = (decoder.sample_rate, reader.info.channels)
        sink = files.enter_context(
            AudioWriter(
                target, *layout, subtype=sound.subtype, raw=sound.raw, replace=sound.replace
            )
        )
        level = None
        if reader.info.loudness is not None:
            level = files.enter_context(Level(decoder))
        for part in stretch.samples(progress):
            (level or sink).write(part)
        if level is not None:
            level.pass_on(sink)
        if stretch.written == 0 and span.start > 0 and span.duration != 0:
            raise AudioError(
                f"{name_of(source)} ends before {span.start:g} s: there is nothing to decode"
            )
        if stretch.written == 0 and reader.damage:
            raise AudioError(f"nothing of {name_of(source)} can be recovered: {reader.damage[0]}")
    seconds = stretch.written / decoder.sample_rate
    return Result(
        reader.info, seconds, clock.seconds, tuple(reader.damage), preparing_seconds=clock.preparing
    )
