"""How the bytes of `.nac` are laid out: headers of blocks, and the index; see docs/nac.md."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from acomp.codes import MAX_LENGTH, CodesInfo
from acomp.errors import FormatError
from acomp.formats.bits import packed_size

MAX_BLOCK = 1 << 24
MAX_BLOCKS = 1 << 24
END_MAGIC = b"NACE"
LAST, CONTINUES = 1, 2
"""Flags of a block: it is the last one; its entropy coding goes on from the block before."""

CRC = struct.Struct("!I")
SCALE = np.dtype(">f4")
TAIL = struct.Struct("!QII4s")


@dataclass(frozen=True)
class Layout:
    """What differs between the versions.

    Attributes:
        version: number of the version.
        block: header of a block.
        entry: entry of the index.
    """

    version: int
    block: struct.Struct
    entry: np.dtype[np.void]

    @property
    def coded(self) -> bool:
        """Whether codes are entropy-coded, and so of any size."""
        return self.version == 2


PACKED = Layout(1, struct.Struct("!BIHH"), np.dtype([("frames", ">u2"), ("segment", ">u2")]))
CODED = Layout(
    2,
    struct.Struct("!BIHHI"),
    np.dtype([("flags", "u1"), ("frames", ">u2"), ("segment", ">u2"), ("coded", ">u4")]),
)


class Header(NamedTuple):
    """The fixed part of a block."""

    flags: int
    first: int
    frames: int
    segment: int
    """Frames of each segment, of which the last may have fewer; 0 without segments."""
    coded: int = 0
    """Bytes of the codes, where they are entropy-coded."""

    @property
    def last(self) -> bool:
        return bool(self.flags & LAST)

    @property
    def continues(self) -> bool:
        return bool(self.flags & CONTINUES)

    @property
    def segments(self) -> int:
        return -(-self.frames // self.segment) if self.segment else 0

    def to_bytes(self, layout: Layout) -> bytes:
        fields = self if layout.coded else self[:4]
        return layout.block.pack(*fields)

    def entry(self, layout: Layout) -> bytes:
        """What the index says of the block."""
        fields = [getattr(self, name) for name in layout.entry.names or ()]
        return np.array(tuple(fields), layout.entry).tobytes()

    def size(self, info: CodesInfo, layout: Layout) -> int:
        """Bytes of the whole block."""
        packed = packed_size(self.frames * info.codes_per_frame, info.bits)
        codes = self.coded + CRC.size if layout.coded else packed
        return layout.block.size + self.segments * SCALE.itemsize + codes + CRC.size


@dataclass(frozen=True)
class Index:
    """What stands after the last block."""

    layout: Layout
    entries: bytes
    length: int

    @property
    def frames(self) -> NDArray[np.int64]:
        """Frames of each block: `[blocks]`."""
        return self._table()["frames"].astype(np.int64)

    @property
    def entrances(self) -> NDArray[np.int64]:
        """Numbers of the blocks that reading can begin with."""
        if not self.layout.coded:
            return np.arange(len(self._table()))
        return np.flatnonzero(self._table()["flags"] & CONTINUES == 0)

    def sizes(self, info: CodesInfo) -> NDArray[np.int64]:
        """Bytes of each block: `[blocks]`."""
        table = self._table()
        segment = table["segment"].astype(np.int64)
        segments = np.where(segment > 0, -(-self.frames // np.maximum(segment, 1)), 0)
        if self.layout.coded:
            codes = table["coded"].astype(np.int64) + CRC.size
        else:
            codes = (self.frames * (info.codes_per_frame * info.bits) + 7) // 8
        fixed = self.layout.block.size + CRC.size
        sizes: NDArray[np.int64] = codes + segments * SCALE.itemsize + fixed
        return sizes

    def to_bytes(self) -> bytes:
        body = self.entries + struct.pack("!QI", self.length, len(self._table()))
        return body + CRC.pack(crc32(body)) + END_MAGIC

    @classmethod
    def from_bytes(cls, data: bytes, layout: Layout) -> Index:
        """The index that `data` ends with.

        Raises:
            FormatError: it does not end with one.
        """
        if len(data) < TAIL.size:
            raise FormatError("ends in the middle of the index")
        length, count, crc, magic = TAIL.unpack(data[-TAIL.size :])
        size = count * layout.entry.itemsize + TAIL.size
        if magic != END_MAGIC:
            raise FormatError("does not end with an index: it is cut short or damaged")
        if (
            not 1 <= count <= MAX_BLOCKS
            or size > len(data)
            or crc32(data[-size : -CRC.size - len(END_MAGIC)]) != crc
        ):
            raise FormatError("the index at the end is damaged")
        if length > MAX_LENGTH:
            raise FormatError(f"length is {length}, not a number of samples")
        index = cls(layout, data[-size : -TAIL.size], length)
        index.check()
        return index

    def check(self) -> None:
        """Raise FormatError where an entry is one that no block can have, as its reader would."""
        table = self._table()
        wrong = table["segment"] > table["frames"]
        wrong[:-1] |= table["frames"][:-1] == 0
        if self.layout.coded:
            expected = np.zeros(len(table), np.uint8)
            expected[-1] = LAST
            wrong |= table["flags"] & ~np.uint8(CONTINUES) != expected
        if wrong.any():
            raise FormatError("the index at the end is damaged: it names a block that cannot be")

    def _table(self) -> NDArray[np.void]:
        return np.frombuffer(self.entries, self.layout.entry)


def has_right_crc(data: bytes) -> bool:
    """Whether `data` ends in the CRC-32 of the bytes before."""
    return CRC.pack(crc32(data[: -CRC.size])) == data[-CRC.size :]
