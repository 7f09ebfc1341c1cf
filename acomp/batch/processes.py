"""Work on many items, in this process or in several, so that no item's fault ends the others.

What goes wrong with an item is its outcome: an error in a line. A process that dies, for want of
memory or by a fault in a library, costs the item it had, and another takes its place.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Generic, NoReturn, TypeVar, cast

from acomp.errors import AcompError, AcompWarning
from acomp.files import reason_of

Item = TypeVar("Item")
Result = TypeVar("Result")

_PATIENCE = 5.0
"""Seconds that a process gets to take away what it has half written."""


def as_error(error: Exception) -> AcompError:
    """An error in a line: itself, if it is one of acomp's, or else what is to be done about it.

    Raises:
        BrokenPipeError: `error` is one: the reader of the output has gone, which ends a command.
    """
    if isinstance(error, AcompError):
        return error
    if isinstance(error, BrokenPipeError):
        raise error
    if isinstance(error, MemoryError):
        said = "there is not enough memory for it"
    elif isinstance(error, OSError):
        said = f"cannot use {error.filename or 'a file'}: {reason_of(error)}"
    else:
        said = f"a fault of acomp, please report it ({type(error).__name__}: {str(error)[:200]})"
    found = AcompError(said)
    found.__cause__ = error
    return found


def each(
    items: Sequence[Item], make: Callable[[], Callable[[Item], Result]], jobs: int = 1
) -> Generator[tuple[Item, Result | AcompError], None, None]:
    """Each item with its result or with what went wrong: in order, or as they end where several
    processes work on them.

    Args:
        items: what to work on.
        make: gives the function that works on an item, once in every process; for several it must
            be one that can be pickled, as must items and results.
        jobs: how many processes work side by side; 1 is this one.
    """
    jobs = min(jobs, len(items))
    if jobs <= 1:
        work = make()
        yield from ((item, _attempt(work, item)) for item in items)
        return
    yield from _Crew(items, make, jobs).outcomes()


def _attempt(work: Callable[[Item], Result], item: Item) -> Result | AcompError:
    try:
        return work(item)
    except Exception as error:
        return as_error(error)


class _Crew(Generic[Item, Result]):
    """Processes, each with an item that it works on."""

    def __init__(
        self, items: Sequence[Item], make: Callable[[], Callable[[Item], Result]], jobs: int
    ) -> None:
        self._items = iter(items)
        self._make = make
        self._jobs = jobs
        self._busy: dict[Connection, tuple[SpawnProcess, Item]] = {}

    def outcomes(self) -> Generator[tuple[Item, Result | AcompError], None, None]:
        try:
            for _ in range(self._jobs):
                self._employ(None)
            while self._busy:
                for ready in wait(list(self._busy)):
                    yield self._outcome(cast(Connection, ready))
        finally:
            self._stop()

    def _outcome(self, connection: Connection) -> tuple[Item, Result | AcompError]:
        process, item = self._busy.pop(connection)
        try:
            outcome, told = connection.recv()
        except (EOFError, OSError):
            process.join()
            outcome = AcompError(
                f"the process that worked on it has died ({_death(process)}), perhaps for want of "
                "memory: fewer --jobs may help"
            )
            connection.close()
            self._employ(None)
        else:
            for text, category in told:
                warnings.warn(text, category, stacklevel=2)
            self._employ((connection, process))
        return item, outcome

    def _employ(self, free: tuple[Connection, SpawnProcess] | None) -> None:
        """Give the next item to a process that is free, or to a new one."""
        for item in self._items:
            connection, process = free or self._start()
            self._busy[connection] = process, item
            # A process that has died meanwhile shows when its outcome is due.
            with suppress(OSError):
                connection.send(item)
            return
        if free is not None:
            free[0].close()  # it ends by itself
            free[1].join()

    def _start(self) -> tuple[Connection, SpawnProcess]:
        # Forked processes would share the locks of torch's threads, in whatever state they are.
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._make, _share(self._jobs)))
        process.start()
        theirs.close()
        return ours, process

    def _stop(self) -> None:
        """End what still works: nobody waits for it any more."""
        processes = [process for process, _ in self._busy.values()]
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(_PATIENCE)
            if process.is_alive():
                process.kill()
                process.join()
        self._busy.clear()


def _death(process: SpawnProcess) -> str:
    code = process.exitcode or 0
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _share(jobs: int) -> int:
    """Threads for each of some processes."""
    return max(1, (os.cpu_count() or 1) // jobs)


def _serve(
    connection: Connection, make: Callable[[], Callable[[Item], Result]], threads: int
) -> None:
    """What a process does: work on items as they come, until no more do."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported, which reads it
    # An interrupt of the terminal reaches all processes; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    parent = parent_process()
    if parent is not None:
        Thread(target=_end_after, args=(parent,), daemon=True).start()
    work = make()
    with suppress(EOFError, OSError):
        while True:
            item = connection.recv()
            with warnings.catch_warnings(record=True) as told:
                outcome = _portable(_attempt(work, item))
            connection.send((outcome, [_told(warning) for warning in told]))


def _told(warning: warnings.WarningMessage) -> tuple[str, type[Warning]]:
    """A warning that another process can have, which shows it as it shows its own."""
    is_ours = issubclass(warning.category, AcompWarning)
    return str(warning.message), AcompWarning if is_ours else UserWarning


def _portable(outcome: Result | AcompError) -> Result | AcompError:
    """An outcome that another process can have: an error's traceback goes along as text."""
    if not isinstance(outcome, AcompError):
        return outcome
    outcome.add_note("".join(traceback.format_exception(outcome)))
    try:
        pickle.loads(pickle.dumps(outcome))
    except Exception:  # whatever a class of somebody else's makes of it
        return AcompError(str(outcome))
    return outcome


def _end(number: int, _: object) -> NoReturn:
    """End by an exception, so that what is half written is taken away."""
    sys.exit(128 + number)


def _end_after(process: BaseProcess) -> None:
    process.join()
    os.kill(os.getpid(), signal.SIGTERM)
