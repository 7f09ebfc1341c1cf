"""A run from where it is to its end: steps, figures, validation, checkpoints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import torch
from torch import Tensor

from acomp.errors import DivergenceError, TrainingError
from acomp.training import checkpoints
from acomp.training.data.prefetch import Drawn, Prefetch
from acomp.training.interruption import (
    RunEndsError,
    interruption,
    interruption_of_child,
)
from acomp.training.loop import EXPLODED, Loop
from acomp.training.record import Record

CONFIG, CHECKPOINTS = "config.yaml", "checkpoints"
BEST, LAST = "best.safetensors", "last.safetensors"
CLIPS = 4
"""Held-out segments that are kept as audio."""


class Display(Protocol):
    """What shows how a run goes; made in the process that shows it."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def update(self, step: int, losses: Mapping[str, float]) -> None:
        """A step is done; `losses` are the averages that were logged last."""

    def say(self, line: str) -> None:
        """Something happened that stays on the screen."""


MakeDisplay = Callable[[int, int], Display]
"""From the steps done and those in all to a display; must be a function of a module."""


@dataclass(frozen=True)
class Outcome:
    """How a run, or this session of it, ended.

    Attributes:
        step: number of steps done.
        interrupted: whether it was ended before its last step.
        first: validation score before the first step of the run; lower is better.
        best: lowest validation score of the run.
        best_step: step at which it was reached.
        audio_rate: seconds of audio trained on per second, validation and checkpoints not counted.
    """

    step: int
    interrupted: bool
    first: float
    best: float
    best_step: int
    audio_rate: float


