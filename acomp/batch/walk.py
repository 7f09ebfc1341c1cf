"""The files in a folder: each once, with what cannot be entered named and what is left out counted.

Encoding, decoding, measuring and training find their files here.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from acomp.files import reason_of

HIDDEN = "hidden"
_MET = "linked folders met before"
_ODD = "neither files nor folders"
_BARE = "without a suffix"
_SHOWN = 6


@dataclass(frozen=True)
class Unusable:
    """A file that cannot be used, or a folder that cannot be searched."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Folder:
    """What there is in a folder and in all folders below it."""

    path: Path
    files: tuple[Path, ...]
    """Those that were wanted, in the order of their names."""
    unusable: tuple[Unusable, ...]
    """Folders that cannot be entered, and links that lead to nothing."""
    left_out: Counter[str]
    """How many others there are of each kind: `.txt`, `hidden`."""


def walk(top: Path, is_wanted: Callable[[Path], bool]) -> Folder:
    """Search a folder, and the folders in it.

    Linked folders are searched too, after the others and each once, so that a link to a folder
    above it ends nothing and a file has one name. What begins with a dot is left out, with all that
    is in it: it belongs to the system or to a program (`._a.wav` of macOS, `.Trash`).
    """
    search = _Search(is_wanted)
    search.all_of(top)
    return Folder(top, tuple(sorted(search.files)), tuple(search.unusable), search.left_out)


def counted(left_out: Mapping[str, int]) -> str:
    """Kinds and their numbers in words: `3 .txt, 1 hidden`; the most frequent ones."""
    most = sorted(left_out.items(), key=lambda each: (-each[1], each[0]))
    said = [f"{count} {kind}" for kind, count in most[:_SHOWN]]
    if rest := sum(count for _, count in most[_SHOWN:]):
        said.append(f"{rest} of other kinds")
    return ", ".join(said)


class _Search:
    def __init__(self, is_wanted: Callable[[Path], bool]) -> None:
        self._is_wanted = is_wanted
        self._folders: list[str] = []
        self._linked: list[str] = []
        self._seen: set[tuple[int, int]] = set()
        self.files: list[Path] = []
        self.unusable: list[Unusable] = []
        self.left_out: Counter[str] = Counter()

    def all_of(self, top: Path) -> None:
        self._folders.append(os.fspath(top))
        while self._folders or self._linked:
            # Real ones first: files keep the names that they have without links.
            folder = self._folders.pop() if self._folders else self._linked.pop(0)
            try:
                self._enter(folder)
            except OSError as error:
                self.unusable.append(Unusable(Path(folder), reason_of(error)))

    def _enter(self, folder: str) -> None:
        status = Path(folder).stat()
        identity = status.st_dev, status.st_ino
        if identity in self._seen:
            self.left_out[_MET] += 1
            return
        self._seen.add(identity)
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                try:
                    self._take(entry)
                except OSError as error:
                    self.unusable.append(Unusable(Path(entry.path), reason_of(error)))

    def _take(self, entry: os.DirEntry[str]) -> None:
        path = Path(entry.path)
        if entry.name.startswith("."):
            self.left_out[HIDDEN] += 1
        elif entry.is_dir():
            (self._linked if entry.is_symlink() else self._folders).append(entry.path)
        elif entry.is_symlink() and not path.exists():
            self.unusable.append(Unusable(path, "the link leads to nothing"))
        elif not entry.is_file():
            self.left_out[_ODD] += 1
        elif self._is_wanted(path):
            self.files.append(path)
        else:
            self.left_out[path.suffix.lower() or _BARE] += 1
