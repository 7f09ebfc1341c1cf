"""`.nac` version 1: blocks of bit-packed codes, each with a checksum, and an index at the end.

docs/nac.md specifies every byte.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from acomp.codes import (
    MAX_LENGTH,
    Block,
    CodesInfo,
    Segments,
    check_block,
    empty_block,
    join,
    split,
)
from acomp.errors import FormatError
from acomp.formats.base import (
    MAX_METADATA,
    CodesReader,
    CodesWriter,
    Reading,
    Writing,
    block_frames,
    info_from_dict,
    info_to_dict,
    natural_length,
    parse_json,
)
from acomp.formats.bits import pack, packed_size, unpack
from acomp.formats.nac0 import HEADER, Nac0Reader
from acomp.formats.source import Source

MAX_BLOCK = 1 << 24
MAX_FRAMES = (1 << 32) - 1
MAX_BLOCK_FRAMES = (1 << 16) - 1
MAX_BLOCKS = 1 << 24
END_MAGIC = b"NACE"

_BLOCK = struct.Struct("!BIHH")
_CRC = struct.Struct("!I")
_ENTRY = struct.Struct("!HH")
_TAIL = struct.Struct("!QII4s")
_SCALE = np.dtype(">f4")
_LAST = 1

# Recovery: bytes looked through at a time, bytes checksummed in vain before it gives up, and packed
# bytes of silence it puts in beyond what the bytes it passed over could have held.
_WINDOW = 1 << 14
_SCAN_BUDGET = 1 << 28
_SILENCE_BUDGET = 1 << 24


class _Header(NamedTuple):
    """The fixed part of a block."""

    flags: int
    first: int
    frames: int
    segment: int
    """Frames of each segment, of which the last may have fewer; 0 without segments."""

    @property
    def last(self) -> bool:
        return bool(self.flags & _LAST)

    @property
    def segments(self) -> int:
        return -(-self.frames // self.segment) if self.segment else 0

    @property
    def entry(self) -> bytes:
        """What the index says of the block."""
        return _ENTRY.pack(self.frames, self.segment)

    def size(self, info: CodesInfo) -> int:
        """Bytes of the whole block."""
        codes = packed_size(self.frames * info.codes_per_frame, info.bits)
        return _BLOCK.size + self.segments * _SCALE.itemsize + codes + _CRC.size


@dataclass(frozen=True)
class _Index:
    """What stands after the last block."""

    entries: bytes
    length: int

    @property
    def counts(self) -> NDArray[np.int64]:
        """Frames of each block and of its segments: `[blocks, 2]`."""
        return np.frombuffer(self.entries, ">u2").reshape(-1, 2).astype(np.int64)

    @property
    def frames(self) -> int:
        return int(self.counts[:, 0].sum())

    def sizes(self, info: CodesInfo) -> NDArray[np.int64]:
        """Bytes of each block: `[blocks]`."""
        frames, segment = self.counts.T
        segments = np.where(segment > 0, -(-frames // np.maximum(segment, 1)), 0)
        codes = (frames * (info.codes_per_frame * info.bits) + 7) // 8
        sizes: NDArray[np.int64] = codes + segments * _SCALE.itemsize + _BLOCK.size + _CRC.size
        return sizes

    def to_bytes(self) -> bytes:
        count = len(self.entries) // _ENTRY.size
        body = self.entries + struct.pack("!QI", self.length, count)
        return body + _CRC.pack(crc32(body)) + END_MAGIC

    @classmethod
    def from_bytes(cls, data: bytes) -> _Index:
        """The index that `data` ends with.

        Raises:
            FormatError: it does not end with one.
        """
        if len(data) < _TAIL.size:
            raise FormatError("ends in the middle of the index")
        length, count, crc, magic = _TAIL.unpack(data[-_TAIL.size :])
        size = count * _ENTRY.size + _TAIL.size
        if magic != END_MAGIC:
            raise FormatError("does not end with an index: it is cut short or damaged")
        if (
            not 1 <= count <= MAX_BLOCKS
            or size > len(data)
            or crc32(data[-size : -_CRC.size - len(END_MAGIC)]) != crc
        ):
            raise FormatError("the index at the end is damaged")
        if length > MAX_LENGTH:
            raise FormatError(f"length is {length}, not a number of samples")
        return cls(data[-size : -_TAIL.size], length)


class NacWriter(CodesWriter):
    """Writes `.nac` version 1."""

    def __init__(self, stream: BinaryIO, name: str, info: CodesInfo, how: Writing) -> None:
        super().__init__(stream, name, info, how)
        self._pending: list[Block] = []
        self._pending_frames = 0
        self._emitted = 0
        self._entries = bytearray()
        self._block_frames = min(block_frames(info), MAX_BLOCK_FRAMES)
        metadata = json.dumps(info_to_dict(info), separators=(",", ":")).encode()
        rate = min(max(round(info.bandwidth), 1), 255)
        header = HEADER.pack(b"NAC", 1, len(metadata), rate) + metadata
        self._put(header + _CRC.pack(crc32(header)))

    def _write(self, block: Block) -> None:
        self._pending.append(block)
        self._pending_frames += block.frames
        if self._live or self._pending_frames > self._block_frames:
            blocks = list(split(self._take_pending(), self._block_frames))
            # The last one waits, so that the file need not end with an empty block.
            kept = [] if self._live else [blocks.pop()]
            for whole in blocks:
                self._emit(whole)
            self._pending, self._pending_frames = kept, sum(block.frames for block in kept)

    def _finish(self, length: int) -> None:
        self._emit(self._take_pending(), last=True)
        self._put(_Index(bytes(self._entries), length).to_bytes())

    def _take_pending(self) -> Block:
        block = join(self.info, self._pending)
        self._pending, self._pending_frames = [], 0
        return block

    def _emit(self, block: Block, last: bool = False) -> None:
        *runs, end = _runs(block)
        for run in runs:
            self._emit_run(run, 0)
        self._emit_run(end, _LAST if last else 0)

    def _emit_run(self, block: Block, flags: int) -> None:
        segments = block.segments
        segment = 0 if segments is None else int(segments.frames[0])
        if segment > MAX_BLOCK_FRAMES:
            raise FormatError(f"a segment of {segment} frames is too large for a .nac file")
        header = _Header(flags, self._emitted, block.frames, segment)
        self._emitted += block.frames
        if header.size(self.info) > MAX_BLOCK:
            raise FormatError(f"a segment of {block.frames} frames is too large for a .nac file")
        if self._emitted > MAX_FRAMES or len(self._entries) == MAX_BLOCKS * _ENTRY.size:
            raise FormatError("the codes are too many for a .nac file")
        data = _BLOCK.pack(*header)
        if segments is not None:
            data += segments.scales.astype(_SCALE).tobytes()
        data += pack(block.data.transpose(2, 0, 1).reshape(-1), self.info.bits)
        self._put(data + _CRC.pack(crc32(data)))
        self._entries += header.entry


def _runs(block: Block) -> Iterator[Block]:
    """Cut `block` where a segment is longer than the first, or follows a shorter one.

    So one number says how long a block's segments are. Real codecs never need the cut: only the
    last segment of a recording differs.
    """
    if block.segments is None:
        yield block
        return
    frames, scales = block.segments.frames, block.segments.scales
    ends = [0, *np.cumsum(frames).tolist()]
    begin = 0
    for end in range(1, len(frames) + 1):
        if (
            end == len(frames)
            or frames[end] > frames[begin]
            or frames[end - 1] < frames[begin]
            or ends[end + 1] - ends[begin] > MAX_BLOCK_FRAMES
        ):
            data = block.data[:, :, ends[begin] : ends[end]]
            yield Block(data, Segments(frames[begin:end], scales[begin:end]))
            begin = end


def open_nac(source: Source, name: str, how: Reading) -> CodesReader:
    """A reader for any version of `.nac`."""
    start = source.peek(HEADER.size)
    if start[:3] != b"NAC":
        raise FormatError("is not a .nac file: it does not begin with NAC")
    if len(start) < HEADER.size:
        raise FormatError("ends in the middle of the header")
    version = start[3]
    if version == 0:
        return Nac0Reader(source, name, how)
    if version == 1:
        return NacReader(source, name, how)
    raise FormatError(f"is .nac version {version}; this acomp reads versions 0 and 1")


class NacReader(CodesReader):
    """Reads `.nac` version 1."""

    form = "nac"

    def __init__(self, source: Source, name: str, how: Reading) -> None:
        super().__init__(source, name)
        self._recover = how.recover
        self._spent = False
        self._segmented: bool | None = None
        self._scan_budget = _SCAN_BUDGET
        self._silence_budget = _SILENCE_BUDGET
        self._index: _Index | None = None
        self._index_damage: list[str] = []
        self.info, self._begin = _read_metadata(source)
        if source.size is not None:
            self._open_index(source.size)

    def _open_index(self, size: int) -> None:
        try:
            self._index = self._find_index(size)
            end = self._begin + int(self._index.sizes(self.info).sum())
            if end + len(self._index.to_bytes()) != size:
                raise FormatError("the index at the end does not fit the file: bytes are missing")
        except FormatError as error:
            if not self._recover:
                raise
            self._index_damage = [str(error)]
        if self._index and not self._recover:
            self.length, self.frames = self._index.length, self._index.frames

    def _find_index(self, size: int) -> _Index:
        start = max(self._begin, size - _TAIL.size)
        self._source.seek(start)
        tail = self._source.read(_TAIL.size)
        if len(tail) == _TAIL.size:
            # No more than the file holds, whatever the count claims.
            _, count, _, _ = _TAIL.unpack(tail)
            start = max(self._begin, start - min(count, MAX_BLOCKS) * _ENTRY.size)
        self._source.seek(start)
        return _Index.from_bytes(self._source.read(size - start))

    def _blocks(self, start_frame: int) -> Iterator[tuple[int, Block]]:
        if self._source.size is not None:
            self._source.seek(self._begin)
        elif self._spent:
            raise FormatError("comes through a pipe, which can be read only once")
        self._spent = True
        blocks = self._recovered() if self._recover else self._checked(*self._seek(start_frame))
        for first, block in blocks:
            if block.frames and first + block.frames > start_frame:
                yield first, block

    def _seek(self, start_frame: int) -> tuple[int, int]:
        """Go to the block that holds `start_frame`, if the source can.

        Returns the number of the block where the reading begins, and its first frame.
        """
        if self._index is None:
            return 0, 0
        ends = np.cumsum(self._index.counts[:, 0])
        number = min(int(np.searchsorted(ends, start_frame, side="right")), len(ends) - 1)
        sizes = self._index.sizes(self.info)
        self._source.seek(self._begin + int(sizes[:number].sum()))
        return number, int(ends[number] - self._index.counts[number, 0])

    def _checked(self, number: int, first: int) -> Iterator[tuple[int, Block]]:
        """The blocks from block `number` on, which begins with frame `first`."""
        entries = bytearray()
        last = False
        while not last:
            header, block = self._take_block(first, first)
            entries += header.entry
            yield first, block
            first += header.frames
            last = header.last
        index = self._index or self._take_index(len(entries))
        if index.entries[number * _ENTRY.size :] != entries:
            raise FormatError("the index at the end and the blocks differ")
        self.length, self.frames = index.length, index.frames

    def _take_index(self, entries: int) -> _Index:
        size = entries + _TAIL.size
        data = self._source.read(size + 1)
        if len(data) > size:
            raise FormatError("has bytes after its end")
        return _Index.from_bytes(data)

    def _take_block(self, lowest: int, highest: int) -> tuple[_Header, Block]:
        """Take the next block, whose first frame must be `lowest` to `highest`.

        Raises:
            FormatError: it is damaged; the source then still stands before it.
        """
        start = self._source.peek(_BLOCK.size)
        if len(start) < _BLOCK.size:
            raise FormatError(f"ends after {lowest} frames, before the last block")
        header = _Header(*_BLOCK.unpack(start))
        size = header.size(self.info)
        if not lowest <= header.first <= highest or not self._is_plausible(header):
            raise FormatError(f"the block that begins with frame {lowest} is damaged")
        data = self._source.peek(size)
        if len(data) < size:
            raise FormatError(f"ends in the middle of the block that begins with frame {lowest}")
        if not _has_right_crc(data):
            raise FormatError(f"the block that begins with frame {lowest} is damaged (CRC)")
        block = self._unpack(header, data)
        if header.frames:
            self._segmented = block.segments is not None
        self._source.read(size)
        return header, block

    def _is_plausible(self, header: _Header) -> bool:
        return (
            header.flags in (0, _LAST)
            and header.segment <= header.frames
            and (header.frames > 0 or header.last)
            and header.size(self.info) <= MAX_BLOCK
            and (not header.frames or self._segmented in (None, header.segment > 0))
        )

    def _unpack(self, header: _Header, data: bytes) -> Block:
        if not header.frames:
            return empty_block(self.info)
        info = self.info
        scales = np.frombuffer(data, _SCALE, header.segments, _BLOCK.size)
        codes_start = _BLOCK.size + scales.nbytes
        count = header.frames * info.codes_per_frame
        try:
            codes = unpack(data[codes_start : -_CRC.size], info.bits, count)
        except ValueError as error:
            raise FormatError(
                f"the block that begins with frame {header.first}: {error}"
            ) from error
        shape = (header.frames, info.streams, info.codebooks)
        segments = None
        if header.segment:
            frames = np.full(header.segments, header.segment, np.int64)
            frames[-1] = header.frames - int(frames[:-1].sum())
            segments = Segments(frames, scales.astype(np.float32))
        block = Block(np.ascontiguousarray(codes.reshape(shape).transpose(1, 2, 0)), segments)
        check_block(info, block)
        return block

    def _recovered(self) -> Iterator[tuple[int, Block]]:
        """All blocks that are whole, with silence in the place of those that are not."""
        expected, segments, segment_frames, last_segment = 0, 0, 0, 0
        last, reason = False, ""
        self.damage[:] = self._index_damage
        self._scan_budget, self._silence_budget = _SCAN_BUDGET, _SILENCE_BUDGET
        while not last:
            try:
                header, block = self._take_block(expected, MAX_FRAMES if reason else expected)
            except FormatError as error:
                reason = reason or str(error)
                if self._resynchronise(expected):
                    continue
                self.damage.append(f"{reason}: nothing can be read from frame {expected} on")
                break
            if reason:
                lost = f"frames {expected} to {header.first - 1} are"
                self.damage.append(
                    f"{reason}: {lost if header.first > expected else 'no frame is'} lost"
                )
                reason = ""
            if block.segments is not None:
                # All segments but the last of a recording are equally long.
                segment_frames = max(segment_frames, int(block.segments.frames.max()))
                segments += len(block.segments) + -(-(header.first - expected) // segment_frames)
                last_segment = int(block.segments.frames[-1])
            self._silence_budget -= self._packed(header.first - expected)
            yield from self._silence(expected, header.first, segment_frames)
            yield header.first, block
            expected = header.first + header.frames
            last = header.last
        self.frames = expected
        natural = natural_length(self.info, expected, segments, segment_frames, last_segment)
        in_pipe = self._source.size is None
        index = self._salvage_index() if in_pipe and last else self._index
        if index is None:
            self.length = natural
        elif index.frames == expected:
            self.length = index.length
        else:
            self.length = min(natural, index.length)

    def _silence(self, begin: int, end: int, segment: int) -> Iterator[tuple[int, Block]]:
        """Blocks of zero codes for the frames from `begin` to `end`.

        With segments, whose scale is then 0, they decode to silence; without, to whatever sound the
        codec has for zeros, and the frames that follow keep their place in time all the same.
        """
        info = self.info
        step = segment or min(block_frames(info), MAX_BLOCK_FRAMES)
        for first in range(begin, end, step):
            frames = min(step, end - first)
            data = np.zeros((info.streams, info.codebooks, frames), np.uint16)
            silent = Segments(np.array([frames]), np.zeros(1, np.float32)) if segment else None
            yield first, Block(data, silent)

    def _resynchronise(self, lowest: int) -> bool:
        """Go on to the next place where a whole block stands; False where there is none."""
        self._silence_budget += len(self._source.read(1))
        while len(window := self._source.peek(_WINDOW + _BLOCK.size - 1)) >= _BLOCK.size:
            for offset in _candidates(window, lowest):
                header = _Header(*_BLOCK.unpack_from(window, offset))
                silence = self._packed(header.first - lowest)
                if not self._is_plausible(header) or silence > self._silence_budget + offset:
                    continue
                end = offset + header.size(self.info)
                data = self._source.peek(end)
                if len(data) == end and _has_right_crc(data[offset:]):
                    self._silence_budget += len(self._source.read(offset))
                    return True
                self._scan_budget -= len(data)
                if self._scan_budget < 0:
                    return False
            self._silence_budget += len(self._source.read(_WINDOW))
        return False

    def _packed(self, frames: int) -> int:
        return packed_size(frames * self.info.codes_per_frame, self.info.bits)

    def _salvage_index(self) -> _Index | None:
        """The index behind the last block, in a pipe; None where it is damaged."""
        try:
            return _Index.from_bytes(self._source.read(MAX_BLOCKS * _ENTRY.size + _TAIL.size))
        except FormatError as error:
            self.damage.append(str(error))
            return None


def _read_metadata(source: Source) -> tuple[CodesInfo, int]:
    """Take the header and the metadata; what they say, and their size in bytes."""
    start = source.read(HEADER.size)
    _, _, size, _ = HEADER.unpack(start)
    if size > MAX_METADATA:
        raise FormatError(f"claims {size} bytes of metadata, more than the {MAX_METADATA} allowed")
    rest = source.read(size + _CRC.size)
    if len(rest) < size + _CRC.size:
        raise FormatError("ends in the middle of the metadata")
    if not _has_right_crc(start + rest):
        raise FormatError("the header is damaged (CRC), and nothing can be read without it")
    metadata = parse_json(rest[:size])
    if not isinstance(metadata, dict):
        raise FormatError("the metadata is not a JSON object")
    return info_from_dict(metadata), len(start) + len(rest)


def _has_right_crc(data: bytes) -> bool:
    """Whether `data` ends in the CRC-32 of the bytes before."""
    return _CRC.pack(crc32(data[: -_CRC.size])) == data[-_CRC.size :]


def _candidates(window: bytes, lowest: int) -> list[int]:
    """Places in `window` where a block could begin, by its flags, first frame and frames."""
    data = np.frombuffer(window, np.uint8).astype(np.int64)
    count = len(data) - _BLOCK.size + 1
    flags = data[:count]
    first = np.zeros(count, np.int64)
    for byte in range(1, 5):
        first = first << 8 | data[byte : byte + count]
    frames = data[5 : 5 + count] << 8 | data[6 : 6 + count]
    found = (flags <= _LAST) & (first >= lowest) & ((frames > 0) | (flags == _LAST))
    return [int(place) for place in np.flatnonzero(found)]
