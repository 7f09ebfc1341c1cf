"""Values from files, before they are used: plain ones alone, and bounded.

A file decides what stands in it. So whatever a parser or an unpickler makes of one is looked
through here before anything else touches it: taken are None, booleans, whole numbers of 64 bits,
floats, texts, lists, tuples and dictionaries by text, and arrays of numbers, of a bounded depth and
number. A value that stands in several places counts in each of them, so that nothing which is small
in the file becomes large by being gone through.

Parsing is bounded too: `parse_json` and `parse_yaml` look at the size first, and `open_zip` at the
size of an archive's directory.
"""

from __future__ import annotations

import io
import json
import re
import reprlib
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from acomp.errors import AcompError
from acomp.files import reason_of

if TYPE_CHECKING:
    import yaml

MAX_DEPTH = 16
MAX_VALUES = 10_000
MAX_TEXT = 1 << 16
"""Characters of a text, and of the JSON or YAML that one asks for."""
MAX_BITS = 64
MAX_DIRECTORY = 1 << 20
"""Bytes that tell what is in a zip archive: 15 000 members or so."""

NPY_MAGIC = b"\x93NUMPY"
_NPY_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[<>|=]?[a-zA-Z]{1,2}[0-9]{0,9})', "
    rb"'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:[0-9]{1,18}, ?){0,31}(?:[0-9]{1,18})?)\),? ?\}\s*"
)


class NotPlainError(ValueError):
    """A value that is not plain, or out of bounds; the message follows the name of its place."""


class _Brief(reprlib.Repr):
    """A representation of any value in a few words, at a cost that does not depend on it."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = 60

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002
        # Python refuses to write out numbers of more than some thousand digits.
        return repr(x) if x.bit_length() <= 4 * MAX_BITS else f"a number of {x.bit_length()} bits"

    def repr_instance(self, x: object, level: int) -> str:
        if isinstance(x, np.generic) and _is_single(x.item()):
            return self.repr1(x.item(), level)
        shape = f" of {list(x.shape)[:4]}" if isinstance(x, np.ndarray) else ""
        return f"<{type(x).__name__}{shape}>"

    repr_type = repr_ndarray = repr_instance

    def repr_bool(self, x: bool, level: int) -> str:  # noqa: ARG002
        return repr(x)

    repr_float = repr_NoneType = repr_bool  # noqa: N815 - reprlib calls it by the type's name

    def repr_bytes(self, x: bytes, level: int) -> str:  # noqa: ARG002
        return repr(x[: self.maxstring])


brief = _Brief().repr
"""What a message says in the place of a value from a file."""


def check(value: object, *, depth: int = MAX_DEPTH, values: int = MAX_VALUES) -> None:
    """See that `value` is plain.

    Raises:
        NotPlainError: it is not, or holds more than `values` values, or more than `depth` levels.
    """
    left = values
    pending: list[tuple[object, int]] = [(value, depth)]
    while pending:
        item, levels = pending.pop()
        inner = _inner(item)
        left -= len(inner)
        if left < 1:
            raise NotPlainError(f"holds more than {values} values")
        if inner and not levels:
            raise NotPlainError(f"holds values more than {depth} levels deep")
        pending += [(each, levels - 1) for each in inner]


def _inner(item: object) -> list[object]:
    """The values that a plain one is made of."""
    kind = type(item)
    if kind in (list, tuple):
        return list(item)  # type: ignore[call-overload, no-any-return]
    if isinstance(item, dict):
        for key in item:
            if type(key) is not str or len(key) > MAX_TEXT:
                raise NotPlainError(f"holds {brief(key)} as a key")
        return list(item.values())
    if not _is_single(item):
        raise NotPlainError(f"holds {brief(item)}, which is no plain value")
    return []


def _is_single(item: object) -> bool:
    match item:
        case None | bool() | float():
            return True
        case int():
            return item.bit_length() <= MAX_BITS
        case str():
            return len(item) <= MAX_TEXT
        case np.ndarray():
            return item.dtype.kind in "biuf"
    return False


def read_small(path: Path, most: int) -> bytes:
    """The bytes of a file, which can be a device or a pipe.

    Raises:
        NotPlainError: it has more than `most`.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise NotPlainError(f"is longer than the {most} bytes that are read")
    return data


def read_text(path: Path, most: int, error: type[AcompError]) -> str:
    """The text of a file in UTF-8, with or without a mark at its beginning.

    Raises:
        AcompError: as `error`, it cannot be read, has more than `most` bytes, or is not such text.
    """
    try:
        return read_small(path, most).decode("utf-8-sig")
    except OSError as failure:
        raise error(f"cannot read {path}: {reason_of(failure)}") from failure
    except NotPlainError as failure:
        raise error(f"{path} {failure}") from failure
    except UnicodeDecodeError as failure:
        raise error(f"{path} is not text in UTF-8") from failure


