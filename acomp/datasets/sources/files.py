"""Audio files and folders of them as a source."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from acomp.datasets.entries import Entry, Unit, entries_per_part


@dataclass(frozen=True)
class FilesUnit(Unit):
    """Some of the files, each with the id of its row."""

    files: tuple[tuple[str, str], ...]
    name: str = ""

    def entries(self) -> Iterator[Entry]:
        for identity, name in self.files:
            yield Entry(identity, text(name), name)


def units_of_files(files: Sequence[tuple[str, str]]) -> list[Unit]:
    """Audio files in parts.

    Args:
        files: the path below the folder that was named, or the name, and the file. The first is
            the id; of several that are the same the second gets `~2` behind it, and so on.
    """
    ids = unique(text(inner) for inner, _ in files)
    named = [(identity, name) for identity, (_, name) in zip(ids, files, strict=True)]
    size = entries_per_part(len(named))
    return [FilesUnit(tuple(named[begin : begin + size])) for begin in range(0, len(named), size)]


def unique(ids: Iterable[str]) -> Iterator[str]:
    """The ids, with `~2`, `~3` and so on behind those that came before."""
    met: dict[str, int] = {}
    for identity in ids:
        other = identity
        while other in met:
            met[identity] += 1
            other = f"{identity}~{met[identity]}"
        met[other] = 1
        yield other


def text(name: str) -> str:
    """A name of a file as text, in which bytes that are not UTF-8 are written out."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
