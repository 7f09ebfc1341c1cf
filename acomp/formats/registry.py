"""The file forms acomp knows. A new one is one new file and one line here."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, get_args

from acomp.codes import CodesInfo
from acomp.errors import FormatError
from acomp.formats.base import CodesReader, CodesWriter, Reading, Writing
from acomp.formats.dac import DacWriter
from acomp.formats.ecdc import EcdcReader, EcdcWriter
from acomp.formats.nac import NacWriter, open_nac
from acomp.formats.npz import NpzWriter
from acomp.formats.source import Source
from acomp.formats.tokens import open_archive, open_numpy
from acomp.formats.txt import TxtWriter, open_txt
from acomp.settings import Entropy, FormName


@dataclass(frozen=True)
class Form:
    """A file form.

    Attributes:
        name: what it is called; `--format` takes it.
        suffixes: of file names, with the point.
        magic: what the first `MAGIC_BYTES` bytes of a file match.
        read: opens a source: `(source, name, how)`, where messages begin with the name.
        write: begins a stream: `(stream, name, info, how)`.
        entropies: its entropy codings.
    """

    name: FormName
    suffixes: tuple[str, ...]
    magic: re.Pattern[bytes]
    read: Callable[[Source, str, Reading], CodesReader]
    write: Callable[[BinaryIO, str, CodesInfo, Writing], CodesWriter]
    entropies: tuple[Entropy, ...] = ("none",)


MAGIC_BYTES = 8
FORMS = (
    Form("nac", (".nac",), re.compile(rb"NAC"), open_nac, NacWriter, get_args(Entropy)),
    Form("txt", (".txt",), re.compile(rb"[0-9]{1,2}[ \t]*\r?\n"), open_txt, TxtWriter),
    Form("npz", (".npz",), re.compile(rb"PK\x03\x04|\x80\x02\x8a\nl\xfc"), open_archive, NpzWriter),
    Form("dac", (".dac",), re.compile(rb"\x93NUMPY"), open_numpy, DacWriter),
    Form("ecdc", (".ecdc",), re.compile(rb"ECDC"), EcdcReader, EcdcWriter, get_args(Entropy)),
)


CODES_FORMS = f"a form of codes: {', '.join(suffix for form in FORMS for suffix in form.suffixes)}"
"""The suffixes, as messages say them."""


def form_by_name(name: str) -> Form:
    """Raise FormatError where there is none of that name."""
    for form in FORMS:
        if form.name == name:
            return form
    raise FormatError(f"{name!r} is no form for codes; there are {form_names()}")


def form_by_suffix(suffix: str) -> Form | None:
    return next((form for form in FORMS if suffix.lower() in form.suffixes), None)


def form_by_magic(start: bytes) -> Form | None:
    return next((form for form in FORMS if form.magic.match(start)), None)


def form_names() -> str:
    return ", ".join(form.name for form in FORMS)
