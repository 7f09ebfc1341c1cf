"""The columns that sources fill: which there are, and their values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, islice

from acomp.datasets.entries import Unit, Value

OWN = (
    *("id", "source", "start", "duration", "sample_rate", "channels", "frames", "codes"),
    *("segment_frames", "scales", "sha256"),
)
"""The names of acomp's own columns."""
OTHERS = "others"
"""The column of what no other column takes, as JSON."""
SOURCES, ENTRIES = 16, 100
"""So many files of a dataset's sources, and so many entries of each, say which columns it has."""
MAX_COLUMNS = 256
_WHOLE = 1 << 63


def columns_of(units: Sequence[Unit]) -> dict[str, str]:
    """The columns that the first entries of the sources call for, with their types.

    Raises:
        AcompError: a source cannot be read.
    """
    files: dict[str, list[Unit]] = {}
    for unit in units:
        if unit.name:
            files.setdefault(unit.name, []).append(unit)
    found: dict[str, set[str]] = {}
    for several in islice(files.values(), SOURCES):
        entries = chain.from_iterable(unit.entries() for unit in several)
        for entry in islice(entries, ENTRIES):
            for name, value in entry.said.items():
                if value is not None and len(found) < MAX_COLUMNS:
                    found.setdefault(_free(name), set()).add(_kind(value))
    kinds = {name: _common(each) for name, each in sorted(found.items())}
    return {**kinds, OTHERS: "text"} if files else {}


def _free(name: str) -> str:
    """A name that none of acomp's columns has: one that clashes gets a `_` behind it."""
    name = _whole(name)
    while name in OWN or name == OTHERS:
        name += "_"
    return name


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int):
        return "whole" if -_WHOLE <= value < _WHOLE else "text"
    return "number" if isinstance(value, float) else "text"


def _common(kinds: Iterable[str]) -> str:
    several = set(kinds)
    if several == {"whole", "number"}:
        return "number"
    return several.pop() if len(several) == 1 else "text"


def values_for(said: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, Value]:
    """What a source says of a recording, column by column."""
    values: dict[str, Value] = {}
    others: dict[str, object] = {}
    for name, value in said.items():
        column = _free(name)
        kind = None if column in values else columns.get(column)
        if value is None:
            continue
        if kind == "text":
            values[column] = value if isinstance(value, str) else _json(value)
        elif kind is not None and kind == _kind(value):
            values[column] = value  # type: ignore[assignment]
        elif kind == "number" and _kind(value) == "whole":
            values[column] = float(value)  # type: ignore[arg-type]
        else:
            others[name] = value
    if others and columns:
        values[OTHERS] = _json(others)
    return {
        name: _whole(value) if isinstance(value, str) else value for name, value in values.items()
    }


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


def _whole(value: str) -> str:
    """Text that can be written: half characters, which JSON may hold, are written out."""
    return value.encode("utf-8", "backslashreplace").decode()
