"""Codes as tokens and back: exact inverses, checked bounds, and what models generate wrongly."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from acomp import layouts
from acomp.errors import CodecError
from acomp.layouts import Vocabulary
from acomp.torchaudio import ensure_torchaudio

LAYOUTS = ("parallel", "delayed", "flat", "coarse_first")
OF_ONE_ROW = ("flat", "coarse_first")


def there(name: str) -> Any:
    return getattr(layouts, name)


def back(name: str) -> Any:
    return getattr(layouts, f"from_{name}")


@st.composite
def coded(draw: st.DrawFn) -> tuple[NDArray[np.int64], Vocabulary]:
    codebooks, size = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    offset, shared = draw(st.integers(3, 300)), draw(st.booleans())
    bos, eos = draw(st.sampled_from([None, 0])), draw(st.sampled_from([None, 1]))
    vocabulary = Vocabulary(codebooks, size, offset, shared, bos, eos, pad=2)
    frames = draw(st.integers(0, 12))
    codes = draw(
        st.lists(st.integers(0, size - 1), min_size=codebooks * frames, max_size=codebooks * frames)
    )
    return np.array(codes, np.int64).reshape(codebooks, frames), vocabulary


@given(coded(), st.sampled_from(LAYOUTS))
def test_what_goes_in_comes_out(given_: tuple[NDArray[np.int64], Vocabulary], layout: str) -> None:
    codes, vocabulary = given_
    tokens = there(layout)(codes, vocabulary)
    assert tokens.dtype == np.int64
    np.testing.assert_array_equal(back(layout)(tokens, vocabulary), codes)
    repaired = layouts.repair(tokens, vocabulary, layout)
    np.testing.assert_array_equal(repaired.codes, codes)
    assert (repaired.dropped, repaired.reason) == (0, None)


@given(coded(), st.lists(st.integers(0, 9), min_size=5, max_size=5))
def test_any_delays(given_: tuple[NDArray[np.int64], Vocabulary], delays: list[int]) -> None:
    codes, vocabulary = given_
    late = delays[: vocabulary.codebooks]
    tokens = layouts.delayed(codes, vocabulary, late)
    assert tokens.shape == (vocabulary.codebooks, codes.shape[1] + max(late))
    np.testing.assert_array_equal(layouts.from_delayed(tokens, vocabulary, late), codes)
    repaired = layouts.repair(tokens, vocabulary, "delayed", late)
    np.testing.assert_array_equal(repaired.codes, codes)


@settings(max_examples=60)
@given(coded(), st.sampled_from(LAYOUTS), st.data())
def test_repair_takes_anything(
    given_: tuple[NDArray[np.int64], Vocabulary], layout: str, data: st.DataObject
) -> None:
    """Whatever is left of a sequence, whole frames of valid codes come of it."""
    codes, vocabulary = given_
    tokens = there(layout)(codes, vocabulary)
    if tokens.size:
        at = data.draw(st.integers(0, tokens.size - 1))
        tokens.reshape(-1)[at] = data.draw(st.integers(0, vocabulary.end + 5))
    if layout in OF_ONE_ROW:
        tokens = tokens[: data.draw(st.integers(0, len(tokens)))]
    found = layouts.repair(tokens, vocabulary, layout)
    assert found.codes.shape[0] == vocabulary.codebooks
    assert found.codes.size == 0 or 0 <= found.codes.min() <= found.codes.max() < vocabulary.size
    assert bool(found.dropped) == (found.reason is not None)


CODES = np.array([[1, 2, 3], [4, 5, 6]])
OWN = Vocabulary(2, 10, offset=100, bos=98, eos=99, pad=97)
SHARED = Vocabulary(2, 10, shared=True, pad=10)


def test_the_orders_are_those_of_their_papers() -> None:
    assert layouts.parallel(CODES, SHARED).tolist() == CODES.tolist()
    assert layouts.delayed(CODES, SHARED).tolist() == [[1, 2, 3, 10], [10, 4, 5, 6]]
    assert layouts.delayed(CODES, SHARED, [2, 0]).tolist() == [[10, 10, 1, 2, 3], [4, 5, 6, 10, 10]]
    assert layouts.flat(CODES, OWN).tolist() == [98, 101, 114, 102, 115, 103, 116, 99]
    assert layouts.coarse_first(CODES, OWN).tolist() == [98, 101, 102, 103, 114, 115, 116, 99]


def test_delays_are_musicgens() -> None:
    """As transformers' `build_delay_pattern_mask` lays them, after its start token."""
    pytest.importorskip("transformers")
    ensure_torchaudio()
    import torch
    from transformers.models.musicgen.modeling_musicgen import MusicgenForCausalLM

    codes, pad = np.arange(4 * 6).reshape(4, 6), 2048
    found = layouts.delayed(codes, Vocabulary(4, 2048, shared=True, pad=pad))
    config = SimpleNamespace(num_codebooks=4, audio_channels=1)
    model: Any = SimpleNamespace(config=config, num_codebooks=4)
    build: Any = MusicgenForCausalLM.build_delay_pattern_mask
    started = torch.full((4, 1), pad)
    _, mask = build(model, started, pad_token_id=pad, max_length=1 + found.shape[1])
    # What is fixed in its mask has no code; elsewhere it holds -1, and the model fills it.
    assert (mask[:, 0] == pad).all()
    np.testing.assert_array_equal(found == pad, mask[:, 1:].numpy() == pad)


