"""A finished dataset in other forms: a file of codes for each row, or WebDataset's tars."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from acomp.datasets.reading import Dataset, Row
from acomp.errors import AcompError
from acomp.files import atomic_write, make_folder
from acomp.formats import write_codes
from acomp.settings import Export

ROWS = 1000
"""Rows in a tar."""
_UNUSUAL = re.compile(r"[^A-Za-z0-9_-]")


def export_webdataset(dataset: Dataset, folder: Path) -> None:
    """Write the rows as tars of `KEY.npy`, codes `[streams * codebooks, frames]`, and `KEY.json`.

    A key is the row's number, so that no id makes a name that a tar cannot have.

    Raises:
        AcompError: a tar cannot be written.
    """
    make_folder(folder, AcompError)
    for number, rows in enumerate(_batches(dataset)):
        with (
            atomic_write(folder / f"shard-{number:05}.tar", AcompError) as file,
            tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar,
        ):
            for place, row in enumerate(rows, number * ROWS):
                _add(tar, f"{place:09}.npy", _array(row))
                _add(tar, f"{place:09}.json", json.dumps(_facts(row)).encode())


def _batches(dataset: Dataset) -> Iterator[list[Row]]:
    waiting: list[Row] = []
    for row in dataset:
        waiting.append(row)
        if len(waiting) == ROWS:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _array(row: Row) -> bytes:
    data = io.BytesIO()
    np.save(data, row.codes.data.reshape(-1, row.codes.frames))
    return data.getvalue()


def _facts(row: Row) -> dict[str, Any]:
    codes, segments = row.codes, row.codes.segments
    own = {"id": row.id, "source": row.source, "start": row.start, "duration": codes.duration}
    own |= {"sha256": row.sha256, **asdict(codes.info)}
    if segments is not None:
        own |= {"segment_frames": segments.frames.tolist(), "scales": segments.scales.tolist()}
    # As in columns, a name that is taken gets a _ behind it: a source may say `codec` too.
    said = {f"{name}_" if name in own else name: value for name, value in row.columns.items()}
    return {**said, **own}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def export_nac(dataset: Dataset, folder: Path) -> None:
    """Write each row as a `.nac` file, named by its number and what of its id a name can have.

    Raises:
        AcompError: a file cannot be written.
    """
    make_folder(folder, AcompError)
    for number, row in enumerate(dataset):
        write_codes(folder / f"{number:09}-{_UNUSUAL.sub('_', row.id)[:80]}.nac", row.codes)


EXPORTS: dict[Export, Callable[[Dataset, Path], None]] = {
    "nac": export_nac,
    "webdataset": export_webdataset,
}
"""What writes a dataset in another form, by the form."""
