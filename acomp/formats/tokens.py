"""Bare codes: `.npy`, `.npz` and `.pt` as language models of audio leave them.

Such a file holds an array of integers, `[codebooks, frames]`, alone or with a batch of one before,
and nothing that tells whose codes they are: the codec must be named. They are read only.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from io import BytesIO
from math import prod
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from acomp.bare import codes_from, parts_of
from acomp.errors import CodecError, FormatError
from acomp.formats.base import CodesReader, Reading, WholeReader
from acomp.formats.dac import open_dac
from acomp.formats.npz import MAX_SIZE, open_npz
from acomp.formats.source import Source
from acomp.plain import NotPlainError, open_zip, read_npy_header
from acomp.tensors import load_tensors

SUFFIXES = (".npy", ".pt")
"""Suffixes of the files in a folder that are bare codes, where their codec was named."""
KEYS = ("fine_prompt", "audio_codes", "codes")
"""Names of the codes among other arrays: Bark's, transformers' and what people choose."""
_HEADER = 256
_PIECE = 1 << 20


def open_numpy(source: Source, name: str, how: Reading) -> CodesReader:
    """A reader for what numpy saved: the dictionary of a `.dac`, or bare codes."""
    if b"'descr': '|O'" in source.peek(_HEADER):
        return open_dac(source, name, how)
    return _reader(source, name, how, _read_array(BytesIO(_all_of(source))), "npy")


def open_archive(source: Source, name: str, how: Reading) -> CodesReader:
    """A reader for archives: acomp's own `.npz`, or bare codes of numpy or torch."""
    if not source.peek(4).startswith(b"PK"):  # torch's older layout
        return _reader(source, name, how, _read_torch(_all_of(source)), "pt")
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
    try:
        codes = codes_from(how.codec, parts_of(array))
    except CodecError as error:
        raise FormatError(str(error)) from error
    reader = WholeReader(source, name, codes)
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
    import torch

    try:
        value = load_tensors(BytesIO(data))
    except NotPlainError as error:
        raise FormatError(str(error)) from error
    if type(value) is dict:
        value = value[_chosen([key for key in value if type(key) is str])]
    if type(value) is not torch.Tensor or value.layout is not torch.strided:
        raise FormatError("holds something else than a tensor of codes")
    if value.dtype.is_floating_point or value.dtype.is_complex or value.dtype is torch.bool:
        raise FormatError(f"holds a tensor of {value.dtype}, where codes are integers")
    if value.nbytes > MAX_SIZE:
        raise FormatError(f"holds more than the {MAX_SIZE >> 20} MiB that are read")
    return np.asarray(value.numpy())
