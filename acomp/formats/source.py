"""Bytes to read, from a file or a pipe, that can be looked at before they are taken."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from acomp.errors import FormatError
from acomp.files import reason_of

_STREAM_NAMES = {"<stdin>": "standard input", "<stdout>": "standard output"}
_CHUNK = 1 << 16


def name_of(source: str | os.PathLike[str] | BinaryIO) -> str:
    """What messages call a file or a stream."""
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return _STREAM_NAMES.get(name, name) if isinstance(name, str) else "the stream"


def _open(source: str | os.PathLike[str] | BinaryIO) -> BinaryIO:
    return Path(source).open("rb") if isinstance(source, str | os.PathLike) else source


class Source:
    """A file or a binary stream, read from where it stands.

    Takes no byte from a stream before it is needed, so that a pipe never waits for more than the
    next block. Streams may be unbuffered: a short read is completed.

    Raises:
        FormatError: the file cannot be opened or read.
    """

    size: int | None
    """Bytes in all where the source can seek; None in a pipe."""

    def __init__(self, source: str | os.PathLike[str] | BinaryIO) -> None:
        self._ahead = bytearray()
        self._closed = False
        self._owned = isinstance(source, str | os.PathLike)
        try:
            self._stream = _open(source)
        except OSError as failure:
            raise FormatError(f"cannot be read: {reason_of(failure)}") from failure
        self.size = None
        try:
            if self._stream.seekable():
                self._start = self._stream.tell()
                self.size = self._stream.seek(0, io.SEEK_END) - self._start
                self._stream.seek(self._start)
        except OSError as failure:
            self.close()
            raise FormatError(f"cannot be read: {reason_of(failure)}") from failure

    def close(self) -> None:
        """Close the file; a stream that was handed in stays open."""
        self._closed = True
        if self._owned:
            self._stream.close()

    def check_open(self) -> None:
        """Raise FormatError after `close`."""
        if self._closed:
            raise FormatError("is closed: read it within its `with` block")

    def seek(self, position: int) -> None:
        """Go to byte `position`, counted from where the source began."""
        self.check_open()
        self._ahead.clear()
        try:
            self._stream.seek(self._start + position)
        except OSError as failure:
            raise FormatError(f"cannot be read: {reason_of(failure)}") from failure

    def peek(self, count: int) -> bytes:
        """The next `count` bytes, which stay to be read; fewer only where the source ends."""
        self.check_open()
        try:
            while len(self._ahead) < count:
                # In pieces, because a file object takes memory for all it is asked for at once.
                chunk = self._stream.read(min(count - len(self._ahead), _CHUNK))
                if not chunk:
                    break
                self._ahead += chunk
        except OSError as failure:
            raise FormatError(f"cannot be read: {reason_of(failure)}") from failure
        return bytes(self._ahead[:count])

    def read(self, count: int) -> bytes:
        """Take the next `count` bytes; fewer only where the source ends."""
        data = self.peek(count)
        del self._ahead[: len(data)]
        return data

    def lines(self, line_limit: int, limit: int) -> Iterator[bytes]:
        """Take the rest, line by line, line ends included.

        Raises:
            FormatError: a line is longer than `line_limit` bytes, or all are longer than `limit`.
        """
        rest, number, total = b"", 0, 0
        while chunk := self.read(_CHUNK):
            total += len(chunk)
            if total > limit:
                raise FormatError(f"is longer than the {limit >> 20} MiB that are read")
            *whole, end = chunk.split(b"\n")
            for line in whole:
                number += 1
                yield rest + line + b"\n"
                rest = b""
            rest += end
            if len(rest) > line_limit:
                raise FormatError(f"line {number + 1} is longer than {line_limit >> 20} MiB")
        if rest:
            yield rest
