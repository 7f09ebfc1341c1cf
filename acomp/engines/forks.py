"""Whether this process is a fork: threads do not come along, and what relied on them must be new.

A fork copies one thread. Pools of threads that torch and OpenVINO had in the parent are gone in the
child, though their owners think that they are there, and wait for them for ever. A lock that
another thread held is held for ever.
"""

from __future__ import annotations

import os
from threading import RLock
from types import TracebackType
from weakref import WeakSet

_generation = 0
_locks: WeakSet[SafeLock] = WeakSet()


class SafeLock:
    """A lock that is free after a fork; the thread that holds it may take it again."""

    def __init__(self) -> None:
        self._lock = RLock()
        _locks.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Be free, whoever held it."""
        self._lock = RLock()


def generation() -> int:
    """How many forks lie between the process that first imported acomp's engines and this one."""
    return _generation


def _tell() -> None:
    global _generation
    _generation += 1
    for lock in list(_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell)
