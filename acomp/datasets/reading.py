"""`Dataset`: the rows of a dataset, in any order, without reading more than that takes."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from acomp.codes import Codes, CodesInfo
from acomp.datasets.description import Made, Totals, read_description
from acomp.datasets.entries import Value, part_name
from acomp.datasets.parts import open_part, reading_part
from acomp.datasets.records import Record, records_of
from acomp.errors import FormatError, check_type
from acomp.files import check_path
from acomp.packages import require_packages
from acomp.scalars import whole_number

if TYPE_CHECKING:
    import pyarrow.parquet as pq

OPEN_PARTS = 16
"""Parts that are held open at a time."""


@dataclass(frozen=True)
class Row:
    """A recording in a dataset.

    Attributes:
        id: its name in the dataset.
        codes: its codes, with everything that decoding needs.
        source: its file, as `acomp tokenize` was given it.
        start: where it begins in that file, in seconds.
        sha256: of the bytes of that file, in hexadecimal digits.
        columns: what its source said of it, such as a text or a speaker.
    """

    id: str
    codes: Codes
    source: str
    start: float
    sha256: str
    columns: Mapping[str, Value] = field(default_factory=dict)


class Dataset(Sequence[Row]):
    """The rows of a dataset that `acomp tokenize` made, as a sequence.

    It works as the dataset of a torch `DataLoader`, with any way of starting its processes, and is
    small to pickle. A row takes reading the few hundred kilobytes around it; rows in order are
    read once. Reading needs neither torch nor the codec.

    Attributes:
        path: the folder of the dataset.

    Args:
        path: the folder.

    Raises:
        FormatError: it is no dataset, is damaged, or is not finished.
        AcompError: pyarrow is not installed.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        check_path(path, "the path of the folder of a dataset", FormatError)
        require_packages("a dataset", "pyarrow", extra="datasets")
        self.path = Path(path)
        description = read_description(self.path)
        if description.totals is None:
            raise FormatError(
                f"{self.path} is not finished: the `acomp tokenize` that began it goes on with it"
            )
        self.made: Made = description.made
        """How the dataset was made: codec, weights, engine, sources."""
        self.totals: Totals = description.totals
        """How much it holds: rows, seconds, frames, failures."""
        self._reader = _Reader(self.path, self.made)
        if len(self) != self.totals.rows:
            raise FormatError(
                f"{self.path} has {self.totals.rows} rows by its dataset.json, and its parts have "
                f"{len(self)}"
            )

    def __repr__(self) -> str:
        hours = self.totals.seconds / 3600
        return f"Dataset({self.path}, {len(self)} rows, {hours:.3g} h of {self.made.codec})"

    @property
    def info(self) -> CodesInfo:
        """What the codes are of; a row's own info has the channels and rate of its audio."""
        return self.made.info(1, 1, self.made.codec_rate)

    @property
    def ids(self) -> list[str]:
        """The ids of all rows, in order."""
        return list(self._places)

    def by_id(self, identity: str) -> Row:
        """The row of that id; of several, the first.

        Raises:
            FormatError: there is none.
        """
        check_type(identity, str, FormatError, "the id of a row is")
        if identity not in self._places:
            raise FormatError(f"{self.path} has no row {identity!r}")
        return self[self._places[identity]]

    @cached_property
    def _places(self) -> dict[str, int]:
        """The first row of each id."""
        places: dict[str, int] = {}
        for number, identity in enumerate(self._reader.ids()):
            places.setdefault(identity, number)
        return places

    def __len__(self) -> int:
        return self._reader.ends[-1] if self._reader.ends else 0

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...

    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = whole_number(index, "the number of a row", FormatError)
        if not -len(self) <= number < len(self):
            raise IndexError(f"{self.path} has {len(self)} rows, and none of number {number}")
        return _row(self._reader.record(number % len(self)))

    def __iter__(self) -> Iterator[Row]:
        return map(_row, self._reader.records())


def _row(record: Record) -> Row:
    return Row(record.id, record.codes, record.source, record.start, record.sha256, record.columns)


class _Reader:
    """The parts of a dataset, of which those in use are open, in each process for itself."""

    def __init__(self, folder: Path, made: Made) -> None:
        self._folder = folder
        self._made = made
        self._forget()
        rows = []
        for number in range(made.parts):
            with self._open(number) as file:
                rows.append(file.metadata.num_rows)
        self.ends = list(accumulate(rows))
        """The number of rows up to the end of each part."""

    def _forget(self) -> None:
        self._process = os.getpid()
        self._files: dict[int, pq.ParquetFile] = {}
        self._group: tuple[int, int] | None = None
        self._records: list[Record] = []

    def __getstate__(self) -> dict[str, Any]:
        return {"_folder": self._folder, "_made": self._made, "ends": self.ends}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _open(self, number: int) -> pq.ParquetFile:
        return open_part(self._folder / part_name(number), self._made)

    def _file(self, number: int) -> pq.ParquetFile:
        if self._process != os.getpid():  # a fork shares positions in files with its parent
            self._forget()
        if number not in self._files:
            if len(self._files) == OPEN_PARTS:
                self._files.pop(next(iter(self._files))).close()
            self._files[number] = self._open(number)
        return self._files[number]

    def record(self, number: int) -> Record:
        """The row of that number."""
        part = bisect_right(self.ends, number)
        within = number - (self.ends[part - 1] if part else 0)
        metadata = self._file(part).metadata
        group = 0
        while within >= (rows := metadata.row_group(group).num_rows):
            within -= rows
            group += 1
        return self._group_records(part, group)[within]

    def records(self) -> Iterator[Record]:
        """All rows, in order."""
        for part in range(self._made.parts):
            for group in range(self._file(part).metadata.num_row_groups):
                yield from self._group_records(part, group)

    def _group_records(self, part: int, group: int) -> list[Record]:
        file = self._file(part)
        if self._group != (part, group):
            self._records = self._read(part, file, group)
            self._group = part, group
        return self._records

    def _read(self, part: int, file: pq.ParquetFile, group: int) -> list[Record]:
        with reading_part(self._folder / part_name(part)):
            return records_of(file.read_row_group(group, use_threads=False), self._made)

    def ids(self) -> Iterator[str]:
        """The ids of all rows, in order."""
        for part in range(self._made.parts):
            file = self._file(part)
            with reading_part(self._folder / part_name(part)):
                found = file.read(columns=["id"], use_threads=False).column("id").to_pylist()
            yield from found