class Session:
    """A run from where it is to its end, or to where it is interrupted."""

    def __init__(
        self,
        loop: Loop,
        folder: Path,
        segments: Drawn,
        validation: Tensor,
        save_weights: Callable[[Path, dict[str, Tensor]], None],
    ) -> None:
        self.loop = loop
        self._config = loop.config
        self._folder = folder
        self._segments = segments
        self._validation = validation
        self._save_weights = save_weights
        self._sums: dict[str, tuple[Tensor, int]] = {}
        """Of what was measured since the last record, and how many; on the device, as asking for a
        number would make it wait."""
        self._first = self._best = float("inf")
        self._best_step = 0
        self._validated = 0
        """Step that was validated last."""
        self._least = float("inf")
        """Least average of the losses that compare sounds."""
        self._seconds = 0.0
        self._begun = loop.step

    def resume(self, step: int) -> None:
        extra = self.loop.load(self._folder / CHECKPOINTS, step)
        device = self.loop.fabric.device
        self._sums = {
            name: (torch.tensor(total, dtype=torch.float64, device=device), count)
            for name, (total, count) in extra["sums"].items()
        }
        self._first, self._best, self._least = extra["first"], extra["best"], extra["least"]
        self._best_step = extra["best_step"]
        self._validated = extra.get("validated", step)
        self._begun = self.loop.step

    def run(self, make_display: MakeDisplay) -> Outcome:
        """Train to the end, or until a signal ends it."""
        fabric, config = self.loop.fabric, self._config
        first = fabric.is_global_zero
        self._display = make_display(self.loop.step, config.steps) if first else _Silent()
        self._record = Record(self._folder, self.loop.step) if first else None
        steps = range(self.loop.step, config.steps)
        batches = Prefetch(self._segments, steps, fabric.global_rank, config.batch)
        watching = interruption if fabric.world_size == 1 else interruption_of_child
        with self._display, _closing(self._record), watching() as interrupted, batches:
            self.loop.interrupted = interrupted
            if self.loop.step == 0 or self._validated < self.loop.step == self._due():
                self._validate()
            try:
                ended = self._any(interrupted()) or self._steps(batches, interrupted)
            except DivergenceError as error:
                raise TrainingError(f"{error}; {self._advice()}") from error
            if self._record is not None:
                self._record.draw()
            for path, reason in self._segments.damaged.items():
                self._display.say(f"left out {path}: {reason}")
        trained = (self.loop.step - self._begun) * config.batch * fabric.world_size
        audio = trained * self._segments.length / self.loop.spec.sample_rate
        return Outcome(
            step=self.loop.step,
            interrupted=ended,
            first=self._first,
            best=self._best,
            best_step=self._best_step,
            audio_rate=audio / self._seconds if self._seconds else 0.0,
        )

    def _steps(self, batches: Prefetch, interrupted: Callable[[], bool]) -> bool:
        """All steps there are; returns whether it was interrupted."""
        loop, config = self.loop, self._config
        shown: dict[str, float] = {}
        for samples in batches:
            began = time.monotonic()
            self._note(loop.train(samples.to(loop.fabric.device)))
            self._seconds += time.monotonic() - began
            last = loop.step == config.steps
            if loop.step % config.log_every == 0 or last:
                shown = self._log()
            self._display.update(loop.step, shown)
            if loop.step == self._due():
                self._validate()
            ended = self._any(interrupted())
            if loop.step % config.save_every == 0 or last or ended:
                self._save()
            if ended and not (last and self._validated == loop.step):
                return True
        return False

    def _due(self) -> int:
        """The latest step, up to the present one, at which validation is planned."""
        step, config = self.loop.step, self._config
        return step if step == config.steps else step - step % config.validate_every

    def _any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return bool(self._mean(float(flag)))

    def _mean(self, value: float) -> float:
        """The mean of all processes' values."""
        fabric = self.loop.fabric
        if fabric.world_size == 1:
            return value
        mean = fabric.all_reduce(torch.tensor(value, dtype=torch.float64, device=fabric.device))
        assert isinstance(mean, Tensor)
        return mean.item()

    def _note(self, measured: Mapping[str, Tensor]) -> None:
        for name, value in measured.items():
            total, count = self._sums.get(name, (torch.zeros_like(value, dtype=torch.float64), 0))
            self._sums[name] = (total + value, count + 1)

    def _log(self) -> dict[str, float]:
        """Record the averages since the last time; all processes' where there are several."""
        averages = {
            name: self._mean(total.item() / count) for name, (total, count) in self._sums.items()
        }
        self._sums = {}
        if self._record is not None:
            self._record.add(self.loop.step, averages)
        self._check(averages)
        return averages

    def _check(self, averages: Mapping[str, float]) -> None:
        """Raise DivergenceError where the losses have grown many times over."""
        total = self.loop.total(averages)
        if not total <= EXPLODED * self._least:
            raise DivergenceError(
                f"the losses have grown to {total:.4g} by step {self.loop.step}, from "
                f"{self._least:.4g}"
            )
        self._least = min(self._least, total)

    def _advice(self) -> str:
        done = checkpoints.steps(self._folder / CHECKPOINTS)
        best = f"the best weights, of step {self._best_step}, are in {self._folder / BEST}"
        if not done:
            return f"{best}; begin anew with a lower optimiser.rate"
        return (
            f"{best}, the last good checkpoint is that of step {done[-1]}: set a lower "
            f"optimiser.rate in {self._folder / CONFIG} and go on with --resume"
        )

    def _validate(self) -> None:
        if self._record is None:
            return
        loop = self.loop
        try:
            measures = loop.validate(self._validation)
        except RunEndsError:  # when the run goes on, it begins with this
            return
        self._validated = loop.step
        self._record.add(loop.step, measures)
        value = measures["validation"]
        if loop.step == 0:
            self._first = value
        better = value < self._best
        if better:
            self._best, self._best_step = value, loop.step
            self._save_weights(self._folder / BEST, loop.weights())
            self._add_samples()
        mark = ", the best so far" if better else f"; the best was {self._best:.4f}"
        self._display.say(f"step {loop.step}: validation {value:.4f}{mark}")

    def _add_samples(self) -> None:
        assert self._record is not None
        loop = self.loop
        clips = self._validation[:CLIPS]
        decoded = loop.decoded(clips)
        if decoded:
            originals = list(loop.originals(clips).numpy())
            self._record.add_samples(loop.step, loop.spec.sample_rate, originals, decoded)

    def _save(self) -> None:
        if self._record is None:
            return
        extra = {
            "sums": {name: (total.item(), count) for name, (total, count) in self._sums.items()},
            "first": self._first,
            "best": self._best,
            "best_step": self._best_step,
            "validated": self._validated,
            "least": self._least,
        }
        self.loop.save(self._folder / CHECKPOINTS, extra)
        self._save_weights(self._folder / LAST, self.loop.weights())


class _Silent:
    """The display of the processes that show nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None: ...

    def update(self, step: int, losses: Mapping[str, float]) -> None: ...

    def say(self, line: str) -> None: ...


@contextmanager
def _closing(record: Record | None) -> Iterator[None]:
    if record is None:
        yield
        return
    with record:
        yield
