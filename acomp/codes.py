"""`Codes`: the value that passes between codecs, file forms and analysis.

Needs numpy alone: codes can be read, converted and inspected with no model and no torch.
"""

from __future__ import annotations

import base64
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from acomp.codecs import CodecSpec
from acomp.errors import FormatError
from acomp.plain import brief
from acomp.scalars import whole_number
from acomp.values import ByValue, as_array

# No codec comes near these; they bound what a damaged or hostile file can ask for.
MAX_STREAMS = 64
MAX_CODEBOOKS = 256
MAX_CODEBOOK_SIZE = 1 << 16
MAX_SAMPLE_RATE = 1 << 20
MAX_LENGTH = 1 << 48
MAX_CHUNK = 1 << 32
MAX_SHOWN = 2000
"""Frames in the picture that a notebook shows."""
MAX_LOUDNESS = 200.0
"""In LUFS, above and below zero; full scale is about zero."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, repr=False)
class CodesInfo:
    """What a decoder needs to know before the first frame of codes.

    Attributes:
        codec: name of the codec, for example `encodec-24khz`.
        sample_rate: the codec's sample rate in Hz.
        channels: channels of the audio that the codes decode to.
        streams: 1 where the codec codes its channels jointly, `channels` where it codes each alone.
        codebooks: number of codebooks used, of those the codec has.
        codebook_size: entries of a codebook; a code is 0 to codebook_size - 1.
        hop_length: samples at `sample_rate` that a frame stands for.
        source_rate: sample rate in Hz of the audio that was encoded, which decoding returns to.
        fingerprint: first 16 hexadecimal digits of the SHA-256 of the weights; None where it is not
            known.
        loudness: loudness that decoding gives each channel, in LUFS (ITU-R BS.1770); None leaves
            the level as it was coded.
        chunk: frames that were coded at a time with nothing around them, not even silence, and are
            decoded so (DAC's chunks); None where all were coded as one.

    Raises:
        FormatError: a field is outside what any codec could mean.
    """

    codec: str
    sample_rate: int
    channels: int
    streams: int
    codebooks: int
    codebook_size: int
    hop_length: int
    source_rate: int
    fingerprint: str | None = None
    loudness: tuple[float, ...] | None = None
    chunk: int | None = None

    def __post_init__(self) -> None:
        whole = {
            "sample_rate": MAX_SAMPLE_RATE,
            "channels": MAX_STREAMS,
            "streams": MAX_STREAMS,
            "codebooks": MAX_CODEBOOKS,
            "codebook_size": MAX_CODEBOOK_SIZE,
            "hop_length": MAX_SAMPLE_RATE,
            "source_rate": MAX_SAMPLE_RATE,
        }
        for name, most in whole.items():
            value = whole_number(getattr(self, name), name, FormatError)
            if not 1 <= value <= most:
                raise FormatError(f"{name} is {brief(value)}, not a whole number from 1 to {most}")
            object.__setattr__(self, name, value)
        if not isinstance(self.codec, str) or not _NAME.fullmatch(self.codec):
            raise FormatError(f"codec is {brief(self.codec)}, which is no codec's name")
        if self.codebook_size < 2:
            raise FormatError("codebook_size is 1, which codes nothing")
        if self.streams not in (1, self.channels):
            raise FormatError(f"{self.streams} streams do not fit {self.channels} channels")
        fingerprint = self.fingerprint
        if fingerprint is not None and not is_fingerprint(fingerprint):
            raise FormatError(f"fingerprint is {brief(fingerprint)}, not 16 hexadecimal digits")
        self._check_optional()

    def _check_optional(self) -> None:
        chunk, loudness = self.chunk, self.loudness
        if chunk is not None and (type(chunk) is not int or not 1 <= chunk <= MAX_CHUNK):
            raise FormatError(f"chunk is {brief(chunk)}, not a whole number from 1 to {MAX_CHUNK}")
        if loudness is None:
            return
        if type(loudness) is not tuple or len(loudness) != self.channels:
            raise FormatError(f"loudness is {brief(loudness)}, not one number for each channel")
        for value in loudness:
            if type(value) is not float or not abs(value) <= MAX_LOUDNESS:
                raise FormatError(
                    f"loudness is {brief(value)}, not a number from {-MAX_LOUDNESS:g} to "
                    f"{MAX_LOUDNESS:g} LUFS"
                )

    def __repr__(self) -> str:
        streams = f"{self.streams} streams of " * (self.streams > 1)
        return (
            f"CodesInfo({self.codec}, {streams}{self.codebooks} codebooks x {self.codebook_size}, "
            f"{self.frame_rate:.4g} frames/s, {self.bandwidth:.4g} kbps; of {self.channels} "
            f"channel{'s' * (self.channels > 1)} at {self.source_rate} Hz)"
        )

    @property
    def bits(self) -> int:
        """Bits per code."""
        return (self.codebook_size - 1).bit_length()

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def codes_per_frame(self) -> int:
        """Codes that one frame holds, over all streams."""
        return self.streams * self.codebooks

    @property
    def bandwidth(self) -> float:
        """Bandwidth of the codes in kbps, all streams together."""
        return self.codes_per_frame * self.bits * self.frame_rate / 1000


def info_of(
    spec: CodecSpec,
    *,
    channels: int,
    codebooks: int,
    source_rate: int | None = None,
    fingerprint: str | None = None,
) -> CodesInfo:
    """The `CodesInfo` of a codec's codes of audio with so many channels.

    Args:
        spec: the codec's.
        channels: channels of the audio: `spec.channels`, or any number where each is coded alone.
        codebooks: codebooks used.
        source_rate: sample rate of the audio in Hz; the codec's own unless given.
        fingerprint: of the codec's weights, where it is known.
    """
    return CodesInfo(
        codec=spec.name,
        sample_rate=spec.sample_rate,
        channels=channels,
        streams=1 if channels == spec.channels else channels,
        codebooks=codebooks,
        codebook_size=spec.codebook_size,
        hop_length=spec.hop_length,
        source_rate=spec.sample_rate if source_rate is None else source_rate,
        fingerprint=fingerprint,
    )


@dataclass(frozen=True, eq=False, repr=False)
class Segments(ByValue):
    """Stretches of audio that a codec codes on their own, each with a gain (EnCodec 48 kHz).

    Attributes:
        frames: frames of each segment, int64 `[segments]`.
        scales: gain of each segment, float32 `[segments]`.

    Raises:
        FormatError: the two differ in length, a segment has no frame, or a gain is not finite.
    """

    frames: NDArray[np.int64]
    scales: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.frames.ndim != 1 or self.frames.shape != self.scales.shape:
            raise FormatError("segments need one frame count and one scale each")
        if (self.frames < 1).any():
            raise FormatError("a segment holds no frame")
        if not np.isfinite(self.scales).all():
            raise FormatError("a segment's scale is not a finite number")

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"Segments({len(self)} of {int(self.frames.sum())} frames, each with a gain)"


@dataclass(frozen=True, eq=False, repr=False)
class Block(ByValue):
    """Some consecutive frames of codes; whole segments where the codec has segments.

        >>> acomp.Block(np.zeros((1, 8, 75), np.uint16))
        Block(1 x 8 x 75 (streams, codebooks, frames))

    Attributes:
        data: codes, uint16 `[streams, codebooks, frames]`.
        segments: of the codecs that have some; otherwise None.

    Raises:
        FormatError: the codes are not whole numbers of 16 bits, `[streams, codebooks, frames]`.
    """

    data: NDArray[np.uint16]
    segments: Segments | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.data, np.ndarray) or self.data.dtype != np.uint16:
            object.__setattr__(self, "data", as_codes(self.data))
        if self.data.ndim != 3:
            raise FormatError(f"codes have {self.data.ndim} axes; streams, codebooks, frames are 3")
        if self.segments is not None and int(self.segments.frames.sum()) != self.frames:
            raise FormatError("segments and codes differ in their number of frames")

    def __repr__(self) -> str:
        segments = "" if self.segments is None else f", {len(self.segments)} segments"
        return f"Block({_shape(self.data)}{segments})"

    @property
    def frames(self) -> int:
        """Number of codec frames."""
        return int(self.data.shape[2])


def _shape(data: NDArray[np.uint16]) -> str:
    return f"{' x '.join(map(str, data.shape))} (streams, codebooks, frames)"


@dataclass(frozen=True, eq=False, repr=False)
class Codes(ByValue):
    """The codes of one recording, with all that decoding them takes.

    `Codec.encode` and `read_codes` give them; `Codec.codes` makes them of a bare array of any
    integer type. Two are equal if all they hold is. In a notebook they show themselves as a
    picture.

        >>> codes = acomp.load("nano").encode(acomp.read_audio("speech.flac"), bandwidth=6)
        >>> codes
        Codes(nano, 1 x 8 x 260 (streams, codebooks, frames), 3.45 s, 6 kbps)
        >>> codes.data.dtype, codes.data.shape
        (dtype('uint16'), (1, 8, 260))
        >>> codes.info
        CodesInfo(nano, 8 codebooks x 1024, 75 frames/s, 6 kbps; of 1 channel at 48000 Hz)

    Attributes:
        info: what the codes are of, and how they are decoded.
        data: codes, uint16 `[streams, codebooks, frames]`.
        length: samples per channel of the encoded audio, at `info.source_rate`.
        segments: of the codecs that code in segments, with a gain each; otherwise None.

    Raises:
        FormatError: the codes do not have the shape that `info` says, or are out of range.
    """

    info: CodesInfo
    data: NDArray[np.uint16]
    length: int
    segments: Segments | None = None

    def __post_init__(self) -> None:
        length = whole_number(self.length, "length", FormatError)
        if not 0 <= length <= MAX_LENGTH:
            raise FormatError(f"length is {brief(length)}, not a number of samples")
        block = Block(self.data, self.segments)
        check_block(self.info, block)
        object.__setattr__(self, "length", length)
        object.__setattr__(self, "data", block.data)

    def __repr__(self) -> str:
        return (
            f"Codes({self.info.codec}, {_shape(self.data)}, "
            f"{self.duration:.2f} s, {self.info.bandwidth:.4g} kbps)"
        )

    def _repr_html_(self) -> str:
        """A picture, as notebooks ask for it: codebooks from top to bottom, frames along."""
        rows = self.data[:, :, :MAX_SHOWN].reshape(-1, min(self.frames, MAX_SHOWN))
        shades = (rows.astype(np.uint32) * 255 // (self.info.codebook_size - 1)).astype(np.uint8)
        text = repr(self)
        if self.frames > MAX_SHOWN:
            text += f", the first {MAX_SHOWN} frames"
        if not shades.size:
            return f"<div>{text}</div>"
        picture = base64.b64encode(_png(shades)).decode()
        style = f"image-rendering: pixelated; width: 100%; height: {8 * len(rows)}px"
        return f'<div>{text}<br><img style="{style}" src="data:image/png;base64,{picture}"></div>'

    @classmethod
    def from_blocks(cls, info: CodesInfo, blocks: Iterable[Block], length: int) -> Codes:
        """Join `blocks`, in order."""
        block = join(info, list(blocks))
        return cls(info, block.data, length, block.segments)

    @property
    def block(self) -> Block:
        """All frames as one block."""
        return Block(self.data, self.segments)

    @property
    def frames(self) -> int:
        """Number of codec frames."""
        return int(self.data.shape[2])

    @property
    def duration(self) -> float:
        """Duration of the encoded audio in seconds."""
        return self.length / self.info.source_rate


def _png(shades: NDArray[np.uint8]) -> bytes:
    """Grey shades `[rows, columns]` as a PNG (https://www.w3.org/TR/png-3/)."""
    rows, columns = shades.shape
    scanlines = np.pad(shades, ((0, 0), (1, 0)))  # each begins with its filter: none
    chunks = {
        b"IHDR": struct.pack("!IIBBBBB", columns, rows, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(scanlines.tobytes()),
        b"IEND": b"",
    }
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )


def as_codes(value: object) -> NDArray[np.uint16]:
    """Codes of any integer type, as an array, a tensor or nested lists, as uint16.

    Raises:
        FormatError: they are no whole numbers, or do not fit 16 bits.
    """
    array = as_array(value, "codes", FormatError)
    if array.dtype == np.uint16:
        return array
    if array.dtype.kind == "f" and array.size:
        raise FormatError(f"codes are {array.dtype}; whole numbers of any integer type are due")
    if array.size:
        least, most = int(array.min()), int(array.max())
        if least < 0 or most >= MAX_CODEBOOK_SIZE:
            wrong = least if least < 0 else most
            raise FormatError(f"code {wrong} is out of range: no codebook has it")
    return array.astype(np.uint16)


def is_fingerprint(value: object) -> TypeGuard[str]:
    """Whether it is what weights are told by: 16 hexadecimal digits."""
    return isinstance(value, str) and _FINGERPRINT.fullmatch(value) is not None


def check_block(info: CodesInfo, block: Block) -> None:
    """Raise FormatError unless `block` has the shape and the range of codes that `info` says."""
    if not isinstance(block, Block):
        raise FormatError(f"a block of codes is due (acomp.Block), not {type(block).__name__}")
    shape = block.data.shape[:2]
    if shape != (info.streams, info.codebooks):
        raise FormatError(
            f"{shape[0]} streams of {shape[1]} codebooks, where {info.streams} of "
            f"{info.codebooks} are due"
        )
    if block.frames and int(block.data.max()) >= info.codebook_size:
        raise FormatError(
            f"code {int(block.data.max())} is out of range: a codebook has {info.codebook_size}"
        )


def empty_block(info: CodesInfo) -> Block:
    """A block of no frames."""
    return Block(np.zeros((info.streams, info.codebooks, 0), np.uint16))


def join(info: CodesInfo, blocks: list[Block]) -> Block:
    """One block of all the frames of `blocks`, in order."""
    if not blocks:
        return empty_block(info)
    segments = [block.segments for block in blocks if block.segments is not None]
    joined = None
    if segments:
        joined = Segments(
            np.concatenate([part.frames for part in segments]),
            np.concatenate([part.scales for part in segments]),
        )
    return Block(np.concatenate([block.data for block in blocks], axis=2), joined)


def split(block: Block, frames: int) -> Iterator[Block]:
    """Cut `block` into blocks of about `frames` frames, never through a segment."""
    if block.segments is None:
        for start in range(0, block.frames, frames):
            yield Block(block.data[:, :, start : start + frames])
        return
    ends = np.cumsum(block.segments.frames)
    first, begin = 0, 0
    for last, end in enumerate(ends, start=1):
        if end - begin >= frames or last == len(ends):
            segments = Segments(
                block.segments.frames[first:last], block.segments.scales[first:last]
            )
            yield Block(block.data[:, :, begin:end], segments)
            first, begin = last, int(end)


def tail(block: Block, frames: int) -> Block:
    """`block` without its first `frames` frames; whole segments, where it has segments.

    Raises:
        FormatError: that would cut a segment.
    """
    if frames <= 0:
        return block
    data = block.data[:, :, frames:]
    if block.segments is None:
        return Block(data)
    gone = int(np.searchsorted(np.cumsum(block.segments.frames), frames)) + 1
    return Block(data, Segments(block.segments.frames[gone:], block.segments.scales[gone:]))
