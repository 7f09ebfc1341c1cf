"""`Codes`, the value that codecs, file forms and analysis pass to each other.

This module imports only numpy, so codes can be read, converted and inspected without a model and
without torch.
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
from acomp.errors import AcompError, FormatError, check_type
from acomp.plain import brief
from acomp.scalars import whole_number
from acomp.values import ByValue, as_array

# No codec comes near these limits; they bound what a damaged or hostile file can ask for.
MAX_STREAMS = 64
MAX_CODEBOOKS = 256
MAX_CODEBOOK_SIZE = 1 << 16
MAX_SAMPLE_RATE = 1 << 20
MAX_LENGTH = 1 << 48
MAX_CHUNK = 1 << 32
MAX_SHOWN = 2000
"""Most frames in the picture that a notebook shows."""
MAX_LOUDNESS = 200.0
"""Greatest absolute value of a loudness in LUFS; full scale is about 0 LUFS."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, repr=False)
class CodesInfo:
    """What a decoder needs to know before the first frame of codes.

    Attributes:
        codec: name of the codec, for example `encodec-24khz`.
        sample_rate: sample rate of the codec in Hz.
        channels: number of channels of the decoded audio.
        streams: number of streams: 1 where the codec codes its channels jointly, `channels` where
            it codes each channel alone.
        codebooks: number of codebooks used; the codec may have more.
        codebook_size: number of entries of a codebook; a code is 0 to `codebook_size - 1`.
        hop_length: samples per frame, at `sample_rate`.
        source_rate: sample rate in Hz of the audio that was encoded; decoding returns to it.
        fingerprint: first 16 hexadecimal digits of the SHA-256 of the weights; None if unknown.
        loudness: loudness in LUFS (ITU-R BS.1770) that decoding gives each channel; None leaves
            the level as it was coded.
        chunk: frames per chunk, for codes whose chunks were coded independently of each other,
            without padding, and must be decoded the same way (files of `descript-audio-codec`);
            None where the recording was coded as a whole.

    Raises:
        FormatError: a field has a value that no codec could have.
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
            raise FormatError(f"codec is {brief(self.codec)}, which is not the name of a codec")
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
        """Codes per frame, all streams together."""
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
    """The `CodesInfo` of codes of one codec.

    Args:
        spec: the spec of the codec.
        channels: channels of the audio: `spec.channels`, or any number where each is coded alone.
        codebooks: number of codebooks used.
        source_rate: sample rate of the audio in Hz; by default that of the codec.
        fingerprint: fingerprint of the codec's weights; None if unknown.
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
    """The segments of a codec that codes each segment of audio on its own, with a gain.

    Of the published codecs only EnCodec 48 kHz does so.

    Attributes:
        frames: number of frames of each segment, int64 `[segments]`.
        scales: gain of each segment, float32 `[segments]`; decoding multiplies by it.

    Raises:
        FormatError: the arrays differ in length, a segment has no frame, or a gain is not finite.
    """

    frames: NDArray[np.int64]
    scales: NDArray[np.float32]

    def __post_init__(self) -> None:
        frames = as_array(self.frames, "frames of segments", FormatError)
        if frames.dtype.kind == "f" and frames.size:
            raise FormatError(f"frames of segments are {frames.dtype}; whole numbers are expected")
        object.__setattr__(self, "frames", frames.astype(np.int64, copy=False))
        scales = as_array(self.scales, "scales of segments", FormatError)
        object.__setattr__(self, "scales", scales.astype(np.float32, copy=False))
        if self.frames.ndim != 1 or self.frames.shape != self.scales.shape:
            raise FormatError("segments need one frame count and one scale each")
        if (self.frames < 1).any():
            raise FormatError("a segment has no frames")
        if not np.isfinite(self.scales).all():
            raise FormatError("a segment's scale is not a finite number")

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"Segments({len(self)} of {int(self.frames.sum())} frames, each with a gain)"


