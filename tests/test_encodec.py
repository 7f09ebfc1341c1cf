"""EnCodec against the official package: the same weights give the same codes and samples."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agreement import assert_official_codes, encodec_distances
from checkpoints import encodec_model, save_encodec
from numpy.typing import NDArray
from safetensors.torch import save_file

import acomp
from acomp.backends.base import Codec

RATES = {"encodec-24khz": 24_000, "encodec-48khz": 48_000}


@pytest.fixture(scope="module", params=list(RATES))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The official model and acomp's codec, of the same weights."""
    name: str = request.param
    model = encodec_model(name)
    path = save_encodec(model, tmp_path_factory.mktemp("weights") / f"{name}.th")
    return model, acomp.load(name, weights=path, engine="torch")


def audio(codec: Codec, samples: int) -> acomp.Audio:
    random = np.random.default_rng(samples)
    level = np.linspace(0.02, 0.5, samples, dtype=np.float32)  # the 48 kHz segments' scales differ
    noise = random.standard_normal((codec.spec.channels, samples)).astype(np.float32)
    return acomp.Audio((level * noise).clip(-1, 1), codec.spec.sample_rate)


@torch.no_grad()
def official_codes(model: Any, sound: acomp.Audio, bandwidth: float) -> list[Any]:
    model.set_target_bandwidth(bandwidth)
    frames: list[Any] = model.encode(torch.from_numpy(sound.samples)[None])
    return frames


@torch.no_grad()
def official_samples(model: Any, frames: list[Any], length: int) -> NDArray[np.float32]:
    samples: NDArray[np.float32] = model.decode(frames)[0, :, :length].numpy()
    return samples


def assert_same(model: Any, codec: Codec, sound: acomp.Audio, bandwidth: float) -> None:
    latents: list[torch.Tensor] = []
    hook = model.encoder.register_forward_hook(lambda *call: latents.append(call[-1]))
    frames = official_codes(model, sound, bandwidth)
    hook.remove()
    codes = codec.encode(sound, bandwidth=bandwidth)
    expected = torch.cat([codes for codes, _ in frames], dim=-1).numpy()
    distances = encodec_distances(model, latents, expected)
    assert_official_codes(codes.data, expected, distances)
    if codes.segments is not None:
        scales = np.array([scale.item() for _, scale in frames], np.float32)
        np.testing.assert_array_equal(codes.segments.scales, scales)
        assert list(codes.segments.frames) == [part.shape[-1] for part, _ in frames]
    decoded = codec.decode(replace(codes, data=expected.astype(codes.data.dtype)))
    assert decoded.sample_rate == sound.sample_rate
    np.testing.assert_allclose(
        decoded.samples, official_samples(model, frames, sound.length), atol=1e-5
    )


def test_codes_and_samples_are_the_official_ones_at_every_bandwidth(pair: Any) -> None:
    model, codec = pair
    sound = audio(codec, int(0.4 * codec.spec.sample_rate))
    for bandwidth in codec.spec.bandwidths:
        assert_same(model, codec, sound, bandwidth)


@pytest.mark.parametrize("samples", [1, 2, 319, 320, 321, 3000])
def test_any_length_gives_the_official_codes(pair: Any, samples: int) -> None:
    model, codec = pair
    assert_same(model, codec, audio(codec, samples), max(codec.spec.bandwidths))


@pytest.mark.parametrize("seconds", [1.0, 1.983, 2.001])
def test_segments_end_where_the_official_ones_do(pair: Any, seconds: float) -> None:
    model, codec = pair
    if codec.spec.name == "encodec-24khz":
        pytest.skip("the 24 kHz model has no segments")
    assert_same(model, codec, audio(codec, int(seconds * codec.spec.sample_rate)), 6)


def test_a_length_that_the_official_decoder_cannot_do(pair: Any) -> None:
    """The segment before the last is padded beyond the last one's end: the package raises."""
    model, codec = pair
    if codec.spec.name == "encodec-24khz":
        pytest.skip("the 24 kHz model has no segments")
    sound = audio(codec, 95_280)
    frames = official_codes(model, sound, 3)
    with pytest.raises(RuntimeError):
        official_samples(model, frames, sound.length)
    assert codec.decode(codec.encode(sound, bandwidth=3)).length == sound.length


def test_many_blocks_give_the_codes_of_one_whole_run(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Longer than a block, so that context and LSTM state cross several boundaries."""
    model, codec = pair
    monkeypatch.setattr("acomp.backends.encodec.causal.BLOCK_FRAMES", 25)
    monkeypatch.setattr("acomp.backends.encodec.causal.LSTM_FRAMES", 40)
    assert_same(model, codec, audio(codec, int(1.503 * codec.spec.sample_rate)), 6)


def test_silence_decodes_to_the_official_samples(pair: Any) -> None:
    model, codec = pair
    silence = np.zeros((codec.spec.channels, 30_000), np.float32)
    assert_same(model, codec, acomp.Audio(silence, codec.spec.sample_rate), 3)


def test_codebooks(pair: Any) -> None:
    model, codec = pair
    books = codec.codebooks()
    assert books.shape == (codec.spec.codebooks, 1024, 128)
    np.testing.assert_array_equal(books[1], model.quantizer.vq.layers[1].codebook.numpy())


def test_a_number_of_channels_that_a_model_does_not_code_is_refused(pair: Any) -> None:
    _, codec = pair
    unfit = "stereo" if codec.spec.channels == 1 else "mono"
    with pytest.raises(acomp.CodecError, match="take another codec"):
        codec.encode(audio(codec, 500), channels=unfit)
    six = acomp.Audio(np.zeros((6, 500), np.float32), 48_000)
    with pytest.raises(acomp.AudioError, match="6 channels"):
        codec.encode(six)


def test_encodec_is_the_24_khz_model_for_mono_and_the_48_khz_model_for_stereo() -> None:
    from acomp.backends import resolve

    assert resolve("encodec", 1) == "encodec-24khz"
    assert resolve("encodec", 2) == "encodec-48khz"


def test_safetensors_of_the_same_weights_are_the_same_codec(pair: Any, tmp_path: Path) -> None:
    model, codec = pair
    path = tmp_path / "weights.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    again = acomp.load(codec.spec.name, weights=path, engine="torch")
    assert again.fingerprint == codec.fingerprint
    sound = audio(codec, 5000)
    np.testing.assert_array_equal(again.encode(sound).data, codec.encode(sound).data)


def test_weights_of_the_other_model_are_refused(pair: Any, tmp_path: Path) -> None:
    model, codec = pair
    other = "encodec-48khz" if codec.spec.name == "encodec-24khz" else "encodec-24khz"
    path = save_encodec(model, tmp_path / "weights.th")
    with pytest.raises(acomp.WeightsError, match=f"does not hold weights of {other}"):
        acomp.load(other, weights=path)


def test_codes_of_other_weights_are_refused(pair: Any) -> None:
    from dataclasses import replace

    _, codec = pair
    codes = codec.encode(audio(codec, 2000))
    foreign = replace(codes, info=replace(codes.info, fingerprint="0" * 16))
    with pytest.raises(acomp.CodecError, match="made with the weights 0000000000000000"):
        codec.decode(foreign)
