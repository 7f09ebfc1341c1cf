"""How the work on many files is shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from acomp.batch.outputs import Job

Progress = Callable[[float, float | None], None]
"""Called with the seconds of audio done and the total in seconds, or None if that is unknown."""


def _nobody(_: Job) -> AbstractContextManager[Progress | None]:
    return nullcontext()


@dataclass(frozen=True)
class Watching:
    """How the work is shown; by default, and in other processes, not at all.

    Attributes:
        fetch: returns the published weights of a codec, downloaded if needed; None leaves that to
            `load`.
        follow: a context for the duration of a job, which gives what is called with its progress.
    """

    fetch: Callable[[str], Path | None] = field(default=lambda _: None)
    follow: Callable[[Job], AbstractContextManager[Progress | None]] = _nobody
