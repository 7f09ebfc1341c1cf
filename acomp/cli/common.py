"""What the commands share: their options, their inputs and outputs, progress, and the summary."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from acomp.batch.inputs import PIPE
from acomp.batch.processes import each
from acomp.cli.console import CODEC, FILES, RUNNING, one_line, settings, shows_bars
from acomp.errors import AcompError, AudioError, CodecError

if TYPE_CHECKING:
    from acomp.backends.base import Codec, CodecSpec
    from acomp.batch.outputs import Job
    from acomp.pipeline import Progress, Result

T = TypeVar("T")

WORTH_SAYING = 0.5
"""Seconds of preparing networks that are told: compiling takes more, reading what an earlier run
has compiled takes less."""


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
        metavar="auto|cpu|cuda",
        help="What the networks run on; auto is a CUDA GPU where there is one.",
        rich_help_panel=RUNNING,
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
        help="Codec that made the codes, for files that do not say it (.dac, .npy, .pt).",
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


def refuse_terminal(targets: Iterable[str], what: str) -> None:
    """See that nobody's terminal gets bytes.

    Raises:
        BadParameter: an output is standard output, and that is a terminal.
    """
    if PIPE in targets and sys.stdout.isatty():
        raise typer.BadParameter(
            f"the {what} would go to the terminal, as bytes: name a file with -o, or let another "
            "program read them, as in `acomp encode a.wav - | acomp decode - b.wav`"
        )


def what_was_done(job: Job, result: Result) -> str:
    """The beginning of the line about a file that was encoded or decoded."""
    info = result.info
    rate = f"{info.bandwidth / info.streams:.3g} kbps"
    if info.streams > 1:
        rate = f"{info.streams} x {rate}"
    speed = result.audio_seconds / max(result.codec_seconds, 1e-9)
    line = (
        f"{job.source} -> {job.target}: {info.codec}, {rate}, "
        f"{result.audio_seconds:.2f} s at {speed:.1f} times real time"
    )
    if result.preparing_seconds >= WORTH_SAYING:
        line += f" after {result.preparing_seconds:.1f} s of preparing the networks"
    return line


def report_failures(items: Sequence[T], do: Callable[[T], None]) -> None:
    """Run `do` on each item; one that fails does not stop the others.

    Raises:
        AcompError: a single item failed, or some of several did; those were named on the way.
    """
    failed = 0
    for _, outcome in each(items, lambda: do):
        if isinstance(outcome, AcompError):
            if len(items) == 1:
                raise outcome
            failed += 1
            show_error(outcome)
    if failed:
        raise AcompError(f"{failed} of {len(items)} inputs failed, as said above")


def show_error(error: AcompError) -> None:
    """One line on stderr; with --debug the traceback before it."""
    if settings.debug:
        traceback.print_exception(error)
    print(one_line(f"error: {error}"), file=sys.stderr)


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
    from acomp.backends.weights.cache import fetch
    from acomp.backends.weights.catalogue import CATALOGUE, FOLDERS
    from acomp.cli.models import download_bar

    if name not in CATALOGUE and name not in FOLDERS:
        return None
    check_packages(name)
    with download_bar(name) as progress:
        return fetch(name, progress)


@contextmanager
def progress_bar(title: str, target: str) -> Iterator[Progress | None]:
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
    task = bar.add_task(one_line(title), start=False, total=None, state="")

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
