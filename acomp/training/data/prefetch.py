"""Batches that threads make while others are trained on."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Protocol, Self

from torch import Tensor

from acomp.files import Closing

THREADS = 4
AHEAD = 4
"""Threads that make batches, and batches that wait to be trained on."""


class Drawn(Protocol):
    """What batches are drawn from."""

    @property
    def length(self) -> int:
        """Of a segment, in samples."""
        ...

    @property
    def damaged(self) -> Mapping[Path, str]:
        """Files in which a stretch could not be read, and why the first could not."""
        ...

    def batch(self, step: int, rank: int, size: int) -> Tensor:
        """So many segments: a function of the step and the process alone."""
        ...


class Prefetch(Closing):
    """The batches of some steps in their order, made by threads while others are trained on.

    A context manager and an iterator. An error in a thread is raised when its batch is asked for.

    Args:
        segments: what is drawn from.
        steps: to give batches for.
        rank: number of the process.
        size: of a batch.
    """

    def __init__(self, segments: Drawn, steps: range, rank: int, size: int) -> None:
        self._segments = segments
        self._steps = iter(steps)
        self._rank = rank
        self._size = size
        self._pool = ThreadPoolExecutor(THREADS, "segments")
        self._pending: deque[Future[Tensor]] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Tensor:
        # One more than wait while it is trained on.
        for step in islice(self._steps, AHEAD + 1 - len(self._pending)):
            batch = self._pool.submit(self._segments.batch, step, self._rank, self._size)
            self._pending.append(batch)
        if not self._pending:
            raise StopIteration
        return self._pending.popleft().result()

    def close(self) -> None:
        """Drop the batches that wait; ends the iteration."""
        self._pool.shutdown(cancel_futures=True)
        self._pending.clear()
        self._steps = iter(())
