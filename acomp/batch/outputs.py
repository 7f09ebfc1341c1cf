"""The names of outputs, by one rule for every command that writes files.

An existing file is replaced only if the user asks for it, and an input never is, even if it has
another name through a link or another path to its folder.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from acomp.batch.inputs import LIST, PIPE, Input, Inputs
from acomp.errors import AcompError, ExistsError
from acomp.files import is_stream


class UsageError(AcompError):
    """The inputs and the options for outputs do not go together."""


class Existing(Enum):
    """What to do about an output that exists: refuse to replace it, replace it, or skip it."""

    REFUSE = "refuse"
    REPLACE = "replace"
    SKIP = "skip"


@dataclass(frozen=True)
class Outputs:
    """Where outputs go and how they are named.

    Attributes:
        suffix: suffix of the outputs, which replaces that of the inputs.
        file: the only output; `-` is standard output.
        folder: folder of all outputs; by default each output is beside its input.
        existing: what to do about an output that exists.
        keep_suffix: whether outputs keep the suffix of the input too, as in `a.mp3.nac`.
        keep_tree: whether outputs in `folder` keep the path of the input below the folder that
            all inputs have in common.
        made_of: what an input is called in messages, for example `a file of codes`.
    """

    suffix: str
    file: str | None = None
    folder: Path | None = None
    existing: Existing = Existing.REFUSE
    keep_suffix: bool = False
    keep_tree: bool = False
    made_of: str = "another input"


@dataclass(frozen=True)
class Job:
    """One input and its output.

    Attributes:
        source: the input; `-` is standard input.
        target: the output; `-` is standard output.
        problem: why the job cannot be done; None if it can.
        is_done: whether the output exists and is skipped.
        makes_folder: whether the folder of the output is made if it does not exist.
    """

    source: str
    target: str
    problem: AcompError | None = None
    is_done: bool = False
    makes_folder: bool = False

    @property
    def is_piped(self) -> bool:
        """Whether the input or the output is a standard stream."""
        return PIPE in (self.source, self.target)


@dataclass(frozen=True)
class Names:
    """The names of files that a command reads and writes.

    Attributes:
        is_input: whether a file is one to read, by its name.
        is_output: whether it is one to write.
        forms: what outputs can be, as messages say it: `a form of codes: .nac, .txt`.
    """

    is_input: Callable[[Path], bool]
    is_output: Callable[[Path], bool]
    forms: str


def split_output(names: list[str], kinds: Names) -> tuple[list[str], str | None]:
    """Inputs and, where the last name is an output as `cp` takes it, that output.

    Of two names the second is one if it is `-` or has a suffix that only outputs have.

    Raises:
        UsageError: there are more names, and the last one may be meant so; or it is neither an
            input, as there is no such file, nor has the suffix of an output.
    """
    if len(names) == 2 and _is_meant_as_output(names[1], kinds):
        path = Path(names[1])
        raise UsageError(
            f"{path} is no input, as there is no such file, and {path.suffix} is not {kinds.forms}"
        )
    if len(names) < 2 or not (names[-1] == PIPE or kinds.is_output(Path(names[-1]))):
        return names, None
    if len(names) == 2:
        return names[:1], names[1]
    raise UsageError(
        f"several inputs need --output-dir: {names[-1]} is no input, "
        "or did you mean -o, which takes one?"
    )


def _is_meant_as_output(name: str, kinds: Names) -> bool:
    """Whether a name that is none of an output can hardly be that of an input."""
    path = Path(name)
    is_known = name == PIPE or name.startswith(LIST) or os.path.lexists(name)
    return bool(path.suffix) and not (is_known or kinds.is_input(path) or kinds.is_output(path))


def plan(inputs: Inputs, outputs: Outputs, also: Iterable[Path] = ()) -> list[Job]:
    """The jobs: each input with its output, and with the problem of those that cannot be done.

    Args:
        inputs: the inputs.
        outputs: where outputs go.
        also: further files that are read, such as weights; no output may be one of them.

    Raises:
        UsageError: there is no input, or the inputs and the options for outputs do not fit.
    """
    files = inputs.files
    if not files and not inputs.problems:
        raise UsageError("there is no input")
    if outputs.file is not None and outputs.folder is not None:
        raise UsageError("give --output or --output-dir, not both")
    if outputs.keep_tree and outputs.folder is None:
        raise UsageError("--keep-tree goes with --output-dir")
    if outputs.file is not None:
        if len(files) != 1 or files[0].name != str(files[0].given) or inputs.problems:
            raise UsageError("several inputs need --output-dir, not --output")
        targets = [outputs.file]
    else:
        base = _common(files) if outputs.keep_tree else None
        targets = [_target(file, outputs, base) for file in files]
    pairs = list(dict.fromkeys(zip((file.name for file in files), targets, strict=True)))
    guard = Guard([name for name, _ in pairs], also)
    clashes = _clashes(pairs)
    makes = outputs.folder is not None
    if outputs.file is None:
        own = [name for name, target in pairs if name == target != PIPE]
        clashes |= {name: _own_output(name, outputs) for name in own}
    jobs = [Job(*pair, problem=clashes.get(pair[1]), makes_folder=makes) for pair in pairs]
    return [_checked(job, outputs.existing, guard) for job in jobs]


def _common(files: Sequence[Input]) -> Path:
    """The folder that all named files and folders have in common."""
    return Path(os.path.commonpath([_absolute(file.given).parent for file in files]))


def _absolute(path: Path) -> Path:
    """The absolute path without `..`, with links left as they are named."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` would follow links


