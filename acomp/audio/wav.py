"""WAV without seeking: the headers of a file or of a pipe, as they arrive.

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
"""Most bytes of samples that the sizes of a plain WAV can tell."""
_MAX_CHUNKS = 1024
_MAX_HEADER_BYTES = 1 << 26
_PIECE = 1 << 16
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
# The rest of the sub-format of an extensible WAV whose first two bytes are an ordinary format.
_BASE_GUID = bytes.fromhex("000000001000800000aa00389b71")
# Sizes that programs write when they cannot know: sox, several, arecord, ffmpeg; each of them less
# what a header takes, where a program counts it in, and rounded down to a power of two by some.
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
"""The samples that are read here, by the format's number and the bytes of a sample."""

Read = Callable[[int], bytes]
"""Gives at least one byte and at most that many; none at the end alone."""


@dataclass(frozen=True)
class WavHeader:
    encoding: int
    """The format's number: 1 is PCM, 3 is float."""
    sample_rate: int
    """Sample rate in Hz."""
    channels: int
    frame_bytes: int
    """Bytes of one sample of every channel (of one block, where samples are compressed)."""
    data_bytes: int | None
    """Bytes of samples that the header promises; None where it does not know."""

    @property
    def pcm(self) -> Pcm | None:
        """How the samples are written; None where that is not plain PCM."""
        width, rest = divmod(self.frame_bytes, self.channels)
        form = None if rest else _FORMATS.get((self.encoding, width))
        return None if form is None else Pcm(self.sample_rate, self.channels, form)

    def promised(self, there: int) -> int:
        """Bytes of samples that are due in a file in which `there` bytes follow the header.

        A size has 32 bits: of samples that take 4 GiB or more it holds the rest of a division.
        """
        if self.data_bytes is None:
            return there
        return self.data_bytes + (max(0, there - self.data_bytes) >> 32 << 32)


def is_wav(magic: bytes) -> bool:
    """Whether a file's first 12 bytes are those of a WAV."""
    return magic[:4] in (b"RIFF", b"RF64") and magic[8:12] == b"WAVE"


def read_header(magic: bytes, read: Read, name: str) -> WavHeader:
    """Read on after the first 12 bytes, `magic`, up to the first sample.

    Raises:
        AudioError: the header is damaged, or ends early.
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
    encoding, channels, sample_rate, frame_bytes = form
    if long_bytes is not None and size == UNKNOWN_SIZE:
        size = long_bytes
    # A size of 0 is true where more of the RIFF follows, and otherwise was never filled in.
    unfilled = size == 0 and not MAGIC_BYTES + chunks.taken - 8 < riff_bytes < 0x7FFF0000
    unknown = unfilled or _is_placeholder(size, frame_bytes)
    return WavHeader(encoding, sample_rate, channels, frame_bytes, None if unknown else size)


def build_header(pcm: Pcm, data_bytes: int | None) -> bytes:
    """The 44 bytes before the samples; `data_bytes` is None where it cannot be known."""
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
        pcm.sample_rate * pcm.frame_bytes,
        pcm.frame_bytes,
        8 * pcm.format.width,
        b"data",
        UNKNOWN_SIZE if data_bytes is None else data_bytes,
    )


def _is_placeholder(size: int, frame_bytes: int) -> bool:
    slack = max(frame_bytes, _PLACEHOLDER_SLACK)
    return any(0 <= most - size < slack for most in _PLACEHOLDERS + _LONG_PLACEHOLDERS)


class _Chunks:
    """Reads exactly, and never more than a header can need."""

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
    """Encoding, channels, sample rate and bytes of a frame, from a `fmt ` chunk."""
    if len(chunk) < 16:
        raise AudioError(f"{name} is damaged: its WAV format is cut short")
    encoding, channels, sample_rate, _, frame_bytes, bits = struct.unpack("<HHIIHH", chunk[:16])
    if encoding == _EXTENSIBLE and chunk[26:40] == _BASE_GUID:
        encoding = int.from_bytes(chunk[24:26], "little")
    check_layout(name, sample_rate, channels)
    if encoding in (_PCM, _FLOAT):
        frame_bytes = _frame_bytes(channels, bits, frame_bytes)
    if frame_bytes == 0:
        raise AudioError(f"{name} is damaged: its WAV format gives a sample no bytes")
    return encoding, channels, sample_rate, frame_bytes


def _frame_bytes(channels: int, bits: int, stated: int) -> int:
    """Bytes of a frame of PCM, which follow from the bits of a sample.

    Where a header states others, every other reader believes the bits too. But 24 bits may stand
    in 32 (as `libsndfile` reads them), and a header that leaves the bits out is believed.
    """
    if bits == 0 or (bits == 24 and stated == 4 * channels):
        return stated
    return channels * -(-bits // 8)
