"""WAV without seeking: headers and samples of a file or of a pipe, as they arrive.

RIFF WAVE follows "Multiple Channel Audio Data and WAVE Files" (Microsoft, 2007), RF64 follows
EBU Tech 3306.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from acomp.audio.samples import Samples, check_layout
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
# Sizes that programs write when they cannot know: sox, several, arecord, ffmpeg.
_PLACEHOLDERS = (0x7FFFF000, 0x7FFFFFFF, 0x80000000, UNKNOWN_SIZE, (1 << 63) - 1, (1 << 64) - 1)

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
    def sample_bytes(self) -> int:
        return self.frame_bytes // self.channels

    @property
    def is_plain(self) -> bool:
        """Whether `decode` knows the samples: PCM of 8 to 32 bits, float of 32 or 64."""
        if self.frame_bytes % self.channels:
            return False
        known = {_PCM: (1, 2, 3, 4), _FLOAT: (4, 8)}
        return self.sample_bytes in known.get(self.encoding, ())


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
    unfilled = size == 0 and not MAGIC_BYTES + chunks.taken - 8 < riff_bytes < 0x7FFFF000
    unknown = unfilled or any(0 <= most - size < frame_bytes for most in _PLACEHOLDERS)
    return WavHeader(encoding, sample_rate, channels, frame_bytes, None if unknown else size)


def decode(data: bytes, header: WavHeader) -> Samples:
    """Bytes of whole frames as samples `[channels, time]`."""
    width = header.sample_bytes
    samples: NDArray[np.float32]
    if header.encoding == _FLOAT:
        # A float64 beyond float32 becomes infinite, which the reader refuses.
        with np.errstate(over="ignore"):
            samples = np.frombuffer(data, f"<f{width}").astype(np.float32)
    elif width == 1:
        half = np.float32(128)
        samples = (np.frombuffer(data, np.uint8).astype(np.float32) - half) / half
    elif width == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        samples = wide.reshape(-1).view("<i4").astype(np.float32) / np.float32(1 << 31)
    else:
        full = np.float32(1 << (8 * width - 1))
        samples = np.frombuffer(data, f"<i{width}").astype(np.float32) / full
    return np.ascontiguousarray(samples.reshape(-1, header.channels).T)


def build_header(
    sample_rate: int, channels: int, sample_bytes: int, is_float: bool, data_bytes: int | None
) -> bytes:
    """The 44 bytes before the samples; `data_bytes` is None where it cannot be known."""
    frame_bytes = channels * sample_bytes
    riff_bytes = UNKNOWN_SIZE if data_bytes is None else 36 + data_bytes + data_bytes % 2
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        riff_bytes,
        b"WAVE",
        b"fmt ",
        16,
        _FLOAT if is_float else _PCM,
        channels,
        sample_rate,
        sample_rate * frame_bytes,
        frame_bytes,
        8 * sample_bytes,
        b"data",
        UNKNOWN_SIZE if data_bytes is None else data_bytes,
    )


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
    encoding, channels, sample_rate, _, frame_bytes, _ = struct.unpack("<HHIIHH", chunk[:16])
    if encoding == _EXTENSIBLE and chunk[26:40] == _BASE_GUID:
        encoding = int.from_bytes(chunk[24:26], "little")
    check_layout(name, sample_rate, channels)
    if frame_bytes == 0:
        raise AudioError(f"{name} is damaged: its WAV format gives a sample no bytes")
    return encoding, channels, sample_rate, frame_bytes
