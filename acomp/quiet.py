"""Silencing of warnings in a single thread."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class _Here:
    """Stands for the pattern of a warning filter: in one thread it matches every text."""

    def __init__(self) -> None:
        self.thread: int | None = threading.get_ident()

    def match(self, _: str, /) -> bool:
        return self.thread == threading.get_ident()


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore all warnings that this thread causes.

    `warnings.catch_warnings` would replace the filters of all threads; if two threads used it at
    once, the filters of one could stay for ever.
    """
    here = _Here()
    entry = ("ignore", here, Warning, None, 0)
    filters: Any = warnings.filters  # it is a list, though its declared type is a sequence
    filters.insert(0, entry)
    try:
        yield
    finally:
        here.thread = None  # for copies that others may have made of the filters
        with suppress(ValueError):
            filters.remove(entry)
