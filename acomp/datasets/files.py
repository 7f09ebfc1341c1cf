"""Audio files and folders of them as a source."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from acomp.audio import is_audio_name
from acomp.batch.inputs import Input, Kind, gather
from acomp.datasets.entries import Entry, Unit, entries_per_part
from acomp.errors import AcompError


@dataclass(frozen=True)
class FilesUnit(Unit):
    """Some of the files, each with the id of its row."""

    files: tuple[tuple[str, str], ...]

    def entries(self) -> Iterator[Entry]:
        for identity, name in self.files:
            yield Entry(identity, text(name), Path(name))


def units_of_files(names: Sequence[str]) -> list[FilesUnit]:
    """Audio files and the audio files in folders, in parts.

    The id of a file is its path below the folder that was named, or its name; of several with the
    same id the second gets `~2` behind it, and so on.

    Raises:
        AcompError: a file does not exist, or a folder cannot be searched or holds no audio.
    """
    found = gather(names, Kind("audio files", is_audio_name))
    if found.problems:
        raise found.problems[0]
    for file in found.files:
        if not Path(file.name).exists():
            raise AcompError(f"cannot read {file.name}: there is no such file")
    files = list(zip(unique(_id(file) for file in found.files), found.files, strict=True))
    size = entries_per_part(len(files))
    return [
        FilesUnit(tuple((identity, file.name) for identity, file in files[begin : begin + size]))
        for begin in range(0, len(files), size)
    ]


def unique(ids: Iterator[str]) -> Iterator[str]:
    """The ids, with `~2`, `~3` and so on behind those that came before."""
    met: dict[str, int] = {}
    for identity in ids:
        if identity not in met:
            met[identity] = 1
            yield identity
            continue
        while (other := f"{identity}~{met[identity] + 1}") in met:
            met[identity] += 1
        met[identity] += 1
        met[other] = 1
        yield other


def _id(file: Input) -> str:
    return text(file.inner.as_posix())


def text(name: str) -> str:
    """A name of a file as text, in which bytes that are not UTF-8 are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
