"""Files that `torch.save` wrote, loaded without running anything in them and within bounds.

A pickle is a program. Torch's own careful reader (`weights_only`) still makes what a program asks
for of a list of names, some of which take as much memory as they are told to. So the program is
gone through first, and may name nothing but what tensors are made of.
"""

from __future__ import annotations

import pickletools
import re
import sys
from collections.abc import Iterator
from io import BytesIO
from typing import IO, TYPE_CHECKING

from acomp.plain import MAX_DIRECTORY, NotPlainError, brief, open_zip
from acomp.quiet import quiet

if TYPE_CHECKING:
    import torch

MAX_PICKLE, MAX_OPCODES = 1 << 24, 1 << 20
"""Bytes and instructions of the pickles in a file, beside its tensors: many times what the
published checkpoints have."""

_DAMAGED = "is not a torch checkpoint, or it is damaged"
_LEGACY_PICKLES = 5
"""What torch's older layout begins with: a number, a version, sizes, the contents, their keys."""
_TENSOR_NAMES = re.compile(
    r"collections OrderedDict|torch \w+Storage|torch (Size|device|bool|bfloat16|u?int\d+|float\d+)|"
    r"torch\._utils _rebuild_(tensor(_v[23])?|parameter(_with_state)?)|"
    r"torch\.storage (Untyped|Typed)Storage|torch\.nn\.parameter Parameter|"
    r"torch\.serialization _get_layout"
)


def load_tensors(file: IO[bytes]) -> object:
    """What a file of torch's holds, on the CPU: tensors, numbers, texts, lists, dictionaries.

    Tensors claim no more memory than came with them in the file; but several can share what they
    hold, and those of strides of zero claim any shape: look at `nbytes` before you copy one.

    Args:
        file: the file from its beginning, which can be sought in.

    Raises:
        NotPlainError: it is no such file, is damaged, or asks for anything but tensors.
        OSError: it cannot be read.
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
        with quiet():  # torch warns of what the error below says
            contents: object = torch.load(file, map_location="cpu", weights_only=True)
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
    """The pickle in torch's newer layout, an archive that stores tensors unpacked, and the sizes
    of what is beside it.
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
            # Torch would turn the numbers around in place, whatever size the pickle says.
            if member.filename.endswith("/byteorder") and (
                member.file_size > 16 or archive.read(member).decode("ascii") != sys.byteorder
            ):
                raise NotPlainError("holds numbers in another order of bytes: save it anew here")
        with archive.open(found[0]) as opened:
            pickles = b"".join(iter(lambda: opened.read(MAX_DIRECTORY), b""))
        return pickles, {member.file_size for member in members}


def _check_instructions(pickles: bytes, count: int) -> None:
    """Refuse pickles of too many instructions, and ones that name something else than tensors do.

    Raises:
        NotPlainError: they do.
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
    """The tensors in dictionaries, as deep as those of checkpoints are."""
    import torch

    level = [contents]
    for _ in range(3):
        yield from (each for each in level if isinstance(each, torch.Tensor))
        level = [each for one in level if isinstance(one, dict) for each in one.values()]
