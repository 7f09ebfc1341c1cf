"""`.ecdc`: files of the `encodec` package, the official tool of EnCodec; see docs/formats.md."""

from acomp.formats.ecdc.reading import EcdcReader
from acomp.formats.ecdc.writing import EcdcWriter

__all__ = ["EcdcReader", "EcdcWriter"]
