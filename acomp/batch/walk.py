"""Search of folders for files: each once, with a list of problems and a count of other files.

Encoding, decoding, evaluation and training all find their files here.
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
    """A file that cannot be used, or a folder that cannot be searched, with the reason."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Folder:
    """What a folder and all folders below it hold.

    Attributes:
        path: the folder.
        files: the wanted files, sorted by name.
        unusable: folders that cannot be entered, and broken links.
        left_out: number of other files by kind, such as `.txt` or `hidden`.
    """

    path: Path
    files: tuple[Path, ...]
    unusable: tuple[Unusable, ...]
    left_out: Counter[str]


def walk(top: Path, is_wanted: Callable[[Path], bool]) -> Folder:
    """Search a folder and all folders below it.

    Linked folders are searched too, after the others and each once, so that a link to a parent
    folder does no harm and each file has one name. Names that begin with a dot are left out, with
    all that is in them: they belong to the system or to a program (`._a.wav` of macOS, `.Trash`).
    """
    search = _Search(is_wanted)
    search.all_of(top)
    return Folder(top, tuple(sorted(search.files)), tuple(search.unusable), search.left_out)


def counted(left_out: Mapping[str, int]) -> str:
    """The counts of the most frequent kinds in words: `3 .txt, 1 hidden`."""
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
