"""Loading of files written by `torch.save`, without running code in them and with bounded memory.

A pickle is a program. torch's restricted unpickler (`weights_only`) still calls what the program
names from a list, and some of that takes as much memory as the program says. So the program is
checked first: it may name only what tensors consist of.
"""

from __future__ import annotations

import pickletools
import re
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

from acomp.plain import MAX_DIRECTORY, NotPlainError, brief, open_zip
from acomp.quiet import quiet

if TYPE_CHECKING:
    import torch

MAX_PICKLE, MAX_OPCODES = 1 << 24, 1 << 20
"""Most bytes and instructions of the pickles in a file, beside its tensors: many times as many as
the published checkpoints have."""

_DAMAGED = "is not a torch checkpoint, or it is damaged"
_LEGACY_PICKLES = 5
"""Pickles at the start of the older layout: magic number, version, sizes, contents, keys."""
_TENSOR_NAMES = re.compile(
    r"collections OrderedDict|torch \w+Storage|torch (Size|device|bool|bfloat16|u?int\d+|float\d+)|"
    r"torch\._utils _rebuild_(tensor(_v[23])?|parameter(_with_state)?)|"
    r"torch\.storage (Untyped|Typed)Storage|torch\.nn\.parameter Parameter|"
    r"torch\.serialization _get_layout"
)


def load_tensors(file: IO[bytes], mapped: Path | None = None) -> object:
    """The content of a file of torch, on the CPU: tensors, numbers, texts, lists, dictionaries.

    Tensors take no more memory than the file has bytes for them. But several may share their
    memory, and tensors with strides of zero may have any shape: check `nbytes` before copying one.

    Args:
        file: the file, at its beginning; it must be seekable.
        mapped: its path, where its tensors may be mapped into memory instead of read, which the
            newer layout allows.

    Raises:
        NotPlainError: the file is not one of torch, is damaged, or names anything but tensors.
        OSError: the file cannot be read.
    """
    import torch

    try:
        is_zip = file.read(4) == b"PK\x03\x04"
        size = file.seek(0, 2)
        file.seek(0)
        sizes = None
        if is_zip:
            pickles, sizes = _look_into_zip(file, size)
        else:
            pickles = file.read(MAX_PICKLE)
        _check_instructions(pickles, 1 if is_zip else _LEGACY_PICKLES)
        file.seek(0)
        with quiet():  # torch also warns of what the error says
            source = mapped if mapped is not None and is_zip else file
            contents: object = torch.load(
                source, map_location="cpu", weights_only=True, mmap=source is mapped
            )
    except (NotPlainError, OSError):
        raise
    # A damaged or hostile file can make zipfile, pickletools and torch raise anything at all.
    except Exception as error:
        wanted = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise (_refusal(wanted[1]) if wanted else NotPlainError(_DAMAGED)) from error
    for tensor in _tensors(contents):
        held = tensor.untyped_storage().nbytes() if tensor.layout is torch.strided else 0
        if held > size or (sizes is not None and held and held not in sizes):
            raise NotPlainError("is damaged: a tensor claims more than it holds")
    return contents


def _look_into_zip(file: IO[bytes], size: int) -> tuple[bytes, set[int]]:
    """The pickle in torch's newer layout, an archive of uncompressed tensors, and the sizes of the
    other members.
    """
    with open_zip(file) as archive:
        members = archive.infolist()
        unpacked = sum(member.file_size for member in members)
        if unpacked > size:
            raise NotPlainError(f"is no torch checkpoint: it unpacks to {unpacked} bytes")
        found = [member for member in members if member.filename.endswith("/data.pkl")]
        if len(found) != 1 or found[0].compress_type or found[0].file_size > MAX_PICKLE:
            raise ValueError("it has no pickle, several, or one that is packed or too large")
        for member in members:
            # torch would swap bytes in place, whatever size the pickle states.
            if member.filename.endswith("/byteorder") and (
                member.file_size > 16 or archive.read(member).decode("ascii") != sys.byteorder
            ):
                raise NotPlainError(
                    "holds numbers in another byte order: save it again on this machine"
                )
        with archive.open(found[0]) as opened:
            pickles = b"".join(iter(lambda: opened.read(MAX_DIRECTORY), b""))
        return pickles, {member.file_size for member in members}


def _check_instructions(pickles: bytes, count: int) -> None:
    """Check the first `count` pickles.

    Raises:
        NotPlainError: they have too many instructions, or name anything but tensors.
        ValueError: they are damaged.
    """
    stream, left = BytesIO(pickles), MAX_OPCODES
    for _ in range(count):
        for opcode, argument, _ in pickletools.genops(stream):
            left -= 1
            if left < 0:
                raise NotPlainError("is no torch checkpoint: its pickle is too long")
            wanted = str(argument) if opcode.name in ("GLOBAL", "INST") else None
            if wanted is not None and not _TENSOR_NAMES.fullmatch(wanted):
                raise _refusal(wanted.replace(" ", "."))


def _refusal(wanted: str) -> NotPlainError:
    return NotPlainError(
        f"is refused and nothing in it was run: it asks for {brief(wanted)[1:-1]}, which is no "
        "part of a tensor"
    )


def _tensors(contents: object) -> Iterator[torch.Tensor]:
    """The tensors in nested dictionaries, as deep as checkpoints nest them."""
    import torch

    level = [contents]
    for _ in range(3):
        yield from (each for each in level if isinstance(each, torch.Tensor))
        level = [each for one in level if isinstance(one, dict) for each in one.values()]
