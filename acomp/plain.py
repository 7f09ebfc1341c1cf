"""Checks on values from files, before they are used: only plain values, of bounded size.

A file may hold anything, so whatever a parser or an unpickler makes of it is checked here first.
Plain values are None, booleans, integers of up to 64 bits, floats, texts, arrays of numbers, and
lists, tuples and dictionaries (with texts as keys) of plain values, of bounded depth and number. A
value that is used in several places counts in each of them, so that nothing small in a file becomes
large in use.

Parsing is bounded too: `parse_json` and `parse_yaml` check the size of the text first, and
`open_zip` that of an archive's directory.
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
"""Most characters of a text value, and of a JSON or YAML text."""
MAX_BITS = 64
MAX_DIRECTORY = 1 << 20
"""Most bytes of the directory of a zip archive: about 15 000 members."""

NPY_MAGIC = b"\x93NUMPY"
_NPY_HEADER = re.compile(
    rb"\{'descr': '(?P<descr>[<>|=]?[a-zA-Z]{1,2}[0-9]{0,9})', "
    rb"'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:[0-9]{1,18}, ?){0,31}(?:[0-9]{1,18})?)\),? ?\}\s*"
)


class NotPlainError(ValueError):
    """A value is not plain or exceeds a limit; the message continues the name of its source."""


class _Brief(reprlib.Repr):
    """A short representation of any value, whose cost does not depend on the value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 2
        self.maxstring = self.maxother = 60

    def repr_int(self, x: int, level: int) -> str:  # noqa: ARG002
        # Python refuses to print integers of more than some thousand digits.
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
"""Returns what messages print for a value from a file."""


def check(value: object, *, depth: int = MAX_DEPTH, values: int = MAX_VALUES) -> None:
    """Check that `value` is plain.

    Raises:
        NotPlainError: it is not, or it holds more than `values` values or `depth` levels.
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
    """The values that a plain value directly holds."""
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
    """The bytes of a file, which may be a device or a pipe.

    Raises:
        NotPlainError: it has more than `most` bytes.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise NotPlainError(f"is longer than the {most} bytes that are read")
    return data


def read_text(path: Path, most: int, error: type[AcompError]) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        AcompError: as `error`: the file cannot be read, has more than `most` bytes, or is not text
            in UTF-8.
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
    """The plain value in a JSON file.

    Raises:
        AcompError: as `error`: the file cannot be read, is too long or not JSON, or its value is
            not plain.
    """
    try:
        return parse_json(read_text(path, MAX_TEXT, error))
    except NotPlainError as failure:
        raise error(f"{path} {failure}") from failure


def parse_json(text: bytes | str) -> object:
    """The plain value of a JSON text.

    Raises:
        NotPlainError: the text is too long or not JSON, or its value is not plain.
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
        NotPlainError: the text is too long or not YAML, or its value is not plain.
        ImportError: PyYAML is not installed.
    """
    import yaml

    if len(text) > MAX_TEXT:
        raise NotPlainError(f"is longer than {MAX_TEXT} characters of YAML")
    try:
        value: object = yaml.load(text, Loader=_yaml_loader())
    except NotPlainError:
        raise
    except yaml.YAMLError as error:
        raise NotPlainError(f"is not YAML: {' '.join(str(error).split())}") from error
    # Hostile scalars make PyYAML's constructors raise a dozen kinds of exceptions.
    except Exception as error:
        raise NotPlainError("is not YAML") from error
    check(value)
    return value


def _yaml_loader() -> type[yaml.SafeLoader]:
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Counts the values of a text, including those of an alias each time it is used.

        Values are constructed only after all are counted, because merge keys can double the size
        again and again.
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
    """A file that refuses large reads, which bounds the memory for the directory of an archive."""

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
    """Open a zip archive for reading, if its directory is of a bounded size.

    Members must be read in pieces of at most `MAX_DIRECTORY` bytes.

    Raises:
        NotPlainError: the file is no archive, or its directory is damaged or too large.
    """
    try:
        return zipfile.ZipFile(_InPieces(file))
    # Hostile bytes make zipfile raise several kinds of exceptions.
    except Exception as error:
        raise NotPlainError(f"is a damaged archive: {brief(str(error))}") from error


def read_npy_header(file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    """Data type, shape and whether the order is Fortran's, from the header of a `.npy` file.

    numpy's own reader evaluates the header as Python, which can take seconds.

    Raises:
        NotPlainError: this is not the header of an array of numbers or text as numpy writes it.
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
