"""Entries to rows: their audio is read and encoded, and what is wrong with one costs that one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from acomp.audio import Audio
from acomp.audio.samples import Samples
from acomp.backends.base import Codec, info_for
from acomp.backends.streaming import Encoder
from acomp.batch.processes import as_error
from acomp.codes import Codes
from acomp.datasets.columns import values_for
from acomp.datasets.cutting import Cutting
from acomp.datasets.entries import Entry
from acomp.datasets.parts import Failure, Outcome
from acomp.datasets.records import Record
from acomp.datasets.sounds import Sounds, Stretch
from acomp.errors import AcompError, AcompWarning, AudioError
from acomp.settings import Coding

BATCH_CLIPS = 64
BATCH_SECONDS = 120.0
"""Clips are read until they are so many, or last so long, and then coded together."""
LONGEST_CLIP = 60.0
"""Seconds of the longest recording that is read whole; longer ones pass block by block."""

Clip = tuple[float, Audio]
"""Where a clip begins in its file, in seconds, and its samples."""


@dataclass(frozen=True)
class _Read:
    """An entry with its audio, or with the codes of what was too long to be read whole."""

    entry: Entry
    sha256: str
    sound: Audio | Sequence[tuple[float, Codes]]


class Coder:
    """Codes entries.

    Args:
        codec: the codec.
        coding: what is coded.
        cutting: how recordings are cut.
        columns: those that sources fill, with their types.
    """

    def __init__(
        self, codec: Codec, coding: Coding, cutting: Cutting, columns: Mapping[str, str]
    ) -> None:
        self._codec = codec
        self._coding = coding
        self._cutting = cutting
        self._columns = columns

    def outcomes(self, entries: Iterable[Entry]) -> Iterator[Outcome]:
        """What becomes of each entry, in order."""
        waiting: list[_Read | Failure] = []
        seconds = 0.0
        with Sounds() as sounds:
            for entry in entries:
                read = self._attempt(entry, sounds)
                waiting.append(read)
                if isinstance(read, _Read) and isinstance(read.sound, Audio):
                    seconds += read.sound.duration
                if len(waiting) == BATCH_CLIPS or seconds > BATCH_SECONDS:
                    yield from self._coded(waiting)
                    waiting, seconds = [], 0.0
        yield from self._coded(waiting)

    def _coded(self, waiting: list[_Read | Failure]) -> Iterator[Outcome]:
        found = iter(self._encode([clip for read in waiting if (clip := _clip(read)) is not None]))
        for read in waiting:
            if isinstance(read, Failure):
                yield read
            elif not isinstance(read.sound, Audio):
                yield self._records(read, read.sound)
            elif isinstance(codes := next(found), AcompError):
                yield _failure(read.entry, codes)
            else:
                yield self._records(read, [(read.entry.start, codes)])

    def _encode(self, clips: Sequence[Audio]) -> list[Codes | AcompError]:
        coding = self._coding
        return self._codec.encode_batch(
            clips,
            bandwidth=coding.bandwidth,
            codebooks=coding.codebooks,
            channels=coding.channels,
            errors="collect",
        )

    def _records(self, read: _Read, pieces: Sequence[tuple[float, Codes]]) -> list[Record]:
        entry, values = read.entry, values_for(read.entry.said, self._columns)
        ids = [entry.id][: len(pieces)]  # none, where it is shorter than what is coded
        if self._cutting.cuts:
            ids = [f"{entry.id}#{number}" for number in range(len(pieces))]
        return [
            Record(_text(name), _text(entry.source), start, codes, read.sha256, values)
            for name, (start, codes) in zip(ids, pieces, strict=True)
        ]

    def _attempt(self, entry: Entry, sounds: Sounds) -> _Read | Failure:
        try:
            if entry.problem is not None:
                raise AudioError(entry.problem)
            with warnings.catch_warnings():  # a million files would fill the terminal with remarks
                warnings.simplefilter("ignore", AcompWarning)
                return self._read(entry, sounds.of(entry))
        except Exception as error:  # hostile files fail in ways of their own
            sounds.close()
            return _failure(entry, as_error(error))

    def _read(self, entry: Entry, stretch: Stretch) -> _Read:
        rate = stretch.sample_rate
        first = next(stretch.blocks, None)
        if first is None:
            raise AudioError(f"{entry.source} holds no samples: there is nothing to encode")
        blocks = chain([first], stretch.blocks)
        if self._cutting.cuts:
            pieces = self._cutting.pieces(blocks, rate)
            placed = ((entry.start + begin / rate, piece) for begin, piece in pieces)
            return _Read(entry, stretch.sha256, list(self._pieces(placed)))
        if stretch.length is not None and stretch.length <= LONGEST_CLIP * rate:
            audio = Audio(np.concatenate(list(blocks), axis=1), rate)
            is_taken = self._cutting.takes(audio.duration)
            return _Read(entry, stretch.sha256, audio if is_taken else [])
        return _Read(entry, stretch.sha256, [(entry.start, self._long(stretch, blocks))])

    def _pieces(self, clips: Iterable[Clip]) -> Iterator[tuple[float, Codes]]:
        """The codes of pieces, of which only so many are in memory as are coded together."""
        waiting: list[Clip] = []
        for clip in clips:
            waiting.append(clip)
            if sum(audio.duration for _, audio in waiting) > BATCH_SECONDS:
                yield from self._placed(waiting)
                waiting = []
        yield from self._placed(waiting)

    def _placed(self, clips: Sequence[Clip]) -> Iterator[tuple[float, Codes]]:
        for (start, _), codes in zip(clips, self._encode([clip for _, clip in clips]), strict=True):
            if isinstance(codes, AcompError):
                raise codes
            yield start, codes

    def _long(self, stretch: Stretch, blocks: Iterator[Samples]) -> Codes:
        info = info_for(self._codec, stretch, self._coding)
        encoder = Encoder(self._codec, info)
        parts = [encoder.push(block) for block in blocks]
        parts.append(encoder.finish())
        return Codes.from_blocks(info, parts, encoder.length)


def _clip(read: _Read | Failure) -> Audio | None:
    """The samples that are still to be coded."""
    return read.sound if isinstance(read, _Read) and isinstance(read.sound, Audio) else None


def _failure(entry: Entry, error: AcompError) -> Failure:
    said = " ".join(str(error).replace("the stream", entry.source).split())
    return Failure(_text(entry.id), _text(entry.source), _text(said))


def _text(name: str) -> str:
    """Text that can be written: half characters, which JSON may hold, are written out."""
    return name.encode("utf-8", "backslashreplace").decode()
