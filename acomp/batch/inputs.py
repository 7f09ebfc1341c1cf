"""The inputs of a command: files that are named, listed in files, or found in folders."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from acomp.batch.walk import counted, walk
from acomp.errors import AcompError
from acomp.files import reason_of

PIPE = "-"
"""The name that stands for standard input or output."""
LIST = "@"
"""The first character of the name of a list."""
MAX_LIST = 1 << 28
"""Most bytes of a list; a million names take less."""


def stream_or_path(name: str, *, write: bool = False) -> str | BinaryIO:
    """The standard stream for `-`; any other name itself."""
    if name != PIPE:
        return name
    return sys.stdout.buffer if write else sys.stdin.buffer


@dataclass(frozen=True)
class Kind:
    """A kind of files that folders are searched for.

    Attributes:
        name: plural name in messages, for example `audio files`.
        takes: whether a file in a folder is of this kind, by its name.
    """

    name: str
    takes: Callable[[Path], bool]


@dataclass(frozen=True)
class Input:
    """A file to work on.

    Attributes:
        name: path of the file; `-` is standard input.
        given: what the user named: the file itself, or the folder in which it was found.
    """

    name: str
    given: Path

    @property
    def inner(self) -> Path:
        """The path below the folder in which the file was found, or the file's name."""
        path = Path(self.name)
        return Path(path.name) if path == self.given else path.relative_to(self.given)


@dataclass
class Inputs:
    """All files to work on, and what was found beside them.

    Attributes:
        files: the files.
        problems: folders that cannot be searched or hold no files of the kind, and broken links.
        left_out: number of other files in the folders, by kind.
    """

    files: list[Input] = field(default_factory=list)
    problems: list[AcompError] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)


def expand(names: Iterable[str]) -> Iterator[str]:
    """The names, with each `@LIST` replaced by the names in that list.

    A list holds one path on each line, or paths that end with a zero byte, as `find -print0` writes
    them. Relative paths begin at the current folder. Empty lines and lines that begin with `#` are
    skipped. `@-` is a list on standard input. `@NAME` is a file, not a list, if a file of that name
    exists.

    Raises:
        AcompError: a list cannot be read, or a name is empty.
    """
    for name in names:
        if not name:
            raise AcompError("an input has an empty name: give the path of a file or a folder")
        if name.startswith(LIST) and not os.path.lexists(name):
            yield from _listed(name[len(LIST) :])
        else:
            yield name


def _listed(name: str) -> list[str]:
    try:
        with Path(name).open("rb") if name != PIPE else sys.stdin.buffer as file:
            data = file.read(MAX_LIST + 1)
    except OSError as error:
        raise AcompError(f"cannot read the list {name}: {reason_of(error)}") from error
    if len(data) > MAX_LIST:
        raise AcompError(f"the list {name} is longer than {MAX_LIST >> 20} MiB")
    if b"\0" in data:
        return [os.fsdecode(path) for path in data.split(b"\0") if path]
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    paths = [os.fsdecode(line.removesuffix(b"\r")) for line in lines]
    return [path for path in paths if path.strip() and not path.startswith("#")]


def gather(names: Iterable[str], kind: Kind) -> Inputs:
    """The named files, and the files of a kind in the named folders, each once.

    Raises:
        AcompError: a list cannot be read, or a name is empty.
    """
    found = Inputs()
    for name in expand(names):
        if name == PIPE or not Path(name).is_dir():
            found.files.append(Input(name, Path(name)))
        else:
            _search(Path(name), kind, found)
    found.files = list(dict.fromkeys(found.files))
    return found


def _search(path: Path, kind: Kind, found: Inputs) -> None:
    folder = walk(path, kind.takes)
    found.problems += [
        AcompError(f"cannot read {each.path}: {each.reason}") for each in folder.unusable
    ]
    found.files += [Input(str(file), path) for file in folder.files]
    if folder.files:
        found.left_out += folder.left_out
    elif not folder.unusable:
        there = f"it holds {counted(folder.left_out)}" if folder.left_out else "it is empty"
        found.problems.append(AcompError(f"there are no {kind.name} in {path}: {there}"))
