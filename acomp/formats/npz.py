"""`.npz`: the codes as numpy arrays, for `numpy.load`; see docs/formats.md."""

from __future__ import annotations

import json
import warnings
import zipfile
from collections.abc import Callable
from io import BytesIO
from math import prod
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from acomp.codes import Block, Codes, CodesInfo, Segments, join
from acomp.errors import FormatError
from acomp.formats.base import (
    MAX_METADATA,
    CodesWriter,
    Reading,
    WholeReader,
    Writing,
    info_from_dict,
    info_to_dict,
    parse_json,
)
from acomp.formats.source import Source

MAX_SIZE = 1 << 28
"""Bytes of all arrays together; the form is held in memory whole."""


class NpzWriter(CodesWriter):
    """Gathers all codes in memory and writes them at the end."""

    def __init__(self, stream: BinaryIO, name: str, info: CodesInfo, how: Writing) -> None:
        super().__init__(stream, name, info, how)
        self._blocks: list[Block] = []

    def _write(self, block: Block) -> None:
        if self._frames * self.info.codes_per_frame * 2 > MAX_SIZE:
            raise FormatError(
                f"an .npz file holds at most {MAX_SIZE >> 20} MiB: write .nac instead"
            )
        self._blocks.append(block)

    def _finish(self, length: int) -> None:
        block = join(self.info, self._blocks)
        arrays: dict[str, NDArray[np.generic]] = {"codes": block.data}
        if block.segments is not None:
            arrays["segment_frames"] = block.segments.frames
            arrays["scales"] = block.segments.scales
        arrays["info"] = np.array(json.dumps({**info_to_dict(self.info), "length": length}))
        sink = cast(BinaryIO, _Sink(self._put))
        with zipfile.ZipFile(sink, "w") as archive:
            for name, array in arrays.items():
                # The default date, 1980, makes equal codes equal files.
                entry = zipfile.ZipInfo(f"{name}.npy")
                entry.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(entry, "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


class _Sink:
    """As much of a file as zipfile needs to write without seeking."""

    def __init__(self, put: Callable[[bytes], None]) -> None:
        self._put = put

    def write(self, data: bytes) -> int:
        self._put(data)
        return len(data)

    def flush(self) -> None: ...


def open_npz(source: Source, name: str, how: Reading) -> WholeReader:  # noqa: ARG001
    """A reader for numpy's archives; a damaged one cannot be recovered."""
    data = source.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise FormatError(f"is larger than the {MAX_SIZE >> 20} MiB that an .npz file may have")
    try:
        # numpy warns on standard error of headers that only hostile files have.
        with warnings.catch_warnings(action="error"):
            codes = _read_codes(zipfile.ZipFile(BytesIO(data)))
    except FormatError:
        raise
    # zipfile, zlib and numpy raise a dozen kinds of exception over what hostile bytes make of them.
    except Exception as error:
        raise FormatError("is a damaged .npz file") from error
    reader = WholeReader(source, name, codes)
    reader.form = "npz"
    return reader


def _read_codes(archive: zipfile.ZipFile) -> Codes:
    text = str(_read_array(archive, "info", np.dtype(np.str_), 0)[()])
    values = parse_json(text)
    if not isinstance(values, dict):
        raise FormatError("info is not a JSON object")
    info: CodesInfo = info_from_dict(values)
    length = values.get("length")
    if type(length) is not int:
        raise FormatError("info lacks length")
    data = _read_array(archive, "codes", np.dtype(np.uint16), 3)
    segments = None
    if "segment_frames.npy" in archive.namelist():
        frames = _read_array(archive, "segment_frames", np.dtype(np.int64), 1)
        segments = Segments(frames, _read_array(archive, "scales", np.dtype(np.float32), 1))
    return Codes(info, data, length, segments)


def _read_array(
    archive: zipfile.ZipFile, name: str, kind: np.dtype[Any], axes: int
) -> NDArray[Any]:
    """The array `name`, whose type and size are checked before it is read."""
    if f"{name}.npy" not in archive.namelist():
        raise FormatError(f"has no array {name!r}")
    entry = archive.getinfo(f"{name}.npy")
    # The other methods can take far more memory than the data they hold.
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(f"{name} is compressed in a way numpy does not use")
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        read_header = np.lib.format.read_array_header_2_0
        if version == (1, 0):
            read_header = np.lib.format.read_array_header_1_0
        shape, fortran, dtype = read_header(member)
        if len(shape) != axes or dtype.kind != kind.kind:
            raise FormatError(f"{name} is {dtype} with {len(shape)} axes, not {kind} with {axes}")
        if kind.itemsize and dtype.itemsize != kind.itemsize:
            raise FormatError(f"{name} is {dtype}, not {kind}")
        size = prod(shape) * dtype.itemsize
        limit = MAX_SIZE if axes else MAX_METADATA * dtype.alignment
        if min(shape, default=0) < 0 or size > limit:
            raise FormatError(f"{name} is larger than the {limit >> 10} KiB allowed")
        content = member.read(size)
        # Reading past the end makes zipfile compare the checksum.
        if len(content) < size or member.read(1):
            raise FormatError(f"{name} does not have the size that its header claims")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return np.asarray(array, dtype.newbyteorder("="), order="C")
