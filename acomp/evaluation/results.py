"""The folder that `acomp eval` leaves: what was coded, what came back, and the figures.

    results.csv                      a row for each setting and file
    summary.json                     the figures of each setting over its files
    reference/FILE.flac              the audio that was coded
    coded/SETTING/FILE.nac           what it became: .nac, .opus or .wav
    decoded/SETTING/FILE.flac        what came back, at the reference's rate and length

The FLACs have 24 bits, for listening; figures are of the samples before that rounding. FILE is the
file's place below the folder it was found in, suffix and all.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from acomp.codes import MAX_CODEBOOK_SIZE, MAX_SAMPLE_RATE, MAX_STREAMS
from acomp.errors import AcompError
from acomp.evaluation.settings import OPUS, PCM
from acomp.files import atomic_write
from acomp.plain import brief, read_text

TABLE = "results.csv"
SUMMARY = "summary.json"


@dataclass(frozen=True)
class Metric:
    """A figure that tells how near the decoded audio is to its reference."""

    name: str
    """Its column in results.csv and its key in summary.json."""
    label: str
    short: str
    """Its column in the table that the terminal shows."""
    unit: str
    higher_is_better: bool
    digits: int
    """Decimal places that are worth showing."""


METRICS = (
    Metric("si_sdr", "SI-SDR", "SI-SDR", "dB", True, 2),
    Metric("pesq", "PESQ-WB", "PESQ", "MOS-LQO", True, 2),
    Metric("stoi", "STOI", "STOI", "", True, 3),
    Metric("log_mel", "log-mel distance", "mel", "log10", False, 3),
    Metric("mr_stft", "MR-STFT distance", "STFT", "", False, 2),
)


@dataclass(frozen=True)
class Row:
    """One file in one setting."""

    setting: str
    file: str
    codec: str
    content: str
    """speech, or other: what decides whether PESQ and STOI apply."""
    seconds: float
    sample_rate: int
    """Hz, of the file."""
    channels: int
    """Channels that were compared."""
    bytes: int
    """Size of the coded file."""
    kbps: float
    """Bit rate of the coded file, all told."""
    tokens_per_second: float | None
    """Codes of all codebooks and streams; None where there are no codes."""
    encode_speed: float
    """Times real time."""
    decode_speed: float
    delay_ms: float
    """How much later than the reference the decoded audio was, and was moved back."""
    si_sdr: float | None
    """This and the next four: None where the metric does not apply, and `left_out` says why."""
    pesq: float | None
    stoi: float | None
    log_mel: float | None
    mr_stft: float | None
    utilisation: tuple[float, ...]
    """Share of each codebook's entries that the file used; empty where there are no codes."""
    perplexity: tuple[float, ...]
    left_out: tuple[str, ...]
    """Metrics that do not apply, each with the reason: `pesq: not speech`."""
    key: str
    """Hash of all that the figures depend on: another one means that they are to be made anew."""


MAX_TABLE = 1 << 26
"""Bytes of a table: some hundred thousand rows."""
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

COLUMNS = tuple(each.name for each in fields(Row))


@dataclass(frozen=True)
class Results:
    """A folder of results."""

    folder: Path
    rows: Sequence[Row] = ()

    @cached_property
    def settings(self) -> list[str]:
        """The settings, in the order in which they were asked for."""
        return list(dict.fromkeys(row.setting for row in self.rows))

    @cached_property
    def files(self) -> list[str]:
        return list(dict.fromkeys(row.file for row in self.rows))

    def row(self, setting: str, file: str) -> Row | None:
        """The row of a file in a setting; None where it failed."""
        return self._by_name.get((setting, file))

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], Row]:
        return {(row.setting, row.file): row for row in self.rows}

    def reference(self, file: str) -> Path:
        """The audio that was coded: 24-bit FLAC."""
        return _inside(self.folder / "reference", f"{file}.flac")

    def decoded(self, setting: str, file: str) -> Path:
        """What came back: 24-bit FLAC of the reference's rate, length and place in time."""
        return _inside(self.folder / "decoded" / folder_name(setting), f"{file}.flac")

    def coded(self, setting: str, file: str) -> Path:
        """What it became: .opus or .wav for the yardsticks of those names, .nac for codecs."""
        suffix = {OPUS: ".opus", PCM: ".wav"}.get(setting.partition("@")[0], ".nac")
        return _inside(self.folder / "coded" / folder_name(setting), f"{file}{suffix}")

    @property
    def table(self) -> Path:
        return self.folder / TABLE

    @property
    def summary(self) -> Path:
        return self.folder / SUMMARY


