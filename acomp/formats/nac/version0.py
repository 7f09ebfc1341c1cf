"""`.nac` version 0, read only: 10-bit codes of a 16 kHz codec, without checksum or index."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from acomp.codecs import NAC_0
from acomp.codes import Block, CodesInfo
from acomp.errors import FormatError
from acomp.formats.base import MAX_METADATA, RECOVER, CodesReader, Reading, parse_json
from acomp.formats.bits import unpack
from acomp.formats.source import Source

HEADER = struct.Struct("!3sBIB")
"""What every version begins with: `NAC`, version, bytes of metadata, bit rate in kbps."""

_SAMPLE_RATE = 16000
_HOP_LENGTH = 320
_BITS = 10
_SEGMENT_FRAMES = 100


class Nac0Reader(CodesReader):
    """Reads `.nac` version 0.

    A block is one of its segments: 100 frames, the last one fewer, written codebook by codebook.
    """

    form = "nac"

    def __init__(self, source: Source, name: str, how: Reading) -> None:
        super().__init__(source, name)
        self._recover = how.recover
        self._spent = False
        _, _, size, bit_rate = HEADER.unpack(source.read(HEADER.size))
        if size > MAX_METADATA:
            raise FormatError(
                f"claims {size} bytes of metadata, more than the {MAX_METADATA} allowed"
            )
        metadata = source.read(size)
        if len(metadata) < size:
            raise FormatError("ends in the middle of the metadata")
        parsed = parse_json(metadata)
        if isinstance(parsed, dict) and "codec" in parsed:
            raise FormatError("the header is damaged: version 0 has no such metadata")
        self.info = CodesInfo(
            codec=NAC_0,
            sample_rate=_SAMPLE_RATE,
            channels=1,
            streams=1,
            codebooks=bit_rate * 1000 * _HOP_LENGTH // (_SAMPLE_RATE * _BITS),
            codebook_size=1 << _BITS,
            hop_length=_HOP_LENGTH,
            source_rate=_SAMPLE_RATE,
        )
        self._frame_bits = self.info.codebooks * _BITS
        self._segment_bytes = _SEGMENT_FRAMES * self._frame_bits // 8
        self._begin = HEADER.size + size
        if source.size is not None:
            self._end_at(self._frames_in(source.size - self._begin))

    def _end_at(self, frames: int) -> None:
        self.frames = frames
        self.length = frames * _HOP_LENGTH

    def _frames_in(self, size: int, first: int = 0) -> int:
        """Frames in `size` bytes of codes that begin with frame `first`."""
        segments, rest = divmod(size, self._segment_bytes)
        frames, left = divmod(rest * 8, self._frame_bits)
        if left < 8:
            return segments * _SEGMENT_FRAMES + frames
        # Written codebook by codebook, a segment of unknown length cannot be read in part.
        whole = segments * _SEGMENT_FRAMES
        problem = f"ends in the middle of the segment that begins with frame {first + whole}"
        if not self._recover:
            raise FormatError(f"{problem}{RECOVER}")
        if problem not in self.damage:
            self.damage.append(problem)
        return whole

    def _blocks(self, start_frame: int) -> Iterator[tuple[int, Block]]:
        first = 0
        if self._source.size is not None:
            first = min(start_frame, self.frames or 0) // _SEGMENT_FRAMES * _SEGMENT_FRAMES
            self._source.seek(self._begin + first * self._frame_bits // 8)
        elif self._spent:
            raise FormatError("comes through a pipe, which can be read only once")
        self._spent = True
        while data := self._source.read(self._segment_bytes):
            frames = self._frames_in(len(data), first)
            if not frames:
                break
            block = self._unpack(data, frames, first)
            if first + frames > start_frame:
                yield first, block
            first += frames
        self._end_at(first)

    def _unpack(self, data: bytes, frames: int, first: int) -> Block:
        codebooks = self.info.codebooks
        try:
            codes = unpack(data, _BITS, frames * codebooks, "lsb")
        except ValueError as error:
            raise FormatError(f"the segment that begins with frame {first}: {error}") from error
        return Block(codes.reshape(1, codebooks, frames))