def _target(file: Input, outputs: Outputs, base: Path | None) -> str:
    if file.name == PIPE:
        if outputs.folder is not None:
            raise UsageError("standard input needs --output, not --output-dir")
        return PIPE
    path = Path(file.name)
    if outputs.folder is not None:
        inner = file.inner if base is None else _absolute(path).relative_to(base)
        path = outputs.folder / inner
    if outputs.keep_suffix:
        return f"{path}{outputs.suffix}"
    return str(path.with_suffix(outputs.suffix))


def _clashes(pairs: Iterable[tuple[str, str]]) -> dict[str, AcompError]:
    """The error of each output that several inputs would share."""
    sources: dict[str, list[str]] = defaultdict(list)
    for source, target in pairs:
        sources[target].append(source)
    return {
        target: _clash(names, target)
        for target, names in sources.items()
        if target != PIPE and len(names) > 1
    }


def _clash(names: Sequence[str], target: str) -> AcompError:
    one, other = Path(names[0]), Path(names[1])
    option = "--keep-suffix" if one.name != other.name else "--keep-tree"
    return AcompError(
        f"{names[0]} and {names[1]} would share the output {target}: {option} keeps them apart"
    )


def _own_output(name: str, outputs: Outputs) -> AcompError:
    return AcompError(
        f"{name} ends in {outputs.suffix}, as its output would: name {outputs.made_of}, or another "
        "output with -o"
    )


def _checked(job: Job, existing: Existing, guard: Guard) -> Job:
    if job.problem is not None:
        return job
    try:
        return replace(job, is_done=not guard.is_free(job.target, existing))
    except AcompError as error:
        return replace(job, problem=error)


class Guard:
    """Keeps existing files and inputs from being replaced.

    Args:
        sources: names of the inputs; `-` is standard input.
        also: further files that are read.
    """

    def __init__(self, sources: Iterable[str], also: Iterable[Path] = ()) -> None:
        self._sources = [*sources, *map(str, also)]
        self._identities: dict[tuple[int, int], str] | None = None

    def is_free(self, target: str | Path, existing: Existing) -> bool:
        """Whether an output is to be written: False if it exists and is skipped.

        Raises:
            ExistsError: it exists and is not to be replaced, or it is one of the inputs.
        """
        try:
            if str(target) == PIPE or is_stream(Path(target)) or Path(target).is_dir():
                return True
            status = Path(target).stat()
        except OSError:  # what is wrong with it, if anything is, shows when it is written
            return True
        name = self._inputs().get((status.st_dev, status.st_ino))
        if name is not None:
            same = "is both input and output" if name == str(target) else f"is the input {name} too"
            raise ExistsError(f"{target} {same}: name another output")
        if existing is Existing.REFUSE:
            raise ExistsError(
                f"{target} exists: name another output, or replace it with --overwrite"
            )
        return existing is Existing.REPLACE

    def _inputs(self) -> dict[tuple[int, int], str]:
        """The inputs by device and inode, which all links to a file share."""
        if self._identities is None:
            self._identities = {}
            for name in self._sources:
                try:
                    status = Path(name).stat() if name != PIPE else os.fstat(sys.stdin.fileno())
                except (OSError, ValueError):  # it is not there, or is no file
                    continue
                self._identities[status.st_dev, status.st_ino] = name
        return self._identities
