"""What the commands share: their options, their inputs and outputs, progress, and the summary."""

from __future__ import annotations

import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, Literal, TypeVar

import typer

from acomp.cli.console import CODEC, FILES, RUNNING, one_line, say, settings, shows_bars
from acomp.errors import AcompError, AudioError, CodecError
from acomp.files import reason_of

if TYPE_CHECKING:
    from acomp.backends.base import Codec, CodecSpec
    from acomp.pipeline import Progress

PIPE = "-"
T = TypeVar("T")


def codec_names(incomplete: str) -> list[str]:
    """The codecs whose names begin so, for the shell to complete."""
    from acomp.backends import names

    return [name for name in names() if name.startswith(incomplete)]


Weights = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File of weights, official or safetensors, instead of the published ones.",
        rich_help_panel=CODEC,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda", help="What the networks run on.", rich_help_panel=RUNNING
    ),
]
Engine = Annotated[
    Literal["auto", "torch", "openvino"],
    typer.Option(
        help="What runs the networks; auto is OpenVINO on a CPU, where it is installed.",
        rich_help_panel=RUNNING,
    ),
]
Precision = Annotated[
    Literal["fp32", "bf16"],
    typer.Option(
        help="Arithmetic; bf16 is faster where the processor has it, and less exact.",
        rich_help_panel=RUNNING,
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        "-b",
        metavar="CODEC",
        help="Codec; `acomp models list` names them.",
        rich_help_panel=CODEC,
        autocompletion=codec_names,
    ),
]
Entropy = Annotated[
    Literal["none", "lm"],
    typer.Option(help="lm: smaller files, by the codec's language model.", rich_help_panel=CODEC),
]
LanguageModel = Annotated[
    Path | None,
    typer.Option(
        "--language-model",
        metavar="FILE",
        help="File of the language model, where it is not the codec's own.",
        rich_help_panel=CODEC,
    ),
]
MadeBy = Annotated[
    str | None,
    typer.Option(
        "--backend",
        "-b",
        metavar="CODEC",
        help="Codec that made the codes, for files that do not say it (.dac).",
        rich_help_panel=CODEC,
        autocompletion=codec_names,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Output file; - is standard output.",
        rich_help_panel=FILES,
    ),
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        metavar="FOLDER",
        help="Folder for the outputs of several inputs.",
        rich_help_panel=FILES,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs.", rich_help_panel=FILES)
]


@dataclass(frozen=True)
class Job:
    """One input and its output."""

    source: str
    target: str
    problem: str | None = None
    """Why it cannot be done, where that is known beforehand."""


def jobs(
    inputs: list[str],
    output: str | None,
    output_dir: Path | None,
    suffix: str,
    is_input: Callable[[Path], bool],
) -> list[Job]:
    """Each input with its output.

    A folder stands for the files in it that `is_input` takes, which keep their places below
    `output_dir`. A last `-` behind another input is the output. Without -o and --output-dir an
    output lies beside its input and never replaces a file.

    Raises:
        BadParameter: the options do not fit the inputs.
        AcompError: a folder cannot be made.
    """
    if output is None and output_dir is None and len(inputs) == 2 and inputs[1] == PIPE:
        inputs, output = inputs[:1], PIPE
    if not inputs or "" in inputs:
        raise typer.BadParameter("an input has no name" if inputs else "there is no input")
    if output is not None and output_dir is not None:
        raise typer.BadParameter("give --output or --output-dir, not both")
    if output is not None:
        if len(inputs) != 1 or Path(inputs[0]).is_dir():
            raise typer.BadParameter("several inputs need --output-dir, not --output")
        return [Job(inputs[0], output)]
    return [job for name in inputs for job in _jobs(name, output_dir, suffix, is_input)]


def _jobs(
    name: str, output_dir: Path | None, suffix: str, is_input: Callable[[Path], bool]
) -> Iterator[Job]:
    """What the file `name`, or the folder `name`, gives to do."""
    path = Path(name)
    if name == PIPE or not path.is_dir():
        yield _job(path.parent, name, output_dir, suffix)
        return
    files = sorted(file for file in path.rglob("*") if file.is_file() and is_input(file))
    if not files:
        yield Job(name, name, f"there is no file to work on in {name}")
    for file in files:
        yield _job(path, str(file), output_dir, suffix)


def _job(root: Path, name: str, output_dir: Path | None, suffix: str) -> Job:
    """One file, found from the folder `root`."""
    if output_dir is not None:
        return Job(name, _below(output_dir, root, name, suffix))
    if name == PIPE:
        return Job(PIPE, PIPE)
    target = Path(name).with_suffix(suffix)
    exists = f"{target} exists; name the output with -o to replace it"
    return Job(name, str(target), exists if target.exists() else None)


