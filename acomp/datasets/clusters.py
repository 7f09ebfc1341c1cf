"""Parts made on a Ray cluster: Ray decides where each process runs that makes parts, and what a
lost one was making is made by another.
"""

from __future__ import annotations

import os
import re
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any

from acomp.batch.processes import as_error
from acomp.datasets.entries import Part
from acomp.datasets.parts import Tally
from acomp.errors import AcompError
from acomp.packages import require_packages

Start = Callable[[], Callable[[Part], Tally]]

WAITING = 64
"""Most processes that Ray is asked for beyond those that it has room for: by them a cluster that
grows with its work sees that there is more."""
TRIES = 5
"""How often a part is begun whose process or machine is lost; and how many processes may be lost
before one has loaded the codec."""

PATIENCE = 10.0
"""Seconds that a cluster has to answer."""
_HOST = re.compile(r"([^/:]+):([0-9]{1,5})")


def on_ray(
    parts: Sequence[Part], start: Start, address: str, *, gpu: bool
) -> Generator[tuple[Part, Tally | AcompError], None, None]:
    """Make parts on a cluster, and yield each with what it holds or its error.

    Args:
        parts: the parts.
        start: gives the function that makes one; called once in every process of Ray's.
        address: of the cluster; `auto` is the one that runs here, or else a new one.
        gpu: whether each process has a GPU, and not just a core.

    Raises:
        AcompError: Ray is not installed, there is no such cluster, or nothing can be made on it.
    """
    require_packages("--ray", "ray", extra="ray")
    with _cluster(address):
        yield from _Crew(parts, start, gpu).outcomes()


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    import ray

    # What Ray says of lost machines goes nowhere but to sys.stdout, where results are.
    with redirect_stdout(sys.stderr):
        try:
            if found := _HOST.fullmatch(address):  # Ray itself waits for minutes
                socket.create_connection((found[1], int(found[2])), PATIENCE).close()
            ray.init(
                address=None if address == "auto" else address,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except Exception as error:  # Ray has errors of many kinds
            said = " ".join(str(error).split())[:200]
            raise AcompError(f"there is no Ray cluster at {address}: {said}") from error
        try:
            yield
        finally:
            ray.shutdown()


class _Maker:
    """What makes parts in a process of Ray's, an actor, which has a core or a GPU to itself.

    A task of Ray's would have a fresh process each where it has a GPU, and so load the codec for
    each part.
    """

    def __init__(self, start: Start, folder: str) -> None:
        self._start = start
        self._folder = folder

    def load(self) -> AcompError | None:
        """Load the codec; what is returned is why that cannot be done."""
        try:
            import torch

            with suppress(OSError):  # names of sources may begin there, if the machine has it
                os.chdir(self._folder)
            torch.set_num_threads(1)  # as everywhere, so that codes are the same
            self._make = self._start()
        except Exception as error:
            return _portable(error)
        return None

    def make(self, part: Part) -> Tally | AcompError:
        """Make a part."""
        try:
            return self._make(part)
        except Exception as error:
            return _portable(error)


def _portable(error: Exception) -> AcompError:
    return AcompError(str(as_error(error)))


class _Crew:
    """Processes of a cluster: as many as it has room for, each of which makes a part at a time."""

    def __init__(self, parts: Sequence[Part], start: Start, gpu: bool) -> None:
        import ray

        self._left = deque(parts)
        self._losses: Counter[int] = Counter()
        """How often the process that made a part was lost, by the part's number."""
        self._early = 0
        """How many processes were lost before they had loaded the codec."""
        self._has_begun = False
        self._start = ray.put(start)
        self._maker = ray.remote(num_cpus=1, num_gpus=int(gpu))(_Maker)
        self._coming: dict[Any, Any] = {}
        self._busy: dict[Any, tuple[Any, Part]] = {}

    def outcomes(self) -> Generator[tuple[Part, Tally | AcompError], None, None]:
        import ray

        while self._left or self._busy:
            self._ask()
            (done,), _ = ray.wait([*self._busy, *self._coming], num_returns=1)
            if done in self._coming:
                self._welcome(done)
            elif (found := self._result(done)) is not None:
                yield found

    def _ask(self) -> None:
        """Ask for a process for each part that has none, and no more."""
        import ray

        while len(self._coming) < min(WAITING, len(self._left)):
            maker = self._maker.remote(self._start, str(Path.cwd()))
            self._coming[maker.load.remote()] = maker
        while len(self._coming) > len(self._left):
            ray.kill(self._coming.popitem()[1])

    def _welcome(self, loaded: Any) -> None:
        """Give its first part to a process that has loaded the codec."""
        import ray

        maker = self._coming.pop(loaded)
        try:
            problem = ray.get(loaded)
        except ray.exceptions.RayError as error:
            self._early += 1
            if self._early >= TRIES and not self._has_begun:
                raise AcompError(_lost("before it had loaded the codec", error)) from error
            return
        if problem is not None:
            raise problem
        self._has_begun = True
        self._give(maker)

    def _give(self, maker: Any) -> None:
        """Give a part to a process that is free, or let it go."""
        import ray

        if self._left:
            part = self._left.popleft()
            self._busy[maker.make.remote(part)] = maker, part
        else:
            ray.kill(maker)

    def _result(self, made: Any) -> tuple[Part, Tally | AcompError] | None:
        """A part with what it holds or its error; None if it is to be made by another process."""
        import ray

        maker, part = self._busy.pop(made)
        try:
            found: Tally | AcompError = ray.get(made)
        except ray.exceptions.RayError as error:
            ray.kill(maker)
            self._losses[part.number] += 1
            if self._losses[part.number] == TRIES:
                return part, AcompError(_lost(f"while it made {part.name}", error))
            self._left.appendleft(part)
            return None
        self._give(maker)
        return part, found


def _lost(when: str, error: Exception) -> str:
    said = " ".join(str(error).split())[:200]
    return f"a process of Ray's was lost {when}, {TRIES} times: {said}"
