"""`.nac`: blocks of codes, each with a checksum, and an index at the end.

Version 1 has packed codes, version 2 entropy-coded ones. docs/nac.md specifies every byte.
"""

from __future__ import annotations

from acomp.errors import FormatError
from acomp.formats.base import CodesReader, Reading
from acomp.formats.nac.limits import LAYOUTS
from acomp.formats.nac.reading import NacReader
from acomp.formats.nac.recovery import RecoveringReader
from acomp.formats.nac.version0 import HEADER, Nac0Reader
from acomp.formats.nac.writing import NacWriter
from acomp.formats.source import Source

__all__ = ["NacWriter", "open_nac"]


def open_nac(source: Source, name: str, how: Reading) -> CodesReader:
    """A reader for any version of `.nac`."""
    start = source.peek(HEADER.size)
    if start[:3] != b"NAC":
        raise FormatError("is not a .nac file: it does not begin with NAC")
    if len(start) < HEADER.size:
        raise FormatError("ends in the middle of the header")
    version = start[3]
    if version == 0:
        return Nac0Reader(source, name, how)
    if version in LAYOUTS:
        reader = RecoveringReader if how.recover else NacReader
        return reader(source, name, how, LAYOUTS[version])
    raise FormatError(f"is .nac version {version}; this acomp reads versions 0 to {max(LAYOUTS)}")
