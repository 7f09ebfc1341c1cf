"""Binary streams that need not be seekable: reading what has arrived, and keeping what was read."""

from __future__ import annotations

import os
import select
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import IO, BinaryIO

from acomp.audio.pcm import Pcm
from acomp.audio.wav import Read

PATIENCE = 0.02
"""Seconds of audio that a read from a pipe waits for, and the longest that it waits, in seconds."""
_PIECE = 1 << 16
_PIPE_BYTES = 1 << 20


class Arriving:
    """Reads what has arrived from a stream, without waiting for all bytes that are asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        # `read1` returns what is there; `read` of a buffered stream would wait for more.
        self._read: Read = getattr(stream, "read1", stream.read)
        self._stream = stream
        self._enough = 0
        # A larger pipe buffer lets a fast writer get ahead. Only Linux has it, and only for pipes.
        with suppress(ImportError, AttributeError, OSError, TypeError):
            import fcntl

            fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def expect(self, pcm: Pcm) -> None:
        """Wait up to `PATIENCE` seconds from now on, while less PCM than that has arrived.

        Every block, however short, costs the codec time and the file of codes bytes.
        """
        self._enough = int(PATIENCE * pcm.sample_rate) * pcm.block_align

    def __call__(self, count: int) -> bytes:
        data = self._read(min(count, _PIECE))
        parts, size = [data], len(data)
        deadline = monotonic() + PATIENCE
        while data and size < count:
            patience = max(0.0, deadline - monotonic()) if size < self._enough else 0.0
            if not self._has_more(patience):
                break
            data = self._read(min(count - size, _PIECE))
            parts.append(data)
            size += len(data)
        return b"".join(parts)

    def rest(self, count: int) -> bytes:
        """Bytes after the samples, if some arrive within `PATIENCE` seconds; otherwise none."""
        try:
            ready, _, _ = select.select([self._stream], [], [], PATIENCE)
        except (OSError, TypeError, ValueError):  # not a pipe, so a read does not wait
            ready = [self._stream]
        return self._read(count) if ready else b""

    def _has_more(self, patience: float) -> bool:
        """Whether bytes arrive within `patience` seconds."""
        try:
            ready, _, _ = select.select([self._stream], [], [], patience)
        except (OSError, TypeError, ValueError):  # `select` does not work on this stream
            return False
        return bool(ready)


class Tee:
    """Reads, and keeps what was read, so that another reader can begin at the beginning."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.seen = bytearray()

    def __call__(self, count: int) -> bytes:
        part = self._read(count)
        self.seen += part
        return part


@contextmanager
def spooled(start: bytes, read: Read) -> Iterator[IO[bytes]]:
    """A temporary file that holds `start` and everything that `read` returns."""
    with tempfile.TemporaryFile() as spool:
        spool.write(start)
        while part := read(_PIECE):
            spool.write(part)
        spool.seek(0)
        yield spool


class Window:
    """A part of a file, for libraries in C: it has no name, and its methods do not raise.

    A failure is kept, and `check` raises it.
    """

    def __init__(self, file: IO[bytes], begin: int, end: int) -> None:
        self.size = end - begin
        self._file = file
        self._begin = begin
        self._end = end
        self._failure: OSError | None = None
        file.seek(begin)

    def read(self, count: int) -> bytes:
        try:
            return self._file.read(min(count, max(0, self._end - self._file.tell())))
        except OSError as failure:
            self._failure = failure
            return b""

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: self._begin, os.SEEK_END: self._end}
        try:
            return self._file.seek(base.get(whence, self._file.tell()) + offset) - self._begin
        except (OSError, ValueError, OverflowError):  # a place that a damaged file names
            return -1

    def readinto(self, buffer: bytearray) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def tell(self) -> int:
        return self._file.tell() - self._begin

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure


def stream_name(stream: BinaryIO) -> str:
    return "standard input" if getattr(stream, "name", "") in ("<stdin>", 0) else "the stream"
