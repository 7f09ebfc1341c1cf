"""The time that coding takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter, thread_time
from typing import ParamSpec, TypeVar

from acomp.engines.base import preparation

P = ParamSpec("P")
T = TypeVar("T")


class Clock:
    """Calls functions and adds up the time they take, without that of compiling networks."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.preparing = 0.0

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        with self._adding(perf_counter):
            return function(*args, **kwargs)

    def own(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same, without the time that is waited: for the other end of a pipe."""
        with self._adding(thread_time):
            return function(*args, **kwargs)

    @contextmanager
    def _adding(self, now: Callable[[], float]) -> Iterator[None]:
        began, before = now(), preparation.seconds
        try:
            yield
        finally:
            preparing = preparation.seconds - before
            self.seconds += now() - began - preparing
            self.preparing += preparing
