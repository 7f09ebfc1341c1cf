"""Reading what is whole of a damaged `.nac`, with silence in the place of what is lost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from acomp.codes import Block, CodesInfo, Segments
from acomp.errors import FormatError
from acomp.formats.base import (
    Reading,
    block_frames,
)
from acomp.formats.bits import packed_size
from acomp.formats.nac.layout import (
    LAST,
    MAX_BLOCKS,
    TAIL,
    Header,
    Index,
    Layout,
    has_right_crc,
)
from acomp.formats.nac.limits import MAX_FRAMES
from acomp.formats.nac.payload import MAX_PACKED_FRAMES
from acomp.formats.nac.reading import NacReader
from acomp.formats.source import Source
from acomp.lengths import natural_length

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


class RecoveringReader(NacReader):
    """Reads what is whole of `.nac` versions 1 and 2; `damage` says what is not."""

    advice = ""

    def __init__(self, source: Source, name: str, how: Reading, layout: Layout) -> None:
        self._index_damage: list[str] = []
        self._scan_budget = _SCAN_BUDGET
        self._gap_budget = _GAP_BUDGET
        super().__init__(source, name, how, layout)

    def _open_index(self, size: int) -> None:
        """Read the index, which may be damaged; how long the codes are, their blocks tell."""
        try:
            self._read_index(size)
        except FormatError as error:
            self._index_damage = [str(error)]

    def _blocks_around(self, start_frame: int) -> Iterator[tuple[int, Block]]:  # noqa: ARG002
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
