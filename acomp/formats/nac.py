"""`.nac`: blocks of codes, each with a checksum, and an index at the end.

Version 1 has packed codes, version 2 entropy-coded ones. docs/nac.md specifies every byte.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from zlib import crc32

import numpy as np

from acomp.codes import Block, CodesInfo, Segments, check_block, is_fingerprint, join, split
from acomp.entropy.base import runs
from acomp.errors import FormatError
from acomp.formats.base import (
    MAX_METADATA,
    RECOVER,
    CodesReader,
    CodesWriter,
    Reading,
    Writing,
    block_frames,
    info_from_dict,
    info_to_dict,
    naming,
    parse_json,
)
from acomp.formats.bits import packed_size
from acomp.formats.nac0 import HEADER, Nac0Reader
from acomp.formats.nac_layout import (
    CODED,
    CONTINUES,
    CRC,
    LAST,
    MAX_BLOCK,
    MAX_BLOCKS,
    PACKED,
    SCALE,
    TAIL,
    Header,
    Index,
    Layout,
    has_right_crc,
)
from acomp.formats.nac_payload import MAX_PACKED_FRAMES, Coded, Packed, Part, Payload
from acomp.formats.source import Source
from acomp.lengths import natural_length
from acomp.plain import brief

if TYPE_CHECKING:
    from acomp.entropy.coding import BlockCoder

LAYOUTS = {layout.version: layout for layout in (PACKED, CODED)}
LANGUAGE_MODEL = "language_model"
"""What the metadata calls the fingerprint of the language model."""
MAX_FRAMES = (1 << 32) - 1
MAX_SEQUENCES = 64
"""Segments times streams of an entropy-coded block of several segments, and runs times streams of
several blocks that are decoded at once, at most: bounds memory."""

# Recovery: bytes looked through at a time, bytes checksummed in vain before it gives up, and packed
# bytes of frames that may be missing beyond what the bytes passed over could have held.
_WINDOW = 1 << 14
_SCAN_BUDGET = 1 << 28
_GAP_BUDGET = 1 << 24
_LEAST_SILENCE = 60
"""Seconds of silence that recovery puts in for lost frames, however little the file holds."""
_SAVING = 8
"""How many times smaller than packed codes entropy coding makes them, at most, about."""


class _Silence:
    """How much recovery may still put in for what is lost: as much as the file holds of frames,
    what the bytes passed over could have held, and a minute at least.

    A few bytes can say that hours are missing before them.
    """

    def __init__(self, info: CodesInfo, layout: Layout) -> None:
        self._info = info
        self._per_byte = (_SAVING if layout.coded else 1) * 8 / (info.codes_per_frame * info.bits)
        self._held = 0
        self._passed = 0
        self._used = 0

    def hold(self, frames: int) -> None:
        """The file holds these."""
        self._held += frames

    def passed(self, data: bytes) -> None:
        """These bytes were passed over."""
        self._passed += len(data)

    def take(self, frames: int) -> int:
        """How many of so many lost frames to put in."""
        least = int(_LEAST_SILENCE * self._info.frame_rate)
        most = max(self._held, least) + int(self._passed * self._per_byte)
        taken = min(frames, max(0, most - self._used))
        self._used += taken
        return taken


class NacWriter(CodesWriter):
    """Writes `.nac`: version 1, or 2 where codes are entropy-coded."""

    def __init__(self, stream: BinaryIO, name: str, info: CodesInfo, how: Writing) -> None:
        super().__init__(stream, name, info, how)
        self._pending: list[Block] = []
        self._pending_frames = 0
        self._emitted = 0
        self._entries = bytearray()
        metadata = info_to_dict(info)
        if how.entropy == "none":
            self._payload: Payload = Packed(info)
        else:
            coder = _coder(info, how.language_model)
            self._payload = Coded(lambda: coder)
            metadata[LANGUAGE_MODEL] = coder.model.fingerprint
        self._layout = self._payload.layout
        text = json.dumps(metadata, separators=(",", ":")).encode()
        rate = min(max(round(info.bandwidth), 1), 255)
        header = HEADER.pack(b"NAC", self._layout.version, len(text), rate) + text
        self._put(header + CRC.pack(crc32(header)))

    def _write(self, block: Block) -> None:
        self._pending.append(block)
        self._pending_frames += block.frames
        if self._live or self._pending_frames > self._payload.block_frames:
            blocks = list(split(self._take_pending(), self._payload.block_frames))
            # The last one waits, so that the file need not end with an empty block.
            kept = [] if self._live else [blocks.pop()]
            for whole in blocks:
                self._emit(whole)
            self._pending, self._pending_frames = kept, sum(block.frames for block in kept)

    def _finish(self, length: int) -> None:
        self._emit(self._take_pending(), last=True)
        self._put(Index(self._layout, bytes(self._entries), length).to_bytes())

    def _take_pending(self) -> Block:
        block = join(self.info, self._pending)
        self._pending, self._pending_frames = [], 0
        return block

    def _emit(self, block: Block, last: bool = False) -> None:
        most = _most_segments(self.info, self._layout)
        *others, end = _cut_segments(block, self._payload.max_frames, most)
        for each in others:
            self._emit_one(each, 0)
        self._emit_one(end, LAST if last else 0)

    def _emit_one(self, block: Block, flags: int) -> None:
        segments = block.segments
        segment = 0 if segments is None else int(segments.frames[0])
        if segment > self._payload.max_frames:
            raise FormatError(
                f"a segment of {segment} frames is too long for entropy coding: take entropy none"
                if self._layout.coded
                else f"a segment of {segment} frames is too large for a .nac file"
            )
        more, codes = self._payload.encode(block)
        header = Header(flags | more, self._emitted, block.frames, segment, len(codes) - CRC.size)
        self._emitted += block.frames
        if header.size(self.info, self._layout) > MAX_BLOCK:
            raise FormatError(f"a segment of {block.frames} frames is too large for a .nac file")
        entry = header.entry(self._layout)
        if self._emitted > MAX_FRAMES or len(self._entries) == MAX_BLOCKS * len(entry):
            raise FormatError("the codes are too many for a .nac file")
        data = header.to_bytes(self._layout)
        if segments is not None:
            data += segments.scales.astype(SCALE).tobytes()
        data += codes
        self._put(data + CRC.pack(crc32(data)))
        self._entries += entry


def _coder(info: CodesInfo, file: Path | None) -> BlockCoder:
    """The entropy coder of a codec's codes, with its language model or with that of a file.

    Raises:
        FormatError: there is none, or it is of other codes.
        WeightsError: its weights cannot be had.
    """
    # The one thing in formats that needs a model, and only for files that are made with one.
    from acomp.entropy.loading import load_coder

    return load_coder(info, file)


def _most_segments(info: CodesInfo, layout: Layout) -> int:
    """Segments of a block, at most."""
    return max(1, MAX_SEQUENCES // info.streams) if layout.coded else MAX_PACKED_FRAMES


def _cut_segments(block: Block, max_frames: int, max_segments: int) -> Iterator[Block]:
    """Cut `block` where a segment is longer than the first, or follows a shorter one, and where it
    would be too large.

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
            or ends[end + 1] - ends[begin] > max_frames
            or end - begin == max_segments
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
    if version in LAYOUTS:
        return NacReader(source, name, how, LAYOUTS[version])
    raise FormatError(f"is .nac version {version}; this acomp reads versions 0 to {max(LAYOUTS)}")


