"""Reading `.ecdc` files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from acomp.codes import Block, Segments, info_of, join
from acomp.errors import FormatError
from acomp.formats.base import CodesReader, Reading, block_frames
from acomp.formats.bits import packed_size
from acomp.formats.ecdc.layout import BITS, SCALE, read_header
from acomp.formats.ecdc.packing import (
    WHOLE,
    Frames,
    SegmentDecoder,
    Unpacker,
    language_model_of,
)
from acomp.formats.source import Source


class EcdcReader(CodesReader):
    """Reads `.ecdc` files of either kind. They hold no checksum: there is nothing to recover by."""

    form = "ecdc"

    def __init__(self, source: Source, name: str, how: Reading) -> None:
        super().__init__(source, name)
        self._how = how
        self._spent = False
        self._header, self._begin = read_header(source)
        self._layout = self._header.layout
        codebooks, model = self._header.codebooks, self._layout.model
        self.info = info_of(model, channels=model.channels, codebooks=codebooks)
        self.length, self.frames = self._layout.length, self._layout.total(self._layout.frames)
        self._step = -(-block_frames(self.info) // WHOLE) * WHOLE
        if source.size is not None and not self._header.entropy_coded:
            self._check_size(source.size - self._begin)

    def _check_size(self, size: int) -> None:
        codebooks = self._header.codebooks
        expected = self._layout.total(lambda segment: self._layout.packed(segment, codebooks))
        if size < expected:
            raise FormatError(
                f"is cut short: {expected} bytes of codes are expected and {size} are there"
            )
        if size > expected:
            raise FormatError("has bytes after its end")

    def _blocks(self, start_frame: int) -> Iterator[tuple[int, Block]]:
        if self._source.size is not None:
            self._source.seek(self._begin)
        elif self._spent:
            raise FormatError("comes through a pipe, which can be read only once")
        self._spent = True
        segment, frame = self._seek(start_frame)
        first = segment * self._layout.frames(0) + frame
        for block in self._together(self._parts(segment, frame)):
            if first + block.frames > start_frame:
                yield first, block
            first += block.frames

    def counts(self) -> Iterator[tuple[int, int | None]]:
        """As `CodesReader.counts`; entropy-coded codes hold nothing that could be checked."""
        if not self._header.entropy_coded:
            yield from super().counts()
            return
        segmented = self._layout.model.segment_frames is not None
        yield self._layout.total(self._layout.frames), self._layout.segments if segmented else None

    def _seek(self, start_frame: int) -> tuple[int, int]:
        """Go to a segment, and a frame in it, no later than `start_frame`.

        That is the beginning in a pipe and where codes are entropy-coded: only decoding tells where
        they end.
        """
        if self._source.size is None or self._header.entropy_coded:
            return 0, 0
        layout, codebooks = self._layout, self._header.codebooks
        if layout.model.segment_frames is None:
            frame = min(start_frame, layout.frames(0)) // WHOLE * WHOLE
            self._source.seek(self._begin + packed_size(frame * codebooks, BITS))
            return 0, frame
        # Up to the last two, all segments are like the first.
        segment = min(start_frame // layout.frames(0), max(0, layout.segments - 2))
        self._source.seek(self._begin + segment * layout.packed(0, codebooks))
        return segment, 0

    def _parts(self, segment: int, frame: int) -> Iterator[Block]:
        """All from a frame of a segment on: whole segments, or some frames at a time."""
        new_decoder = self._decoders()
        decoder = new_decoder()
        if self._layout.model.segment_frames is None:
            for begin in range(frame, self._layout.frames(0), self._step):
                frames = min(self._step, self._layout.frames(0) - begin)
                yield _block(decoder.pull(frames))
        else:
            for number in range(segment, self._layout.segments):
                scale = self._take_scale(number)
                decoder = new_decoder()
                frames = self._layout.frames(number)
                yield _block(decoder.pull(frames), Segments(np.array([frames]), scale))
        decoder.finish()

    def _decoders(self) -> Callable[[], SegmentDecoder]:
        """What makes the decoder of each segment."""
        codebooks, source = self._header.codebooks, self._source
        if not self._header.entropy_coded:
            return lambda: Unpacker(codebooks, source)
        from acomp.entropy.official import OfficialDecoder

        model = language_model_of(self.info, self._how)
        return lambda: OfficialDecoder(model, codebooks, source)

    def _take_scale(self, segment: int) -> NDArray[np.float32]:
        """`[1]`."""
        data = self._source.read(SCALE.itemsize)
        if len(data) < SCALE.itemsize:
            raise FormatError(f"ends before segment {segment + 1} of {self._layout.segments}")
        return np.frombuffer(data, SCALE).astype(np.float32)

    def _together(self, parts: Iterable[Block]) -> Iterator[Block]:
        """Join parts until they are a block of the usual size."""
        pending: list[Block] = []
        for part in parts:
            pending.append(part)
            if sum(block.frames for block in pending) >= self._step:
                yield join(self.info, pending)
                pending = []
        if pending:
            yield join(self.info, pending)


def _block(codes: Frames, segments: Segments | None = None) -> Block:
    return Block(np.ascontiguousarray(codes[np.newaxis]), segments)
