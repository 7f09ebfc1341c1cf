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
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from acomp.codecs import SPECS, CodecSpec
from acomp.errors import AcompError, FormatError, check_type
from acomp.grid import Cells, Grid
from acomp.plain import brief
from acomp.scalars import real_number, whole_number
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
        loudness = self.loudness
        if self.chunk is not None:
            chunk = whole_number(self.chunk, "chunk", FormatError)
            if not 1 <= chunk <= MAX_CHUNK:
                raise FormatError(f"chunk is {chunk}, not a whole number from 1 to {MAX_CHUNK}")
            object.__setattr__(self, "chunk", chunk)
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
        Codes(nano-2, 1 x 12 x 174 (streams, codebooks, frames), 3.45 s, 6 kbps)
        >>> codes.data.dtype, codes.data.shape
        (dtype('uint16'), (1, 12, 174))
        >>> codes.info
        CodesInfo(nano-2, 12 codebooks x 1024, 50 frames/s, 6 kbps; of 1 channel at 48000 Hz)

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

    def __getitem__(self, stretch: slice) -> Codes:
        """A stretch of the codes: `codes[1.0:2.5]`, in seconds, as `cut` takes it.

        Negative times count from the end, and `codes[:t]` and `codes[t:]`, joined, are `codes`.

            >>> codes = acomp.load("nano").encode(acomp.read_audio("speech.flac"), bandwidth=6)
            >>> codes[-1.0:]
            Codes(nano-2, 1 x 12 x 52 (streams, codebooks, frames), 1.01 s, 6 kbps)

        Raises:
            FormatError: as `cut`, or it is no stretch.
        """
        if not isinstance(stretch, slice) or stretch.step is not None:
            raise FormatError("codes are cut by times in seconds, as in codes[1.0:2.5]")
        return self._between(self._time(stretch.start) or 0, self._time(stretch.stop))

    def _time(self, value: object) -> float | None:
        """Seconds from the beginning."""
        if value is None:
            return None
        seconds = real_number(value, "the time", "seconds", FormatError)
        return max(0.0, self.duration + seconds) if seconds < 0 else seconds

    def cut(self, start: float = 0, duration: float | None = None) -> Codes:
        """The codes of a stretch of the recording; no model is needed.

        Both ends are rounded to the nearest place where codes can be cut: between two frames, or
        for EnCodec 48 kHz between two segments. Loudness and gains stay.

            >>> codes = acomp.load("nano").encode(acomp.read_audio("speech.flac"), bandwidth=6)
            >>> codes.cut(1, 0.52)
            Codes(nano-2, 1 x 12 x 27 (streams, codebooks, frames), 0.52 s, 6 kbps)

        Args:
            start: seconds to leave out.
            duration: seconds to take; by default all that follow.

        Raises:
            FormatError: nothing lies there, or not even a frame.
        """
        if duration is None:
            return self._between(start, None)
        begin = real_number(start, "the start", "seconds", FormatError)
        return self._between(
            begin, begin + real_number(duration, "the duration", "seconds", FormatError)
        )

    @property
    def _grid(self) -> Grid:
        return grid_of(self.info, self.segments, self.frames, self.length)

    def _between(self, start: float, end: float | None) -> Codes:
        cells = Cells.between(self._grid, start, end, self.length)
        block = between(self.block, cells.first_frame, cells.end_frame)
        if cells.first and not block.frames:
            raise FormatError(f"the codes end before {start:g} s")
        return Codes(self.info, block.data, cells.length(self.length), block.segments)

    @classmethod
    def join(cls, parts: Iterable[Codes]) -> Codes:
        """The codes of several recordings, one after the other, as those of one; without a model.

        Each recording but the last is heard to the end of its last frame.

            >>> codes = acomp.load("nano").encode(acomp.read_audio("speech.flac"), bandwidth=6)
            >>> acomp.Codes.join([codes[:1.5], codes[1.5:]]) == codes
            True

        Args:
            parts: the codes in order.

        Raises:
            FormatError: they are of different codecs, weights, bit rates, channels or loudness, or
                one before the last ends within a segment or a chunk.
        """
        check_type(parts, Iterable, FormatError, "a list of acomp.Codes is")
        recordings = list(parts)
        if not recordings:
            raise FormatError("there are no codes to join")
        for each in recordings:
            check_codes(each, FormatError)
        joint = Joint(recordings[0].info, recordings[0]._grid)
        blocks: list[Block] = []
        for number, each in enumerate(recordings, start=1):
            joint.begin(each.info, each._grid)
            blocks += joint.add(each.block)
            blocks += joint.end(each.length, last=number == len(recordings))
        return cls.from_blocks(joint.info, blocks, joint.length)

    def thin(self, codebooks: int, *, codec: CodecSpec | None = None) -> Codes:
        """The codes of the first codebooks alone: a lower bit rate, without a model.

            >>> info = acomp.CodesInfo("encodec-24khz", 24_000, 1, 1, 8, 1024, 320, 24_000)
            >>> codes = acomp.Codes(info, np.zeros((1, 8, 150), np.uint16), 48_000)
            >>> codes.thin(2)
            Codes(encodec-24khz, 1 x 2 x 150 (streams, codebooks, frames), 2.00 s, 1.5 kbps)

        Args:
            codebooks: how many to keep.
            codec: the spec of the codec (`codec.spec`), where it is not a published one.

        Raises:
            FormatError: encoding with so few codebooks gives other codes than these, as `nano`
                does, or the codes do not have so many.
            CodecError: the codec does not take this number of codebooks.
        """
        info = thinned(self.info, codebooks, codec)
        return Codes(info, self.data[:, : info.codebooks], self.length, self.segments)


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


