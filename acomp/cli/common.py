"""What the commands share: their options, their inputs and outputs, progress, and the summary."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, TypeVar

import typer

from acomp.errors import AcompError, WeightsError

if TYPE_CHECKING:
    from acomp.backends.base import Codec
    from acomp.pipeline import Progress

PIPE = "-"
T = TypeVar("T")

Weights = Annotated[
    Path | None,
    typer.Option(help="File of weights, official or safetensors, instead of the published ones."),
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Backend = Annotated[
    str, typer.Option("--backend", "-b", help="Codec; `acomp models list` names them.")
]
Output = Annotated[
    str | None, typer.Option("--output", "-o", help="Output file; - is standard output.")
]
OutputDir = Annotated[
    Path | None, typer.Option("--output-dir", help="Folder for the outputs of several inputs.")
]


def pairs(
    inputs: list[str],
    output: str | None,
    output_dir: Path | None,
    suffix: str,
    is_input: Callable[[Path], bool],
) -> list[tuple[str, str]]:
    """Each input with its output.

    A folder stands for the files in it that `is_input` takes, which keep their places below
    `output_dir`. A last `-` behind another input is the output. Without -o and --output-dir an
    output lies beside its input and never replaces a file.

    Raises:
        AcompError: the options do not fit the inputs, or an output would replace a file unasked.
    """
    if output is None and output_dir is None and len(inputs) == 2 and inputs[1] == PIPE:
        inputs, output = inputs[:1], PIPE
    if not inputs:
        raise typer.BadParameter("there is no input")
    if output is not None and output_dir is not None:
        raise typer.BadParameter("give --output or --output-dir, not both")
    found = [(root, path) for name in inputs for root, path in _files(name, is_input)]
    if output is not None:
        if len(found) != 1 or Path(inputs[0]).is_dir():
            raise typer.BadParameter("several inputs need --output-dir, not --output")
        return [(found[0][1], output)]
    if output_dir is not None:
        return [(name, str(_below(output_dir, root, name, suffix))) for root, name in found]
    return [(name, _beside(name, suffix)) for _, name in found]


def _files(name: str, is_input: Callable[[Path], bool]) -> Iterator[tuple[Path, str]]:
    """The file `name`, or those in the folder `name`, each with the folder it was found from."""
    path = Path(name)
    if name == PIPE or not path.is_dir():
        yield path.parent, name
        return
    files = sorted(file for file in path.rglob("*") if file.is_file() and is_input(file))
    if not files:
        raise AcompError(f"there is no file to work on in {name}")
    yield from ((path, str(file)) for file in files)


def _below(folder: Path, root: Path, name: str, suffix: str) -> Path:
    if name == PIPE:
        raise typer.BadParameter("standard input needs --output, not --output-dir")
    path = folder / Path(name).relative_to(root).with_suffix(suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AcompError(f"cannot make the folder {path.parent}: {error.strerror}") from error
    return path


def _beside(name: str, suffix: str) -> str:
    if name == PIPE:
        return PIPE
    path = Path(name).with_suffix(suffix)
    if path.exists():
        raise AcompError(f"{path} exists; name the output with -o to replace it")
    return str(path)


def stream_or_path(name: str, *, write: bool = False) -> str | BinaryIO:
    """`-` as the standard stream, anything else as the path it is."""
    if name != PIPE:
        return name
    return sys.stdout.buffer if write else sys.stdin.buffer


def for_each(work: list[tuple[str, str]], do: Callable[[str, str], str]) -> None:
    """Run `do` on each input and output; it returns a line about what it did, for stderr.

    Raises:
        AcompError: as `report_failures`.
    """
    counts = Counter(target for _, target in work)

    def do_one(item: tuple[str, str]) -> None:
        source, target = item
        if target != PIPE and same_file(source, target):
            raise AcompError(f"{source} is both input and output")
        if target != PIPE and counts[target] > 1:
            raise AcompError(f"{source} would share the output {target} with another input")
        print(do(source, target), file=sys.stderr)

    report_failures(work, do_one)


def report_failures(items: Sequence[T], do: Callable[[T], None]) -> None:
    """Run `do` on each item; one that fails does not stop the others.

    Raises:
        AcompError: a single item failed, or some of several did; those were named on the way.
    """
    failed = 0
    for item in items:
        try:
            do(item)
        except AcompError as error:
            if len(items) == 1:
                raise
            failed += 1
            print(f"error: {error}", file=sys.stderr)
    if failed:
        raise AcompError(f"{failed} of {len(items)} inputs failed, as said above")


def same_file(source: str, target: str) -> bool:
    try:
        return Path(source).samefile(target)
    except OSError:
        return False


def codec_loader(name: str, weights: Path | None, device: str) -> Callable[[int], Codec]:
    """A function from a number of channels to the codec, loaded once."""
    from acomp.backends import load, resolve

    resolve(name)  # so that an unknown name is an error before any file is opened

    @cache
    def load_resolved(resolved: str) -> Codec:
        return load(resolved, weights=weights or fetched(resolved), device=device)

    return lambda channels: load_resolved(resolve(name, channels))


def fetched(name: str) -> Path | None:
    """The published weights of a codec, fetched if need be; None for somebody else's codec.

    Raises:
        WeightsError: they are neither here nor to be had.
    """
    from acomp.backends.catalogue import CATALOGUE
    from acomp.backends.weights import fetch
    from acomp.cli.models import download_bar

    if name not in CATALOGUE:
        return None
    try:
        with download_bar(name) as progress:
            return fetch(name, progress)
    except WeightsError as error:
        raise WeightsError(f"{error}; or take -b nano, which is built in") from error


@contextmanager
def progress_bar(label: str) -> Iterator[Progress | None]:
    """A bar of the seconds done on a terminal; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f} s of {task.total:.0f} s, {task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=float("inf"), speed="")

        def update(done: float, total: float | None) -> None:
            elapsed = bar.tasks[0].elapsed or 0.0
            speed = f"{done / elapsed:.0f} times real time" if elapsed > 0 else ""
            bar.update(task, completed=done, total=total, speed=speed)

        yield update
