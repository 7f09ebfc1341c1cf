"""Codes from elsewhere: arrays, tensors and lists, in the layouts that other packages give.

Language models of audio (MusicGen, Bark, Orpheus) and other implementations of the codecs
(`encodec`, `dac`, `snac`, `transformers`) hand codes over as bare arrays. What is beside them in
acomp's `Codes` is the codec's own; layouts differ only in axes of length one, in how segments come
with their gains, and in SNAC's levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acomp.backends.shared.levels import fold
from acomp.bare import codes_from, parts_of, three_axes
from acomp.codes import Codes
from acomp.errors import CodecError
from acomp.scalars import whole_number
from acomp.values import as_array

if TYPE_CHECKING:
    from acomp.backends.base import Codec
    from acomp.codecs import CodecSpec

Array = NDArray[Any]


def codes_of(
    codec: Codec, tokens: object, *, scales: object, length: object, sample_rate: object
) -> Codes:
    """As `Codec.codes`."""
    parts, gains = _parts(codec.spec, tokens)
    codes = codes_from(
        codec.spec,
        parts,
        gains=gains if scales is None else _gains(scales),
        source_rate=None if sample_rate is None else whole_number(sample_rate, "rate", CodecError),
        fingerprint=codec.fingerprint,
    )
    return codes if length is None else replace(codes, length=_length(codec.spec, codes, length))


def _length(spec: CodecSpec, codes: Codes, length: object) -> int:
    """The length that is asked for, seen to be one of those that so many frames have."""
    info, natural = codes.info, codes.length
    asked = whole_number(length, "length", CodecError)
    least = natural - info.hop_length * spec.unit * info.source_rate // info.sample_rate
    if not max(0, least) <= asked <= natural:
        raise CodecError(
            f"these frames are those of {max(0, least)} to {natural} samples at "
            f"{info.source_rate} Hz, not of {asked}: leave length out, or cut the codes"
        )
    return asked


def _parts(spec: CodecSpec, tokens: object) -> tuple[list[Array], Array | None]:
    """The segments, or all as one, each `[streams, codebooks, frames]`; and gains that they bring.

    A list is an array like any other unless its items differ as those of such a list can.
    """
    if isinstance(tokens, Codes):
        raise CodecError("these are Codes already: decode or write them as they are")
    if isinstance(tokens, list | tuple) and tokens:
        if all(isinstance(pair, list | tuple) and _is_pair(pair) for pair in tokens):
            codes = [three_axes(as_array(pair[0], "codes", CodecError)) for pair in tokens]
            return codes, _gains([pair[1] for pair in tokens])
        arrays = [as_array(part, "codes", CodecError) for part in tokens]
        if spec.levels and _differ(arrays):
            return [_from_levels(spec, arrays)], None
        if spec.segment_frames is not None and arrays[0].ndim >= 2:
            return [three_axes(array) for array in arrays], None
    array = as_array(tokens, "codes", CodecError)
    return parts_of(array), None


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


def _from_levels(spec: CodecSpec, arrays: Sequence[Array]) -> Array:
    """Levels that run at several rates, `[time]` or `[streams, time]` each, as `snac` has them."""
    levels = [array[np.newaxis] if array.ndim == 1 else array for array in arrays]
    rates = spec.levels[: len(levels)]
    streams, frames = levels[0].shape[0], levels[0].shape[-1] // spec.levels[0]
    expected = [(streams, frames * rate) for rate in rates]
    if [level.shape for level in levels] != expected:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise CodecError(
            f"levels of {shapes} are not those of {spec.name}, whose frame has "
            f"{', '.join(map(str, spec.levels))} codes"
        )
    return fold(levels)
