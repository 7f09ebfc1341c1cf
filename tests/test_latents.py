"""The latent space: the same numbers as inside encoding and decoding, for every family."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints import encodec_model, save_encodec
from commands import sound

import acomp
from acomp.backends.base import Codec
from acomp.errors import CodecError


@pytest.fixture(scope="module")
def nano() -> Codec:
    return acomp.load("nano", engine="torch")


def test_latents_of_stereo_are_two_streams(nano: Codec) -> None:
    audio = sound(0.5, 44_100, 2)
    latents = nano.latents(audio)
    assert latents.dtype == np.float32
    assert latents.shape == (2, 128, nano.encode(audio).frames)
    codes = nano.quantise(latents, bandwidth=3, length=audio.length, sample_rate=44_100)
    assert codes == nano.encode(audio, bandwidth=3)


def test_latents_may_be_tensors_of_one_stream(nano: Codec) -> None:
    import torch

    latents = nano.latents(sound(0.2))
    found = nano.quantise(torch.from_numpy(latents[0]).double(), codebooks=4)
    assert found == nano.quantise(latents, codebooks=4)


def test_latents_that_were_not_quantised_decode_to_a_nearer_sound(nano: Codec) -> None:
    audio = acomp.resample(
        acomp.read_audio(Path(acomp.__file__).parent / "samples" / "speech.flac"), 24_000
    )

    def off(found: acomp.Audio) -> float:
        return float(np.square(found.samples[:, : audio.length] - audio.samples).mean())

    whole = nano.decode_latents(nano.latents(audio), length=audio.length)
    assert off(whole) < 0.7 * off(nano.decode(nano.encode(audio, bandwidth=3)))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 64, 9), r"\(1, 64, 9\), and those of nano-2 are \[streams, 128, frames\]"),
        ((128,), r"\(128,\)"),
        ((1, 128, 0), r"\(1, 128, 0\)"),
        ((3, 128, 9), "3 streams"),
    ],
)
def test_other_arrays_are_refused(nano: Codec, shape: tuple[int, ...], words: str) -> None:
    for use in (nano.quantise, nano.decode_latents):
        with pytest.raises(CodecError, match=words):
            use(np.zeros(shape, np.float32))


def test_latents_that_are_no_numbers_are_refused(nano: Codec) -> None:
    for value, words in ((np.full((1, 128, 9), np.nan), "not finite"), ("latents", "latents")):
        with pytest.raises(CodecError, match=words):
            nano.quantise(value)


def test_a_stream_of_latents_has_one_number_of_streams(nano: Codec) -> None:
    decoder = acomp.LatentDecoder(nano, nano.info(sound(0.1)))
    with pytest.raises(CodecError, match="latents of 2 streams, where 1"):
        decoder.push(np.zeros((2, 128, 9), np.float32))


def test_segments_with_a_gain_have_no_latents_of_their_own(tmp_path: Path) -> None:
    weights = save_encodec(encodec_model("encodec-48khz"), tmp_path / "w.th")
    codec = acomp.load("encodec-48khz", weights=weights, engine="torch")
    with pytest.raises(CodecError, match="does not let its latents out"):
        codec.latents(sound(0.5, 48_000, 2))
    codes = codec.encode(sound(0.5, 48_000, 2))
    assert codec.latents_of(codes).shape == (1, 128, codes.frames)
    with pytest.raises(CodecError, match="codes of nano-1"):
        codec.latents_of(replace(codes, info=replace(codes.info, codec="nano-1")))
