"""metrics.csv: a line for each figure, `step,seconds,name,value`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from acomp.errors import TrainingError
from acomp.plain import read_text

MAX_BYTES = 1 << 30
"""Of a table that is read; a figure is some 40 bytes."""


class Row(NamedTuple):
    """A line of metrics.csv."""

    step: int
    """Steps of gradient descent done; 0 is before the first."""
    seconds: float
    """Since training began; when it was interrupted, without the time between."""
    name: str
    value: float


def read_metrics(table: Path) -> dict[str, list[tuple[int, float]]]:
    """Every figure of a metrics.csv: its steps and values, in the order they were written.

    Raises:
        TrainingError: as `read_rows`.
    """
    metrics: dict[str, list[tuple[int, float]]] = {}
    for row in read_rows(table):
        metrics.setdefault(row.name, []).append((row.step, row.value))
    return metrics


def read_rows(table: Path) -> list[Row]:
    """The whole lines of a metrics.csv; a last one that a killed run left cut is passed over.

    Raises:
        TrainingError: it cannot be read, or another line is none of such a table.
    """
    text = read_text(table, MAX_BYTES, TrainingError)
    whole = text[: text.rfind("\n") + 1]
    lines = csv.reader(io.StringIO(whole), strict=True)
    if whole and tuple(next(lines)) != Row._fields:
        raise TrainingError(f"{table} has other columns than {','.join(Row._fields)}: remove it")
    try:
        return [
            Row(int(step), float(seconds), name, float(value))
            for step, seconds, name, value in lines
        ]
    except (ValueError, csv.Error) as error:
        raise TrainingError(
            f"{table}, line {lines.line_num} is damaged: correct or remove it"
        ) from error


def lines(rows: Iterable[Sequence[object]]) -> bytes:
    """Lines of CSV; floats are written so that they are read back the same."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
