"""metrics.csv: a line for each figure, `step,seconds,name,value`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

from acomp.errors import TrainingError
from acomp.tables import read_csv

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
    lines = read_csv(table, MAX_BYTES, TrainingError, appended=True)
    if tuple(next(lines, Row._fields)) != Row._fields:
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