@dataclass(frozen=True, eq=False, repr=False)
class Block(ByValue):
    """Consecutive frames of codes, of whole segments where the codec has segments.

    `Encoder.push` returns blocks and `Decoder.push` takes them.

        >>> acomp.Block(np.zeros((1, 8, 75), np.uint16))
        Block(1 x 8 x 75 (streams, codebooks, frames))

    Attributes:
        data: codes, uint16 `[streams, codebooks, frames]`; arrays, tensors and nested lists of any
            integer type are converted.
        segments: the segments of the frames; None for codecs that have no segments.

    Raises:
        FormatError: the codes are not integers `[streams, codebooks, frames]`, do not fit 16 bits,
            or do not have as many frames as the segments.
    """

    data: NDArray[np.uint16]
    segments: Segments | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.data, np.ndarray) or self.data.dtype != np.uint16:
            object.__setattr__(self, "data", as_codes(self.data))
        if self.data.ndim != 3:
            raise FormatError(
                f"codes have {self.data.ndim} axes; [streams, codebooks, frames] is expected"
            )
        if self.segments is not None:
            check_type(self.segments, Segments, FormatError, "acomp.Segments are")
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
    """The codes of one recording, with everything that decoding needs.

    `Codec.encode` and `read_codes` return `Codes`; `Codec.codes` makes them from a bare array of
    any integer type. Two `Codes` are equal if all their fields are equal. A notebook displays them
    as an image, one row for each codebook.

        >>> codes = acomp.load("nano").encode(acomp.read_audio("speech.flac"), bandwidth=6)
        >>> codes
        Codes(nano, 1 x 8 x 260 (streams, codebooks, frames), 3.45 s, 6 kbps)
        >>> codes.data.dtype, codes.data.shape
        (dtype('uint16'), (1, 8, 260))
        >>> codes.info
        CodesInfo(nano, 8 codebooks x 1024, 75 frames/s, 6 kbps; of 1 channel at 48000 Hz)

    Attributes:
        info: the codec, the sample rates and the channels that the codes belong to.
        data: codes, uint16 `[streams, codebooks, frames]`.
        length: samples per channel of the encoded audio, at `info.source_rate`.
        segments: the segments, for codecs that code in segments with a gain each; otherwise None.

    Raises:
        FormatError: the codes do not have the shape that `info` states, or are out of range.
    """

    info: CodesInfo
    data: NDArray[np.uint16]
    length: int
    segments: Segments | None = None

    def __post_init__(self) -> None:
        length = whole_number(self.length, "length", FormatError)
        if not 0 <= length <= MAX_LENGTH:
            raise FormatError(
                f"length is {brief(length)}, not a number of samples from 0 to {MAX_LENGTH}"
            )
        check_type(self.info, CodesInfo, FormatError, "an acomp.CodesInfo is")
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
        """An image for notebooks: codebooks from top to bottom, frames from left to right."""
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
        """Join consecutive blocks to the codes of one recording.

        Args:
            info: what the codes are of.
            blocks: the blocks in order, as `Encoder.push` and `Encoder.finish` return them.
            length: samples per channel of the encoded audio, at `info.source_rate`
                (`Encoder.length`).

        Raises:
            FormatError: a block does not have the shape that `info` states.
        """
        check_type(info, CodesInfo, FormatError, "an acomp.CodesInfo is")
        check_type(blocks, Iterable, FormatError, "blocks, one after the other, are")
        parts = list(blocks)
        for part in parts:
            check_block(info, part)
        block = join(info, parts)
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
    """Codes as uint16, from an array, a tensor or nested lists of any integer type.

    Raises:
        FormatError: the codes are not integers, or do not fit 16 bits.
    """
    array = as_array(value, "codes", FormatError)
    if array.dtype == np.uint16:
        return array
    if array.dtype.kind == "f" and array.size:
        raise FormatError(f"codes are {array.dtype}; an integer type is expected")
    if array.size:
        least, most = int(array.min()), int(array.max())
        if least < 0 or most >= MAX_CODEBOOK_SIZE:
            wrong = least if least < 0 else most
            raise FormatError(
                f"code {wrong} is out of range: codes are from 0 to {MAX_CODEBOOK_SIZE - 1}"
            )
    return array.astype(np.uint16)


def is_fingerprint(value: object) -> TypeGuard[str]:
    """Whether `value` has the form of a fingerprint of weights: 16 hexadecimal digits."""
    return isinstance(value, str) and _FINGERPRINT.fullmatch(value) is not None


def check_codes(value: object, error: type[AcompError]) -> None:
    """Check that `value` is `Codes`.

    Raises:
        AcompError: as `error`: it is not; the message says how to make them.
    """
    hint = (
        "codec.codes(tokens) makes them from bare numbers, acomp.read_codes(path) reads them from "
        "a file"
    )
    check_type(value, Codes, error, "Codes are", hint)


def check_block(info: CodesInfo, block: Block) -> None:
    """Check that `block` has the shape and the range of codes that `info` states.

    Raises:
        FormatError: it has not.
    """
    check_type(block, Block, FormatError, "an acomp.Block is")
    shape = block.data.shape[:2]
    if shape != (info.streams, info.codebooks):
        raise FormatError(
            f"{shape[0]} streams of {shape[1]} codebooks, where {info.streams} of "
            f"{info.codebooks} are expected"
        )
    if block.frames and int(block.data.max()) >= info.codebook_size:
        raise FormatError(
            f"code {int(block.data.max())} is out of range: a codebook has {info.codebook_size} "
            "entries"
        )


def empty_block(info: CodesInfo) -> Block:
    """A block of no frames."""
    return Block(np.zeros((info.streams, info.codebooks, 0), np.uint16))


def join(info: CodesInfo, blocks: list[Block]) -> Block:
    """One block with the frames of all `blocks`, in order."""
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
    """Cut `block` into blocks of `frames` frames, or of whole segments of at least that many."""
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
    """`block` without its first `frames` frames, which end with a segment if it has segments.

    Raises:
        FormatError: the cut would go through a segment.
    """
    if frames <= 0:
        return block
    data = block.data[:, :, frames:]
    if block.segments is None:
        return Block(data)
    gone = int(np.searchsorted(np.cumsum(block.segments.frames), frames)) + 1
    return Block(data, Segments(block.segments.frames[gone:], block.segments.scales[gone:]))
