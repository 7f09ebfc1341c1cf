"""Mimi against `transformers`: the same weights give the same codes and samples."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agreement import assert_official_codes
from commands import Cli, assert_done, assert_refused, make
from engines_here import needs_openvino
from mimi_models import parts, small_mimi
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

import acomp
from acomp.backends.base import Codec
from acomp.backends.streaming import Decoder, Encoder
from acomp.codes import Codes, split

HOP = 1920


@pytest.fixture(scope="module")
def model() -> Any:
    pytest.importorskip("transformers", reason="the extra acomp[mimi] is not installed")
    return small_mimi()


@pytest.fixture(scope="module")
def folder(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in Hugging Face's layout."""
    path = tmp_path_factory.mktemp("mimi")
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def codec(folder: Path) -> Codec:
    return acomp.load("mimi", weights=folder, engine="torch")


def noise(samples: int, channels: int = 1) -> acomp.Audio:
    level = np.linspace(0.05, 0.5, samples, dtype=np.float32)
    random = np.random.default_rng(samples).standard_normal((channels, samples))
    return acomp.Audio((level * random).astype(np.float32).clip(-1, 1), 24_000)


@torch.no_grad()
def assert_same(model: Any, codec: Codec, sound: acomp.Audio, codebooks: int) -> None:
    samples = torch.from_numpy(sound.samples)[None]
    official = model.encode(samples, num_quantizers=codebooks).audio_codes
    codes = codec.encode(sound, codebooks=codebooks)
    latents = model.encoder(samples).latents
    assert_official_codes(codes.data, official.numpy(), distances(model, latents, official))
    decoded = codec.decode(replace(codes, data=official.numpy().astype(np.uint16)))
    expected = model.decode(official).audio_values[0, :, : sound.length].numpy()
    np.testing.assert_allclose(decoded.samples, expected, rtol=0, atol=1e-5)


def distances(
    model: Any, latents: torch.Tensor, official: torch.Tensor
) -> Callable[[int, int, int], NDArray[np.float64]]:
    """Of what the model quantised at a stream, level and frame to the entries it chose from."""

    def of(stream: int, level: int, frame: int) -> NDArray[np.float64]:
        first = min(level, 1)  # of the levels that code the same projection
        part = parts(model)[first]
        rest = part.input_proj(latents)[stream, :, frame].double()
        for at in range(first, level):
            entry = official[stream, at, frame]
            rest = rest - part.layers[at - first].codebook.embed[entry].double()
        book = part.layers[level - first].codebook.embed.double()
        far: NDArray[np.float64] = (book - rest).square().sum(dim=1).numpy()
        return far

    return of


@pytest.mark.parametrize("codebooks", [1, 2, 8, 32])
def test_codes_and_samples_are_the_official_ones(model: Any, codec: Codec, codebooks: int) -> None:
    """Longer than both layers' windows together, with a ragged end."""
    assert_same(model, codec, noise(3 * 24_000 + 77), codebooks)


@pytest.mark.parametrize("samples", [1, 959, 960, 961, 1919, 1920, 1921, 2885, 5000])
def test_any_length_gives_the_official_codes(model: Any, codec: Codec, samples: int) -> None:
    """Strided layers are padded by zeros and the last of them by what is next to it."""
    assert_same(model, codec, noise(samples), 32)


def test_silence_decodes_to_the_official_samples(model: Any, codec: Codec) -> None:
    assert_same(model, codec, acomp.Audio(np.zeros((1, 30_000), np.float32), 24_000), 8)


