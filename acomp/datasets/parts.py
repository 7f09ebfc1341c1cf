"""A part of a dataset as a Parquet file, which appears whole or not at all.

The file's own metadata hold what became of each entry of the part, so that nothing else needs to
be written with it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from acomp.datasets.description import Made
from acomp.datasets.records import Record, schema_of, table_of
from acomp.errors import AcompError, FormatError
from acomp.files import atomic_write

if TYPE_CHECKING:
    import pyarrow.parquet as pq

GROUP_CODES = 1 << 18
"""Codes in a row group, after which the next begins: what is read for one row."""
_KEY = b"acomp"
_DISTINCT = ("id", "sha256")
"""Columns whose values differ from row to row."""


@dataclass(frozen=True)
class Failure:
    """An entry that could not be coded.

    Attributes:
        id: of the row that it would have been.
        source: name of the recording.
        reason: why, in a line.
    """

    id: str
    source: str
    reason: str


Outcome = Sequence[Record] | Failure
"""What became of an entry: its rows, or why there are none."""


@dataclass(frozen=True)
class Tally:
    """What a part holds.

    Attributes:
        rows: number of rows of each entry; none of those that failed.
        failures: the failures, in order, by the number of the entry.
        seconds: of audio.
        frames: of codes.
        codes: number of codes.
    """

    rows: tuple[int, ...]
    failures: dict[int, Failure]
    seconds: float
    frames: int
    codes: int


def write_part(path: Path, outcomes: Iterable[Outcome], made: Made) -> Tally:
    """Write a part; the same outcomes give the same bytes.

    Raises:
        AcompError: it cannot be written.
    """
    import pyarrow.parquet as pq

    schema = schema_of(made)
    compressed = [name for name in schema.names if name not in (*_DISTINCT, "codes", "scales")]
    with atomic_write(path, AcompError) as file:
        writer = pq.ParquetWriter(
            file,
            schema,
            compression="zstd",
            # Codes by the number of their place among those that occur: as few bits as they need.
            use_dictionary=[*compressed, "codes.list.element.list.element"],
            write_statistics=["id", "source", "start", "duration", "frames"],
        )
        with writer:
            tally = _write(writer, outcomes, schema)
            writer.add_key_value_metadata({_KEY.decode(): _packed(tally)})
    return tally


def _write(writer: pq.ParquetWriter, outcomes: Iterable[Outcome], schema: Any) -> Tally:
    rows: list[int] = []
    failures: dict[int, Failure] = {}
    group: list[Record] = []
    seconds, frames, codes, waiting = 0.0, 0, 0, 0
    for number, outcome in enumerate(outcomes):
        if isinstance(outcome, Failure):
            failures[number] = outcome
            rows.append(0)
            continue
        rows.append(len(outcome))
        for record in outcome:
            group.append(record)
            seconds += record.codes.duration
            frames += record.codes.frames
            codes += record.codes.data.size
            waiting += record.codes.data.size
            if waiting >= GROUP_CODES:
                writer.write_table(table_of(group, schema))
                group, waiting = [], 0
    if group:
        writer.write_table(table_of(group, schema))
    return Tally(tuple(rows), failures, seconds, frames, codes)


def _packed(tally: Tally) -> str:
    failures = [[number, *asdict(each).values()] for number, each in tally.failures.items()]
    return json.dumps({**vars(tally), "failures": failures})


def open_part(path: Path, made: Made) -> pq.ParquetFile:
    """Open a part, after a look at its columns.

    Raises:
        FormatError: it is missing, is damaged, or has other columns.
    """
    import pyarrow.parquet as pq

    with reading_part(path):
        file = pq.ParquetFile(path, memory_map=False, pre_buffer=False)
        columns = file.schema_arrow
    if not columns.equals(schema_of(made)):
        raise FormatError(f"{path} has other columns than its dataset.json says")
    return file


@contextmanager
def reading_part(path: Path) -> Iterator[None]:
    """Make whatever fails while a part is read an error of one line.

    Raises:
        FormatError: in the place of another error.
    """
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError as error:
        raise FormatError(f"{path} is missing") from error
    except (pa.ArrowException, OSError, ValueError, TypeError, AcompError) as error:
        said = " ".join(str(error).split()).rstrip(".")[:120]
        raise FormatError(
            f"{path} is damaged: {said}; remove it, and the acomp tokenize that made it makes it "
            "again"
        ) from error


def tally_of(file: pq.ParquetFile, path: Path) -> Tally:
    """What a part says that it holds.

    Raises:
        FormatError: it does not say it.
    """
    try:
        facts = json.loads((file.metadata.metadata or {})[_KEY])
        failures = {int(number): Failure(*map(str, rest)) for number, *rest in facts["failures"]}
        sizes = int(facts["frames"]), int(facts["codes"])
        return Tally(tuple(map(int, facts["rows"])), failures, float(facts["seconds"]), *sizes)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"{path} does not say what it holds: acomp did not write it") from error
