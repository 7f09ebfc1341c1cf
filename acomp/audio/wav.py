"""WAV headers, read without seeking, from a file or a pipe.

RIFF WAVE follows "Multiple Channel Audio Data and WAVE Files" (Microsoft, 2007), RF64 follows
EBU Tech 3306.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from acomp.audio.pcm import FORMATS, Pcm
from acomp.audio.samples import check_layout
from acomp.errors import AudioError

MAGIC_BYTES = 12
UNKNOWN_SIZE = 0xFFFFFFFF
MAX_DATA_BYTES = UNKNOWN_SIZE - 36 - 1
"""Most bytes of samples that the size fields of a plain WAV can state."""
_MAX_CHUNKS = 1024
_MAX_HEADER_BYTES = 1 << 26
_PIECE = 1 << 16
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
# The last 14 bytes of the sub-format of an extensible WAV; the first two are an ordinary format.
_BASE_GUID = bytes.fromhex("000000001000800000aa00389b71")
# Sizes that programs write when they do not know the size: sox, several, arecord, ffmpeg. Some
# subtract the bytes of the header, and some round down to whole samples.
_PLACEHOLDERS = (0x7FFF0000, 0x7FFFF000, 0x7FFFFFFF, 0x80000000, UNKNOWN_SIZE)
_PLACEHOLDER_SLACK = 128
_LONG_PLACEHOLDERS = ((1 << 63) - 1, (1 << 64) - 1)
_FORMATS = {
    (_PCM, 1): FORMATS["u8"],
    (_PCM, 2): FORMATS["s16le"],
    (_PCM, 3): FORMATS["s24le"],
    (_PCM, 4): FORMATS["s32le"],
    (_FLOAT, 4): FORMATS["f32le"],
    (_FLOAT, 8): FORMATS["f64le"],
}
"""The PCM formats that are read here, by the number of the encoding and the bytes of a sample."""

Read = Callable[[int], bytes]
"""Returns at least one byte and at most that many; none only at the end."""


@dataclass(frozen=True)
class WavHeader:
    """What the header of a WAV states.

    Attributes:
        encoding: number of the encoding: 1 is PCM, 3 is float.
        sample_rate: sample rate in Hz.
        channels: number of channels.
        block_align: bytes of one sample of all channels, or of one block of compressed samples.
        data_bytes: bytes of samples; None if the header leaves them open.
    """

    encoding: int
    sample_rate: int
    channels: int
    block_align: int
    data_bytes: int | None

    @property
    def pcm(self) -> Pcm | None:
        """How the samples are written; None if they are not plain PCM."""
        width, rest = divmod(self.block_align, self.channels)
        form = None if rest else _FORMATS.get((self.encoding, width))
        return None if form is None else Pcm(self.sample_rate, self.channels, form)

    def promised(self, there: int) -> int:
        """Expected bytes of samples in a file in which `there` bytes follow the header.

        The size field has 32 bits, so it holds the size modulo 4 GiB.
        """
        if self.data_bytes is None:
            return there
        return self.data_bytes + (max(0, there - self.data_bytes) >> 32 << 32)


def is_wav(magic: bytes) -> bool:
    """Whether the first 12 bytes of a file are those of a WAV."""
    return magic[:4] in (b"RIFF", b"RF64") and magic[8:12] == b"WAVE"


def read_header(magic: bytes, read: Read, name: str) -> WavHeader:
    """Read the header after its first 12 bytes, `magic`, up to the first sample.

    Raises:
        AudioError: the header is damaged or truncated.
    """
    chunks = _Chunks(read, name)
    riff_bytes = int.from_bytes(magic[4:8], "little")
    form: tuple[int, int, int, int] | None = None
    long_bytes: int | None = None
    for _ in range(_MAX_CHUNKS):
        kind, size = struct.unpack("<4sI", chunks.take(8))
        if kind == b"data":
            break
        if kind == b"fmt ":
            form = _parse_format(chunks.take(min(size, 40)), name)
            chunks.skip(size - min(size, 40))
        elif kind == b"ds64":
            long_bytes = struct.unpack("<QQ", chunks.take(16))[1]
            chunks.skip(max(size - 16, 0))
        else:
            chunks.skip(size)
        chunks.skip(size % 2)
    else:
        raise AudioError(f"{name} is damaged: no samples after {_MAX_CHUNKS} chunks of its WAV")
    if form is None:
        raise AudioError(f"{name} is damaged: a WAV whose samples come before their format")
    encoding, channels, sample_rate, block_align = form
    if long_bytes is not None and size == UNKNOWN_SIZE:
        size = long_bytes
    # A size of 0 is correct if more of the RIFF follows; otherwise it was never filled in.
    unfilled = size == 0 and not MAGIC_BYTES + chunks.taken - 8 < riff_bytes < 0x7FFF0000
    unknown = unfilled or _is_placeholder(size, block_align)
    return WavHeader(encoding, sample_rate, channels, block_align, None if unknown else size)


def build_header(pcm: Pcm, data_bytes: int | None) -> bytes:
    """The 44 bytes before the samples; `data_bytes` is None if the size is unknown."""
    riff_bytes = UNKNOWN_SIZE if data_bytes is None else 36 + data_bytes + data_bytes % 2
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        riff_bytes,
        b"WAVE",
        b"fmt ",
        16,
        _FLOAT if pcm.format.kind == "f" else _PCM,
        pcm.channels,
        pcm.sample_rate,
        pcm.sample_rate * pcm.block_align,
        pcm.block_align,
        8 * pcm.format.width,
        b"data",
        UNKNOWN_SIZE if data_bytes is None else data_bytes,
    )


def _is_placeholder(size: int, block_align: int) -> bool:
    slack = max(block_align, _PLACEHOLDER_SLACK)
    return any(0 <= most - size < slack for most in _PLACEHOLDERS + _LONG_PLACEHOLDERS)


class _Chunks:
    """Reads the chunks of a header exactly, up to `_MAX_HEADER_BYTES`."""

    def __init__(self, read: Read, name: str) -> None:
        self._read = read
        self._name = name
        self.taken = 0

    def take(self, count: int) -> bytes:
        parts = []
        while count:
            part = self._read(min(count, _PIECE))
            if not part:
                raise AudioError(f"{self._name} is truncated: it ends within its WAV header")
            self.taken += len(part)
            if self.taken > _MAX_HEADER_BYTES:
                raise AudioError(f"{self._name} is damaged: no samples in its first 64 MiB")
            count -= len(part)
            parts.append(part)
        return b"".join(parts)

    def skip(self, count: int) -> None:
        while count:
            count -= len(self.take(min(count, _PIECE)))


def _parse_format(chunk: bytes, name: str) -> tuple[int, int, int, int]:
    """Encoding, channels, sample rate in Hz and bytes of one sample of all channels."""
    if len(chunk) < 16:
        raise AudioError(f"{name} is damaged: its WAV format is cut short")
    encoding, channels, sample_rate, _, block_align, bits = struct.unpack("<HHIIHH", chunk[:16])
    if encoding == _EXTENSIBLE and chunk[26:40] == _BASE_GUID:
        encoding = int.from_bytes(chunk[24:26], "little")
    check_layout(name, sample_rate, channels)
    if encoding in (_PCM, _FLOAT):
        block_align = _block_align(channels, bits, block_align)
    if block_align == 0:
        raise AudioError(f"{name} is damaged: its WAV format gives a sample no bytes")
    return encoding, channels, sample_rate, block_align


def _block_align(channels: int, bits: int, stated: int) -> int:
    """Bytes of one sample of all channels of PCM.

    They follow from the bits of a sample, even if the header states other bytes, as other readers
    have it. The exceptions are 24 bits in 32 (as `libsndfile` reads them), and headers that leave
    the bits out: there the bytes that are stated count.
    """
    if bits == 0 or (bits == 24 and stated == 4 * channels):
        return stated
    return channels * -(-bits // 8)
