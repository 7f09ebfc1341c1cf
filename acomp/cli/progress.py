"""Bars on the terminal, of seconds of audio and of files; nothing in a pipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from acomp.batch.inputs import PIPE
from acomp.cli.console import one_line, shows_bars

if TYPE_CHECKING:
    from acomp.pipeline import Progress

T = TypeVar("T")


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


@contextmanager
def files_bar(total: int) -> Iterator[Callable[[T], T]]:
    """A bar of the files done on a terminal; nothing in a pipe."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = (
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    hidden = not shows_bars()
    with progress.Progress(*columns, console=console, transient=True, disable=hidden) as bar:
        task = bar.add_task("", total=total)

        def advance(outcome: T) -> T:
            bar.advance(task)
            return outcome

        yield advance
