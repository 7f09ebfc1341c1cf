"""Sources by name in messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike

from acomp.errors import AudioError, CodecError
from acomp.pipeline.settings import Source


@contextmanager
def naming(source: Source) -> Iterator[None]:
    """Put the name of the source before messages that do not have it."""
    try:
        yield
    except (AudioError, CodecError) as error:
        name = name_of(source)
        if name in str(error):
            raise
        raise type(error)(f"{name}: {error}") from error


def name_of(source: Source) -> str:
    return str(source) if isinstance(source, str | PathLike) else "standard input"
