"""The rows of a dataset and their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acomp.codes import Codes, Segments
from acomp.datasets.columns import OWN
from acomp.datasets.description import Made
from acomp.datasets.entries import Value

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False)
class Record:
    """A row as it is written.

    Attributes:
        id: of the row.
        source: name of the recording.
        start: where the recording begins in its file, in seconds.
        codes: its codes.
        sha256: of the bytes of its file, in hexadecimal digits.
        columns: what its source says of it.
    """

    id: str
    source: str
    start: float
    codes: Codes
    sha256: str
    columns: Mapping[str, Value] = field(default_factory=dict)


def schema_of(made: Made) -> pa.Schema:
    """The columns of a dataset."""
    import pyarrow as pa

    code = pa.uint8() if made.codebook_size <= 256 else pa.uint16()
    own = [
        *(("id", pa.string()), ("source", pa.string()), ("start", pa.float64())),
        *(("duration", pa.float64()), ("sample_rate", pa.int32()), ("channels", pa.int16())),
        *(("frames", pa.int32()), ("codes", pa.list_(pa.list_(code)))),
    ]
    if made.segments:
        own += [("segment_frames", pa.list_(pa.int32())), ("scales", pa.list_(pa.float32()))]
    own += [("sha256", pa.string())]
    return pa.schema([*own, *((name, _arrow(kind)) for name, kind in made.columns.items())])


def _arrow(kind: str) -> pa.DataType:
    import pyarrow as pa

    types = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "truth": pa.bool_()}
    return types[kind]


def table_of(records: Sequence[Record], schema: pa.Schema) -> pa.Table:
    """Records as a table."""
    import pyarrow as pa

    codes = [record.codes for record in records]
    own: dict[str, Any] = {
        "id": [record.id for record in records],
        "source": [record.source for record in records],
        "start": [record.start for record in records],
        "duration": [each.duration for each in codes],
        "sample_rate": [each.info.source_rate for each in codes],
        "channels": [each.info.channels for each in codes],
        "frames": [each.frames for each in codes],
        "codes": _nested(codes, schema.field("codes").type),
        "sha256": [record.sha256 for record in records],
    }
    if "scales" in schema.names:
        segments = [each.segments for each in codes]
        own["segment_frames"] = [each and each.frames for each in segments]
        own["scales"] = [each and each.scales for each in segments]
    columns = [
        own[name] if name in own else [record.columns.get(name) for record in records]
        for name in schema.names
    ]
    return pa.table(
        [
            column if isinstance(column, pa.Array) else pa.array(column, type=field.type)
            for column, field in zip(columns, schema, strict=True)
        ],
        schema=schema,
    )


def _nested(codes: Sequence[Codes], kind: pa.ListType) -> pa.Array:
    """The codes as lists of lists, without a Python number for each of them."""
    import pyarrow as pa

    rows = [each.data.reshape(-1, each.frames) for each in codes]
    lengths = [each.shape[1] for each in rows for _ in range(len(each))]
    nothing = np.zeros(0, np.uint16)
    values = np.concatenate([nothing, *(each.reshape(-1) for each in rows)])
    inner = pa.ListArray.from_arrays(
        _offsets(lengths), pa.array(values, type=kind.value_type.value_type)
    )
    return pa.ListArray.from_arrays(_offsets([len(each) for each in rows]), inner)


def _offsets(lengths: Sequence[int]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)


def records_of(table: pa.Table, made: Made) -> list[Record]:
    """The rows of a table as records.

    Raises:
        FormatError: a row cannot be what the description says.
    """
    extra = [name for name in table.column_names if name not in OWN]
    codes = table.column("codes").combine_chunks()
    plain = table.select([name for name in table.column_names if name != "codes"]).to_pylist()
    return [
        Record(
            row["id"],
            row["source"],
            row["start"],
            _codes(codes[number].values, row, made),
            row["sha256"],
            {name: row[name] for name in extra},
        )
        for number, row in enumerate(plain)
    ]


def _codes(lists: pa.ListArray, row: Mapping[str, Any], made: Made) -> Codes:
    frames = row["frames"]
    streams = len(lists) // made.codebooks
    values = lists.flatten().to_numpy().astype(np.uint16, copy=False)
    segments = None
    if row.get("scales") is not None:
        segments = Segments(
            np.array(row["segment_frames"], np.int64), np.array(row["scales"], np.float32)
        )
    return Codes(
        made.info(row["channels"], streams, row["sample_rate"]),
        values.reshape(streams, made.codebooks, frames),
        round(row["duration"] * row["sample_rate"]),
        segments,
    )
