"""Parquet with a column of audio as Hugging Face's datasets have it: bytes and a path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import tee
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from acomp.datasets.entries import Entry, Unit, entries_per_part, row_id
from acomp.datasets.sources.files import unique
from acomp.datasets.sources.places import beside, open_place, reading
from acomp.errors import AcompError

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 16
"""Rows that are read at a time."""


@dataclass(frozen=True)
class TableUnit(Unit):
    """Some row groups of a file.

    Attributes:
        name: of the file.
        column: the one of the audio.
        rows: number of rows of the whole file.
        first: number of the first row.
        groups: the row groups.
    """

    name: str
    column: str
    rows: int
    first: int
    groups: tuple[int, ...]

    def entries(self) -> Iterator[Entry]:
        import pyarrow.parquet as pq

        with open_place(self.name) as place, reading(self.name):
            file = pq.ParquetFile(place, pre_buffer=False)
            rows = (
                row
                for batch in file.iter_batches(ROWS, list(self.groups), use_threads=False)
                for row in batch.to_pylist()
            )
            one, other = tee(
                _entry(self, number, row) for number, row in enumerate(rows, self.first)
            )
            for entry, identity in zip(one, unique(each.id for each in other), strict=True):
                yield replace(entry, id=identity)


def _entry(unit: TableUnit, number: int, row: dict[str, Any]) -> Entry:
    audio = row.pop(unit.column) or {}
    data, path = audio.get("bytes"), audio.get("path")
    named = path or f"{PurePosixPath(unit.name).stem}/{number}"
    identity = row_id(row.pop("id", None), named)
    where = f"{unit.name}/{path or number}"
    if data:
        return Entry(identity, where, data, said=row)
    if path:
        file = beside(unit.name, path)
        return Entry(identity, file, file, said=row)
    return Entry(identity, where, problem=f"row {number} of {unit.name} has no audio")


def units_of_table(name: str) -> list[Unit]:
    """The rows of a Parquet file in parts of whole row groups.

    Raises:
        AcompError: it cannot be read, or has no column of audio.
    """
    import pyarrow.parquet as pq

    with open_place(name) as place, reading(name):
        file = pq.ParquetFile(place)
        column = _audio_column(file.schema_arrow)
        sizes = [
            file.metadata.row_group(number).num_rows
            for number in range(file.metadata.num_row_groups)
        ]
    if column is None:
        raise AcompError(f"{name} has no column of audio: one of structs with bytes and path")
    return list(_cut(name, column, sizes))


def _cut(name: str, column: str, sizes: list[int]) -> Iterator[Unit]:
    wanted = entries_per_part(sum(sizes))
    groups: list[int] = []
    first = waiting = 0
    for number, size in enumerate(sizes):
        groups.append(number)
        waiting += size
        if waiting >= wanted or number == len(sizes) - 1:
            yield TableUnit(name, column, sum(sizes), first, tuple(groups))
            first += waiting
            groups, waiting = [], 0


def _audio_column(schema: pa.Schema) -> str | None:
    import pyarrow as pa

    for field in schema:
        if not pa.types.is_struct(field.type):
            continue
        inner = {each.name: each.type for each in field.type}
        if inner.get("bytes") in (pa.binary(), pa.large_binary()) and inner.get("path") in (
            pa.string(),
            pa.large_string(),
        ):
            return str(field.name)
    return None