def head(block: Block, frames: int) -> Block:
    """The first `frames` frames of `block`, which end with a segment if it has segments.

    Raises:
        FormatError: the cut would go through a segment.
    """
    if frames >= block.frames:
        return block
    data = block.data[:, :, : max(0, frames)]
    if block.segments is None:
        return Block(data)
    kept = int(np.searchsorted(np.cumsum(block.segments.frames), frames, side="right"))
    return Block(data, Segments(block.segments.frames[:kept], block.segments.scales[:kept]))


def between(block: Block, begin: int, end: int | None) -> Block:
    """The frames of `block` from `begin` up to `end`, or to its end; both may lie beyond it."""
    return tail(block if end is None else head(block, end), begin)


def grid_of(
    info: CodesInfo,
    segments: Segments | None,
    frames: int | None,
    length: int | None,
    spec: CodecSpec | None = None,
) -> Grid:
    """Where codes can be cut.

    Args:
        info: what the codes are of.
        segments: the first segments; None where there are none.
        frames: frames in all; None if unknown.
        length: samples per channel, at `info.source_rate`; None if unknown.
        spec: the spec of the codec; by default that of the published codec that `info` names.

    Raises:
        FormatError: only a spec can tell.
    """
    extra = 0
    if frames is not None and length is not None:
        extra = frames - -(-length * info.sample_rate // (info.source_rate * info.hop_length))
    segment = int(segments.frames[0]) if segments is not None and len(segments) else None
    return Grid.of(info, spec or SPECS.get(info.codec), segment, max(0, extra))


def thinned(info: CodesInfo, codebooks: object, spec: CodecSpec | None) -> CodesInfo:
    """What codes of `info` are of, once only the first codebooks are left.

    Raises:
        FormatError: they are no codes that encoding gives, or there are not so many codebooks.
        CodecError: the codec does not take this number of codebooks.
    """
    count = whole_number(codebooks, "the number of codebooks", FormatError)
    spec = spec or SPECS.get(info.codec)
    if not 1 <= count <= info.codebooks:
        raise FormatError(f"the codes have {info.codebooks} codebooks: {count} cannot be kept")
    if spec is None or spec.name != info.codec:
        raise FormatError(
            f"whether codes of {info.codec} hold those of a lower bit rate only its weights tell: "
            "name them (-b, and --weights for custom)"
        )
    if count < info.codebooks and not spec.nested:
        raise FormatError(
            f"{info.codec} chooses the codes of all codebooks together, so these do not hold those "
            f"of {count}: encode the audio with --codebooks {count}"
        )
    return replace(info, codebooks=spec.codebooks_for(None, count))


class Joint:
    """Joins recordings block by block: `begin` each, `add` its blocks, and `end` it.

    Attributes:
        info: what the joined codes are of.
        length: samples per channel of the whole, at `info.source_rate`; 0 before its end.
    """

    def __init__(self, info: CodesInfo, grid: Grid) -> None:
        self.info = info
        self.length = 0
        self._grid = grid
        self._cells = 0
        """Cells of the recordings that have ended."""
        self._rate = info.source_rate
        """That of the recording which is under way."""
        self._extra = 0
        """Frames that it has after its last cell, which only the last recording keeps."""
        self._pending = empty_block(info)
        """Its last frames so far, those among them."""
        self._frames = 0
        self._whole = True

    def begin(self, info: CodesInfo, grid: Grid) -> None:
        """Go on with another recording.

        Raises:
            FormatError: its codes are not of the same kind.
        """
        for name, what in _ALIKE.items():
            own, other = getattr(self.info, name), getattr(info, name)
            if own != other and not (name == "fingerprint" and None in (own, other)):
                raise FormatError(
                    f"cannot be joined to the codes before: {what} {_said(other)}, not {_said(own)}"
                )
        self._rate, self._extra = info.source_rate, grid.extra
        self._pending, self._frames, self._whole = empty_block(info), 0, True

    def add(self, block: Block) -> Iterator[Block]:
        """Take the next frames, and give those that are certain to stay.

        Raises:
            FormatError: a segment is longer than those of the first recording.
        """
        self._frames += block.frames
        if block.segments is not None:
            if (block.segments.frames > self._grid.frames).any():
                raise FormatError("cannot be joined to the codes before: its segments are longer")
            self._whole &= bool((block.segments.frames == self._grid.frames).all())
        if not self._extra:
            yield block
            return
        pending = join(self.info, [self._pending, block])
        certain = max(0, pending.frames - self._extra)
        self._pending = tail(pending, certain)
        yield head(pending, certain)

    def end(self, length: int, *, last: bool) -> Iterator[Block]:
        """End a recording of `length` samples, and give the frames that are left of it.

        Raises:
            FormatError: it is not the last, and its last segment or chunk is not whole.
        """
        if last:
            yield self._pending
            own = -(-length * self.info.source_rate // self._rate)
            self.length = self._grid.sample(self._cells) + own
            return
        cells, rest = divmod(self._frames - self._pending.frames, self._grid.frames)
        if rest or not self._whole:
            raise FormatError(
                f"its last codes are less than the {self._grid.seconds:.4g} s of a whole, so that "
                "nothing can be joined after them: take them off with acomp cut"
            )
        self._cells += cells


_ALIKE = {
    "codec": "they are of",
    "fingerprint": "they were made with the weights",
    "sample_rate": "the sample rate of the codec is",
    "hop_length": "the samples of a frame are",
    "codebook_size": "the entries of a codebook are",
    "channels": "the channels are",
    "streams": "the streams are",
    "codebooks": "the codebooks are",
    "chunk": "the frames of a chunk are",
    "loudness": "the loudness in LUFS is",
}
"""Fields of `CodesInfo` in which codes that are joined are alike, as messages say them."""


def _said(value: object) -> str:
    if isinstance(value, tuple):
        return " and ".join(f"{each:.2f}" for each in value)
    return "unknown" if value is None else str(value)
