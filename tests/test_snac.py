"""SNAC against the official package: the same weights give the same codes and samples.

Two small networks stand for the published ones, without attention as 24 kHz is, and with it; each
has all kinds of layers.
"""

from __future__ import annotations

import json
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
from numpy.typing import NDArray
from snac_models import SMALL, lively, spec_of
from torch.nn.functional import avg_pool1d, normalize

import acomp
from acomp.backends.families import published_shape
from acomp.backends.shared.blocks import LATENT_BLOCK, SAMPLE_BLOCK
from acomp.backends.shared.levels import fold, unfold
from acomp.backends.shared.loading import load_autoencoder
from acomp.backends.shared.quantisers import DirectionDequantiser, DirectionQuantiser
from acomp.backends.snac.codec import Snac, load
from acomp.backends.snac.network import NoiseBlock, noise as drawn_noise
from acomp.backends.streaming import Decoder, Encoder
from acomp.codecs import SPECS
from acomp.codes import Block, split
from acomp.engines import pick_engine

pytest.importorskip("snac", reason="the extra acomp[snac] is not installed")


@pytest.fixture(scope="module", params=list(SMALL))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An official model and acomp's codec, of the same weights, in blocks that a short sound has
    several of.
    """
    shape = SMALL[request.param]
    path = tmp_path_factory.mktemp("weights") / "pytorch_model.bin"
    model = lively(shape)
    torch.save(model.state_dict(), path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("acomp.backends.shared.blocks.SAMPLE_BLOCK", 8)
        patch.setattr("acomp.backends.shared.blocks.LATENT_BLOCK", 16)
        yield model, load(spec_of(shape), shape, path, pick_engine("torch"))


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The official 24 kHz model of full size, and a file of its weights."""
    model = lively(published_shape("snac-24khz"))
    path = tmp_path_factory.mktemp("weights") / "pytorch_model.bin"
    torch.save(model.state_dict(), path)
    return model, path


def sound(codec: Snac, frames: float, channels: int = 1) -> acomp.Audio:
    length = int(frames * codec.spec.hop_length)
    data = 0.2 * np.random.default_rng(length).standard_normal((channels, length))
    return acomp.Audio(data.astype(np.float32), codec.spec.sample_rate)


@torch.no_grad()
def official_codes(model: Any, audio: acomp.Audio) -> list[NDArray[Any]]:
    levels = model.encode(torch.from_numpy(audio.samples)[:, None])
    return [codes.numpy() for codes in levels]


@torch.no_grad()
def distances(
    model: Any, audio: acomp.Audio, official: list[NDArray[Any]]
) -> Callable[[int, int, int], NDArray[np.float64]]:
    """For each slot and frame, how far what the official model quantised was from each entry."""
    rest = model.encoder(model.preprocess(torch.from_numpy(audio.samples)[:, None]))
    far = []
    for level, codes in zip(model.quantizer.quantizers, official, strict=True):
        pooled = avg_pool1d(rest, level.stride, level.stride)
        directions = normalize(level.in_proj(pooled).double().transpose(1, 2), dim=-1)
        book = normalize(level.codebook.weight.double())
        apart = (directions[..., None, :] - book).square().sum(-1)
        frames = official[0].shape[1]
        far.append(apart.reshape(len(apart), frames, -1, len(book)).transpose(1, 2))
        coded = level.out_proj(level.decode_code(torch.from_numpy(codes)))
        rest = rest - coded.repeat_interleave(level.stride, dim=-1)
    slots = torch.cat(far, dim=1).numpy()
    return lambda stream, slot, frame: slots[stream, slot, frame]


def assert_official(codec: Snac, model: Any, audio: acomp.Audio) -> None:
    codes = codec.encode(audio)
    official = official_codes(model, audio)
    assert_official_codes(codes.data, fold(official), distances(model, audio, official))


@torch.no_grad()
def official_sound(codec: Snac, model: Any, latents: torch.Tensor) -> NDArray[np.float32]:
    """What the official decoder makes of latents with acomp's noise."""
    layers = iter(range(len(codec.shape.strides)))

    def fixed(shape: tuple[int, ...], **_: object) -> torch.Tensor:
        layer = next(layers)
        drawn = np.resize(drawn_noise(codec.shape, layer), shape[-1])
        return torch.from_numpy(drawn).repeat(shape[0], 1)[:, None]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", fixed)
        samples: NDArray[np.float32] = model.decoder(latents)[:, 0].numpy()
    return samples


def streamed(codec: Snac, audio: acomp.Audio, data: NDArray[np.uint16]) -> NDArray[np.float32]:
    """All that the stream decoder gives, the padding too."""
    info = replace(codec.info(audio), codebooks=data.shape[1])
    decoder = codec.stream_decoder(info)
    return np.concatenate([decoder.push(Block(data)), decoder.finish()], axis=1)


