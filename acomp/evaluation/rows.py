"""The table of results, results.csv: a row for each file in each setting, read and written."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from acomp.codes import MAX_CODEBOOK_SIZE, MAX_SAMPLE_RATE, MAX_STREAMS
from acomp.errors import AcompError, AcompWarning
from acomp.evaluation.metrics import METRICS
from acomp.files import atomic_write
from acomp.plain import brief
from acomp.tables import csv_lines, read_csv

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One file in one setting.

    Attributes:
        setting: as the user wrote it.
        file: its name in the results.
        codec: the codec's name, or the yardstick's.
        content: speech, or other, which some metrics do not apply to.
        seconds: length of the file.
        sample_rate: of the file, in Hz.
        channels: how many were compared.
        bytes: size of the coded file.
        kbps: bit rate of the coded file, header and all.
        tokens_per_second: codes of all codebooks and streams; None where there are no codes.
        encode_speed: times real time.
        decode_speed: times real time.
        delay_ms: how much later than the reference the decoded audio was, and was moved back.
        metrics: the figures, by the names of their metrics, of those that were measured and apply.
        utilisation: share of each codebook's entries that the file used; empty without codes.
        perplexity: of each codebook; empty without codes.
        left_out: the reasons, by the names of the metrics that do not apply: `not speech`.
        key: hash of all that the figures depend on: with another one they are measured anew.
        unknown: cells of columns that this acomp does not know, by the columns' names.
    """

    setting: str
    file: str
    codec: str
    content: str
    seconds: float
    sample_rate: int
    channels: int
    bytes: int
    kbps: float
    tokens_per_second: float | None
    encode_speed: float
    decode_speed: float
    delay_ms: float
    metrics: Mapping[str, float]
    utilisation: tuple[float, ...]
    perplexity: tuple[float, ...]
    left_out: Mapping[str, str]
    key: str
    unknown: Mapping[str, str] = field(default_factory=dict)


MAX_TABLE = 1 << 26
"""Bytes of a table: some hundred thousand rows."""
MAX_COLUMNS = 200
_MOST = 1e9
"""What a figure can be at most; real ones are far below."""
_RANGES: dict[str, tuple[float, float]] = {
    "seconds": (1e-6, _MOST),
    "sample_rate": (1, MAX_SAMPLE_RATE),
    "channels": (1, MAX_STREAMS),
    "bytes": (0, 1 << 48),
    "kbps": (0, _MOST),
    "tokens_per_second": (0, _MOST),
    "encode_speed": (1e-6, _MOST),
    "decode_speed": (1e-6, _MOST),
    "utilisation": (0, 1),
    "perplexity": (0, MAX_CODEBOOK_SIZE),
}
"""Least and most of the numbers in a row; the others are finite."""
_KINDS = {each.name: str(each.type) for each in fields(Row)}
_BEFORE = tuple(_KINDS)[: tuple(_KINDS).index("metrics")]
_AFTER = ("utilisation", "perplexity", "left_out", "key")
FACTS = (*_BEFORE, *_AFTER)
"""The columns that every table has: all but those of metrics."""
_METRIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")


def columns(unknown: Iterable[str] = ()) -> tuple[str, ...]:
    """The columns of a table that this acomp writes, with those of an unknown table at its end."""
    return (*_BEFORE, *METRICS, *_AFTER, *unknown)


def read_rows(table: Path) -> list[Row]:
    """The rows of a table; where a file is in a setting twice, the later row.

    The table may be of another version of acomp: metrics that it lacks are missing in its rows, and
    of columns that are unknown here there is a warning. A last line that a killed run left
    unfinished is passed over.

    Raises:
        AcompError: another line is no row, or the file cannot be read.
    """
    lines = read_csv(table, MAX_TABLE, AcompError, appended=True)
    rows: dict[tuple[str, str], Row] = {}
    try:
        names = tuple(next(lines, ()))
        if names:
            _check_columns(table, names)
        for cells in lines:
            row = _row(names, cells)
            rows[row.setting, row.file] = row
    except (ValueError, csv.Error) as error:
        raise AcompError(f"{table}, line {lines.line_num}: {error}") from error
    return list(rows.values())


