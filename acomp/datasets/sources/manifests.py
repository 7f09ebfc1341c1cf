"""Manifests: a JSON object a line for each recording, as NeMo and Lhotse write them."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from array import array
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import PurePosixPath
from typing import Any, BinaryIO, cast

from acomp.datasets.entries import FEWEST, Entry, Unit, entries_per_part, row_id
from acomp.datasets.sources.files import text, unique
from acomp.datasets.sources.places import beside, open_place, reading
from acomp.errors import AcompError
from acomp.plain import NotPlainError, brief, parse_json

SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".json", ".json.gz")
MAX_LINE = 1 << 16
"""Most bytes of a line."""
_PIECE = 1 << 20
_MAX_SECONDS = 1e9


@dataclass(frozen=True)
class ManifestUnit(Unit):
    """Some lines of a manifest.

    Attributes:
        name: of the manifest.
        line: number of the first of the lines, from 0.
        begin: where that begins, in bytes of the text.
        lines: how many there are.
        check: CRC-32 of the whole text, by which it is known.
    """

    name: str
    line: int
    begin: int
    lines: int
    check: int

    def entries(self) -> Iterator[Entry]:
        found = [_entry(self.name, number, line) for number, line in self._lines() if line.strip()]
        for identity, entry in zip(unique(entry.id for entry in found), found, strict=True):
            yield replace(entry, id=identity)

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        file = _reader.at(self.name, self.begin)
        with reading(self.name):
            for number in range(self.line, self.line + self.lines):
                line = rest = file.readline(MAX_LINE + 1)
                while len(rest) > MAX_LINE and not rest.endswith(b"\n"):
                    rest = file.readline(MAX_LINE + 1)
                yield number, line


class _Reader:
    """The text of the manifest that was read last, which is mostly read on from where that ended:
    to go to a place in a compressed one takes reading all before it.
    """

    def __init__(self) -> None:
        self._name: str | None = None
        self._files = ExitStack()
        self._file: BinaryIO | None = None

    def at(self, name: str, begin: int) -> BinaryIO:
        if self._file is None or self._name != name:
            self._files.close()
            self._name = name
            self._file = self._files.enter_context(_text_of(name))
        with reading(name):
            self._file.seek(begin)
        return self._file


_reader = _Reader()


@contextmanager
def _text_of(name: str) -> Iterator[BinaryIO]:
    """The text of a manifest, unpacked."""
    with open_place(name) as file:
        if not name.lower().endswith(".gz"):
            yield file
            return
        with gzip.open(file) as unpacked:
            yield cast(BinaryIO, unpacked)


def units_of_manifest(name: str) -> list[Unit]:
    """The lines of a manifest in parts; they are counted, and none is kept.

    Raises:
        AcompError: it cannot be read.
    """
    marks, lines, check = _marks(name)
    size = entries_per_part(lines)
    return [
        ManifestUnit(name, line, marks[line // FEWEST], min(size, lines - line), check)
        for line in range(0, lines, size)
    ]


def _marks(name: str) -> tuple[array[int], int, int]:
    """Where every `FEWEST`th line begins, the number of lines, and a check of all bytes."""
    marks, lines, check, position = array("q", [0]), 0, 0, 0
    last = b"\n"
    with _text_of(name) as file, reading(name):
        while piece := file.read(_PIECE):
            check = zlib.crc32(piece, check)
            found = piece.count(b"\n")
            if lines // FEWEST != (lines + found) // FEWEST:
                place = -1
                for number in range(lines + 1, lines + found + 1):
                    place = piece.index(b"\n", place + 1)
                    if number % FEWEST == 0:
                        marks.append(position + place + 1)
            lines += found
            position += len(piece)
            last = piece
    return marks, lines + (not last.endswith(b"\n")), check


def _entry(manifest: str, number: int, line: bytes) -> Entry:
    where = f"{text(manifest)}, line {number + 1}"
    try:
        value = parse_json(line) if len(line) <= MAX_LINE else None
        if not isinstance(value, dict):
            raise AcompError("it is no JSON object of a usual length")
        return _lhotse(manifest, where, value) if _is_lhotse(value) else _nemo(manifest, value)
    except (AcompError, NotPlainError) as error:
        return Entry(f"line {number + 1}", where, problem=f"{where}: {error}")


def _nemo(manifest: str, value: dict[str, Any]) -> Entry:
    said = dict(value)
    name = _file_name("audio_filepath", said.pop("audio_filepath", None))
    start = _seconds("offset", said.pop("offset", None)) or 0.0
    duration = _seconds("duration", said.pop("duration", None))
    identity = row_id(said.pop("id", None), f"{name}@{start:g}" if start else name)
    file = beside(manifest, name)
    return Entry(identity, text(file), file, start, duration, said=said)


def _is_lhotse(value: Mapping[str, Any]) -> bool:
    return "audio_filepath" not in value and ("recording" in value or "sources" in value)


def _lhotse(manifest: str, where: str, value: dict[str, Any]) -> Entry:
    """A cut, or a recording."""
    said = dict(value)
    if "tracks" in said:
        raise AcompError("a cut that mixes others is not one recording: save its audio first")
    recording = said.pop("recording", said)
    if not isinstance(recording, dict):
        raise AcompError("it has no recording")
    name = _source(recording.get("sources"))
    is_cut = recording is not said
    channel = said.pop("channel", None) if is_cut else None
    start = _seconds("start", said.pop("start", None)) if is_cut else None
    duration = _seconds("duration", said.pop("duration", None)) if is_cut else None
    for key in ("sources", "sampling_rate", "num_samples", "duration", "channel_ids", "type"):
        said.pop(key, None)
    said.pop("features", None)
    identity = row_id(said.pop("id", None), where)
    supervisions = said.pop("supervisions", None)
    custom = said.pop("custom", None)
    said |= _of_supervisions(supervisions) | (custom if isinstance(custom, dict) else {})
    file = beside(manifest, name)
    return Entry(
        identity,
        text(file),
        file,
        start or 0.0,
        duration,
        _channels(channel),
        said,
    )


def _source(sources: object) -> str:
    first = sources[0] if isinstance(sources, list) and len(sources) == 1 else None
    if not isinstance(first, dict):
        raise AcompError("its recording is not one file: save its audio first")
    if first.get("type") not in ("file", "url"):
        raise AcompError(f"its recording is a {brief(first.get('type'))}: only files are read")
    return _file_name("source", first.get("source"))


def _file_name(key: str, value: object) -> str:
    """The name of a file, which JSON can hold more than."""
    try:
        if isinstance(value, str) and value and b"\0" not in os.fsencode(value):
            return value
    except UnicodeEncodeError:  # half a character
        pass
    raise AcompError(f"{key} is {brief(value)}, not the name of a file")


def _channels(channel: object) -> tuple[int, ...] | None:
    if channel is None:
        return None
    several = channel if isinstance(channel, list) else [channel]
    if not several or not all(type(each) is int and 0 <= each < 64 for each in several):
        raise AcompError(f"channel is {brief(channel)}, not the numbers of channels")
    return tuple(several)


def _of_supervisions(supervisions: object) -> dict[str, object]:
    """What the supervisions of a cut say; of several, their texts one after the other."""
    if not isinstance(supervisions, list):
        return {}
    found = [each for each in supervisions if isinstance(each, dict)]
    said: dict[str, object] = {}
    texts = [each["text"] for each in found if isinstance(each.get("text"), str)]
    if texts:
        said["text"] = " ".join(texts)
    for key in ("speaker", "language", "gender"):
        values = {json.dumps(each.get(key)): each.get(key) for each in found}
        if len(values) == 1 and (value := next(iter(values.values()))) is not None:
            said[key] = value
    if len(found) > 1:
        said["supervisions"] = found
    return said


def _seconds(name: str, value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise AcompError(f"{name} is {brief(value)}, not a number of seconds")
    if not isfinite(value) or not 0 <= value <= _MAX_SECONDS:
        raise AcompError(f"{name} is {brief(value)}, which no recording has")
    return float(value)


def is_manifest_name(name: str) -> bool:
    """Whether a name is that of a manifest, by its suffix."""
    return PurePosixPath(name).name.lower().endswith(SUFFIXES)
