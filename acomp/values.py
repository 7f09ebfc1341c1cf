"""Arrays of any library as numpy arrays, and equality of values that hold arrays."""

from __future__ import annotations

import reprlib
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acomp.errors import AcompError


def as_array(value: object, what: str, error: type[AcompError]) -> NDArray[Any]:
    """An array, a tensor on any device or nested lists of numbers as a numpy array.

    Raises:
        AcompError: as `error`: `value` is none of these. The message begins with `what`.
    """
    if isinstance(value, np.ndarray):
        array: NDArray[Any] = value
    elif hasattr(value, "detach"):  # a tensor of torch's, which nothing here need import
        tensor: Any = value.detach().cpu()
        narrow = tensor.is_floating_point() and tensor.element_size() < 4  # numpy lacks bfloat16
        array = (tensor.float() if narrow else tensor).numpy()
    else:
        try:
            array = np.asarray(value)
        except (TypeError, ValueError) as failure:
            raise error(f"{what} are lists of different lengths, not an array") from failure
    if array.dtype.kind not in "iuf":
        raise error(f"{what} are {_kind(value, array)}, not an array of numbers")
    return array


def _kind(value: object, array: NDArray[Any]) -> str:
    return f"of type {array.dtype}" if array.ndim else f"{reprlib.repr(value)}"


class ByValue:
    """Equality and hash of dataclasses with arrays: two are equal if all their fields are equal."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(map(_equal, _values(self), _values(other)))

    def __hash__(self) -> int:
        # Only the shapes of arrays: hashing minutes of audio would cost more than comparing it.
        return hash(tuple(v.shape if isinstance(v, np.ndarray) else v for v in _values(self)))


def _values(value: Any) -> list[Any]:
    return [getattr(value, field.name) for field in fields(value)]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)
