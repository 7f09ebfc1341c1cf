"""Silencing of warnings in a single thread, and of a notice of LiteRT."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
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


_stderr = threading.Lock()


@contextmanager
def without_notice() -> Iterator[None]:
    """Keep LiteRT's notice about its delegate from the terminal.

    The compiled part writes it to the file descriptor of stderr, once in a process, when the first
    interpreter opens; it has no setting for that. What else is meant for stderr meanwhile, a
    few hundredths of a second, is lost. One thread at a time: a second one would keep the first
    one's nowhere for stderr.
    """
    with _stderr:
        sys.stderr.flush()
        try:
            kept = os.dup(2)
        except OSError:  # closed: nothing can be written there
            yield
            return
        try:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