def read_json(path: Path, error: type[AcompError]) -> object:
    """The plain value of a JSON file.

    Raises:
        AcompError: as `error`, it cannot be read, is too long, no JSON, or of a value that is not
            plain.
    """
    try:
        return parse_json(read_text(path, MAX_TEXT, error))
    except NotPlainError as failure:
        raise error(f"{path} {failure}") from failure


def parse_json(text: bytes | str) -> object:
    """The plain value of a JSON text.

    Raises:
        NotPlainError: it is too long, no JSON, or of a value that is not plain.
    """
    if len(text) > MAX_TEXT:
        raise NotPlainError(f"is longer than {MAX_TEXT} characters of JSON")
    try:
        value: object = json.loads(text)
    # Nesting as deep as the limit on length allows exhausts the parser's stack.
    except (ValueError, RecursionError) as error:
        raise NotPlainError("is not JSON") from error
    check(value)
    return value


def parse_yaml(text: str) -> object:
    """The plain value of a YAML text.

    Raises:
        NotPlainError: it is too long, no YAML, or of a value that is not plain.
        ImportError: the package is missing.
    """
    import yaml

    if len(text) > MAX_TEXT:
        raise NotPlainError(f"is longer than {MAX_TEXT} characters of YAML")
    try:
        value: object = yaml.load(text, Loader=_yaml_loader())
    except NotPlainError:
        raise
    except yaml.YAMLError as error:
        raise NotPlainError(f"is no YAML: {' '.join(str(error).split())}") from error
    # Its constructors raise a dozen kinds of exception over what hostile scalars make of them.
    except Exception as error:
        raise NotPlainError("is no YAML") from error
    check(value)
    return value


def _yaml_loader() -> type[yaml.SafeLoader]:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Counts the values of a text, and what an alias stands for again with each alias.

        Only what is composed within bounds is constructed: merge keys would double and double.
        """

        def __init__(self, text: str) -> None:
            super().__init__(text)
            self._depth = self._values = 0
            self._sizes: dict[int, int] = {}

        def compose_node(self, parent: Any, index: Any) -> Any:
            is_alias, before = self.check_event(yaml.AliasEvent), self._values
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise NotPlainError(f"holds values more than {MAX_DEPTH} levels deep")
            node = super().compose_node(parent, index)
            self._depth -= 1
            if is_alias and id(node) not in self._sizes:
                raise NotPlainError("holds a value that is part of itself")
            self._values += self._sizes[id(node)] if is_alias else 1
            if self._values > MAX_VALUES:
                raise NotPlainError(f"holds more than {MAX_VALUES} values")
            self._sizes.setdefault(id(node), self._values - before)
            return node

    return Loader


class _InPieces(io.RawIOBase):
    """A file of which nothing large can be asked for at once, as zipfile asks for a directory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def read(self, size: int = -1) -> bytes:
        if size > MAX_DIRECTORY:
            raise zipfile.BadZipFile("its directory is too large")
        return self._file.read(size)


def open_zip(file: IO[bytes]) -> zipfile.ZipFile:
    """An archive to read, of a bounded directory; read its members in pieces of at most
    `MAX_DIRECTORY` bytes.

    Raises:
        NotPlainError: it is no archive, or its directory is damaged or too large.
    """
    try:
        return zipfile.ZipFile(_InPieces(file))
    # zipfile raises several kinds of exception over what hostile bytes make of it.
    except Exception as error:
        raise NotPlainError(f"is a damaged archive: {brief(str(error))}") from error


def read_npy_header(file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """The type, the shape and whether the order is Fortran's of the array whose `.npy` begins here.

    numpy's own reader takes seconds over headers that it evaluates as Python.

    Raises:
        NotPlainError: it is not the header of an array of numbers or text as numpy writes it.
    """
    start = file.read(len(NPY_MAGIC) + 2)
    if not start.startswith(NPY_MAGIC) or start[-2:] not in (b"\1\0", b"\2\0", b"\3\0"):
        raise NotPlainError("is no array of numpy")
    width = 2 if start[-2] == 1 else 4
    size = int.from_bytes(file.read(width), "little")
    if size > MAX_TEXT:
        raise NotPlainError("is an array of numpy with too long a header")
    found = _NPY_HEADER.fullmatch(file.read(size))
    try:
        dtype = np.dtype(found["descr"].decode("ascii")) if found else None
    except (TypeError, ValueError) as error:
        raise NotPlainError("is an array of numpy of an unknown type") from error
    if found is None or dtype is None or dtype.kind not in "biufU":
        raise NotPlainError("is an array of numpy, but not one of numbers")
    shape = tuple(int(size) for size in found["shape"].replace(b" ", b"").split(b",") if size)
    return dtype, shape, found["fortran"] == b"True"
