"""Work on many items, in this process or in several; a failure of one item does not end the others.

A failure is the outcome of its item, as an error of one line. A process that dies, for lack of
memory or by a fault in a library, costs the item that it worked on, and a new one replaces it.
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


class DiedError(AcompError):
    """The process that worked on an item has died."""


_PATIENCE = 5.0
"""Seconds that a process has to remove unfinished files when it is ended."""


def as_error(error: Exception) -> AcompError:
    """Any error as an error of acomp with a message of one line.

    Raises:
        BrokenPipeError: `error` is one; the reader of the output is gone, which ends a command.
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
    items: Sequence[Item],
    make: Callable[[], Callable[[Item], Result]],
    jobs: int = 1,
    *,
    threads: int | None = None,
) -> Generator[tuple[Item, Result | AcompError], None, None]:
    """Work on all items, and yield each with its result or its error.

    Items are yielded in order; with several processes, in the order in which they are done.

    Args:
        items: the items to work on.
        make: returns the function that works on an item; called once in every process. With several
            processes it, the items and the results must be picklable.
        jobs: number of processes; 1 is this process alone.
        threads: for each of several processes; by default they share those of the machine.
    """
    jobs = min(jobs, len(items))
    if jobs <= 1:
        work = make()
        yield from ((item, _attempt(work, item)) for item in items)
        return
    yield from _Crew(items, make, jobs, threads or _share(jobs)).outcomes()


def _attempt(work: Callable[[Item], Result], item: Item) -> Result | AcompError:
    try:
        return work(item)
    except Exception as error:
        return as_error(error)


class _Crew(Generic[Item, Result]):
    """Several processes, each of which works on one item at a time."""

    def __init__(
        self,
        items: Sequence[Item],
        make: Callable[[], Callable[[Item], Result]],
        jobs: int,
        threads: int,
    ) -> None:
        self._items = iter(items)
        self._make = make
        self._jobs = jobs
        self._threads = threads
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
            outcome = DiedError(
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
            # If the process has died meanwhile, receiving its outcome will fail.
            with suppress(OSError):
                connection.send(item)
            return
        if free is not None:
            free[0].close()  # at which the process ends
            free[1].join()

    def _start(self) -> tuple[Connection, SpawnProcess]:
        # A forked process would inherit the locks of torch's threads in whatever state they are.
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._make, self._threads))
        process.start()
        theirs.close()
        return ours, process

    def _stop(self) -> None:
        """End the processes that are still at work."""
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
    """Threads for each of `jobs` processes."""
    return max(1, (os.cpu_count() or 1) // jobs)


def _serve(
    connection: Connection, make: Callable[[], Callable[[Item], Result]], threads: int
) -> None:
    """Run in a process: work on items as they come, until the connection is closed."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is imported, which reads it
    # Ctrl-C in a terminal reaches all processes; the parent ends the others.
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
    # Its end, which the parent's is told by too, has begun: nothing is left to be removed.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _told(warning: warnings.WarningMessage) -> tuple[str, type[Warning]]:
    """Text and category of a warning, to be given again in the parent process."""
    is_ours = issubclass(warning.category, AcompWarning)
    return str(warning.message), AcompWarning if is_ours else UserWarning


def _portable(outcome: Result | AcompError) -> Result | AcompError:
    """An outcome that can be pickled; the traceback of an error becomes a note."""
    if not isinstance(outcome, AcompError):
        return outcome
    outcome.add_note("".join(traceback.format_exception(outcome)))
    try:
        pickle.loads(pickle.dumps(outcome))
    except Exception:  # the class of an error may come from another package
        return AcompError(str(outcome))
    return outcome


def _end(number: int, _: object) -> NoReturn:
    """End the process by an exception, so that unfinished files are removed."""
    signal.signal(number, signal.SIG_IGN)  # a second one would end the tidying up
    sys.exit(128 + number)


def _end_after(process: BaseProcess) -> None:
    process.join()
    os.kill(os.getpid(), signal.SIGTERM)
