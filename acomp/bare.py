"""Bare codes: arrays without a header, as language models of audio and other packages write them.

`codes_from` makes `Codes` of them, given the spec of their codec. It serves both `Codec.codes`
(arrays and tensors) and the file forms `.npy`, `.npz` and `.pt`.
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
"""Most segments of one array: twelve days at 1 s each. It bounds memory, as each segment becomes a
Python object."""


def parts_of(array: Array) -> list[Array]:
    """The segments of an array of codes, each `[streams, codebooks, frames]`.

    An array with four axes is `[segments, batch, codebooks, frames]`, as transformers' EnCodec
    returns it; any other array is a single segment.

    Raises:
        CodecError: the array has fewer than 2 or more than 4 axes, or with 4 axes holds no code or
            too many segments.
    """
    if array.ndim == 4:
        if not array.size:
            raise _no_codes(array.shape)
        if len(array) > MAX_SEGMENTS:
            raise CodecError(
                f"the codes have {len(array)} segments (the first of their 4 axes), where "
                f"{MAX_SEGMENTS} at most can be used"
            )
        return list(array)
    return [three_axes(array)]


def three_axes(array: Array) -> Array:
    """An array as `[streams, codebooks, frames]`; an array with two axes is a single stream.

    Raises:
        CodecError: the array has neither two nor three axes.
    """
    if array.ndim == 2:
        return array[np.newaxis]
    if array.ndim == 3:
        return array
    raise CodecError(
        f"codes have {array.ndim} axes; [codebooks, frames] or [streams, codebooks, frames] is "
        "expected"
    )


def codes_from(
    codec: CodecSpec,
    parts: Sequence[Array],
    *,
    gains: Array | None = None,
    source_rate: int | None = None,
    fingerprint: str | None = None,
) -> Codes:
    """The `Codes` made of bare arrays of codes; their length is the duration of all their frames.

    Args:
        codec: the spec of the codec that made the codes.
        parts: the segments, `[streams, codebooks, frames]` each, or one array of all codes, which
            is cut into segments where the codec has segments.
        gains: gain of each segment; without gains each is 1, and the audio has the loudness that
            the codec normalises to.
        source_rate: sample rate in Hz that decoding returns to; by default that of the codec.
        fingerprint: fingerprint of the weights; None if unknown.

    Raises:
        CodecError: the arrays do not have the shape, the type or the range of the codec's codes.
    """
    segment = codec.segment_frames
    if gains is not None and segment is None:
        raise CodecError(f"{codec.name} has no scales: leave the scales out")
    if len(parts) > 1 and segment is None:
        raise CodecError(
            f"there are {len(parts)} segments, but {codec.name} has no segments: give each "
            "recording alone"
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
    return CodecError(f"codes of shape {shape} are empty: there is nothing to decode")


def _checked(codec: CodecSpec, array: Array) -> NDArray[np.uint16]:
    """The codes `[streams, codebooks, frames]`, checked against the codec."""
    streams, codebooks, frames = array.shape
    most = 2 if codec.stereo_streams else 1
    if not array.size:
        raise _no_codes(array.shape)
    if streams > most:
        raise CodecError(
            f"the codes have {streams} streams (the first axis), and {codec.name} has {most} at "
            "most: give each recording of a batch alone"
        )
    _check_codebooks(codec, codebooks, frames)
    if frames % codec.unit:
        raise CodecError(
            f"{codec.name} codes a multiple of {codec.unit} frames, not {frames}: cut or pad the "
            "codes"
        )
    if array.dtype.kind not in "iu":
        raise CodecError(f"codes are {array.dtype}; an integer type is expected")
    if int(array.min()) < 0 or int(array.max()) >= codec.codebook_size:
        wrong = (array < 0) | (array >= codec.codebook_size)
        stream, book, frame = np.unravel_index(int(wrong.argmax()), wrong.shape)
        raise CodecError(
            f"code {array[stream, book, frame]} in codebook {book}, frame {frame} is out of range: "
            f"{codec.name} has 0 to {codec.codebook_size - 1}; remove special tokens (beginning, "
            "end, padding)"
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
