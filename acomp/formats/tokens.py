"""Bare codes: `.npy`, `.npz` and `.pt` as language models of audio leave them.

Such a file holds an array of integers, `[codebooks, frames]`, alone or with a batch of one before,
and nothing that tells whose codes they are: the codec must be named. They are read only.
"""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Sequence
from io import BytesIO
from math import prod
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from acomp.codes import Codes, CodesInfo, Segments
from acomp.errors import FormatError
from acomp.formats.base import MAX_METADATA, CodecFacts, CodesReader, Reading, WholeReader
from acomp.formats.dac import open_dac
from acomp.formats.npz import MAX_SIZE, open_npz
from acomp.formats.source import Source
from acomp.lengths import natural_length
from acomp.plain import NotPlainError, open_zip, read_npy_header

SUFFIXES = (".npy", ".pt")
"""Suffixes of the files in a folder that are bare codes, where their codec was named."""
KEYS = ("fine_prompt", "audio_codes", "codes")
"""Names of the codes among other arrays: Bark's, transformers' and what people choose."""
_MOST_STREAMS = 2
_SEGMENT = 150
"""Frames of a segment of EnCodec 48 kHz."""
_HEADER = 256
_PIECE = 1 << 20


def open_numpy(source: Source, name: str, how: Reading) -> CodesReader:
    """A reader for what numpy saved: the dictionary of a `.dac`, or bare codes."""
    if b"'descr': '|O'" in source.peek(_HEADER):
        return open_dac(source, name, how)
    return _reader(source, name, how, _read_array(BytesIO(_all_of(source))), "npy")


def open_archive(source: Source, name: str, how: Reading) -> CodesReader:
    """A reader for archives: acomp's own `.npz`, or bare codes of numpy or torch."""
    try:
        names = open_zip(BytesIO(source.peek(MAX_SIZE + 1))).namelist()
    except NotPlainError:
        names = []
    if any(each.endswith("data.pkl") for each in names):
        return _reader(source, name, how, _read_torch(_all_of(source)), "pt")
    if not names or "info.npy" in names or not all(each.endswith(".npy") for each in names):
        return open_npz(source, name, how)
    return _reader(source, name, how, _read_npz(_all_of(source)), "npz")


def _all_of(source: Source) -> bytes:
    data = source.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise FormatError(f"is larger than the {MAX_SIZE >> 20} MiB that are read")
    return data


def _reader(source: Source, name: str, how: Reading, array: NDArray[Any], form: str) -> WholeReader:
    if how.codec is None:
        raise FormatError("holds bare codes, which do not say whose they are: name the codec (-b)")
    reader = WholeReader(source, name, _codes(array, how.codec))
    reader.form = form
    return reader


def _read_array(file: IO[bytes]) -> NDArray[Any]:
    """The integers of a `.npy`; their type and size are checked before they are read."""
    try:
        dtype, shape, fortran = read_npy_header(file)
    except NotPlainError as error:
        raise FormatError(str(error)) from error
    if dtype.kind not in "iu":
        raise FormatError(f"holds an array of {dtype}, where codes are integers")
    size = prod(shape) * dtype.itemsize
    if size > MAX_SIZE:
        raise FormatError(f"holds more than the {MAX_SIZE >> 20} MiB that are read")
    content = bytearray()
    while piece := file.read(min(size + 1 - len(content), _PIECE)):
        content += piece
    if len(content) != size:
        raise FormatError("is cut short, or has bytes after its end")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _read_npz(data: bytes) -> NDArray[Any]:
    archive = open_zip(BytesIO(data))
    chosen = _chosen([name.removesuffix(".npy") for name in archive.namelist()])
    entry = archive.getinfo(f"{chosen}.npy")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(f"{chosen} is compressed in a way numpy does not use")
    try:
        with archive.open(entry) as member:
            return _read_array(member)
    except FormatError:
        raise
    # zipfile and zlib raise a dozen kinds of exception over what hostile bytes make of them.
    except Exception as error:
        raise FormatError("is a damaged .npz file") from error