def write_rows(table: Path, rows: Sequence[Row]) -> None:
    """Write a table, whole or not at all.

    Raises:
        AcompError: it cannot be written.
    """
    names = columns(unknown_columns(rows))
    with atomic_write(table, AcompError) as file:
        file.write(csv_lines([names]))
        for row in rows:
            file.write(row_line(row, names))


def unknown_columns(rows: Iterable[Row]) -> list[str]:
    """The columns of rows that this acomp does not know, each once."""
    return list(dict.fromkeys(name for row in rows for name in row.unknown))


def row_line(row: Row, names: Iterable[str]) -> bytes:
    """The line of a table of these columns that `row` is."""
    return csv_lines([[_cell(row, name) for name in names]])


def _check_columns(table: Path, names: Sequence[str]) -> None:
    twice = len(set(names)) < len(names)
    if twice or len(names) > MAX_COLUMNS or not {*FACTS} <= {*names}:
        raise AcompError(f"{table} has other columns than a table of `acomp eval`")
    unknown = [name for name in names if name not in FACTS and name not in METRICS]
    if unknown:
        some = ", ".join(map(brief, unknown[:5])) + (" ..." if len(unknown) > 5 else "")
        warnings.warn(
            f"{table} has columns that this acomp does not know and does not show: {some}",
            AcompWarning,
            stacklevel=2,
        )


def _cell(row: Row, name: str) -> str:
    if name in METRICS:
        return _text(row.metrics.get(name))
    if name not in FACTS:
        return row.unknown.get(name, "")
    if name == "left_out":
        return "; ".join(f"{metric}: {reason}" for metric, reason in row.left_out.items())
    value = getattr(row, name)
    return " ".join(map(_text, value)) if isinstance(value, tuple) else _text(value)


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _row(names: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(names):
        raise ValueError(f"{len(cells)} cells, where there are {len(names)} columns")
    facts: dict[str, Any] = {}
    metrics: dict[str, float] = {}
    unknown: dict[str, str] = {}
    for name, cell in zip(names, cells, strict=True):
        try:
            if name in FACTS:
                facts[name] = _fact(name, cell)
            elif name not in METRICS:
                unknown |= {name: cell} if cell else {}
            elif cell:
                metrics[name] = _number(name, float(cell))
        except ValueError as error:
            raise ValueError(f"{name} is {brief(cell)}, which it cannot be") from error
    return Row(**facts, metrics=metrics, unknown=unknown)


def _fact(name: str, cell: str) -> object:
    """The value of a column; ValueError for what no evaluation writes."""
    if name == "left_out":
        return _reasons(cell)
    match _KINDS[name]:
        case "int":
            return _number(name, int(cell))
        case "float":
            return _number(name, float(cell))
        case "float | None":
            return _number(name, float(cell)) if cell else None
        case "tuple[float, ...]":
            return tuple(_number(name, float(part)) for part in cell.split())
    if name != "key" and (not cell.strip() or "\0" in cell):
        raise ValueError
    return cell


def _number(name: str, value: Number) -> Number:
    least, most = _RANGES.get(name, (-_MOST, _MOST))
    if not least <= value <= most:
        raise ValueError
    return value


def _reasons(cell: str) -> dict[str, str]:
    """Of `pesq: not speech; stoi: not speech`; the metrics may be of another version of acomp."""
    reasons = {}
    for part in cell.split("; ") if cell else ():
        name, colon, reason = part.partition(": ")
        if not colon or not _METRIC_NAME.fullmatch(name) or name in FACTS:
            raise ValueError
        reasons[name] = reason
    return reasons