def open_results(folder: Path) -> Results:
    """Read a folder of results.

    Raises:
        AcompError: it is none, or its table is damaged.
    """
    table = folder / TABLE
    if not table.is_file():
        raise AcompError(f"{folder} holds no {TABLE}: make it with `acomp eval ... -o {folder}`")
    results = Results(folder, list(read_rows(table)))
    if not results.rows:
        raise AcompError(f"{table} has no rows: run `acomp eval ... -o {folder}` again")
    return results


def spread(content: Mapping[str, str], most: int) -> list[str]:
    """Up to `most` of the files whose content is given: the first, speech and other in turn."""
    speech = [file for file, kind in content.items() if kind == "speech"]
    other = [file for file, kind in content.items() if kind != "speech"]
    turns = chain.from_iterable(zip_longest(speech, other))
    return [file for file in turns if file is not None][:most]


def read_rows(table: Path) -> Iterator[Row]:
    """The whole rows of a table; a last one that a killed run left unfinished is passed over.

    Raises:
        AcompError: another line is no row, or the file cannot be read.
    """
    text = read_text(table, MAX_TABLE, AcompError)
    whole = text[: text.rfind("\n") + 1]
    lines = csv.reader(io.StringIO(whole), strict=True)
    try:
        if whole and tuple(next(lines)) != COLUMNS:
            raise AcompError(f"{table} has other columns than those of this acomp's `acomp eval`")
        for cells in lines:
            yield _row(cells)
    except (ValueError, csv.Error) as error:
        raise AcompError(f"{table}, line {lines.line_num}: {error}") from error


def write_rows(table: Path, rows: Iterable[Row]) -> None:
    """Write a table, whole or not at all.

    Raises:
        AcompError: it cannot be written.
    """
    with atomic_write(table, AcompError) as file:
        file.write(_line(COLUMNS))
        for row in rows:
            file.write(row_line(row))


def row_line(row: Row) -> bytes:
    """The line of a table that `row` is."""
    return _line([_cell(getattr(row, name)) for name in COLUMNS])


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write a summary as JSON.

    Raises:
        AcompError: it cannot be written.
    """
    with atomic_write(path, AcompError) as file:
        file.write(json.dumps(summary, indent=2).encode() + b"\n")


def folder_name(setting: str) -> str:
    """A name for the folder of a setting: its own where that can be one."""
    safe = re.sub(r"[^A-Za-z0-9.@-]", "_", setting)[:80]
    if safe == setting and not setting.startswith("."):
        return setting
    return f"_{safe}_{hashlib.sha256(setting.encode()).hexdigest()[:8]}"


def _inside(folder: Path, name: str) -> Path:
    """The file `name` below `folder`.

    Raises:
        AcompError: the name, which a table may have from anywhere, leads out of the folder.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise AcompError(f"{name} is no name of a file in {folder}")
    return folder / name


def _line(cells: Iterable[str]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        separator = "; " if value and isinstance(value[0], str) else " "
        return separator.join(map(_cell, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _row(cells: list[str]) -> Row:
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells, where {len(COLUMNS)} are due")
    kinds = {each.name: str(each.type) for each in fields(Row)}
    values: dict[str, Any] = {}
    for name, cell in zip(COLUMNS, cells, strict=True):
        try:
            values[name] = _value(kinds[name], cell)
            _check(name, values[name])
        except ValueError as error:
            raise ValueError(f"{name} is {brief(cell)}, which it cannot be") from error
    return Row(**values)


def _check(name: str, value: object) -> None:
    """Raise ValueError for what no evaluation writes."""
    known = {metric.name for metric in METRICS}
    for each in value if isinstance(value, tuple) else (value,):
        if isinstance(each, int | float):
            least, most = _RANGES.get(name, (-_MOST, _MOST))
            right = least <= each <= most
        elif name == "left_out":
            right = str(each).partition(": ")[0] in known
        elif name in ("setting", "file", "codec", "content"):
            right = bool(str(each).strip()) and "\0" not in str(each)
        else:
            continue
        if not right:
            raise ValueError


def _value(kind: str, cell: str) -> object:
    match kind:
        case "int":
            return int(cell)
        case "float":
            return float(cell)
        case "float | None":
            return float(cell) if cell else None
        case "tuple[float, ...]":
            return tuple(map(float, cell.split()))
        case "tuple[str, ...]":
            return tuple(cell.split("; ")) if cell else ()
    return cell
