"""`.npz`: the codes as numpy arrays, for `numpy.load`; see docs/formats.md."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from io import BytesIO
from math import prod
from typing import IO, Any, BinaryIO, cast

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
from acomp.plain import MAX_DIRECTORY, NotPlainError, open_zip, read_npy_header

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
        codes = _read_codes(_Arrays(open_zip(BytesIO(data))))
    except FormatError:
        raise
    # zipfile, zlib and numpy raise a dozen kinds of exception over what hostile bytes make of them.
    except Exception as error:
        raise FormatError("is a damaged .npz file") from error
    reader = WholeReader(source, name, codes)
    reader.form = "npz"
    return reader


class _Arrays:
    """The arrays of an archive, of which type and size are checked before they are read."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left = MAX_SIZE
        self.names = archive.namelist()
        for entry in archive.infolist():
            # Names stand in two places, and one that was changed would only seem to be missing.
            archive.open(entry).close()

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self.names

    def read(self, name: str, kind: np.dtype[Any], axes: int, most: int) -> NDArray[Any]:
        """The array `name`, of `most` values or fewer."""
        if name not in self:
            raise FormatError(f"has no array {name!r}")
        entry = self._archive.getinfo(f"{name}.npy")
        # The other methods can take far more memory than the data they hold.
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FormatError(f"{name} is compressed in a way numpy does not use")
        with self._archive.open(entry) as member:
            try:
                dtype, shape, fortran = read_npy_header(member)
            except NotPlainError as error:
                raise FormatError(f"{name} {error}") from error
            if len(shape) != axes or dtype.kind != kind.kind:
                raise FormatError(
                    f"{name} is {dtype} with {len(shape)} axes, not {kind} with {axes}"
                )
            if kind.itemsize and dtype.itemsize != kind.itemsize:
                raise FormatError(f"{name} is {dtype}, not {kind}")
            size = prod(shape) * dtype.itemsize
            limit = min(self._left, most * dtype.alignment)
            if size > limit:
                raise FormatError(f"{name} is larger than the {limit >> 10} KiB allowed")
            self._left -= size
            content = _read_all(member, size)
            # Reading past the end makes zipfile compare the checksum.
            if len(content) < size or member.read(1):
                raise FormatError(f"{name} does not have the size that its header claims")
        array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
        return np.asarray(array, dtype.newbyteorder("="), order="C")


def _read_all(member: IO[bytes], size: int) -> bytearray:
    """`size` bytes, or fewer where there are no more, in pieces."""
    content = bytearray()
    while piece := member.read(min(size - len(content), MAX_DIRECTORY)):
        content += piece
    return content


def _read_codes(arrays: _Arrays) -> Codes:
    text = str(arrays.read("info", np.dtype(np.str_), 0, MAX_METADATA)[()])
    values = parse_json(text)
    if not isinstance(values, dict):
        raise FormatError("info is not a JSON object")
    info: CodesInfo = info_from_dict(values)
    length = values.get("length")
    if type(length) is not int:
        raise FormatError("info lacks length")
    data = arrays.read("codes", np.dtype(np.uint16), 3, MAX_SIZE)
    segments = None
    if "segment_frames" in arrays or "scales" in arrays:
        # A segment has a frame or more.
        frames = arrays.read("segment_frames", np.dtype(np.int64), 1, data.shape[2])
        scales = arrays.read("scales", np.dtype(np.float32), 1, data.shape[2])
        segments = Segments(frames, scales)
    return Codes(info, data, length, segments)