def _chosen(names: Sequence[str]) -> str:
    """The name of the codes among those of a file's arrays."""
    found = names[0] if len(names) == 1 else next((key for key in KEYS if key in names), None)
    if found is None:
        there = ", ".join(names[:8])
        raise FormatError(
            f"holds several arrays ({there}), and none is called {' or '.join(KEYS)}: "
            "save the codes alone"
        )
    return found


def _read_torch(data: bytes) -> NDArray[Any]:
    """The integers of a tensor that `torch.save` wrote, alone or in a dictionary."""
    sizes = _storage_sizes(data)
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    # A damaged or hostile pickle can make the unpickler raise anything at all.
    except Exception as error:
        raise FormatError("is no file of a tensor, or it is damaged") from error
    if type(value) is dict:
        value = value[_chosen([key for key in value if type(key) is str])]
    if type(value) is not torch.Tensor or value.layout is not torch.strided:
        raise FormatError("holds something else than a tensor of codes")
    if value.dtype.is_floating_point or value.dtype.is_complex or value.dtype is torch.bool:
        raise FormatError(f"holds a tensor of {value.dtype}, where codes are integers")
    if value.untyped_storage().nbytes() not in sizes:
        raise FormatError("is a damaged file of a tensor: it claims more than it holds")
    if value.numel() * value.element_size() > MAX_SIZE:
        raise FormatError(f"holds more than the {MAX_SIZE >> 20} MiB that are read")
    return np.asarray(value.numpy())


def _storage_sizes(data: bytes) -> set[int]:
    """Sizes of the numbers in an archive of torch's, which is seen to be a plain one first.

    Raises:
        FormatError: its pickle is a large one, or its numbers would have to be rearranged.
    """
    archive = open_zip(BytesIO(data))
    sizes = set()
    for entry in archive.infolist():
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > len(data):
            raise FormatError("is a damaged file of a tensor: torch compresses nothing")
        if entry.filename.endswith("data.pkl") and entry.file_size > MAX_METADATA:
            raise FormatError("holds more than a tensor of codes")
        if entry.filename.endswith("byteorder") and archive.read(entry) != b"little":
            raise FormatError("holds numbers in an order of bytes that is not read: save it anew")
        if "/data/" in entry.filename:
            sizes.add(entry.file_size)
    return sizes


def _codes(array: NDArray[Any], codec: CodecFacts) -> Codes:
    """Bare codes as those of a codec.

    Raises:
        FormatError: they have not the shape or the range of its codes.
    """
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    data = array[None] if array.ndim == 2 else array
    if data.ndim != 3 or not data.size:
        raise FormatError(f"holds an array {array.shape}, where [codebooks, frames] is due")
    streams, codebooks, frames = data.shape
    most = 1 if codec.channels == 2 else _MOST_STREAMS
    if streams > most:
        raise FormatError(
            f"holds a batch of {streams}, where {codec.name} has {most} stream(s) at most: "
            "save each recording alone"
        )
    if codebooks > codec.codebooks:
        raise FormatError(
            f"holds {codebooks} x {frames} codes, but {codec.name} has {codec.codebooks} "
            "codebooks: [codebooks, frames] is due"
        )
    low, high = int(data.min()), int(data.max())
    if low < 0 or high >= codec.codebook_size:
        raise FormatError(
            f"holds codes from {low} to {high}; those of {codec.name} are 0 to "
            f"{codec.codebook_size - 1}: leave special tokens and offsets out"
        )
    info = CodesInfo(
        codec=codec.name,
        sample_rate=codec.sample_rate,
        channels=2 if codec.channels == 2 else streams,
        streams=streams,
        codebooks=codebooks,
        codebook_size=codec.codebook_size,
        hop_length=codec.hop_length,
        source_rate=codec.sample_rate,
    )
    segments = None
    sizes: tuple[int, ...] = ()
    if codec.name == "encodec-48khz":
        counts = [min(_SEGMENT, frames - start) for start in range(0, frames, _SEGMENT)]
        sizes = (len(counts), max(counts), counts[-1])
        segments = Segments(np.array(counts, np.int64), np.ones(len(counts), np.float32))
    length = natural_length(info, frames, *sizes)
    return Codes(info, np.ascontiguousarray(data, np.uint16), length, segments)
