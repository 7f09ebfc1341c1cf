"""Numbers of any type as int or float. This module imports only the standard library."""

from __future__ import annotations

import operator
import reprlib
from typing import Any

from acomp.errors import AcompError


def whole_number(value: object, what: str, error: type[AcompError]) -> int:
    """A whole number of any type (16000.0, numpy's, torch's) as an int.

    Raises:
        AcompError: as `error`: `value` is not a whole number. The message begins with `what`.
    """
    if type(value) is int:
        return value
    try:
        item: Any = value.item() if hasattr(value, "item") else value
        if isinstance(item, float) and item.is_integer():
            return int(item)
        if not isinstance(item, bool):
            return operator.index(item)
    except (TypeError, ValueError, RuntimeError):  # of what is no number, or several
        pass
    raise error(f"{what} is {reprlib.repr(value)}, not a whole number")


def real_number(value: object, what: str, unit: str, error: type[AcompError]) -> float:
    """A number of any type, or the text of a number, as a float.

    Raises:
        AcompError: as `error`: `value` is not a number. The message names `what` and its `unit`.
    """
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError) as failure:
        raise error(f"{what} is {reprlib.repr(value)}, not a number of {unit}") from failure