# The official package


@pytest.mark.parametrize("frames", [0.05, 1, 7.3, 33.5])
def test_codes_are_the_official_ones(pair: Any, frames: float) -> None:
    model, codec = pair
    assert_official(codec, model, sound(codec, frames))


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_the_network_is_the_official_one_to_the_last_bit(name: str, tmp_path: Path) -> None:
    """But for its noise, which a test of its own is for; of one window."""
    shape, model = SMALL[name], lively(SMALL[name])
    torch.save(model.state_dict(), tmp_path / "weights.bin")
    network = load_autoencoder(shape, tmp_path / "weights.bin", name).folded
    x = 0.3 * torch.randn(2, 1, 16 * shape.latent_hop)
    codes = model.encode(x)
    found = DirectionQuantiser(network.books)(network.encoder_layers(x))
    latents = model.quantizer.from_codes(codes)
    assert all(map(torch.equal, found, codes))
    assert torch.equal(DirectionDequantiser(network.books)(*found), latents)
    for ours, theirs in zip(network.decoder_layers, model.decoder.model, strict=True):
        blocks = zip(
            getattr(ours, "block", [ours]), getattr(theirs, "block", [theirs]), strict=True
        )
        for layer, official in blocks:
            if isinstance(layer, NoiseBlock):
                latents = official(latents)
                continue
            assert torch.equal(layer(latents), official(latents))
            latents = official(latents)


