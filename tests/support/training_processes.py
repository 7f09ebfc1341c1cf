"""What the processes of a training run do in tests: little, as each imports this module anew."""

from __future__ import annotations

import atexit
import os
import signal
import time
from pathlib import Path
from typing import Self

import pytest
import torch
from cheap_training import leave_pictures_out

from acomp.errors import TrainingError
from acomp.training import run
from acomp.training.config import Config
from acomp.training.data.sources import Collection
from acomp.training.fabric import Fabric

START_SECONDS = 2
"""Audio that a codec from scratch begins with: it takes most of a short run otherwise."""


class Quiet:
    """A display that shows nothing."""

    def __init__(self, step: int, steps: int) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def update(self, step: int, losses: object) -> None: ...

    def say(self, line: str) -> None: ...


def digest(
    fabric: Fabric, config: Config, wild: Config, collection: Collection, folder: Path
) -> list[list[float]]:
    """Train, and return what each process's weights add up to.

    Then train as in `wild`, whose losses grow beyond bounds, and write what that is ended by.
    """
    run.START_SECONDS = START_SECONDS  # in a process of its own
    leave_pictures_out(pytest.MonkeyPatch())
    session = run.open_session(fabric, config, collection, folder, 0)
    session.run(InterruptsParent)
    state = session.loop.weights()
    sums = torch.stack([value.double().sum() for _, value in sorted(state.items())])
    atexit.register(note_threads, folder / f"threads-{fabric.global_rank}")
    gathered = fabric.all_gather(sums)
    assert isinstance(gathered, torch.Tensor)
    rows: list[list[float]] = gathered.tolist()
    try:
        run.open_session(fabric, wild, collection, folder / "wild", 0).run(Quiet)
    except TrainingError as error:
        (folder / f"error-{fabric.global_rank}").write_text(str(error))
    return rows


def fails(fabric: Fabric) -> None:
    raise TrainingError(f"the losses of process {fabric.global_rank} are not finite")


def note_threads(path: Path) -> None:
    """Write the names of the threads that run."""
    path.write_text(
        "".join(sorted(task.read_text() for task in Path("/proc/self/task").glob("*/comm")))
    )


class InterruptsParent(Quiet):
    """Ends the run after the third step."""

    def update(self, step: int, losses: object) -> None:
        del losses
        if step == 3:
            os.kill(os.getppid(), signal.SIGINT)


def never_ends(fabric: Fabric) -> None:
    if fabric.is_global_zero:
        for _ in range(2):
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(1)
    time.sleep(600)
