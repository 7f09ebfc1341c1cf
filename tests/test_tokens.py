"""Codes from elsewhere: what other packages hand over decodes to what the codec itself gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import acomp
from acomp.backends.base import Codec
from acomp.codes import Codes


@pytest.fixture(scope="module")
def nano() -> Codec:
    return acomp.load("nano-1", engine="torch")


@pytest.fixture(scope="module")
def encodec(encodec_48khz: Path) -> Codec:
    return acomp.load("encodec-48khz", weights=encodec_48khz, engine="torch")


def noise(channels: int, samples: int, rate: int) -> acomp.Audio:
    random = np.random.default_rng(0)
    samples_ = 0.1 * random.standard_normal((channels, samples))
    return acomp.Audio(samples_.astype(np.float32), rate)


LAYOUTS: dict[str, Callable[[NDArray[np.uint16]], Any]] = {
    "streams, codebooks, frames": lambda data: data,
    "codebooks, frames": lambda data: data[0],
    "a batch of one": lambda data: data[:1],
    "a segment and a batch of one": lambda data: data[np.newaxis],
    "lists": lambda data: data[0].tolist(),
    "a torch tensor": lambda data: torch.from_numpy(data.astype(np.int64)),
    "torch's int16": lambda data: torch.from_numpy(data.astype(np.int16))[0],
    "a tensor that requires nothing": lambda data: torch.from_numpy(data.astype(np.int32)).detach(),
    "uint64": lambda data: data.astype(np.uint64),
    "int8": lambda data: data.astype(np.int16),
    "as transformers and encodec give it": lambda data: [
        (torch.from_numpy(data.astype(int)), None)
    ],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_the_same_codes(nano: Codec, layout: str) -> None:
    whole = nano.encode(noise(1, 24_000, 24_000), bandwidth=3)
    found = nano.codes(LAYOUTS[layout](whole.data))
    assert found == whole  # with the length that 76 frames stand for
    assert found.data.dtype == np.uint16


def test_they_decode_and_can_be_written(nano: Codec, tmp_path: Path) -> None:
    whole = nano.encode(noise(2, 24_000, 24_000), codebooks=5)
    found = nano.codes(whole.data)
    assert (found.info.streams, found.info.channels) == (2, 2)
    np.testing.assert_array_equal(nano.decode(found).samples, nano.decode(whole).samples)
    acomp.write_codes(tmp_path / "a.nac", found)
    assert acomp.read_codes(tmp_path / "a.nac") == whole
    slower = nano.codes(whole.data, length=15_900, sample_rate=16_000)
    assert nano.decode(slower).samples.shape == (2, 15_900)


def test_segments_and_their_scales_come_in_every_form(encodec: Codec) -> None:
    whole = encodec.encode(noise(2, 100_000, 48_000), bandwidth=3)
    assert whole.segments is not None
    scales = whole.segments.scales
    ends = np.cumsum(whole.segments.frames)[:-1]
    parts = [torch.from_numpy(part.astype(int)) for part in np.split(whole.data, ends, axis=2)]
    tensors = [torch.tensor([[scale]]) for scale in scales]
    last = 100_000 - 2 * 47_520
    length = 2 * 47_520 + -(-last // 320) * 320
    due = Codes(whole.info, whole.data, length, whole.segments)
    assert encodec.codes(list(zip(parts, tensors, strict=True))) == due
    assert encodec.codes(parts, scales=tensors) == due
    assert encodec.codes(whole.data, scales=scales) == due
    full = encodec.codes(torch.stack(parts[:2]), scales=torch.stack(tensors[:2]))
    assert full.segments is not None
    assert full.segments.frames.tolist() == [150, 150]
    plain = encodec.codes(whole.data[0])
    assert plain.segments is not None
    assert plain.segments.scales.tolist() == [1, 1, 1]
    heard = encodec.decode(encodec.codes(whole.data, scales=scales, length=100_000)).samples
    np.testing.assert_array_equal(heard, encodec.decode(whole).samples)


def ids(*shape: int) -> NDArray[np.int64]:
    return np.zeros(shape, np.int64)


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (ids(8), r"1 axes; \[codebooks, frames\]"),
        (ids(3, 1, 1, 8, 20), "5 axes"),
        (ids(17, 20), "1 to 16 codebooks, not 17"),
        (ids(100, 8), r"the last two axes are \[codebooks, frames\]; transpose"),
        (ids(4, 8, 20), r"4 streams \(the first axis\), and nano-1 has 2 at most: give"),
        (ids(2, 1, 8, 20), "2 segments, but nano-1 has no segments"),
        (ids(8, 0), "are empty"),
        ([], "are empty|axes"),
        (ids(8, 20) - 1, "code -1 in codebook 0, frame 0 is out of range: nano-1 has 0 to 1023"),
        (ids(8, 20) + 2048, "code 2048 .* padding"),
        (np.zeros((8, 20)), "codes are float64; an integer type"),
        (torch.zeros(8, 20, dtype=torch.bfloat16), "codes are float32; an integer type"),
        ([[1, 2], [3]], "lists of different lengths"),
        ("codes.npy", "not an array of numbers"),
        (None, "not an array of numbers"),
        (ids(8, 20) > 0, "of type bool, not an array of numbers"),
    ],
    ids=str,
)
def test_what_cannot_be_its_codes_is_refused(nano: Codec, tokens: object, words: str) -> None:
    with pytest.raises(acomp.CodecError, match=words):
        nano.codes(tokens)


def test_other_settings_are_refused(nano: Codec, encodec: Codec) -> None:
    with pytest.raises(acomp.CodecError, match="nano-1 has no scales"):
        nano.codes(ids(8, 20), scales=[1.0])
    with pytest.raises(acomp.CodecError, match="2 scales for 1 segments"):
        encodec.codes(ids(4, 150), scales=[1.0, 1.0])
    with pytest.raises(acomp.CodecError, match="not a finite number"):
        encodec.codes(ids(4, 150), scales=[np.nan])
    with pytest.raises(acomp.CodecError, match="length is 'x'"):
        nano.codes(ids(8, 20), length="x")  # type: ignore[arg-type]
    with pytest.raises(acomp.CodecError, match="Codes already"):
        nano.codes(nano.codes(ids(8, 20)))
    for length in (0, 5000, 6081, 1 << 40):
        with pytest.raises(
            acomp.CodecError, match=f"5760 to 6080 samples at 24000 Hz, not of {length}"
        ):
            nano.codes(ids(8, 20), length=length)


def test_levels_of_several_rates() -> None:
    snac_models = pytest.importorskip("snac_models")
    pytest.importorskip("snac")
    from acomp.backends.tokens import codes_of

    class OnlySpec(Codec):
        def stream_encoder(self, info: Any) -> Any: ...

        def stream_decoder(self, info: Any) -> Any: ...

        def codebooks(self) -> Any: ...

    codec = OnlySpec(snac_models.spec_of(snac_models.SMALL["plain"]), None)
    levels = [torch.arange(5 * rate).reshape(1, -1) % 64 for rate in codec.spec.levels]
    due = codes_of(codec, levels, scales=None, length=None, sample_rate=None)
    assert due.data.shape == (1, 7, 5)
    assert due.data[0, :, 1].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert codec.codes([level[0].tolist() for level in levels]) == due
    assert codec.codes(due.data) == due
    assert codec.codes(levels[:2]).data.shape == (1, 3, 5)
    with pytest.raises(acomp.CodecError, match="1, 3 or 7 codebooks, not 2"):
        codec.codes(ids(2, 5))
    with pytest.raises(acomp.CodecError, match="levels of"):
        codec.codes([levels[0], levels[2], levels[1]])
