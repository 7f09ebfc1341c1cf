"""Bars on the terminal, of seconds of audio, of files and of downloads; nothing in a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from acomp.batch.inputs import PIPE
from acomp.cli.console import one_line, say, settings, shows_bars

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress, ProgressColumn

    from acomp.backends.weights.download import Progress as DownloadProgress
    from acomp.pipeline import Progress


@contextmanager
def progress_bar(title: str, target: str) -> Iterator[Progress | None]:
    """A bar of the seconds done on a terminal; nothing in a pipe.

    Nor where the output goes on into a pipe: what reads it has a bar of its own, and two of them
    on one line are none.
    """
    if target == PIPE or not shows_bars():
        yield None
        return
    from rich.progress import BarColumn, TextColumn

    # A file's name may look like rich's markup.
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
    bar = plain_bar(*columns)
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


def hours(seconds: float) -> str:
    """A duration of much audio, as it is shown."""
    return f"{seconds:.1f} s" if seconds < 600 else f"{seconds / 3600:.2f} h"


class CountBar:
    """A bar of what is done, file by file or step by step, with the time that is left."""

    def __init__(self, bar: RichProgress, total: int | None) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=total)

    def advance(self, label: str = "") -> None:
        """One more is done; `label` is shown before the bar."""
        self._bar.update(self._task, advance=1, description=one_line(label))

    def show(self, done: int, total: int) -> None:
        """So many are done of so many."""
        self._bar.update(self._task, completed=done, total=total)


@contextmanager
def count_bar(total: int | None = None) -> Iterator[CountBar]:
    """A bar of files, or whatever else is counted, on a terminal; nothing in a pipe."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    label = TextColumn("{task.description}", markup=False)
    with plain_bar(label, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        yield CountBar(bar, total)


def plain_bar(*columns: ProgressColumn) -> RichProgress:
    """A bar of these columns on standard error, which vanishes when it ends; in a pipe and with
    --quiet it shows nothing.
    """
    from rich.console import Console
    from rich.progress import Progress

    return Progress(
        *columns, console=Console(stderr=True), transient=True, disable=not shows_bars()
    )


@contextmanager
def download_bar(name: str) -> Iterator[DownloadProgress]:
    """A progress bar for `weights.fetch`: on a terminal, and only once there is progress."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, disable=settings.quiet or not console.is_terminal)
    task = bar.add_task(name, total=None)

    def show(done: int, total: int | None) -> None:
        if not bar.tasks[task].total and total and not console.is_terminal:
            say(f"downloading {name}: {megabytes(total)}", error=True)
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()


def megabytes(size: int) -> str:
    """A size in bytes, as it is shown."""
    return f"{size / 1e6:.1f} MB"
