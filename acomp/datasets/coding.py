"""Entries to rows: their audio is read and encoded, and what is wrong with one costs that one."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from acomp.audio import Audio, AudioReader, open_audio
from acomp.backends.base import BLOCK_SECONDS, Codec, info_for
from acomp.backends.streaming import Encoder
from acomp.batch.processes import as_error
from acomp.codes import Codes
from acomp.datasets.entries import Entry
from acomp.datasets.parts import Failure, Outcome
from acomp.datasets.records import Record
from acomp.errors import AcompError, AcompWarning, AudioError
from acomp.settings import Coding

BATCH_CLIPS = 64
BATCH_SECONDS = 120.0
"""Clips are read until they are so many, or last so long, and then coded together."""
LONGEST_CLIP = 60.0
"""Seconds of the longest recording that is read whole; longer ones pass block by block."""


@dataclass(frozen=True)
class _Read:
    """An entry with its audio, or with its codes where it was too long to be read whole."""

    entry: Entry
    sha256: str
    sound: Audio | Codes


def outcomes(entries: Iterable[Entry], codec: Codec, coding: Coding) -> Iterator[Outcome]:
    """What becomes of each entry, in order."""
    waiting: list[_Read | Failure] = []
    seconds = 0.0
    for entry in entries:
        read = _attempt(entry, codec, coding)
        waiting.append(read)
        if isinstance(read, _Read) and isinstance(read.sound, Audio):
            seconds += read.sound.duration
        if len(waiting) == BATCH_CLIPS or seconds > BATCH_SECONDS:
            yield from _coded(waiting, codec, coding)
            waiting, seconds = [], 0.0
    yield from _coded(waiting, codec, coding)


def _coded(waiting: list[_Read | Failure], codec: Codec, coding: Coding) -> Iterator[Outcome]:
    clips = [
        read.sound for read in waiting if isinstance(read, _Read) and isinstance(read.sound, Audio)
    ]
    found = iter(
        codec.encode_batch(
            clips,
            bandwidth=coding.bandwidth,
            codebooks=coding.codebooks,
            channels=coding.channels,
            errors="collect",
        )
    )
    for read in waiting:
        if isinstance(read, Failure):
            yield read
            continue
        codes = next(found) if isinstance(read.sound, Audio) else read.sound
        if isinstance(codes, AcompError):
            yield _failure(read.entry, codes)
            continue
        entry = read.entry
        record = Record(entry.id, entry.source, entry.start, codes, read.sha256, entry.columns)
        yield [record]


def _attempt(entry: Entry, codec: Codec, coding: Coding) -> _Read | Failure:
    try:
        if entry.problem is not None:
            raise AudioError(entry.problem)
        with warnings.catch_warnings():  # a million files would fill the terminal with remarks
            warnings.simplefilter("ignore", AcompWarning)
            return _read(entry, codec, coding)
    except Exception as error:  # hostile files fail in ways of their own
        return _failure(entry, as_error(error))


def _failure(entry: Entry, error: AcompError) -> Failure:
    return Failure(entry.id, entry.source, " ".join(str(error).split()))


def _read(entry: Entry, codec: Codec, coding: Coding) -> _Read:
    audio = entry.audio
    with open_audio(audio if isinstance(audio, Path) else BytesIO(audio)) as reader:
        if reader.length == 0:
            raise AudioError(f"{entry.source} holds no samples: there is nothing to encode")
        sound = _sound(reader, codec, coding)
    return _Read(entry, _sha256(audio), sound)


def _sound(reader: AudioReader, codec: Codec, coding: Coding) -> Audio | Codes:
    rate = reader.sample_rate
    blocks = reader.blocks(BLOCK_SECONDS * rate)
    if reader.length is not None and reader.length <= LONGEST_CLIP * rate:
        nothing = np.zeros((reader.channels, 0), np.float32)
        return Audio(np.concatenate([nothing, *blocks], axis=1), rate)
    info = info_for(codec, reader, coding)
    encoder = Encoder(codec, info)
    parts = [encoder.push(block) for block in blocks]
    parts.append(encoder.finish())
    return Codes.from_blocks(info, parts, encoder.length)


def _sha256(audio: Path | bytes) -> str:
    if isinstance(audio, bytes):
        return hashlib.sha256(audio).hexdigest()
    with audio.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
