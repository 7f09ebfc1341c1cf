"""Writing `.nac`, block by block."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import BinaryIO
from zlib import crc32

import numpy as np

from acomp.codes import Block, CodesInfo, Segments, join, split
from acomp.errors import FormatError
from acomp.formats.base import (
    CodesWriter,
    Writing,
    info_to_dict,
)
from acomp.formats.nac.layout import (
    CRC,
    LAST,
    MAX_BLOCK,
    MAX_BLOCKS,
    SCALE,
    Header,
    Index,
)
from acomp.formats.nac.limits import LANGUAGE_MODEL, MAX_FRAMES, coder_of, most_segments
from acomp.formats.nac.payload import Coded, Packed, Payload
from acomp.formats.nac.version0 import HEADER


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
            coder = coder_of(info, how.language_model)
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
        most = most_segments(self.info, self._layout)
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
