"""Signals that ask a process to end, and messages from their handlers."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

ENDING_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)
)
"""SIGTERM comes from a supervisor, SIGHUP from a closed terminal. (SIGINT is KeyboardInterrupt.)"""


def say_at_once(line: str) -> None:
    """Write a line to stderr from a signal handler, which may have interrupted another writing."""
    with suppress(OSError):  # a terminal that is closed takes nothing
        os.write(2, f"{line}\n".encode())
