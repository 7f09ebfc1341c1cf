"""Codes from elsewhere: arrays, tensors and lists, in the layouts that other packages give.

Language models of audio (MusicGen, Bark, Orpheus) and other implementations of the codecs
(`encodec`, `dac`, `snac`, `transformers`) hand codes over as bare arrays. What is beside them in
acomp's `Codes` is the codec's own; layouts differ only in axes of length one, in how segments come
with their gains, and in SNAC's levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acomp.codes import Codes, CodesInfo, Segments, as_codes
from acomp.errors import CodecError
from acomp.lengths import natural_length
from acomp.values import as_array, whole_number

if TYPE_CHECKING:
    from acomp.backends.base import Codec, CodecSpec

Array = NDArray[Any]


def codes_of(
    codec: Codec, tokens: object, *, scales: object, length: object, sample_rate: object
) -> Codes:
    """As `Codec.codes`."""
    spec, segment = codec.spec, codec.segment_frames
    parts, gains = _parts(codec, tokens)
    gains = gains if scales is None else _gains(scales)
    if gains is not None and segment is None:
        raise CodecError(f"{spec.name} has no scales: leave them out")
    if len(parts) > 1 and segment is None:
        raise CodecError(
            f"{len(parts)} segments, but {spec.name} codes a recording as one: give each alone"
        )
    if len({part.shape[:2] for part in parts}) > 1:
        raise CodecError("the segments differ in their number of codebooks")
    data = _checked(codec, np.concatenate(parts, axis=2))
    rate = spec.sample_rate
    info = CodesInfo(
        codec=spec.name,
        sample_rate=rate,
        channels=2 if spec.channels == 2 else len(data),
        streams=len(data),
        codebooks=data.shape[1],
        codebook_size=spec.codebook_size,
        hop_length=spec.hop_length,
        source_rate=rate if sample_rate is None else whole_number(sample_rate, "rate", CodecError),
        fingerprint=codec.fingerprint,
    )
    segments, sizes = None, (0, 0, 0)
    if segment is not None:
        counts = [part.shape[2] for part in parts]
        if len(parts) == 1:
            counts = _cut(data.shape[2], segment)
        segments = _segments(codec, counts, gains)
        sizes = (len(counts), max(counts), counts[-1])
    natural = natural_length(info, data.shape[2], *sizes)
    return Codes(info, data, _length(codec, info, natural, length), segments)


def _length(codec: Codec, info: CodesInfo, natural: int, length: object) -> int:
    """The length that is asked for, seen to be one of those that so many frames have."""
    if length is None:
        return natural
    asked = whole_number(length, "length", CodecError)
    least = natural - info.hop_length * codec.unit * info.source_rate // info.sample_rate
    if not max(0, least) <= asked <= natural:
        raise CodecError(
            f"these frames are those of {max(0, least)} to {natural} samples at "
            f"{info.source_rate} Hz, not of {asked}: leave length out, or cut the codes"
        )
    return asked


def fold(levels: Sequence[Array]) -> Array:
    """The codes of each of SNAC's levels, `[streams, time]` as `SNAC.encode` gives them, to
    `[streams, codebooks, frames]`.
    """
    streams, frames = levels[0].shape
    slots = [codes.reshape(streams, frames, -1).transpose(0, 2, 1) for codes in levels]
    return np.concatenate(slots, axis=1)


def _parts(codec: Codec, tokens: object) -> tuple[list[Array], Array | None]:
    """The segments, or all as one, each `[streams, codebooks, frames]`; and gains that they bring.

    A list is an array like any other unless its items differ as those of such a list can.
    """
    if isinstance(tokens, Codes):
        raise CodecError("these are Codes already: decode or write them as they are")
    if isinstance(tokens, list | tuple) and tokens:
        if all(isinstance(pair, list | tuple) and _is_pair(pair) for pair in tokens):
            codes = [_three_axes(as_array(pair[0], "codes", CodecError)) for pair in tokens]
            return codes, _gains([pair[1] for pair in tokens])
        arrays = [as_array(part, "codes", CodecError) for part in tokens]
        if codec.spec.levels and _differ(arrays):
            return [_from_levels(codec, arrays)], None
        if codec.segment_frames is not None and arrays[0].ndim >= 2:
            return [_three_axes(array) for array in arrays], None
    array = as_array(tokens, "codes", CodecError)
    if array.ndim == 4:  # transformers' EnCodec: [segments, batch, codebooks, frames]
        return [_three_axes(segment) for segment in array], None
    return [_three_axes(array)], None


def _is_pair(pair: Sequence[object]) -> bool:
    """Whether these are the codes and the scale of a segment, as `EncodecModel.encode` has them."""
    return (
        len(pair) == 2
        and getattr(pair[0], "ndim", 0) >= 2
        and (pair[1] is None or int(np.prod(getattr(pair[1], "shape", (0,)))) == 1)
    )


def _differ(levels: Sequence[Array]) -> bool:
    """Whether these are levels, not the rows of an array; one alone is if it has its streams."""
    if len(levels) == 1:
        return levels[0].ndim == 2 and len(levels[0]) <= 2
    return len({level.shape[-1:] for level in levels}) == len(levels)


def _gains(scales: Any) -> Array | None:
    """Scales as one number a segment: an array, or a list with an array or None for each."""
    if isinstance(scales, list | tuple):
        arrays = [as_array(one, "scales", CodecError) for one in scales if one is not None]
        return np.concatenate([array.reshape(-1) for array in arrays]) if arrays else None
    return as_array(scales, "scales", CodecError).reshape(-1)


def _three_axes(array: Array) -> Array:
    if array.ndim == 2:
        return array[np.newaxis]
    if array.ndim == 3:
        return array
    raise CodecError(
        f"codes have {array.ndim} axes; [codebooks, frames] or [streams, codebooks, frames] are due"
    )


def _from_levels(codec: Codec, arrays: Sequence[Array]) -> Array:
    """Levels that run at several rates, `[time]` or `[streams, time]` each, as `snac` has them."""
    levels = [array[np.newaxis] if array.ndim == 1 else array for array in arrays]
    rates = codec.spec.levels[: len(levels)]
    streams, frames = levels[0].shape[0], levels[0].shape[-1] // codec.spec.levels[0]
    due = [(streams, frames * rate) for rate in rates]
    if [level.shape for level in levels] != due:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise CodecError(
            f"levels of {shapes} are not those of {codec.spec.name}, whose frame has "
            f"{', '.join(map(str, codec.spec.levels))} codes"
        )
    return fold(levels)


def _checked(codec: Codec, array: Array) -> NDArray[np.uint16]:
    """`[streams, codebooks, frames]`, seen to be what the codec's own codes could be."""
    spec = codec.spec
    streams, _, frames = array.shape
    most = 2 if spec.stereo_streams else 1
    if not array.size:
        raise CodecError(f"codes of {array.shape} hold not one code: there is nothing to decode")
    if streams > most:
        raise CodecError(
            f"the first axis is {streams}, and {spec.name} has {most} stream{'s' * (most > 1)} at "
            "most: of a batch, give each recording alone"
        )
    _check_codebooks(spec, *array.shape[1:])
    if frames % codec.unit:
        raise CodecError(
            f"{spec.name} codes a multiple of {codec.unit} frames, not {frames}: cut the codes, or "
            "fill them up"
        )
    if array.dtype.kind == "f":
        raise CodecError(f"codes are {array.dtype}; whole numbers of any integer type are due")
    wrong = (array < 0) | (array >= spec.codebook_size)
    if wrong.any():
        stream, book, frame = (int(at) for at in np.argwhere(wrong)[0])
        raise CodecError(
            f"code {array[stream, book, frame]} in codebook {book}, frame {frame} is out of range: "
            f"{spec.name} has 0 to {spec.codebook_size - 1}; take tokens out that mean something "
            "else (a beginning, an end, padding)"
        )
    return as_codes(array)


