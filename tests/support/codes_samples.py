"""Codes for tests: drawn at random, and of the codecs people use."""

from __future__ import annotations

import io
import math
import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st

from acomp.codes import Codes, CodesInfo, Segments
from acomp.formats import write_codes
from acomp.settings import FormName


class Pipe(io.BytesIO):
    """A stream that, like a pipe, can neither seek nor tell."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: Any) -> int:
        raise io.UnsupportedOperation("seek")

    def tell(self) -> int:
        raise io.UnsupportedOperation("tell")


@st.composite
def infos(draw: st.DrawFn) -> CodesInfo:
    channels = draw(st.integers(1, 3))
    return CodesInfo(
        codec=draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,20}", fullmatch=True)),
        sample_rate=draw(st.integers(1, 1 << 20)),
        channels=channels,
        streams=draw(st.sampled_from([1, channels])),
        codebooks=draw(st.integers(1, 9)),
        codebook_size=draw(st.sampled_from([2, 3, 16, 1000, 1024, 1 << 16])),
        hop_length=draw(st.integers(1, 1 << 20)),
        source_rate=draw(st.integers(1, 1 << 20)),
        fingerprint=draw(st.none() | st.from_regex(r"[0-9a-f]{16}", fullmatch=True)),
    )


@st.composite
def all_codes(draw: st.DrawFn) -> Codes:
    info = draw(infos())
    counts = draw(st.none() | st.lists(st.integers(1, 40), min_size=1, max_size=8))
    frames = sum(counts) if counts else draw(st.integers(0, 200))
    segments = None
    if counts:
        scale = st.floats(width=32, allow_nan=False, allow_infinity=False)
        scales = draw(st.lists(scale, min_size=len(counts), max_size=len(counts)))
        segments = Segments(np.array(counts, np.int64), np.array(scales, np.float32))
    random = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    shape = (info.streams, info.codebooks, frames)
    data = random.integers(0, info.codebook_size, shape, np.uint16, endpoint=False)
    return Codes(info, data, draw(st.integers(0, 1 << 40)), segments)


def encodec_24khz(codebooks: int = 8, frames: int = 4500) -> Codes:
    """60 s at 6 kbps unless told otherwise."""
    info = CodesInfo("encodec-24khz", 24000, 1, 1, codebooks, 1024, 320, 24000, "d7cc33bcf1aad7f2")
    data = np.random.default_rng(1).integers(0, 1024, (1, codebooks, frames), np.uint16)
    return Codes(info, data, frames * 320)


def encodec_48khz(codebooks: int = 4, seconds: float = 60) -> Codes:
    """60 s at 6 kbps unless told otherwise, in segments of 1 s that overlap by 1 %."""
    info = CodesInfo("encodec-48khz", 48000, 2, 1, codebooks, 1024, 320, 48000, "7e698e3e00000000")
    length = round(seconds * 48000)
    starts = range(0, length, 47520)
    counts = np.array([math.ceil(min(48000, length - start) / 320) for start in starts], np.int64)
    random = np.random.default_rng(2)
    scales = random.random(len(counts), np.float32)
    data = random.integers(0, 1024, (1, codebooks, int(counts.sum())), np.uint16)
    return Codes(info, data, length, Segments(counts, scales))


def to_bytes(codes: Codes, form: FormName = "nac") -> bytes:
    stream = io.BytesIO()
    write_codes(stream, codes, form=form)
    return stream.getvalue()


def assert_same(found: Codes, expected: Codes) -> None:
    assert found.info == expected.info
    assert found.length == expected.length
    assert found.data.dtype == np.uint16
    np.testing.assert_array_equal(found.data, expected.data)
    if expected.segments is None:
        assert found.segments is None
    else:
        assert found.segments is not None
        np.testing.assert_array_equal(found.segments.frames, expected.segments.frames)
        np.testing.assert_array_equal(found.segments.scales, expected.segments.scales)


def version_0(codes: np.ndarray[Any, Any], bit_rate: int, metadata: bytes = b"null") -> bytes:
    """A version 0 file of codes `[codebooks, frames]`, packed bit by bit."""
    value, place = 0, 0
    for start in range(0, codes.shape[1], 100):
        for code in codes[:, start : start + 100].reshape(-1).tolist():
            value |= code << place
            place += 10
    start_bytes = struct.pack("!3sBIB", b"NAC", 0, len(metadata), bit_rate) + metadata
    return start_bytes + value.to_bytes((place + 7) // 8, "little")