@pytest.mark.parametrize("step", [700, HOP, 3 * HOP + 5, 17 * HOP])
def test_pushes_of_any_size_give_the_same_codes(
    codec: Codec, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = noise(40 * HOP + 1234)
    whole = codec.encode(sound, codebooks=32)
    monkeypatch.setattr("acomp.backends.mimi.streams.TRANSFORMER_FRAMES", 11)
    encoder = Encoder(codec, whole.info)
    blocks = [
        encoder.push(sound.samples[:, start : start + step])
        for start in range(0, sound.length, step)
    ]
    pushed = Codes.from_blocks(whole.info, [*blocks, encoder.finish()], encoder.length)
    np.testing.assert_array_equal(pushed.data, whole.data)


@pytest.mark.parametrize("frames", [1, 3, 8, 17])
def test_frames_in_blocks_of_any_size_give_the_same_samples(codec: Codec, frames: int) -> None:
    whole = codec.encode(noise(40 * HOP + 5))
    decoder = Decoder(codec, whole.info)
    blocks = [decoder.push(block) for block in split(whole.block, frames)]
    samples = np.concatenate([*blocks, decoder.finish(whole.length)], axis=1)
    np.testing.assert_allclose(samples, codec.decode(whole).samples, rtol=0, atol=1e-5)


def test_a_frame_goes_through_as_soon_as_it_is_there(codec: Codec) -> None:
    """As its spec says: no delay beside the frame that is filling."""
    sound = noise(3 * HOP)
    info = codec.info(sound)
    encoder, decoder = codec.stream_encoder(info), codec.stream_decoder(info)
    assert codec.spec.delay == 0
    assert encoder.push(sound.samples[:, : HOP - 1]).frames == 0
    block = encoder.push(sound.samples[:, HOP - 1 : HOP])
    assert block.frames == 1
    assert decoder.push(block).shape == (1, HOP)


def test_sound_in_the_middle_comes_out_right_after_the_preroll(codec: Codec) -> None:
    codes = codec.encode(noise(8 * 24_000))
    whole = codec.stream_decoder(codes.info).push(codes.block)
    middle = 6 * 24_000
    frame, sample = codec.seek(middle)
    assert 0 < sample < middle
    rest = replace(codes.block, data=codes.data[..., frame:])
    found = codec.stream_decoder(codes.info).push(rest)
    np.testing.assert_allclose(found[:, middle - sample :], whole[:, middle:], rtol=0, atol=1e-5)


def test_stereo_is_two_streams_that_are_coded_as_if_alone(codec: Codec) -> None:
    sound = noise(10 * HOP + 7, channels=2)
    codes = codec.encode(sound, codebooks=8)
    assert codes.data.shape == (2, 8, 11)
    decoded = codec.decode(codes)
    for channel in range(2):
        alone = codec.encode(acomp.Audio(sound.samples[channel : channel + 1], 24_000), codebooks=8)
        np.testing.assert_array_equal(codes.data[channel], alone.data[0])
        np.testing.assert_array_equal(decoded.samples[channel], codec.decode(alone).samples[0])


def test_codebooks(model: Any, codec: Codec) -> None:
    layers = [layer for part in parts(model) for layer in part.layers]
    expected = np.stack([layer.codebook.embed.numpy() for layer in layers])
    assert codec.codebooks().shape == (32, 2048, 256)
    np.testing.assert_array_equal(codec.codebooks(), expected)


@torch.no_grad()
def test_latents_are_sums_of_latent_codebooks(model: Any, codec: Codec) -> None:
    codes = np.random.default_rng(0).integers(0, 2048, (1, 32, 5))
    books = codec.latent_codebooks()
    total = sum(books[level][codes[0, level]] for level in range(32))
    expected = model.quantizer.decode(torch.from_numpy(codes))[0].T.numpy()
    np.testing.assert_allclose(total, expected, rtol=0, atol=1e-4)


def test_the_module_is_the_official_model_and_asks_nobody(
    model: Any, codec: Codec, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def connect(*_arguments: object) -> None:
        raise AssertionError("it went to the network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    module = codec.module
    assert type(module) is type(model)
    found, expected = module.state_dict(), model.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert capfd.readouterr() == ("", "")


def test_coding_needs_no_transformers_and_the_module_says_what_does(
    codec: Codec, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    alone = acomp.load("mimi", weights=folder, engine="torch")
    sound = noise(3 * HOP)
    np.testing.assert_array_equal(alone.encode(sound).data, codec.encode(sound).data)
    with pytest.raises(acomp.CodecError, match=r'pip install "acomp\[mimi\]"'):
        _ = alone.module


@needs_openvino
def test_openvino_gives_nearly_the_same(
    codec: Codec, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACOMP_CACHE", str(tmp_path))
    other = acomp.load("mimi", weights=folder, engine="openvino")
    sound = noise(20 * HOP + 700, channels=2)
    codes, found = codec.encode(sound, codebooks=8), other.encode(sound, codebooks=8)
    assert (codes.data == found.data).mean() > 0.98
    np.testing.assert_allclose(
        other.decode(codes).samples, codec.decode(codes).samples, rtol=0, atol=1e-4
    )


def test_from_the_command_line(cli: Cli, folder: Path, tmp_path: Path) -> None:
    path = make(tmp_path / "speech.wav", seconds=2)
    engine = ("--weights", folder, "--engine", "torch")
    assert_done(cli("encode", path, "-o", "speech.nac", "-b", "mimi", "-k", 1.1, *engine))
    told = cli("info", "--json", "speech.nac")
    assert_done(told)
    facts = json.loads(told.out)
    assert (facts["codec"], facts["codebooks"], facts["codebook_size"]) == ("mimi", 8, 2048)
    assert_done(cli("decode", "speech.nac", "-o", "out.wav", *engine))
    assert acomp.read_audio(tmp_path / "out.wav").samples.shape == (1, 48_000)
    # 25 frames of 8 codes of 11 bits are 275 bytes.
    assert 275 <= (tmp_path / "speech.nac").stat().st_size < 275 + 400
    assert_refused(
        cli("encode", path, "-o", "b.nac", "-b", "mimi", "-k", 6, *engine), "0.55, 1.1, 2.2, 4.4"
    )


def copy_with(folder: Path, target: Path, **changes: object) -> Path:
    """The folder, its config changed."""
    target.mkdir()
    (target / "model.safetensors").symlink_to(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (target / "config.json").write_text(json.dumps({**config, **changes}))
    return target


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sampling_rate": 16_000}, "sampling_rate is 16000, not 24000"),
        ({"model_type": "encodec"}, "model_type is 'encodec', not 'mimi'"),
        ({"frame_rate": 25.0}, "frame_rate is 25.0, not 12.5"),
        ({"codebook_size": 1024}, "codebook_size is 1024, not 2048"),
        ({"codebook_dim": 128}, "codebook_dim is 128, not 256"),
        ({"upsampling_ratios": [8, 5, 4, 2]}, "upsampling_ratios do not multiply to 960"),
        ({"upsampling_ratios": "8654"}, "upsampling_ratios do not multiply to 960"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is no number from 1 to"),
        ({"hidden_size": "wide"}, "hidden_size is no number from 1 to"),
        ({"num_attention_heads": 32}, "its heads or filters are of odd sizes"),
        ({"num_key_value_heads": 2}, "num_key_value_heads is 2, not 4"),
        ({"use_causal_conv": False}, "use_causal_conv is False, not True"),
        ({"num_filters": 64}, "does not hold weights of mimi"),
        ({"num_hidden_layers": 1}, "does not hold weights of mimi"),
        ({"num_hidden_layers": 3}, "does not hold weights of mimi"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(
    folder: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    other = copy_with(folder, tmp_path / "other", **changes)
    with pytest.raises(acomp.WeightsError, match=words):
        acomp.load("mimi", weights=other)


@pytest.mark.parametrize("text", ["", "[" * 60_000, " " * (1 << 17), "[1, 2]", '"mimi"'])
def test_a_config_that_is_none_is_refused(folder: Path, tmp_path: Path, text: str) -> None:
    other = copy_with(folder, tmp_path / "other")
    (other / "config.json").write_text(text)
    with pytest.raises(
        acomp.WeightsError, match=r"is not JSON|is longer than|does not describe mimi"
    ):
        acomp.load("mimi", weights=other)


def test_weights_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "alone.safetensors"
    file.write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(acomp.WeightsError, match="does not hold weights of mimi"):
        acomp.load("mimi", weights=file)  # alone it is of the published shape
    with pytest.raises(acomp.WeightsError, match=r"cannot read .*config\.json"):
        acomp.load("mimi", weights=tmp_path)
    with pytest.raises(acomp.WeightsError, match="cannot read the weights"):
        acomp.load("mimi", weights=tmp_path / "no.safetensors")
    pickled = tmp_path / "weights.pth"
    torch.save(load_file(file), pickled)
    with pytest.raises(acomp.WeightsError, match="does not hold weights of mimi"):
        acomp.load("mimi", weights=pickled)


@pytest.mark.parametrize("change", ["one more", "one less", "another shape", "integers"])
def test_tensors_that_do_not_fit_are_refused(folder: Path, tmp_path: Path, change: str) -> None:
    state = load_file(folder / "model.safetensors")
    name = "decoder.layers.0.conv.bias"
    if change == "one more":
        state["decoder.layers.99.conv.bias"] = torch.zeros(3)
    elif change == "one less":
        del state[name]
    else:
        state[name] = torch.zeros(3) if change == "another shape" else state[name].int()
    other = copy_with(folder, tmp_path / "other")
    (other / "model.safetensors").unlink()
    save_file(state, other / "model.safetensors")
    with pytest.raises(acomp.WeightsError, match="does not hold weights of mimi"):
        acomp.load("mimi", weights=other)
