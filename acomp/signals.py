"""Signals that ask a process to end, and what may be said while one is handled."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

ENDING_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""From a supervisor, and from a terminal that is closed. (SIGINT raises KeyboardInterrupt.)"""


def say_at_once(line: str) -> None:
    """Write a line to stderr from a signal handler, which may have interrupted another writing."""
    with suppress(OSError):  # a terminal that is closed takes nothing
        os.write(2, f"{line}\n".encode())
