"""Ending a training run early: the first signal asks for it, the second ends it at once."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from threading import Event, Thread
from types import FrameType

from acomp.signals import ENDING_SIGNALS, say_at_once

SIGNALS = (signal.SIGINT, *ENDING_SIGNALS)
ASKED = "ending after the step at hand, with a checkpoint; once more ends at once"


class RunEndsError(Exception):
    """Raised where long work is given up because the run ends early."""


@contextmanager
def interruption() -> Iterator[Callable[[], bool]]:
    """A function that returns whether SIGINT, SIGTERM or SIGHUP came, for a run in one process.

    The first signal prints a line on stderr. The second raises KeyboardInterrupt or SystemExit
    wherever the process is.
    """
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        came.append(number)
        if len(came) == 1:
            say_at_once(ASKED)
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(128 + number)

    ignored = {each for each in ENDING_SIGNALS if signal.getsignal(each) == signal.SIG_IGN}
    with _handling({each: note for each in SIGNALS if each not in ignored}):
        yield lambda: bool(came)


@contextmanager
def interruption_of_child() -> Iterator[Callable[[], bool]]:
    """As `interruption`, for one of the processes that are started within `handing_on`.

    SIGTERM comes from the parent, or was sent to the whole process group. SIGINT counts only if the
    parent has died, because a terminal sends it too. A second signal changes nothing: the parent
    kills processes that take too long.
    """
    came: list[int] = []
    parent = os.getppid()

    def note(number: int, _: FrameType | None) -> None:
        if number == signal.SIGTERM or os.getppid() != parent:
            came.append(number)

    heard = (signal.SIGINT, signal.SIGTERM)
    with _handling(dict.fromkeys(heard, note)):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, heard)
        yield lambda: bool(came)


@contextmanager
def handing_on() -> Iterator[Callable[[], bool]]:
    """Pass signals on to the processes that are started within the context.

    The first signal is passed on as SIGTERM, the second as SIGKILL. The context gives a function
    that returns whether the processes were killed.

    The processes start with the signals blocked until they can handle them, so the signals are
    blocked in the thread that starts the processes, too. Another thread gets them through a pipe.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    over = Event()
    came: list[int] = []
    told: set[tuple[int | None, signal.Signals]] = set()

    def watch() -> None:
        while not over.is_set():
            if select.select([reading], [], [], 0.2)[0]:
                came.extend(os.read(reading, 16))
                if len(came) == 1:
                    say_at_once(ASKED)
            if came:
                tell(signal.SIGTERM if len(came) == 1 else signal.SIGKILL)

    def tell(number: signal.Signals) -> None:
        for child in multiprocessing.active_children():  # includes those that have just started
            if child.pid is not None and (child.pid, number) not in told:
                told.add((child.pid, number))
                os.kill(child.pid, number)

    resource_tracker.ensure_running()  # started later, it would unblock the signals
    watcher = Thread(target=watch, name="signals", daemon=True)
    with _handling(dict.fromkeys(SIGNALS, lambda *_: None)):
        woken = signal.set_wakeup_fd(writing)
        watcher.start()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            yield lambda: len(came) > 1
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
            over.set()
            watcher.join()
            signal.set_wakeup_fd(woken)
            os.close(reading)
            os.close(writing)


Handler = Callable[[int, FrameType | None], None]


@contextmanager
def _handling(handlers: dict[signal.Signals, Handler]) -> Iterator[None]:
    before = {each: signal.signal(each, handler) for each, handler in handlers.items()}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
