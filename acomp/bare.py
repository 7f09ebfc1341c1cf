"""Bare codes: arrays with no header, as language models of audio and other packages write them.

With the name of their codec they become `Codes`. Arrays and tensors (`Codec.codes`) and files
(`.npy`, `.npz`, `.pt`) both come through here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acomp.codecs import CodecSpec
from acomp.codes import Codes, Segments, as_codes, info_of
from acomp.errors import CodecError
from acomp.lengths import natural_length

Array = NDArray[Any]

MAX_SEGMENTS = 1 << 20
"""Most segments of an array, each of which becomes an object: twelve days at 1 s each."""


def parts_of(array: Array) -> list[Array]:
    """The segments of an array of codes, each `[streams, codebooks, frames]`; one if it is not cut.

    An array with four axes is cut, as transformers' EnCodec gives it:
    `[segments, batch, codebooks, frames]`.

    Raises:
        CodecError: the array has other axes than codes have, no code, or too many segments.
    """
    if array.ndim == 4:
        if not array.size:
            raise _no_codes(array.shape)
        if len(array) > MAX_SEGMENTS:
            raise CodecError(
                f"the first of 4 axes is {len(array)}, where segments are at most {MAX_SEGMENTS}"
            )
        return list(array)
    return [three_axes(array)]


def three_axes(array: Array) -> Array:
    """An array as `[streams, codebooks, frames]`; one with two axes is one stream.

    Raises:
        CodecError: the array has other axes than codes have.
    """
    if array.ndim == 2:
        return array[np.newaxis]
    if array.ndim == 3:
        return array
    raise CodecError(
        f"codes have {array.ndim} axes; [codebooks, frames] or [streams, codebooks, frames] are due"
    )


def codes_from(
    codec: CodecSpec,
    parts: Sequence[Array],
    *,
    gains: Array | None = None,
    source_rate: int | None = None,
    fingerprint: str | None = None,
) -> Codes:
    """The `Codes` of a codec in bare arrays; their length is what the frames last.

    Args:
        codec: the codec that made the codes.
        parts: `[streams, codebooks, frames]` each: the segments, or one array of all codes, which
            is cut into segments where the codec has segments.
        gains: one number for each segment; without them the sound has the loudness that the codec
            normalises to.
        source_rate: sample rate in Hz that decoding returns to; the codec's own by default.
        fingerprint: fingerprint of the weights, where it is known.

    Raises:
        CodecError: the arrays lack the shape, the type or the range of the codec's codes.
    """
    segment = codec.segment_frames
    if gains is not None and segment is None:
        raise CodecError(f"{codec.name} has no scales: leave them out")
    if len(parts) > 1 and segment is None:
        raise CodecError(
            f"{len(parts)} segments, but {codec.name} codes a recording as one: give each alone"
        )
    if len({part.shape[:2] for part in parts}) > 1:
        raise CodecError("the segments differ in their number of codebooks")
    data = _checked(codec, np.concatenate(parts, axis=2) if len(parts) > 1 else parts[0])
    info = info_of(
        codec,
        channels=2 if codec.channels == 2 else len(data),
        codebooks=data.shape[1],
        source_rate=source_rate,
        fingerprint=fingerprint,
    )
    frames = data.shape[2]
    if segment is None:
        return Codes(info, data, natural_length(info, frames, spec=codec))
    counts = [part.shape[2] for part in parts] if len(parts) > 1 else _cut(frames, segment)
    segments = _segments(codec, counts, gains)
    length = natural_length(info, frames, len(counts), max(counts), counts[-1], codec)
    return Codes(info, data, length, segments)


def _no_codes(shape: tuple[int, ...]) -> CodecError:
    return CodecError(f"codes of {shape} hold not one code: there is nothing to decode")


def _checked(codec: CodecSpec, array: Array) -> NDArray[np.uint16]:
    """The codes `[streams, codebooks, frames]`, checked against the codec."""
    streams, codebooks, frames = array.shape
    most = 2 if codec.stereo_streams else 1
    if not array.size:
        raise _no_codes(array.shape)
    if streams > most:
        raise CodecError(
            f"the first axis is {streams}, and {codec.name} has {most} stream{'s' * (most > 1)} at "
            "most: of a batch, give each recording alone"
        )
    _check_codebooks(codec, codebooks, frames)
    if frames % codec.unit:
        raise CodecError(
            f"{codec.name} codes a multiple of {codec.unit} frames, not {frames}: cut the codes, "
            "or fill them up"
        )
    if array.dtype.kind not in "iu":
        raise CodecError(f"codes are {array.dtype}; whole numbers of any integer type are due")
    if int(array.min()) < 0 or int(array.max()) >= codec.codebook_size:
        wrong = (array < 0) | (array >= codec.codebook_size)
        stream, book, frame = np.unravel_index(int(wrong.argmax()), wrong.shape)
        raise CodecError(
            f"code {array[stream, book, frame]} in codebook {book}, frame {frame} is out of range: "
            f"{codec.name} has 0 to {codec.codebook_size - 1}; take tokens out that mean something "
            "else (a beginning, an end, padding)"
        )
    return np.ascontiguousarray(as_codes(array))


def _check_codebooks(codec: CodecSpec, codebooks: int, frames: int) -> None:
    offered = codec.codebook_counts
    if codebooks in offered:
        return
    if frames in offered:
        raise CodecError(
            f"{codebooks} codebooks of {frames} frames: the last two axes are [codebooks, frames]; "
            "transpose them"
        )
    codec.codebooks_for(None, codebooks)


def _cut(frames: int, segment: int) -> list[int]:
    whole, last = divmod(frames, segment)
    return [segment] * whole + [last] * (last > 0)


def _segments(codec: CodecSpec, counts: list[int], gains: Array | None) -> Segments:
    scales = np.ones(len(counts), np.float32) if gains is None else gains.astype(np.float32)
    scales = scales.reshape(-1)
    if len(scales) != len(counts):
        raise CodecError(f"{len(scales)} scales for {len(counts)} segments of {codec.name}")
    if not np.isfinite(scales).all():
        raise CodecError("a scale is not a finite number")
    if codec.segment_frames is not None and max(counts) > codec.segment_frames:
        raise CodecError(f"a segment of {codec.name} has at most {codec.segment_frames} frames")
    return Segments(np.array(counts, np.int64), scales)
