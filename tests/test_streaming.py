"""Streams are exact: with torch on the CPU the codes do not depend on how the sound is cut.

The same codec, the same sound, once as a whole and once in pushes of any size.
"""

from __future__ import annotations

import numpy as np
import pytest
from checkpoints import dac_model, encodec_model, save_dac, save_encodec
from hypothesis import given, settings, strategies as st

import acomp
from acomp.backends.base import Codec, Decoder, Encoder, Samples
from acomp.codes import Codes, split
from acomp.engines.torchaudio import ensure_torchaudio

FRAMES = {"nano": 60, "encodec-24khz": 60, "encodec-48khz": 170, "dac-16khz": 60}
"""Frames of sound that each codec is tried on; DAC's and EnCodec's 48 kHz networks are slow."""


@pytest.fixture(scope="module", params=list(FRAMES))
def codec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    name: str = request.param
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    if name == "nano":
        return acomp.load("nano", engine="torch")
    if name.startswith("encodec"):
        save_encodec(encodec_model(name), path)
    else:
        ensure_torchaudio()
        pytest.importorskip("dac", reason="the extra acomp[dac] is not installed")
        save_dac(dac_model(name), path)
    return acomp.load(name, weights=path, engine="torch")


@pytest.fixture(autouse=True)
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a short sound has several."""
    monkeypatch.setattr("acomp.backends.dac.SAMPLE_BLOCK", 4)
    monkeypatch.setattr("acomp.backends.dac.LATENT_BLOCK", 10)
    monkeypatch.setattr("acomp.backends.encodec.BLOCK_FRAMES", 10)
    monkeypatch.setattr("acomp.backends.encodec.LSTM_FRAMES", 25)
    monkeypatch.setattr("acomp.backends.nano.BLOCK_FRAMES", 25)


def sound(codec: Codec, rate: int | None = None) -> acomp.Audio:
    """Noise over tones, with a ragged end; stereo where the codec codes that."""
    spec = codec.spec
    rate = rate or spec.sample_rate
    length = int(FRAMES[spec.name] * rate / spec.frame_rate) + 123
    channels = 2 if spec.channels == 2 or spec.name == "nano" else 1
    time = np.arange(length) / rate
    tones = sum(np.sin(2 * np.pi * pitch * time) for pitch in (110, 440, 1760))
    noise = np.random.default_rng(7).standard_normal((channels, length))
    return acomp.Audio((0.1 * tones + 0.05 * noise).astype(np.float32), rate)


def encode_in_parts(codec: Codec, whole: Codes, parts: list[Samples]) -> Codes:
    encoder = Encoder(codec, whole.info)
    blocks = [encoder.push(part) for part in parts]
    return Codes.from_blocks(whole.info, [*blocks, encoder.finish()], encoder.length)


def assert_same_codes(pushed: Codes, whole: Codes) -> None:
    assert pushed.length == whole.length
    np.testing.assert_array_equal(pushed.data, whole.data)
    if whole.segments is not None:
        assert pushed.segments is not None
        np.testing.assert_array_equal(pushed.segments.scales, whole.segments.scales)


@settings(deadline=None, max_examples=5)
@given(data=st.data())
def test_pushes_of_any_size_give_the_same_codes(codec: Codec, data: st.DataObject) -> None:
    audio = sound(codec)
    whole = codec.encode(audio, codebooks=codec.spec.codebooks)
    cuts = data.draw(st.lists(st.integers(0, audio.length), max_size=30))
    parts = np.split(audio.samples, sorted(cuts), axis=1)
    assert_same_codes(encode_in_parts(codec, whole, parts), whole)


@pytest.mark.parametrize("frames", [0.5, 1, 1.1, 3])
def test_even_pushes_give_the_same_codes(codec: Codec, frames: float) -> None:
    audio = sound(codec)
    whole = codec.encode(audio)
    step = int(frames * codec.spec.hop_length)
    parts = [audio.samples[:, start : start + step] for start in range(0, audio.length, step)]
    assert_same_codes(encode_in_parts(codec, whole, parts), whole)


def test_one_sample_at_a_time_gives_the_same_codes(codec: Codec) -> None:
    """From another rate, so that the resampler streams too."""
    audio = sound(codec, 22_050)
    audio = acomp.Audio(audio.samples[:, :3000], audio.sample_rate)
    whole = codec.encode(audio)
    parts = list(np.split(audio.samples, audio.length, axis=1))
    assert_same_codes(encode_in_parts(codec, whole, parts), whole)


@pytest.mark.parametrize("frames", [1, 2, 7, 50])
def test_frames_in_blocks_of_any_size_give_the_same_samples(codec: Codec, frames: int) -> None:
    whole = codec.encode(sound(codec, 44_100))
    decoder = Decoder(codec, whole.info)
    parts = [decoder.push(block) for block in split(whole.block, frames)]
    samples = np.concatenate([*parts, decoder.finish(whole.length)], axis=1)
    np.testing.assert_allclose(samples, codec.decode(whole).samples, atol=1e-5)


def test_the_delay_is_what_the_spec_says(codec: Codec) -> None:
    """In samples of the codec's own rate, once the stream has begun; the frame that is filling
    comes on top.
    """
    spec = codec.spec
    audio = sound(codec)
    info = codec.info(audio)
    encoder, decoder = codec.stream_encoder(info), codec.stream_decoder(info)
    taken, given_back, worst = 0, 0, 0
    while taken + 16 <= audio.length:
        block = encoder.push(audio.samples[:, taken : taken + 16])
        taken += 16
        given_back += decoder.push(block).shape[1] if block.frames else 0
        if given_back:
            worst = max(worst, taken - given_back)
    assert given_back > 0
    assert worst <= spec.delay * spec.sample_rate + spec.hop_length + 16
