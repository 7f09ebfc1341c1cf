"""The dictionary in a numpy file of object type, read without unpickling.

A pickle is a program for a small stack machine, and some of its instructions call whatever function
they name. Here `pickletools.genops`, which only parses, takes it apart, and this module carries out
the few instructions that make plain values and arrays of numbers, with values of its own. Any other
instruction or name ends the reading: no name in a file is ever looked up.

What a hostile file could ask for stays within bounds: there are at most `MAX_OPCODES` instructions,
no number in one of them makes anything larger than the bytes that are there, and what comes of it
is checked (`acomp.plain`) before anything walks through it.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acomp.errors import FormatError
from acomp.plain import NPY_MAGIC, NotPlainError, brief, check

MAX_OPCODES = 10_000
"""The files meant here have about a hundred."""

_VERSION = NPY_MAGIC + b"\x01\x00"
# numpy writes this header, filled up with spaces, for every object that is not an array.
_HEADER = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
_NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}
_DEPTH = 2

_ARGUMENTS = {
    *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
"""Instructions that push their argument."""
_CONSTANTS: dict[str, object] = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Name(Enum):
    """What a pickle may name. Each only stands for what numpy has under its name."""

    RECONSTRUCT = "_reconstruct"
    SCALAR = "scalar"
    NDARRAY = "ndarray"
    DTYPE = "dtype"


_NAMES = {
    ("numpy", "ndarray"): _Name.NDARRAY,
    ("numpy", "dtype"): _Name.DTYPE,
    # numpy 2 moved its modules.
    **{
        (f"numpy.{core}.multiarray", name.value): name
        for core in ("core", "_core")
        for name in (_Name.RECONSTRUCT, _Name.SCALAR)
    },
}


@dataclass
class _Type:
    """A numpy dtype, as far as it has been described."""

    code: str
    order: str = "|"

    def numbers(self) -> np.dtype[Any]:
        """The dtype, where it is one of numbers."""
        if self.code not in _NUMBERS or self.order not in ("<", ">", "|"):
            raise FormatError("holds an array of something else than numbers")
        return np.dtype(self.order + self.code)


@dataclass
class _Array:
    """An array: of numbers, or, at the root, of the one object that the file holds."""

    numbers: NDArray[Any] | None = None
    objects: list[Any] | None = None


def read_dict(data: bytes) -> dict[str, object]:
    """The dictionary that `numpy.save` wrote, which may hold other dictionaries.

    Its values are plain: None, True, False, numbers, text, arrays of numbers, and lists and tuples
    of such, of a bounded number.

    Raises:
        FormatError: the file is damaged, or holds anything else.
    """
    if not data.startswith(NPY_MAGIC):
        raise FormatError("is no .dac file: it does not begin as numpy's files do")
    start = len(_VERSION) + 2
    end = start + int.from_bytes(data[len(_VERSION) : start], "little")
    if not data.startswith(_VERSION) or data[start:end].rstrip() != _HEADER:
        raise FormatError("is a numpy file, but of an array: only the codes of a .dac are read")
    root = _Machine().run(data[end:])
    objects = root.objects if isinstance(root, _Array) else None
    if not objects or type(objects[0]) is not dict:
        raise FormatError("is a numpy file, but holds no dictionary, as a .dac does")
    values: dict[str, object] = _finished(objects[0], _DEPTH)
    try:
        check(values)
    except NotPlainError as error:
        raise FormatError(str(error)) from error
    return values


def _finished(value: Any, depth: int) -> Any:
    """`value` with the arrays themselves in it; dictionaries no deeper than `depth`."""
    if type(value) is dict and depth:
        return {key: _finished(item, depth - 1) for key, item in value.items()}
    return value.numbers if isinstance(value, _Array) else value


class _Machine:
    """Carries out the instructions that are let through."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, program: bytes) -> object:
        """The value that a pickle describes; it must end where the bytes do."""
        stream = BytesIO(program)
        try:
            for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
                if count == MAX_OPCODES:
                    raise FormatError("is a pickle of more than arrays and plain values")
                self._step(opcode.name, argument)
            result = self._stack.pop()
        # What genops finds no instruction in, and what takes from an empty stack or memo.
        except (ValueError, LookupError) as error:
            raise FormatError("is damaged or cut short") from error
        if stream.read(1):
            raise FormatError("has bytes after its end")
        return result

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        match name:
            case "PROTO" | "FRAME" | "STOP":
                pass
            case _ if name in _ARGUMENTS:
                stack.append(argument)
            case _ if name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "MARK":
                self._marks.append(len(stack))
            case "TUPLE":
                stack.append(tuple(self._since_mark()))
            case _ if name in _TUPLES:
                stack.append(tuple([stack.pop() for _ in range(_TUPLES[name])][::-1]))
            case "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "APPEND":
                self._append([stack.pop()])
            case "APPENDS":
                self._append(self._since_mark())
            case "SETITEM":
                self._set_items([stack.pop() for _ in range(2)][::-1])
            case "SETITEMS":
                self._set_items(self._since_mark())
            case "GLOBAL":
                stack.append(_named(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                attribute, module = stack.pop(), stack.pop()
                stack.append(_named(module, attribute))
            case "REDUCE":
                arguments, function = stack.pop(), stack.pop()
                stack.append(_made(function, arguments))
            case "BUILD":
                state = stack.pop()
                _describe(stack[-1], state)
            case _:
                raise FormatError(f"is a pickle of more than arrays and plain values ({name})")

    def _since_mark(self) -> list[Any]:
        start = self._marks.pop()
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise FormatError("is a damaged pickle: something is added to what is no list")
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target, keys = self._stack[-1], items[::2]
        if type(target) is not dict or any(type(key) is not str for key in keys):
            raise FormatError("is a pickle of something else than a dictionary by names")
        target.update(zip(keys, items[1::2], strict=True))


def _named(module: object, attribute: object) -> _Name:
    name = None
    if type(module) is str and type(attribute) is str:
        name = _NAMES.get((module, attribute))
    if name is None:
        shown = f"{module}.{attribute}" if type(module) is type(attribute) is str else "no name"
        raise FormatError(
            f"is a pickle that would run {brief(shown)}: only arrays and plain values are read"
        )
    return name


def _made(function: object, arguments: object) -> object:
    """What numpy's constructors make."""
    match function, arguments:
        case _Name.RECONSTRUCT, (_Name.NDARRAY, _, _):
            return _Array()
        case _Name.DTYPE, (str(code), _, _):
            return _Type(code)
        case _Name.SCALAR, (_Type() as kind, bytes(data)):
            return _numbers(kind, (), data).item()
    raise FormatError("is a pickle that makes something else than an array")


def _describe(target: object, state: object) -> None:
    """What numpy's types and arrays are told after they were made."""
    match target, state:
        # The three that are None are what makes a type of several fields.
        case _Type(), (int(), str(order), None, None, None, *_):
            target.order = order
        case _Array(), (int(), tuple(shape), _Type() as kind, bool(fortran), bytes(data)):
            target.numbers = _numbers(kind, shape, data, "F" if fortran else "C")
        case _Array(), (int(), (), _Type(code="O8" | "O4"), bool(), [value]):
            target.objects = [value]
        case _:
            raise FormatError("is a pickle that describes something else than an array of numbers")


def _numbers(kind: _Type, shape: tuple[Any, ...], data: bytes, order: Any = "C") -> NDArray[Any]:
    dtype = kind.numbers()
    if len(shape) > 3 or any(type(size) is not int or size < 0 for size in shape):
        raise FormatError("holds an array of an impossible shape")
    if prod(shape) * dtype.itemsize != len(data):
        raise FormatError("holds an array that is not of the size that it claims")
    array = np.frombuffer(data, dtype).reshape(shape, order=order)
    return np.asarray(array, dtype.newbyteorder("="), order="C")