class NacReader(CodesReader):
    """Reads `.nac` versions 1 and 2."""

    form = "nac"

    def __init__(self, source: Source, name: str, how: Reading, layout: Layout) -> None:
        super().__init__(source, name)
        self._recover = how.recover
        self._advice = "" if how.recover else RECOVER
        self._layout = layout
        self._spent = False
        self._segmented: bool | None = None
        self._scan_budget = _SCAN_BUDGET
        self._gap_budget = _GAP_BUDGET
        self._index: Index | None = None
        self._index_damage: list[str] = []
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
        coder = _coder(self.info, file)
        if coder.model.fingerprint != self.language_model:
            raise FormatError(
                f"is coded with the language model {self.language_model}, and this one is "
                f"{coder.model.fingerprint}: give the right one (--language-model FILE)"
            )
        return coder

    def _open_index(self, size: int) -> None:
        try:
            self._index = self._find_index(size)
            end = self._begin + int(self._index.sizes(self.info).sum())
            if end + len(self._index.to_bytes()) != size:
                raise FormatError("the index at the end does not fit the file: bytes are missing")
        except FormatError as error:
            if not self._recover:
                raise FormatError(f"{error}{RECOVER}") from error
            self._index_damage = [str(error)]
        if self._index and not self._recover:
            self.length, self.frames = self._index.length, int(self._index.frames.sum())

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
        blocks = self._recovered() if self._recover else self._checked(*self._seek(start_frame))
        for first, block in blocks:
            if block.frames and first + block.frames > start_frame:
                yield first, block

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
            raise FormatError(f"the index at the end and the blocks differ{self._advice}")
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
            due = sum(max(each.header.segments, len(runs(each.header.frames))) for each in group)
            if len(group) == size or due * self.info.streams >= MAX_SEQUENCES:
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
            raise FormatError(f"ends after {lowest} frames, before the last block{self._advice}")
        header = Header(*fixed.unpack(start))
        size = header.size(self.info, self._layout)
        if not lowest <= header.first <= highest or not self._is_plausible(header):
            raise FormatError(f"the block that begins with frame {lowest} is damaged{self._advice}")
        data = self._source.peek(size)
        if len(data) < size:
            problem = f"ends in the middle of the block that begins with frame {lowest}"
            raise FormatError(f"{problem}{self._advice}")
        if not has_right_crc(data):
            raise FormatError(
                f"the block that begins with frame {lowest} is damaged (CRC){self._advice}"
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
            and header.segments <= _most_segments(self.info, self._layout)
            and (header.frames > 0 or header.last)
            and header.size(self.info, self._layout) <= MAX_BLOCK
            and (not header.frames or self._segmented in (None, header.segment > 0))
        )

    def _cut(self, header: Header, data: bytes) -> tuple[Block, bytes]:
        """A block of codes of 0 with its segments, and the bytes that stand for its codes."""
        begin = self._layout.block.size
        scales = np.frombuffer(data, SCALE, header.segments, begin)
        codes = data[begin + scales.nbytes : -CRC.size]
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

    def _recovered(self) -> Iterator[tuple[int, Block]]:
        """All blocks that are whole, with silence in the place of those that are not."""
        expected, omitted, segments, segment_frames, last_segment = 0, 0, 0, 0, 0
        last, reason = False, ""
        self.damage[:] = self._index_damage
        self._scan_budget, self._gap_budget = _SCAN_BUDGET, _GAP_BUDGET
        silence = _Silence(self.info, self._layout)
        self._payload.prepare()
        while not last:
            taken = False
            try:
                part = self._take_part(expected, MAX_FRAMES if reason else expected)
                header, taken = part.header, True
                (block,) = self._unpack([part])
            except FormatError as error:
                reason = reason or str(error)
                # Where the bytes are whole and only their codes are not, it stands behind them.
                if self._resynchronise(expected, silence, skip=0 if taken else 1):
                    continue
                self.damage.append(f"{reason}: nothing can be read from frame {expected} on")
                break
            lost = header.first - expected
            silent = silence.take(lost)
            if reason:
                self.damage.append(self._loss(reason, expected, lost, lost - silent))
                reason = ""
            if block.segments is not None:
                # All segments but the last of a recording are equally long.
                segment_frames = max(segment_frames, int(block.segments.frames.max()))
                segments += len(block.segments) + -(-silent // segment_frames)
                last_segment = int(block.segments.frames[-1])
            self._gap_budget -= self._packed(lost)
            yield from self._silence(expected - omitted, silent, segment_frames)
            omitted += lost - silent
            yield header.first - omitted, block
            silence.hold(header.frames)
            expected = header.first + header.frames
            last = header.last
        self.frames = expected - omitted
        natural = natural_length(self.info, self.frames, segments, segment_frames, last_segment)
        in_pipe = self._source.size is None
        index = self._salvage_index() if in_pipe and last else self._index
        if index is None:
            self.length = natural
        elif int(index.frames.sum()) == self.frames:
            self.length = index.length
        else:
            self.length = min(natural, index.length)

    def _loss(self, reason: str, first: int, lost: int, left_out: int) -> str:
        """What is lost, as the user is told."""
        if not lost:
            return f"{reason}: no frame is lost"
        said = f"{reason}: frames {first} to {first + lost - 1} are lost"
        if left_out:
            seconds = left_out / self.info.frame_rate
            said += (
                f", of which {left_out} ({seconds:.0f} s), more than the file holds, are left out "
                "and not put in as silence"
            )
        return said

    def _silence(self, begin: int, count: int, segment: int) -> Iterator[tuple[int, Block]]:
        """Blocks of zero codes for `count` frames from `begin` on.

        With segments, whose scale is then 0, they decode to silence; without, to whatever sound the
        codec has for zeros, and the frames that follow keep their place in time all the same.
        """
        info = self.info
        step = segment or min(block_frames(info), MAX_PACKED_FRAMES)
        for first in range(begin, begin + count, step):
            frames = min(step, begin + count - first)
            data = np.zeros((info.streams, info.codebooks, frames), np.uint16)
            silent = Segments(np.array([frames]), np.zeros(1, np.float32)) if segment else None
            yield first, Block(data, silent)

    def _resynchronise(self, lowest: int, silence: _Silence, skip: int) -> bool:
        """Go on to the next place, `skip` bytes on or more, where a whole block stands; False where
        there is none.
        """
        self._pass_over(skip, silence)
        fixed = self._layout.block
        while len(window := self._source.peek(_WINDOW + fixed.size - 1)) >= fixed.size:
            for offset in _candidates(window, lowest, fixed.size):
                header = Header(*fixed.unpack_from(window, offset))
                gap = self._packed(header.first - lowest)
                if not self._is_plausible(header) or gap > self._gap_budget + offset:
                    continue
                end = offset + header.size(self.info, self._layout)
                data = self._source.peek(end)
                if len(data) == end and has_right_crc(data[offset:]):
                    self._pass_over(offset, silence)
                    return True
                self._scan_budget -= len(data)
                if self._scan_budget < 0:
                    return False
            self._pass_over(_WINDOW, silence)
        return False

    def _pass_over(self, count: int, silence: _Silence) -> None:
        data = self._source.read(count)
        self._gap_budget += len(data)
        silence.passed(data)

    def _packed(self, frames: int) -> int:
        return packed_size(frames * self.info.codes_per_frame, self.info.bits)

    def _salvage_index(self) -> Index | None:
        """The index behind the last block, in a pipe; None where it is damaged."""
        try:
            size = MAX_BLOCKS * self._layout.entry.itemsize + TAIL.size
            return Index.from_bytes(self._source.read(size), self._layout)
        except FormatError as error:
            self.damage.append(str(error))
            return None


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


def _candidates(window: bytes, lowest: int, size: int) -> list[int]:
    """Places in `window` where a block could begin, by its flags, first frame and frames.

    `size` is that of a block's fixed part. A block that goes on from a lost one is of no use.
    """
    data = np.frombuffer(window, np.uint8).astype(np.int64)
    count = len(data) - size + 1
    flags = data[:count]
    first = np.zeros(count, np.int64)
    for byte in range(1, 5):
        first = first << 8 | data[byte : byte + count]
    frames = data[5 : 5 + count] << 8 | data[6 : 6 + count]
    found = (flags <= LAST) & (first >= lowest) & ((frames > 0) | (flags == LAST))
    return [int(place) for place in np.flatnonzero(found)]