def test_samples_are_the_official_ones_with_the_same_noise(pair: Any) -> None:
    model, codec = pair
    audio = sound(codec, 21.7, channels=2)
    official = official_codes(model, audio)
    with torch.no_grad():
        latents = model.quantizer.from_codes([torch.from_numpy(codes) for codes in official])
    expected = official_sound(codec, model, latents)
    np.testing.assert_allclose(streamed(codec, audio, fold(official)), expected, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 0.01


def test_samples_are_the_official_ones_without_noise(tmp_path: Path) -> None:
    shape = SMALL["plain"]
    model = lively(shape)
    with torch.no_grad():
        for part in model.modules():
            if type(part).__name__ == "NoiseBlock":
                part.linear.parametrizations.weight.original0.zero_()
    torch.save(model.state_dict(), tmp_path / "weights.bin")
    codec = load(spec_of(shape), shape, tmp_path / "weights.bin", pick_engine("torch"))
    audio = sound(codec, 9)
    official = official_codes(model, audio)
    with torch.no_grad():
        expected = model.decode([torch.from_numpy(codes) for codes in official])[:, 0].numpy()
    np.testing.assert_allclose(streamed(codec, audio, fold(official)), expected, atol=1e-5)


def test_fewer_levels_decode_to_the_sum_of_those(pair: Any) -> None:
    model, codec = pair
    audio = sound(codec, 10)
    codes = codec.encode(audio, codebooks=3)
    np.testing.assert_array_equal(codes.data, codec.encode(audio).data[:, :3])
    levels = zip(model.quantizer.quantizers, unfold(codes.data, (1, 2)), strict=False)
    with torch.no_grad():
        latents = sum(
            level.out_proj(level.decode_code(torch.from_numpy(indices))).repeat_interleave(
                level.stride, dim=-1
            )
            for level, indices in levels
        )
    expected = official_sound(codec, model, latents)
    np.testing.assert_allclose(streamed(codec, audio, codes.data), expected, atol=1e-5)


def test_folded_codes_unfold_to_the_official_levels() -> None:
    levels = [np.arange(3 << level).reshape(1, -1) for level in range(4)]
    folded = fold(levels)
    assert folded[0, :, 1].tolist() == [1, 2, 3, 4, 5, 6, 7, *range(8, 16)]
    for level, again in zip(levels, unfold(folded, (1, 2, 4, 8)), strict=True):
        np.testing.assert_array_equal(level, again)


def test_the_published_size_gives_the_official_codes(full: Any) -> None:
    model, path = full
    codec = acomp.load("snac-24khz", weights=path, engine="torch")
    assert isinstance(codec, Snac)
    assert_official(codec, model, sound(codec, 2.5))
    assert codec.codebooks().shape == (7, 4096, 8)
    assert codec.latent_codebooks().shape == (7, 4096, 768)
    assert type(codec.module) is type(model)


@pytest.mark.parametrize(
    ("name", "millions"), [("snac-24khz", 19.8), ("snac-32khz", 54.5), ("snac-44khz", 54.5)]
)
def test_shapes_and_specs_are_the_published_ones(
    name: str, millions: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers of parameters are those of the models' pages."""
    monkeypatch.setattr("acomp.backends.shared.blocks.SAMPLE_BLOCK", SAMPLE_BLOCK)
    monkeypatch.setattr("acomp.backends.shared.blocks.LATENT_BLOCK", LATENT_BLOCK)
    spec, shape = SPECS[name], published_shape(name)
    with torch.device("meta"):
        model: Any = shape.build()
    assert sum(part.numel() for part in model.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.06
    )
    assert spec.sample_rate == shape.sample_rate
    assert spec.hop_length == shape.latent_hop * shape.level_strides[0]
    assert spec.levels == tuple(shape.level_strides[0] // stride for stride in shape.level_strides)
    assert spec.delay == pytest.approx(shape.held * shape.latent_hop / shape.sample_rate)
    assert spec.unit == shape.unit
    for kbps, codebooks in spec.bandwidths.items():
        assert kbps == pytest.approx(codebooks * 12 * spec.frame_rate / 1000, rel=0.05)


# Streams


@pytest.mark.parametrize("step", [1, 97, 500])
def test_pushes_of_any_size_give_the_same_codes(pair: Any, step: int) -> None:
    _, codec = pair
    audio = sound(codec, 30.3 if step > 1 else 5.1)
    whole = codec.encode(audio)
    encoder = Encoder(codec, whole.info)
    parts = [
        encoder.push(audio.samples[:, start : start + step])
        for start in range(0, audio.length, step)
    ]
    data = np.concatenate([block.data for block in [*parts, encoder.finish()]], axis=2)
    np.testing.assert_array_equal(data, whole.data)


@pytest.mark.parametrize("frames", [1, 3, 16])
def test_blocks_of_any_size_give_the_same_samples(pair: Any, frames: int) -> None:
    _, codec = pair
    audio = sound(codec, 30.3)
    whole = codec.encode(audio)
    decoder = codec.stream_decoder(whole.info)
    parts = [decoder.push(block) for block in split(whole.block, frames)]
    samples = np.concatenate([*parts, decoder.finish()], axis=1)
    np.testing.assert_allclose(samples, streamed(codec, audio, whole.data), atol=1e-5)


def test_the_sound_has_the_length_of_what_was_encoded(pair: Any) -> None:
    """Where windows are padded, codes hold several frames more."""
    _, codec = pair
    audio = sound(codec, 12.4)
    codes = codec.encode(audio)
    assert codes.frames == (13 if codec.shape.window is None else 16)
    decoder = Decoder(codec, codes.info)
    parts = [decoder.push(block) for block in split(codes.block, 1)]
    samples = np.concatenate([*parts, decoder.finish(codes.length)], axis=1)
    assert samples.shape == audio.samples.shape
    np.testing.assert_allclose(
        samples, streamed(codec, audio, codes.data)[:, : audio.length], atol=1e-5
    )


def test_a_stretch_sounds_as_it_does_in_the_whole(pair: Any) -> None:
    """Its windows and its noise begin where those of the whole do."""
    _, codec = pair
    audio = sound(codec, 400)
    data = codec.encode(audio).data
    whole = streamed(codec, audio, data)
    wanted = 350 * codec.spec.hop_length + 17
    frame, sample = codec.seek(wanted)
    assert 0 < frame <= 350
    rest = streamed(codec, audio, data[:, :, frame:])
    np.testing.assert_allclose(rest[:, wanted - sample :], whole[:, wanted:], atol=1e-5)


def test_the_delay_is_what_the_spec_says(pair: Any) -> None:
    _, codec = pair
    audio = sound(codec, 120)
    encoder = codec.stream_encoder(codec.info(audio))
    decoder = codec.stream_decoder(codec.info(audio))
    given, worst = 0, 0
    for end in range(16, audio.length, 16):
        block = encoder.push(audio.samples[:, end - 16 : end])
        given += decoder.push(block).shape[1] if block.frames else 0
        worst = max(worst, end - given) if given else 0
    # Its spec was made for the shorter blocks of this test, by the same sum.
    allowed = codec.shape.held * codec.shape.latent_hop + codec.spec.hop_length + 16
    assert 0 < worst <= allowed


# Engines


@needs_openvino
def test_openvino_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With attention, where there are more parts than without."""
    monkeypatch.setenv("ACOMP_CACHE", str(tmp_path / "cache"))
    shape, path = SMALL["windows"], tmp_path / "weights.bin"
    model = lively(shape)
    torch.save(model.state_dict(), path)
    codec, reference = (
        load(spec_of(shape), shape, path, pick_engine(engine)) for engine in ("openvino", "torch")
    )
    assert_official(codec, model, sound(codec, 40))
    audio = sound(codec, 9, channels=2)
    data = codec.encode(audio).data
    np.testing.assert_allclose(
        streamed(codec, audio, data), streamed(reference, audio, data), atol=1e-5
    )


# What users get wrong


@pytest.mark.parametrize("codebooks", [0, 2, 5, 8])
def test_only_whole_levels_are_taken(pair: Any, codebooks: int) -> None:
    _, codec = pair
    with pytest.raises(acomp.CodecError, match="1, 3 or 7 codebooks, not"):
        codec.spec.codebooks_for(None, codebooks)
    if codebooks:
        info = replace(codec.info(sound(codec, 1)), codebooks=codebooks)
        with pytest.raises(acomp.CodecError):
            codec.check(info)


@pytest.mark.parametrize("file", ["pytorch_model.bin", "model.safetensors"])
def test_a_folder_in_hugging_face_layout(pair: Any, tmp_path: Path, file: str) -> None:
    from safetensors.torch import save_file

    model, codec = pair
    (tmp_path / "config.json").write_text(json.dumps(codec.shape.config))
    save = save_file if file.endswith("safetensors") else torch.save
    save(model.state_dict(), tmp_path / file)
    again = load(codec.spec, codec.shape, tmp_path, pick_engine("torch"))
    assert again.fingerprint == codec.fingerprint


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (None, "cannot read"),
        (b"{", "not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b"[]", "no configuration"),
        (b"{}" + b" " * 70_000, "is longer than"),
        (b'{"vq_strides": [8, 4, 2, 1]}', r"vq_strides is \[8, 4, 2, 1\], not \[4, 2, 1\]"),
        (b"{}", "neither model.safetensors nor pytorch_model.bin"),
    ],
)
def test_bad_folders_are_refused(tmp_path: Path, config: bytes | None, words: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_bytes(config)
    with pytest.raises(acomp.WeightsError, match=words):
        acomp.load("snac-24khz", weights=tmp_path, engine="torch")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    torch.save(lively(SMALL["windows"]).state_dict(), tmp_path / "weights.bin")
    with pytest.raises(acomp.WeightsError, match="does not hold weights of snac-24khz"):
        acomp.load("snac-24khz", weights=tmp_path / "weights.bin", engine="torch")


def test_without_the_extra_the_module_alone_is_missing(
    full: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, path = full
    for module in [name for name in sys.modules if name.split(".")[0] == "snac"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "snac", None)
    codec: Any = acomp.load("snac-24khz", weights=path, engine="torch")
    assert_official(codec, model, sound(codec, 3))
    with pytest.raises(acomp.CodecError, match=r"pip install \"acomp\[snac\]\""):
        _ = codec.module


# Files


@pytest.mark.parametrize("suffix", [".nac", ".txt", ".npz"])
@pytest.mark.parametrize("name", ["snac-24khz", "snac-44khz"])
def test_codes_pass_through_files(name: str, suffix: str, tmp_path: Path) -> None:
    spec = SPECS[name]
    info = acomp.CodesInfo(
        codec=name,
        sample_rate=spec.sample_rate,
        channels=2,
        streams=2,
        codebooks=spec.codebooks,
        codebook_size=4096,
        hop_length=spec.hop_length,
        source_rate=48_000,
    )
    data = np.random.default_rng(0).integers(0, 4096, (2, spec.codebooks, 12), np.uint16)
    codes = acomp.Codes(info, data, 30_000)
    acomp.write_codes(tmp_path / f"codes{suffix}", codes)
    again = acomp.read_codes(tmp_path / f"codes{suffix}")
    assert (again.info, again.length) == (info, codes.length)
    np.testing.assert_array_equal(again.data, data)


def test_the_command_line(cli: Cli, full: Any, tmp_path: Path) -> None:
    _, weights = full
    speech = make(tmp_path / "speech.wav", seconds=0.4)
    with_weights = ("--weights", weights, "--engine", "torch")
    assert_done(cli("encode", speech, "-b", "snac-24khz", "-k", 0.98, *with_weights))
    described = json.loads(cli("info", "speech.nac", "--json").out)
    assert described["codec"] == "snac-24khz"
    assert described["codebooks"] == 7
    assert_done(cli("decode", "speech.nac", "-o", "out.wav", *with_weights))
    assert acomp.read_audio(tmp_path / "out.wav").length == acomp.read_audio(speech).length
    refused = cli(
        "encode", speech, "-o", "b.nac", "-b", "snac-24khz", "--codebooks", 2, *with_weights
    )
    assert_refused(refused, "1, 3 or 7 codebooks, not 2")
