"""Reading `.nac` versions 1 and 2: every block is checked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from acomp.codes import Block, CodesInfo, Segments, check_block, is_fingerprint
from acomp.entropy.base import runs
from acomp.errors import FormatError
from acomp.formats.base import (
    MAX_METADATA,
    RECOVER,
    CodesReader,
    Reading,
    info_from_dict,
    naming,
    parse_json,
)
from acomp.formats.nac.layout import (
    CONTINUES,
    CRC,
    LAST,
    MAX_BLOCK,
    MAX_BLOCKS,
    SCALE,
    TAIL,
    Header,
    Index,
    Layout,
    has_right_crc,
)
from acomp.formats.nac.limits import LANGUAGE_MODEL, MAX_SEQUENCES, coder_of, most_segments
from acomp.formats.nac.payload import Coded, Packed, Part, Payload
from acomp.formats.nac.version0 import HEADER
from acomp.formats.source import Source
from acomp.plain import brief

if TYPE_CHECKING:
    from acomp.entropy.coding import BlockCoder


class NacReader(CodesReader):
    """Reads `.nac` versions 1 and 2."""

    form = "nac"
    advice: ClassVar[str] = RECOVER
    """What messages about damage end with."""

    def __init__(self, source: Source, name: str, how: Reading, layout: Layout) -> None:
        super().__init__(source, name)
        self._layout = layout
        self._spent = False
        self._segmented: bool | None = None
        self._index: Index | None = None
        self.info, self.language_model, self._begin = _read_metadata(source, layout)
        self._payload: Payload = Packed(self.info)
        self._flags = LAST
        """Those that a block can have."""
        if layout.coded:
            self._flags |= CONTINUES
            self._payload = Coded(lambda: self._make_coder(how.language_model))
        if source.size is not None:
            self._open_index(source.size)

    def _make_coder(self, file: Path | None) -> BlockCoder:
        coder = coder_of(self.info, file)
        if coder.model.fingerprint != self.language_model:
            raise FormatError(
                f"is coded with the language model {self.language_model}, and this one is "
                f"{coder.model.fingerprint}: give the right one (--language-model FILE)"
            )
        return coder

    def _open_index(self, size: int) -> None:
        """Read the index, which says what there is, in a file that can be sought in."""
        try:
            index = self._read_index(size)
        except FormatError as error:
            raise FormatError(f"{error}{self.advice}") from error
        self.length, self.frames = index.length, int(index.frames.sum())

    def _read_index(self, size: int) -> Index:
        index = self._index = self._find_index(size)
        end = self._begin + int(index.sizes(self.info).sum())
        if end + len(index.to_bytes()) != size:
            raise FormatError("the index at the end does not fit the file: bytes are missing")
        return index

    def _find_index(self, size: int) -> Index:
        start = max(self._begin, size - TAIL.size)
        self._source.seek(start)
        tail = self._source.read(TAIL.size)
        if len(tail) == TAIL.size:
            # No more than the file holds, whatever the count claims.
            _, count, _, _ = TAIL.unpack(tail)
            start = max(self._begin, start - min(count, MAX_BLOCKS) * self._layout.entry.itemsize)
        self._source.seek(start)
        return Index.from_bytes(self._source.read(size - start), self._layout)

    def _blocks(self, start_frame: int) -> Iterator[tuple[int, Block]]:
        self._rewind()
        for first, block in self._blocks_around(start_frame):
            if block.frames and first + block.frames > start_frame:
                yield first, block

    def _blocks_around(self, start_frame: int) -> Iterator[tuple[int, Block]]:
        """The blocks from that on which a frame is in, or from an earlier one on."""
        yield from self._checked(*self._seek(start_frame))

    def _rewind(self) -> None:
        if self._source.size is not None:
            self._source.seek(self._begin)
        elif self._spent:
            raise FormatError("comes through a pipe, which can be read only once")
        self._spent = True

    def _seek(self, start_frame: int) -> tuple[int, int]:
        """Go to the last block from which on `start_frame` can be read, if the source can.

        Returns the number of the block where the reading begins, and its first frame.
        """
        if self._index is None:
            return 0, 0
        frames = self._index.frames
        holder = np.searchsorted(np.cumsum(frames), start_frame, side="right")
        entrances = self._index.entrances
        number = int(entrances[entrances <= holder].max(initial=0))
        sizes = self._index.sizes(self.info)
        self._source.seek(self._begin + int(sizes[:number].sum()))
        return number, int(frames[:number].sum())

    def _checked(self, number: int, first: int) -> Iterator[tuple[int, Block]]:
        """The blocks from block `number` on, which begins with frame `first`."""
        for group in self._groups(self._parts(number, first), in_the_middle=number > 0):
            for part, block in zip(group, self._unpack(group), strict=True):
                yield part.header.first, block

    def _parts(self, number: int, first: int) -> Iterator[Part]:
        entries = bytearray()
        last = False
        while not last:
            part = self._take_part(first, first)
            header = part.header
            entries += header.entry(self._layout)
            yield part
            first += header.frames
            last = header.last
        index = self._index or self._take_index(len(entries))
        if index.entries[number * self._layout.entry.itemsize :] != entries:
            raise FormatError(f"the index at the end and the blocks differ{self.advice}")
        self.length, self.frames = index.length, int(index.frames.sum())

    def _groups(self, parts: Iterator[Part], *, in_the_middle: bool) -> Iterator[list[Part]]:
        """Blocks that are decoded at once.

        One by one in a pipe, where the next may not be there yet, and where one goes on from
        another; few at first where reading begins in the middle, as only these may be wanted.
        """
        most = 1
        if self._index is not None and len(self._index.entrances) == len(self._index.frames):
            most = self._payload.side_by_side
        size, group = 1 if in_the_middle else most, list[Part]()
        for part in parts:
            group.append(part)
            sequences = sum(
                max(each.header.segments, len(runs(each.header.frames))) for each in group
            )
            if len(group) == size or sequences * self.info.streams >= MAX_SEQUENCES:
                yield group
                size, group = min(2 * size, most), []
        if group:
            yield group

    def _take_index(self, entries: int) -> Index:
        size = entries + TAIL.size
        data = self._source.read(size + 1)
        if len(data) > size:
            raise FormatError("has bytes after its end")
        return Index.from_bytes(data, self._layout)

    def _take_part(self, lowest: int, highest: int) -> Part:
        """Take the next block, whose first frame must be `lowest` to `highest`.

        Raises:
            FormatError: it is damaged; the source then still stands before it.
        """
        fixed = self._layout.block
        start = self._source.peek(fixed.size)
        if len(start) < fixed.size:
            raise FormatError(f"ends after {lowest} frames, before the last block{self.advice}")
        header = Header(*fixed.unpack(start))
        size = header.size(self.info, self._layout)
        if not lowest <= header.first <= highest or not self._is_plausible(header):
            raise FormatError(f"the block that begins with frame {lowest} is damaged{self.advice}")
        data = self._source.peek(size)
        if len(data) < size:
            problem = f"ends in the middle of the block that begins with frame {lowest}"
            raise FormatError(f"{problem}{self.advice}")
        if not has_right_crc(data):
            raise FormatError(
                f"the block that begins with frame {lowest} is damaged (CRC){self.advice}"
            )
        shell, codes = self._cut(header, data)
        if header.frames:
            self._segmented = shell.segments is not None
        self._source.read(size)
        return Part(header, codes, shell)

    def _is_plausible(self, header: Header) -> bool:
        return (
            header.flags & ~self._flags == 0
            and header.segment <= header.frames <= self._payload.max_frames
            and header.segments <= most_segments(self.info, self._layout)
            and (header.frames > 0 or (header.flags, header.coded) == (LAST, 0))
            and header.size(self.info, self._layout) <= MAX_BLOCK
            and (not header.frames or self._segmented in (None, header.segment > 0))
        )

    def _cut(self, header: Header, data: bytes) -> tuple[Block, bytes]:
        """A block of codes of 0 with its segments, and the bytes that stand for its codes."""
        begin = self._layout.block.size
        scales = np.frombuffer(data, SCALE, header.segments, begin)
        codes = data[begin + scales.nbytes : -CRC.size]
        if not header.frames and any(codes):
            raise FormatError(
                f"the block that begins with frame {header.first} is damaged: it has a checksum "
                f"of codes and no codes{self.advice}"
            )
        info = self.info
        empty = np.zeros((info.streams, info.codebooks, header.frames), np.uint16)
        if not header.segment:
            return Block(empty), codes
        frames = np.full(header.segments, header.segment, np.int64)
        frames[-1] = header.frames - int(frames[:-1].sum())
        return Block(empty, Segments(frames, scales.astype(np.float32))), codes

    def _unpack(self, group: list[Part]) -> list[Block]:
        there = [part for part in group if part.header.frames]
        decoded = iter(self._payload.decode(there) if there else [])
        blocks = [
            Block(next(decoded), part.shell.segments) if part.header.frames else part.shell
            for part in group
        ]
        for block in blocks:
            check_block(self.info, block)
        return blocks

    def counts(self) -> Iterator[tuple[int, int | None]]:
        """As `CodesReader.counts`; checksums tell that the codes are whole, undecoded."""
        if not self._layout.coded:
            yield from super().counts()
            return
        with naming(self._name):
            self._rewind()
            for part in self._parts(*self._seek(0)):
                segments = part.shell.segments
                yield part.header.frames, None if segments is None else len(segments)


def _read_metadata(source: Source, layout: Layout) -> tuple[CodesInfo, str | None, int]:
    """Take the header and the metadata.

    Returns what they say, the fingerprint of the language model and their size in bytes.
    """
    start = source.read(HEADER.size)
    _, _, size, _ = HEADER.unpack(start)
    if size > MAX_METADATA:
        raise FormatError(f"claims {size} bytes of metadata, more than the {MAX_METADATA} allowed")
    rest = source.read(size + CRC.size)
    if len(rest) < size + CRC.size:
        raise FormatError("ends in the middle of the metadata")
    if not has_right_crc(start + rest):
        raise FormatError("the header is damaged (CRC), and nothing can be read without it")
    metadata = parse_json(rest[:size])
    if not isinstance(metadata, dict):
        raise FormatError("the metadata is not a JSON object")
    model = metadata.get(LANGUAGE_MODEL)
    if model is not None and not is_fingerprint(model):
        raise FormatError(f"{LANGUAGE_MODEL} is {brief(model)}, not 16 hexadecimal digits")
    if layout.coded and model is None:
        raise FormatError(f"the metadata lacks {LANGUAGE_MODEL}")
    return info_from_dict(metadata), model, len(start) + len(rest)