def _check_codebooks(spec: CodecSpec, codebooks: int, frames: int) -> None:
    offered = list(accumulate(spec.levels)) or list(range(1, spec.codebooks + 1))
    if codebooks in offered:
        return
    if frames in offered:
        raise CodecError(
            f"{codebooks} codebooks of {frames} frames: the last two axes are [codebooks, frames]; "
            "transpose them"
        )
    spec.codebooks_for(None, codebooks)


def _cut(frames: int, segment: int) -> list[int]:
    whole, last = divmod(frames, segment)
    return [segment] * whole + [last] * (last > 0)


def _segments(codec: Codec, counts: list[int], gains: Array | None) -> Segments:
    """Without gains, at the loudness that the codec normalises to."""
    scales = np.ones(len(counts), np.float32) if gains is None else gains.astype(np.float32)
    scales = scales.reshape(-1)
    if len(scales) != len(counts):
        raise CodecError(f"{len(scales)} scales for {len(counts)} segments of {codec.spec.name}")
    if not np.isfinite(scales).all():
        raise CodecError("a scale is not a finite number")
    if codec.segment_frames is not None and max(counts) > codec.segment_frames:
        raise CodecError(
            f"a segment of {codec.spec.name} has at most {codec.segment_frames} frames"
        )
    return Segments(np.array(counts, np.int64), scales)