def test_orpheus_has_snacs_levels_in_order_of_time() -> None:
    levels = [np.array([7]), np.array([20, 21]), np.array([30, 31, 32, 33])]
    codes = np.concatenate(levels)[:, np.newaxis]
    tokens = layouts.orpheus(codes)
    # Its decoder: token - 128266 - (index % 7) * 4096, and levels at 0; 1, 4; 2, 3, 5, 6.
    plain = tokens - 128_266 - np.arange(7) * 4096
    assert plain.tolist() == [7, 20, 30, 31, 21, 32, 33]
    np.testing.assert_array_equal(layouts.from_orpheus(tokens), codes)
    many = np.random.default_rng(0).integers(0, 4096, (7, 5))
    vocabulary = Vocabulary(7, 4096, offset=10, eos=3)
    sequence = layouts.orpheus(many, vocabulary)
    np.testing.assert_array_equal(layouts.from_orpheus(sequence, vocabulary), many)
    repaired = layouts.repair(sequence[:-4], vocabulary, "orpheus")
    np.testing.assert_array_equal(repaired.codes, many[:, :4])
    assert repaired.dropped == 4 and repaired.reason == "frame 4 is not whole"


@pytest.mark.parametrize("layout", ["flat", "coarse_first", "parallel", "delayed"])
def test_a_wrong_token_is_told_and_cut(layout: str) -> None:
    tokens = there(layout)(CODES, OWN)
    place = np.argwhere(tokens == 115)[0]
    tokens[tuple(place)] = 103  # of the other codebook
    with pytest.raises(CodecError, match="the token 103 of frame 1 is none of codebook 1"):
        back(layout)(tokens, OWN)
    found = layouts.repair(tokens, OWN, layout)
    assert found.codes.tolist() == [[1], [4]] and found.dropped
    assert found.reason is not None and "codebook 1" in found.reason


def test_a_frame_that_is_not_whole_is_cut() -> None:
    tokens = layouts.flat(CODES, OWN)[:-2]
    with pytest.raises(CodecError, match="do not end with 99"):
        layouts.from_flat(tokens, OWN)
    found = layouts.repair(tokens, OWN)
    assert found.codes.tolist() == [[1, 2], [4, 5]]
    assert (found.dropped, found.reason) == (1, "frame 2 is not whole")
    assert layouts.repair([], OWN).codes.shape == (2, 0)


def test_what_comes_after_the_end_is_no_fault() -> None:
    tokens = [*layouts.flat(CODES, OWN), 5, 6, 7]
    found = layouts.repair(tokens, OWN)
    assert found.codes.tolist() == CODES.tolist() and found.reason is None


def test_tensors_and_lists_are_taken() -> None:
    torch = pytest.importorskip("torch")
    due = layouts.flat(CODES, OWN)
    np.testing.assert_array_equal(layouts.flat(torch.from_numpy(CODES), OWN), due)
    np.testing.assert_array_equal(layouts.flat(CODES.astype(np.uint16).tolist(), OWN), due)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"codebooks": 0}, "codebooks is 0"),
        ({"size": -1}, "size is -1"),
        ({"offset": 1.5}, "offset is 1.5, not a whole number"),
        ({"offset": 1 << 31}, "offset is"),
        ({"size": 1 << 30}, "the vocabulary ends at"),
        ({"eos": 5}, "eos is 5, which is a code's: those are 0 to 29"),
        ({"bos": 40, "eos": 40}, "two of bos, eos are the same"),
    ],
)
def test_vocabularies_that_cannot_be(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(CodecError, match=words):
        Vocabulary(**{"codebooks": 3, "size": 10, **fields})


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: layouts.flat(CODES[0], OWN), r"codes are to be \[2, frames\]"),
        (lambda: layouts.flat(CODES[None], OWN), "one stream at a time"),
        (
            lambda: layouts.flat(CODES + 5, OWN),
            "the code 10 of codebook 1 in frame 1",
        ),
        (lambda: layouts.flat(CODES * 1.0, OWN), "codes are integers, not float64"),
        (lambda: layouts.flat("abc", OWN), "codes are"),
        (lambda: layouts.delayed(CODES, Vocabulary(2, 10)), "give pad="),
        (lambda: layouts.delayed(CODES, OWN, [1]), "delays are 2 whole numbers"),
        (lambda: layouts.delayed(CODES, OWN, [-1, 0]), "delays are 2 whole numbers"),
        (lambda: layouts.delayed(CODES, OWN, 5), "a list of numbers is expected"),  # type: ignore[arg-type]
        (lambda: layouts.from_delayed(np.full((2, 0), 97), OWN), "fewer than the longest delay"),
        (lambda: layouts.from_flat(CODES, OWN), "in one row"),
        (lambda: layouts.from_parallel([1, 2], OWN), r"\[2, steps\]"),
        (lambda: layouts.orpheus(CODES), r"\[7, frames\]"),
        (lambda: layouts.orpheus(CODES, OWN), "frames of 7 codes"),
        (lambda: layouts.repair([1], OWN, "zigzag"), "there is no layout 'zigzag'"),
    ],
)
def test_what_cannot_be_is_said(call: Any, words: str) -> None:
    with pytest.raises(CodecError, match=words):
        call()
