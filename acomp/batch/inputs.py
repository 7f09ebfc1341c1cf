"""What a command works on: the files that are named, in lists and in folders."""

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
"""Standard input or output, in the place of a name."""
LIST = "@"
"""What the name of a list begins with."""
MAX_LIST = 1 << 28
"""Bytes of a list; a million names are less."""


def stream_or_path(name: str, *, write: bool = False) -> str | BinaryIO:
    """`-` as the standard stream, anything else as the path it is."""
    if name != PIPE:
        return name
    return sys.stdout.buffer if write else sys.stdin.buffer


@dataclass(frozen=True)
class Kind:
    """A kind of files, as a search takes them."""

    name: str
    """In the plural, as messages call them: `audio files`."""
    takes: Callable[[Path], bool]
    """Whether a file that lies in a folder is one, by its name."""


@dataclass(frozen=True)
class Input:
    """A file to work on."""

    name: str
    """Its path; `-` is standard input."""
    given: Path
    """What was named: the file itself, or the folder that it was found in."""

    @property
    def inner(self) -> Path:
        """Its path below the folder it was found in, or its name."""
        path = Path(self.name)
        return Path(path.name) if path == self.given else path.relative_to(self.given)


@dataclass
class Inputs:
    """All that there is to work on."""

    files: list[Input] = field(default_factory=list)
    problems: list[AcompError] = field(default_factory=list)
    """Folders that cannot be searched, or in which there is nothing to do, and links to nothing."""
    left_out: Counter[str] = field(default_factory=Counter)
    """Files in the folders that are of no use, by kind."""


def expand(names: Iterable[str]) -> Iterator[str]:
    """The names themselves, and in the place of `@LIST` those in a list.

    A list holds a path a line, or paths that end in zero bytes, as `find -print0` writes them; its
    paths stand as if they had been typed, so that relative ones begin at the current folder. Empty
    lines and those that begin with `#` are passed over. `@-` is standard input. A file whose name
    begins with `@` is meant where there is one of that name.

    Raises:
        AcompError: a list cannot be read, or a name is empty.
    """
    for name in names:
        if not name:
            raise AcompError("an input has no name")
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
    """The files that are named, and those of a kind in the folders that are named; each once.

    Raises:
        AcompError: as `expand`.
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
