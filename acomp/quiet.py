"""Warnings of other packages, silenced in one thread alone."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class _Here:
    """What a filter of warnings asks whether a warning's text matches: in one thread, every one
    does.
    """

    def __init__(self) -> None:
        self.thread: int | None = threading.get_ident()

    def match(self, _: str, /) -> bool:
        return self.thread == threading.get_ident()


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore the warnings that this thread gives rise to.

    `warnings.catch_warnings` would replace the filters of all threads, and where two of them do so
    at once, leave those of one behind for ever.
    """
    here = _Here()
    entry = ("ignore", here, Warning, None, 0)
    filters: Any = warnings.filters  # a list, which its type does not say
    filters.insert(0, entry)
    try:
        yield
    finally:
        here.thread = None  # someone may have taken a copy of the filters
        with suppress(ValueError):
            filters.remove(entry)
