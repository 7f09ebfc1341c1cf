"""What is shown of the work on many files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from acomp.batch.outputs import Job

Progress = Callable[[float, float | None], None]
"""Called with the seconds of audio done and, where it is known, their total."""


def _nobody(_: Job) -> AbstractContextManager[Progress | None]:
    return nullcontext()


@dataclass(frozen=True)
class Watching:
    """What is shown of the work; nothing, where another process does it."""

    fetch: Callable[[str], Path | None] = field(default=lambda _: None)
    """Gives the published weights of a codec, fetched if need be; None leaves that to `load`."""
    follow: Callable[[Job], AbstractContextManager[Progress | None]] = _nobody
    """Gives what is told of the progress of a job, as long as it takes."""
