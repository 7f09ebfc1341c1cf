"""Audio files of any form: what their headers say, and segments cut from them.

Only the stretch that a segment needs is decoded of what libsndfile can seek in exactly; other
files, MP3 among them, are decoded from their beginning each time. Of a WAV or Ogg file that was cut
short, what is there is used.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from acomp.audio import Audio, AudioReader, open_audio, resample, to_channels
from acomp.audio.samples import Samples, check_layout
from acomp.errors import AudioError
from acomp.files import reason_of
from acomp.quiet import quiet
from acomp.training.data.sources import AudioFile, Stretch

SHORTEST = 0.1
"""Seconds; shorter files are left out."""
_MARGIN = 128
"""What soxr's `HQ` filter sees to either side, in samples of the lower rate."""
_UNKNOWN_LENGTH = 1 << 62
_PIECE = 1 << 16
_NOT_SOUGHT = "MP3"
"""What libsndfile calls the form in which samples depend on where it begins to decode."""


def probe(file: AudioFile) -> str | None:
    """Decode a second at the beginning, the middle and the end; returns what is wrong, if any."""
    span = min(file.length, file.sample_rate)
    last = file.length - span
    try:
        for start in (0, last // 2, last):
            _decode(file, start, start + span)
    except AudioError as error:
        return str(error)
    return None


def look(path: Path) -> AudioFile:
    """What the header says.

    Raises:
        AudioError: the file cannot be used; the message says why and leaves out the name.
    """
    _check_file(path)
    try:
        with _opened(path) as sound:
            check_layout("it", sound.samplerate, sound.channels)
            layout = (sound.samplerate, sound.channels, sound.frames)
            is_sought = sound.format != _NOT_SOUGHT
    except soundfile.LibsndfileError:
        is_sought = False
    if not is_sought:
        with _streamed(path) as reader:
            length = reader.length or sum(block.shape[1] for block in reader.blocks(_PIECE))
            layout = (reader.sample_rate, reader.channels, length)
    file = AudioFile(path, *layout, is_sought)
    if file.length >= _UNKNOWN_LENGTH:
        raise AudioError("its header does not say how long it is; write it anew")
    if file.length <= 0:
        raise AudioError("it holds no samples")
    if file.seconds < SHORTEST:
        raise AudioError(f"it is shorter than {SHORTEST} s")
    return file


def _check_file(path: Path) -> None:
    """See whether a path is that of a file with something in it.

    Raises:
        AudioError: it is not; the message leaves out the name.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise AudioError(reason_of(error)) from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise AudioError("it is no file")
    if not status.st_size:
        raise AudioError("it is empty")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file as soundfile opens it.

    Raises:
        AudioError: it cannot be opened; the message leaves out the name.
        soundfile.LibsndfileError: it cannot be decoded by libsndfile.
    """
    try:
        # Not by its name, which libsndfile would take for a sign of what is in the file.
        with (
            path.open("rb", buffering=0) as file,
            soundfile.SoundFile(file.fileno(), closefd=False) as sound,
        ):
            yield sound
    except OSError as error:
        raise AudioError(reason_of(error)) from error


@contextmanager
def _streamed(path: Path) -> Iterator[AudioReader]:
    """A file that is decoded from its beginning.

    Raises:
        AudioError: it cannot be read, or is damaged; the message leaves out the name.
    """
    try:
        with quiet(), open_audio(path) as reader:
            yield reader
    except AudioError as error:
        text = str(error).removeprefix(f"cannot read {path}: ")
        raise AudioError(text.replace(str(path), "it")) from error


def _decode(file: AudioFile, start: int, stop: int) -> Samples:
    """Samples `[channels, stop - start]` of a file.

    Raises:
        AudioError: they are damaged or not there; the message leaves out the name.
    """
    _check_file(file.path)
    return (_sought if file.is_sought else _passed)(file, start, stop)


def _passed(file: AudioFile, start: int, stop: int) -> Samples:
    """Samples behind those that are decoded and dropped.

    What a container says of its length may be some milliseconds too much: those become silence.
    """
    parts, position = [], 0
    with _streamed(file.path) as reader:
        if (reader.sample_rate, reader.channels) != (file.sample_rate, file.channels):
            raise AudioError("it has changed since its header was read")
        for block in reader.blocks(_PIECE):
            parts.append(block[:, max(0, start - position) : stop - position])
            position += block.shape[1]
            if position >= stop:
                break
    missing = min(stop - position, stop - start)
    samples = np.concatenate(parts, axis=1) if parts else np.zeros((file.channels, 0), np.float32)
    return np.pad(samples, ((0, 0), (0, max(0, missing))))


def _sought(file: AudioFile, start: int, stop: int) -> Samples:
    try:
        with _opened(file.path) as sound:
            if (sound.samplerate, sound.channels) != (file.sample_rate, file.channels):
                raise AudioError("it has changed since its header was read")
            sound.seek(start)
            block = sound.read(stop - start, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        reason = " ".join(error.error_string.split()).removeprefix("Error : ").rstrip(".")
        raise AudioError(f"libsndfile cannot read it ({reason}); convert or replace it") from error
    if len(block) < stop - start:
        end = (start + len(block)) / file.sample_rate
        raise AudioError(f"it should last {file.seconds:.1f} s, and ends before {end + 0.05:.1f} s")
    if not np.isfinite(block).all():
        raise AudioError("it has samples that are not finite numbers")
    return np.ascontiguousarray(block.T)


def cut(stretch: Stretch, start: int, sample_rate: int, channels: int, length: int) -> Samples:
    """A segment `[channels, length]` at `sample_rate` Hz that begins at a sample of the file.

    It is a part of what resampling the whole stretch, with silence around it, would give. One
    channel is the mean of all; stereo is one channel twice, or the first two of more (front left
    and right).

    Raises:
        AudioError: the file is damaged; the message leaves out the name.
    """
    rate = stretch.file.sample_rate
    margin = _margin(rate, sample_rate)
    first, last = start - margin, start + samples_needed(rate, sample_rate, length) + margin
    begin, end = max(first, stretch.start), min(last, stretch.stop)
    samples = _decode(stretch.file, begin, end)
    if samples.shape[0] > channels > 1:
        samples = samples[:channels]
    samples = np.pad(to_channels(samples, channels), ((0, 0), (begin - first, last - end)))
    skipped = margin * sample_rate // rate
    return resample(Audio(samples, rate), sample_rate).samples[:, skipped : skipped + length]


def samples_needed(rate: int, sample_rate: int, length: int) -> int:
    """Samples of a file that `length` samples at `sample_rate` are made of."""
    return -(-length * rate // sample_rate)


def _margin(rate: int, sample_rate: int) -> int:
    """Samples to read on either side so that the resampler sees what it would see in the whole.

    A multiple of what makes whole samples at both rates: the segment begins on a sample.
    """
    if rate == sample_rate:
        return 0
    unit = rate // math.gcd(rate, sample_rate)
    return unit * math.ceil(_MARGIN * max(1.0, rate / sample_rate) / unit)
