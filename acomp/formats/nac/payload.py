"""What stands for the codes in a block of `.nac`: packed bits, or what a range coder wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from acomp.codes import Block, CodesInfo
from acomp.entropy.base import CONTEXT_FRAMES
from acomp.errors import FormatError
from acomp.formats.base import block_frames
from acomp.formats.bits import pack, unpack
from acomp.formats.nac.layout import CODED, CONTINUES, CRC, PACKED, Header, Layout

if TYPE_CHECKING:
    from acomp.entropy.coding import BlockCoder

MAX_PACKED_FRAMES = (1 << 16) - 1
CODED_FRAMES, MAX_CODED_FRAMES = 768, 1024
"""Frames that are best put into a block that is entropy-coded, and those of one at most."""
SIDE_BY_SIDE = 8
"""Blocks that are decoded at once, at most, where they are entropy-coded: it is faster."""


class Part(NamedTuple):
    """What there is of a block before its codes are known."""

    header: Header
    data: bytes
    """What stands for the codes."""
    shell: Block
    """A block of the expected frames and segments whose codes are all 0."""


class Payload(Protocol):
    """One way to write codes."""

    layout: Layout
    block_frames: int
    """Frames that are best put into a block."""
    max_frames: int
    """Frames of a block, at most."""
    side_by_side: int
    """Blocks that are best decoded at once."""

    def encode(self, block: Block) -> tuple[int, bytes]:
        """The flags that a block gets, and the bytes that stand for its codes."""
        ...

    def prepare(self) -> None:
        """Get what decoding takes.

        Raises:
            FormatError: there is no such language model.
            WeightsError: its weights cannot be had.
        """
        ...

    def decode(self, parts: Sequence[Part]) -> list[NDArray[np.uint16]]:
        """The codes of consecutive blocks, of each `[streams, codebooks, frames]`.

        Raises:
            FormatError: the bytes are of no such codes.
        """
        ...


class Packed:
    """Codes of one width, bit by bit."""

    layout = PACKED
    max_frames = MAX_PACKED_FRAMES
    side_by_side = 1

    def __init__(self, info: CodesInfo) -> None:
        self._info = info
        self.block_frames = min(block_frames(info), MAX_PACKED_FRAMES)

    def encode(self, block: Block) -> tuple[int, bytes]:
        return 0, pack(_in_order(block.data), self._info.bits)

    def prepare(self) -> None:
        pass

    def decode(self, parts: Sequence[Part]) -> list[NDArray[np.uint16]]:
        return [self._decode(part) for part in parts]

    def _decode(self, part: Part) -> NDArray[np.uint16]:
        info = self._info
        frames = part.header.frames
        try:
            codes = unpack(part.data, info.bits, frames * info.codes_per_frame)
        except ValueError as error:
            raise FormatError(
                f"the block that begins with frame {part.header.first}: {error}"
            ) from error
        shape = (frames, info.streams, info.codebooks)
        return np.ascontiguousarray(codes.reshape(shape).transpose(1, 2, 0))


class Coded:
    """Codes as a language model and a range coder write them, behind a CRC-32 of the codes."""

    layout = CODED
    block_frames = CODED_FRAMES
    max_frames = MAX_CODED_FRAMES
    side_by_side = SIDE_BY_SIDE

    def __init__(self, make_coder: Callable[[], BlockCoder]) -> None:
        """`make_coder` is called when the first codes are to be written or read."""
        self._make_coder = make_coder
        self._coder: BlockCoder | None = None
        self._context: int | None = None
        """Frames since coding began anew; None where nothing can be gone on from."""

    def encode(self, block: Block) -> tuple[int, bytes]:
        if not block.frames:
            return 0, CRC.pack(crc32(b""))
        context = (self._context or 0) + block.frames
        anew = self._context is None or context > CONTEXT_FRAMES or block.segments is not None
        self._context = block.frames if anew else context
        coded = self._get_coder().encode(block, anew=anew)
        return 0 if anew else CONTINUES, _check_sum(block.data) + coded

    def prepare(self) -> None:
        self._get_coder()

    def decode(self, parts: Sequence[Part]) -> list[NDArray[np.uint16]]:
        continues = parts[0].header.continues
        if len(parts) > 1 and any(part.header.continues for part in parts):
            raise FormatError("the index at the end and the blocks differ")
        for part in parts:
            self._follow(part)
        coder = self._get_coder()
        coded = [(part.data[CRC.size :], part.shell) for part in parts]
        found = coder.decode(coded, anew=not continues)
        for part, codes in zip(parts, found, strict=True):
            if _check_sum(codes) != part.data[: CRC.size]:
                raise FormatError(
                    f"the codes of the block that begins with frame {part.header.first} do not "
                    "come out as they went in: this is a fault of acomp; please report it with "
                    "the file"
                )
        return found

    def _follow(self, part: Part) -> None:
        """Keep count of the context, and refuse what is out of all bounds."""
        header = part.header
        if not header.continues:
            self._context = header.frames
            return
        if self._context is None or header.segment:
            raise FormatError(
                f"the block that begins with frame {header.first} goes on from one "
                "that is not there"
            )
        self._context += header.frames
        if self._context > CONTEXT_FRAMES:
            self._context = None
            raise FormatError(
                f"the block that begins with frame {header.first} is damaged: it is coded from "
                f"more than {CONTEXT_FRAMES} frames"
            )

    def _get_coder(self) -> BlockCoder:
        if self._coder is None:
            self._coder = self._make_coder()
        return self._coder


def _in_order(codes: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Frame by frame, in a frame stream by stream, in a stream codebook by codebook."""
    return codes.transpose(2, 0, 1).reshape(-1)


def _check_sum(codes: NDArray[np.uint16]) -> bytes:
    return CRC.pack(crc32(_in_order(codes).astype(">u2").tobytes()))
