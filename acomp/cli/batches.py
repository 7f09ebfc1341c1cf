"""Work on many files, as the commands show it: progress, errors and the summary."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from acomp.batch.inputs import Inputs
from acomp.batch.outputs import Existing, Guard, Job, UsageError
from acomp.batch.processes import each
from acomp.batch.walk import counted
from acomp.batch.watching import Progress, Watching
from acomp.cli.codecs import fetched
from acomp.cli.console import say, show_error
from acomp.cli.progress import CountBar, count_bar, progress_bar
from acomp.errors import AcompError, ExistsError

if TYPE_CHECKING:
    from acomp.pipeline import Result

R = TypeVar("R")
T = TypeVar("T")


def policy(overwrite: bool, skip_existing: bool = False) -> Existing:
    """What the two options say.

    Raises:
        BadParameter: both are given.
    """
    if overwrite and skip_existing:
        raise typer.BadParameter("give --overwrite or --skip-existing, not both")
    if skip_existing:
        return Existing.SKIP
    return Existing.REPLACE if overwrite else Existing.REFUSE


@contextmanager
def usage() -> Iterator[None]:
    """Make inputs and outputs that do not go together wrong usage."""
    try:
        yield
    except UsageError as error:
        raise typer.BadParameter(str(error)) from error


def guard(target: str | Path, overwrite: bool, *sources: str | Path | None) -> None:
    """See that a command's one output may be written.

    Raises:
        AcompError: it exists, or is one of the files that the command reads.
    """
    read = [str(source) for source in sources if source is not None]
    Guard(read).is_free(target, policy(overwrite))


def run_all(
    inputs: Inputs,
    jobs: Sequence[Job],
    existing: Existing,
    start: Callable[[Watching | None], Callable[[Job], R]],
    tell: Callable[[Job, R], str],
    processes: int = 1,
) -> None:
    """Do all jobs, telling on stderr of each what was done, and at the end of all.

    Args:
        inputs: that the jobs come from.
        jobs: what to do.
        existing: what becomes of outputs that exist.
        start: gives the function that does a job, and can be pickled for several processes.
        tell: says in a line what was done.
        processes: how many work side by side.

    Raises:
        AcompError: the only job failed, or some of several did; those were named on the way.
    """
    left = [job for job in jobs if job.is_done]
    open_jobs = [job for job in jobs if job.problem is None and not job.is_done]
    failures = Failures(inputs)
    for job in jobs:
        if job.problem is not None:
            failures.add(job.problem)
    if any(job.is_piped for job in open_jobs):
        processes = 1  # the standard streams are this process's
    done = 0
    with _outcomes(open_jobs, start, processes) as outcomes:
        for number, (job, outcome) in enumerate(outcomes, 1):
            if isinstance(outcome, ExistsError) and existing is Existing.SKIP:
                left.append(job)  # another process has made it in the meantime
            elif isinstance(outcome, AcompError):
                failures.add(_naming(job, outcome))
            else:
                done += 1
                say(f"{_place(number, open_jobs)}{tell(job, outcome)}", error=True)
    summary = f"{done} done"
    if left:
        summary += f", {len(left)} skipped (the output exists)"
    if inputs.left_out:
        summary += f"; left out: {counted(inputs.left_out)}"
    failures.check(summary)
    if len(jobs) > 1 or left or inputs.left_out:
        say(summary, error=True)


def _place(number: int, open_jobs: Sequence[Job]) -> str:
    return f"{number} of {len(open_jobs)}: " if len(open_jobs) > 1 else ""


@contextmanager
def _outcomes(
    open_jobs: Sequence[Job],
    start: Callable[[Watching | None], Callable[[Job], R]],
    processes: int,
) -> Iterator[Iterable[tuple[Job, R | AcompError]]]:
    """What comes of each job, with a bar of what is done: of a file's seconds, or of the files."""
    if processes == 1 or len(open_jobs) < 2:
        with closing(each(open_jobs, partial(start, _watching(open_jobs)))) as outcomes:
            yield outcomes
        return
    with (
        count_bar(len(open_jobs)) as bar,
        closing(each(open_jobs, partial(start, None), processes)) as outcomes,
    ):
        yield _counting(outcomes, bar)


def _counting(outcomes: Iterable[T], bar: CountBar) -> Iterator[T]:
    for outcome in outcomes:
        bar.advance()
        yield outcome


class Failures:
    """What fails of several inputs: each is told as it comes, and all are counted in the end.

    Folders that cannot be searched and links to nothing are told at once, and counted apart. The
    failure of a single input is raised instead.
    """

    def __init__(self, inputs: Inputs) -> None:
        self._total = len(inputs.files)
        self._beside = len(inputs.problems)
        self._told: set[str] = set()
        self._count = 0
        for problem in inputs.problems:
            self._tell(problem)

    def add(self, error: AcompError) -> None:
        """One of the files has failed."""
        self._count += 1
        self._tell(error)

    def _tell(self, error: AcompError) -> None:
        if self._total + self._beside == 1:
            raise error
        if str(error) not in self._told:  # what several have in common is said once
            show_error(error)
        self._told.add(str(error))

    def check(self, more: str = "") -> None:
        """Raise AcompError where something has failed, with `more` behind the numbers."""
        said = []
        if self._count:
            said.append(f"{self._count} of {self._total} inputs failed")
        if self._beside:
            said.append(f"{self._beside} of the folders and links could not be used")
        if said:
            several = f"{', and '.join(said)}, as said above"
            raise AcompError(f"{several}; {more}" if more else several)


def _naming(job: Job, error: AcompError) -> AcompError:
    """The error, with the name of its input where it does not have it."""
    if job.is_piped or job.source in str(error) or job.target in str(error):
        return error
    named = type(error)(f"{job.source}: {error}")
    named.__cause__ = error
    return named


def _watching(open_jobs: Sequence[Job]) -> Watching:
    """What this process shows of its work."""
    numbers = count(1)

    def follow(job: Job) -> AbstractContextManager[Progress | None]:
        return progress_bar(
            f"{_place(next(numbers), open_jobs)}{Path(job.source).name}", job.target
        )

    return Watching(fetched, follow)


WORTH_SAYING = 0.5
"""Seconds of preparing networks that are told: compiling takes more, reading what an earlier run
has compiled takes less."""


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