def _below(folder: Path, root: Path, name: str, suffix: str) -> str:
    if name == PIPE:
        raise typer.BadParameter("standard input needs --output, not --output-dir")
    path = folder / Path(name).relative_to(root).with_suffix(suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AcompError(f"cannot make the folder {path.parent}: {reason_of(error)}") from error
    return str(path)


def stream_or_path(name: str, *, write: bool = False) -> str | BinaryIO:
    """`-` as the standard stream, anything else as the path it is."""
    if name != PIPE:
        return name
    return sys.stdout.buffer if write else sys.stdin.buffer


@contextmanager
def usage_of(option: str) -> Iterator[None]:
    """Make what is wrong with the value of an option wrong usage.

    Raises:
        BadParameter: in the place of an AudioError.
    """
    try:
        yield
    except AudioError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def for_each(work: list[Job], do: Callable[[str, str], str]) -> None:
    """Run `do` on each input and output; it returns a line about what it did, for stderr.

    Raises:
        AcompError: as `report_failures`.
    """
    counts = Counter(job.target for job in work)

    def do_one(job: Job) -> None:
        source, target = job.source, job.target
        if target != PIPE and same_file(source, target):
            raise AcompError(f"{source} is both input and output")
        if target != PIPE and counts[target] > 1:
            raise AcompError(f"{source} would share the output {target} with another input")
        if job.problem is not None:
            raise AcompError(job.problem)
        say(do(source, target), error=True)

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
            show_error(error)
    if failed:
        raise AcompError(f"{failed} of {len(items)} inputs failed, as said above")


def show_error(error: AcompError) -> None:
    """One line on stderr; with --debug the traceback before it."""
    if settings.debug:
        traceback.print_exception(error)
    print(one_line(f"error: {error}"), file=sys.stderr)


def same_file(source: str, target: str) -> bool:
    try:
        return Path(source).samefile(target)
    except OSError:
        return False


def codec_loader(
    name: str,
    weights: Path | None,
    device: str,
    engine: str = "torch",
    precision: str = "fp32",
) -> Callable[[int], Codec]:
    """A function from a number of channels to the codec, loaded once."""
    from acomp.backends import load, resolve

    resolve(name)  # so that an unknown name is an error before any file is opened

    @cache
    def load_resolved(resolved: str) -> Codec:
        file = weights or fetched(resolved)
        return load(resolved, weights=file, engine=engine, precision=precision, device=device)

    return lambda channels: load_resolved(resolve(name, channels))


def spec_of(name: str | None, weights: Path | None = None) -> CodecSpec | None:
    """What is fixed about a codec, without loading it; `custom` is told by its file of weights.

    Raises:
        CodecError: there is no such codec, or it is not one of acomp's own.
        WeightsError: the file cannot be read, or names no shape.
    """
    from acomp.backends import CUSTOM, resolve
    from acomp.backends.specs import SPECS

    if name is None:
        return None
    resolved = resolve(name)
    if resolved in SPECS:
        return SPECS[resolved]
    if resolved != CUSTOM or weights is None:
        raise CodecError(f"what {name} is is not known without its file of weights")
    from acomp.backends.custom import shape_of

    return shape_of(weights).spec(CUSTOM)


def fetched(name: str) -> Path | None:
    """The published weights of a codec, fetched if need be; None for somebody else's codec.

    Raises:
        WeightsError: they are neither here nor to be had.
    """
    from acomp.backends import check_packages
    from acomp.backends.catalogue import CATALOGUE, FOLDERS
    from acomp.backends.weights import fetch
    from acomp.cli.models import download_bar

    if name not in CATALOGUE and name not in FOLDERS:
        return None
    check_packages(name)
    with download_bar(name) as progress:
        return fetch(name, progress)


@contextmanager
def progress_bar(source: str, target: str) -> Iterator[Progress | None]:
    """A bar of the seconds done on a terminal; nothing in a pipe.

    Nor where the output goes on into a pipe: what reads it has a bar of its own, and two of them
    on one line are none.
    """
    if target == PIPE or not shows_bars():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    # A file's name may look like rich's markup.
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(one_line(Path(source).name), start=False, total=None, state="")

    def update(done: float, total: float | None) -> None:
        bar.start()  # not before: until now there may have been the bar of a download
        bar.start_task(task)  # nor is the time that loading took counted
        state = progress_state(done, total, bar.tasks[0].elapsed or 0.0)
        bar.update(task, completed=done, total=total, state=state)

    try:
        yield update
    finally:
        bar.stop()


def progress_state(done: float, total: float | None, elapsed: float) -> str:
    """Seconds of audio done, of how many, how fast, and the time left; as far as it is known."""
    state = f"{done:.0f} s" if total is None else f"{done:.0f} of {total:.0f} s"
    if not done or not elapsed:
        return state
    state += f", {done / elapsed:.1f} times real time"
    if total is None:
        return state
    return f"{state}, {timedelta(seconds=round((total - done) / done * elapsed))} left"
