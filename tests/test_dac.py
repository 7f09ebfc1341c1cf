"""DAC against the official package: the same weights give the same codes and samples."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agreement import assert_official_codes, dac_distances
from checkpoints import SMALL, dac_model, lively, save_dac

import acomp
from acomp.backends.base import Codec
from acomp.backends.dac.shape import DacShape
from acomp.backends.families import family_called, published_shape
from acomp.backends.shared.loading import load_autoencoder
from acomp.backends.shared.quantisers import DirectionDequantiser, DirectionQuantiser
from acomp.codecs import SPECS
from acomp.engines import pick_engine
from acomp.torchaudio import ensure_torchaudio

ensure_torchaudio()
pytest.importorskip("dac", reason="the extra acomp[dac] is not installed")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The official 44.1 kHz model, and its file."""
    model = dac_model("dac-44khz")
    return model, save_dac(model, tmp_path_factory.mktemp("weights") / "weights.pth")


@pytest.fixture(scope="module")
def pair(saved: tuple[Any, Path]) -> Any:
    """The official 44.1 kHz model and acomp's codec, of the same weights."""
    model, path = saved
    return model, acomp.load("dac", weights=path, engine="torch")


def noise(codec: Codec, samples: int, channels: int = 1) -> acomp.Audio:
    random = np.random.default_rng(samples)
    data = 0.1 * random.standard_normal((channels, samples))
    return acomp.Audio(data.astype(np.float32), codec.spec.sample_rate)


@torch.no_grad()
def assert_same(model: Any, codec: Codec, sound: acomp.Audio, codebooks: int) -> None:
    x = model.preprocess(torch.from_numpy(sound.samples)[:, None], sound.sample_rate)
    _, expected, latents, *_ = model.encode(x, n_quantizers=codebooks)
    codes = codec.encode(sound, codebooks=codebooks)
    assert_official_codes(codes.data, expected.numpy(), dac_distances(model, latents))
    whole = model.decode(model.quantizer.from_codes(expected)[0])[:, 0, : sound.length].numpy()
    decoded = codec.decode(replace(codes, data=expected.numpy().astype(codes.data.dtype)))
    assert decoded.samples.shape == sound.samples.shape
    np.testing.assert_allclose(decoded.samples[:, : whole.shape[1]], whole, atol=1e-5)
    assert not decoded.samples[:, whole.shape[1] :].any()


@pytest.mark.parametrize("codebooks", [1, 9])
def test_codes_and_samples_are_the_official_ones(pair: Any, codebooks: int) -> None:
    model, codec = pair
    assert_same(model, codec, noise(codec, 10_000), codebooks)


@pytest.mark.parametrize("samples", [1, 512, 513])
def test_any_length_gives_the_official_codes(pair: Any, samples: int) -> None:
    model, codec = pair
    assert_same(model, codec, noise(codec, samples), 9)


def test_stereo_is_two_streams(pair: Any) -> None:
    model, codec = pair
    sound = noise(codec, 5000, channels=2)
    assert_same(model, codec, sound, 4)
    assert codec.encode(sound).data.shape[0] == 2


@pytest.mark.parametrize("name", ["dac-16khz", "dac-24khz", "dac-44khz", "dac-44khz-16kbps"])
def test_many_blocks_give_the_codes_of_one_whole_run(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With narrow layers, as those of full size take seconds, and in blocks of few frames."""
    spec, shape = SPECS[name], replace(published_shape(name), encoder_width=4, decoder_width=64)
    model = lively(shape)
    monkeypatch.setattr("acomp.backends.shared.blocks.LATENT_BLOCK", 10)
    monkeypatch.setattr("acomp.backends.shared.blocks.SAMPLE_BLOCK", 3)
    path = save_dac(model, tmp_path / "weights.pth")
    codec = family_called("dac").load(spec, shape, path, pick_engine("torch"))
    assert_same(model, codec, noise(codec, 15_777), spec.codebooks)
    assert codec.codebooks().shape == (spec.codebooks, 1024, 8)


def test_codebooks_and_their_projection(pair: Any) -> None:
    model, codec = pair
    assert codec.codebooks().shape == (9, 1024, 8)
    latent = codec.latent_codebooks()
    assert latent.shape == (9, 1024, 1024)
    codes = torch.full((1, 1, 1), 5)
    with torch.no_grad():
        expected = model.quantizer.from_codes(codes)[0][0, :, 0]
    np.testing.assert_allclose(latent[0, 5], expected.numpy(), atol=1e-5)


def test_without_the_extra_the_module_alone_is_missing(
    saved: tuple[Any, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = saved
    for module in [name for name in sys.modules if name.split(".")[0] == "dac"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "dac", None)
    codec = acomp.load("dac", weights=path, engine="torch")
    assert_same(model, codec, noise(codec, 5000), 9)
    with pytest.raises(acomp.CodecError, match=r"pip install \"acomp\[dac\]\""):
        _ = codec.module


@pytest.mark.parametrize("name", ["dac", "dac of odd strides"])
@torch.inference_mode()
def test_the_network_is_the_official_one_to_the_last_bit(name: str, tmp_path: Path) -> None:
    shape = SMALL[name]
    assert isinstance(shape, DacShape)
    model = lively(shape)
    network = load_autoencoder(shape, save_dac(model, tmp_path / "weights.pth"), name).folded
    x = model.preprocess(0.3 * torch.randn(2, 1, shape.sample_rate), shape.sample_rate)
    _, codes, *_ = model.encode(x)
    found = DirectionQuantiser(network.books)(network.encoder_layers(x))
    torch.testing.assert_close(torch.stack(found, 1), codes, rtol=0, atol=0)
    samples = network.decoder_layers(DirectionDequantiser(network.books)(*found))
    expected = model.decode(model.quantizer.from_codes(codes)[0])
    torch.testing.assert_close(samples, expected, rtol=0, atol=0)
