"""Codecs of one's own shape: exact on every engine, from file to file, and never trusted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agreement import assert_official_codes, dac_distances, encodec_distances
from checkpoints import SMALL, lively
from commands import Cli, assert_done, assert_refused, make
from engines_here import ENGINES
from numpy.typing import NDArray
from safetensors.torch import save_file

import acomp
from acomp.audio import read_audio
from acomp.backends.base import Codec
from acomp.backends.custom import shape_from
from acomp.backends.dac.shape import DacShape
from acomp.backends.encodec.shape import EncodecShape
from acomp.backends.families import family_of, published_shape
from acomp.backends.shared.shape import Shape
from acomp.backends.streaming import Decoder
from acomp.backends.weights.checkpoint import fingerprint, load_checkpoint, save_weights
from acomp.codecs import SPECS
from acomp.codes import Codes, split
from acomp.torchaudio import ensure_torchaudio

ensure_torchaudio()
HAS_DAC = find_spec("dac") is not None
needs_dac = pytest.mark.skipif(not HAS_DAC, reason="the extra acomp[dac] is not installed")
# Not `importorskip`, which would import OpenVINO with its telemetry.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("custom")


@pytest.fixture(scope="module", autouse=True)
def cache(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACOMP_CACHE", str(folder / "cache"))
        yield


def weights(folder: Path, name: str, seed: int = 0) -> Path:
    """A file of weights of one of SMALL."""
    shape = SMALL[name]
    if isinstance(shape, DacShape) and not HAS_DAC:
        pytest.skip("the extra acomp[dac] is not installed")
    path = folder / f"{name}.{seed}.safetensors"
    if not path.exists():
        save_weights(path, lively(shape, seed).state_dict(), shape)
    return path


@pytest.fixture(scope="module", params=list(SMALL))
def file(request: pytest.FixtureRequest, folder: Path) -> Path:
    return weights(folder, request.param)


@pytest.fixture(scope="module")
def on_torch(file: Path) -> Codec:
    return acomp.load("custom", weights=file, engine="torch")


@pytest.fixture(scope="module", params=ENGINES)
def codec(request: pytest.FixtureRequest, file: Path) -> Codec:
    return acomp.load("custom", weights=file, engine=request.param)


@pytest.fixture(scope="module", autouse=True)
def short_blocks() -> Iterator[None]:
    """So that a short sound has several."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("acomp.backends.shared.blocks.SAMPLE_BLOCK", 7)
        patch.setattr("acomp.backends.shared.blocks.LATENT_BLOCK", 20)
        patch.setattr("acomp.backends.encodec.causal.BLOCK_FRAMES", 25)
        patch.setattr("acomp.backends.encodec.causal.LSTM_FRAMES", 40)
        yield


def noise(codec: Codec, length: int) -> acomp.Audio:
    """Noise that swells, so that its codes and its levels differ all along."""
    spec = codec.spec
    channels = 2 if spec.stereo_streams else spec.channels
    random = np.random.default_rng(length).standard_normal((channels, length))
    swell = np.linspace(0.05, 0.3, length)
    return acomp.Audio((swell * random).clip(-1, 1).astype(np.float32), spec.sample_rate)


@torch.no_grad()
def assert_official(codec: Codec, sound: acomp.Audio) -> Codes:
    """Codes and samples are those of the official module as a whole."""
    model: Any = codec.module
    codes = codec.encode(sound, codebooks=codec.spec.codebooks)
    x = torch.from_numpy(sound.samples)
    if codec.spec.stereo_streams:
        x = model.preprocess(x[:, None], sound.sample_rate)
        _, official, projected, *_ = model.encode(x)
        expected, distances = official.numpy(), dac_distances(model, projected)
        whole = model.decode(model.quantizer.from_codes(official)[0])[:, 0].numpy()
    else:
        latents: list[torch.Tensor] = []
        hook = model.encoder.register_forward_hook(lambda *call: latents.append(call[-1]))
        frames = model.encode(x[None])
        hook.remove()
        expected = torch.cat([part for part, _ in frames], dim=-1).numpy()
        distances = encodec_distances(model, latents, expected)
        whole = model.decode(frames)[0].numpy()
        if codes.segments is not None:
            scales = np.array([scale.item() for _, scale in frames], np.float32)
            np.testing.assert_array_equal(codes.segments.scales, scales)
    assert_official_codes(codes.data, expected, distances)
    found = codec.decode(replace(codes, data=expected.astype(np.uint16))).samples
    assert found.shape == sound.samples.shape
    # With odd strides DAC's decoder gives a few samples less than a whole number of frames.
    length = min(whole.shape[1], sound.length)
    np.testing.assert_allclose(found[:, :length], whole[:, :length], atol=1e-4)
    assert not found[:, length:].any()
    return codes


def test_codes_and_samples_are_the_official_ones(codec: Codec) -> None:
    codes = assert_official(codec, noise(codec, 90 * codec.spec.hop_length + 5))
    for level in codes.data[0]:
        assert len(np.unique(level)) > 8  # or their agreement would mean little
    assert codes.info.codec == "custom"
    assert codec.decode(codes).samples.std() > 1e-3


@pytest.mark.parametrize("frames", [0.01, 1, 2.5, 4.5, 6.5, 9])
def test_short_sounds_have_the_official_codes(on_torch: Codec, frames: float) -> None:
    """As short as those that begin and end in one step."""
    assert_official(on_torch, noise(on_torch, max(1, int(frames * on_torch.spec.hop_length))))


@pytest.mark.parametrize("frames", [1, 7, 50])
def test_blocks_of_any_size_give_the_same_samples(codec: Codec, frames: int) -> None:
    whole = codec.encode(noise(codec, 120 * codec.spec.hop_length + 3))
    decoder = Decoder(codec, whole.info)
    parts = [decoder.push(block) for block in split(whole.block, frames)]
    samples = np.concatenate([*parts, decoder.finish(whole.length)], axis=1)
    np.testing.assert_allclose(samples, codec.decode(whole).samples, atol=1e-4)


# Shapes


SHAPES: dict[str, Shape] = {
    name: published_shape(name) for name in SPECS if family_of(name).own_shape is not None
}


@pytest.mark.parametrize("name", list(SHAPES))
def test_the_published_shapes_are_the_official_modules(name: str) -> None:
    with torch.device("meta"):
        found: Any = SHAPES[name].build()
        expected = _official(name)
    shapes = {key: tensor.shape for key, tensor in found.state_dict().items()}
    assert shapes == {key: tensor.shape for key, tensor in expected.state_dict().items()}
    assert str(found) == str(expected)
    assert found.sample_rate == expected.sample_rate
    if name.startswith("encodec"):
        for setting in ("channels", "normalize", "segment_length", "segment_stride", "frame_rate"):
            assert getattr(found, setting) == getattr(expected, setting)
        assert set(found.target_bandwidths) >= set(expected.target_bandwidths)


def _official(name: str) -> Any:
    if name.startswith("encodec"):
        from encodec.model import EncodecModel

        make = {"24": EncodecModel.encodec_model_24khz, "48": EncodecModel.encodec_model_48khz}
        return make[name[8:10]](pretrained=False)
    pytest.importorskip("dac", reason="the extra acomp[dac] is not installed")
    from dac.model import DAC

    low = {"encoder_rates": [2, 4, 5, 8], "decoder_rates": [8, 5, 4, 2]}
    arguments: dict[str, dict[str, Any]] = {
        "dac-16khz": {"sample_rate": 16_000, "n_codebooks": 12, **low},
        "dac-24khz": {"sample_rate": 24_000, "n_codebooks": 32, **low},
        "dac-44khz": {},
        "dac-44khz-16kbps": {"n_codebooks": 18, "latent_dim": 128},
    }
    return DAC(**arguments[name]).eval()


def test_the_published_specs_are_as_published() -> None:
    for name, shape in SHAPES.items():
        assert SPECS[name] == shape.spec(name, SPECS[name].bandwidths)
    found = SHAPES["encodec-24khz"].spec("custom").bandwidths
    assert found == {0.75: 1, 1.5: 2, 3: 4, 6: 8, 12: 16, 24: 32}
    assert DacShape().spec("custom").bandwidths == {0.861: 1, 1.72: 2, 3.45: 4, 6.89: 8, 7.75: 9}
    assert SPECS["encodec-48khz"].delay == 1
    assert round(SPECS["dac-44khz"].delay * 44_100) == (2 * (32 + 128 + 1) + 7 + 9) * 512


@pytest.mark.parametrize("name", ["causal", "segments"])
def test_the_package_finds_the_codebooks_of_each_of_its_bandwidths(name: str) -> None:
    for codebooks in (1, 3, 7, 31):
        shape = replace(SMALL[name], codebooks=codebooks, sample_rate=22_400)
        model: Any = shape.build()
        for count, kbps in zip(shape.offered_codebooks(), model.target_bandwidths, strict=True):
            found = model.quantizer.get_num_quantizers_for_bandwidth(model.frame_rate, kbps)
            assert found == count


@needs_dac
@pytest.mark.parametrize(
    "strides", [(2, 4, 8), (3, 5), (2, 2, 2, 2), (16,), (2, 4, 5, 8), (2, 4, 8, 8), (7, 2, 3)]
)
def test_the_contexts_reach_as_far_as_the_network_sees(strides: tuple[int, ...]) -> None:
    """What a frame's output depends on, by its gradient; no context is larger than it must be."""
    shape = DacShape(strides=strides, encoder_width=4, decoder_width=1024)
    model: Any = shape.build()
    last, hop, cut = strides[-1], shape.hop_length, len(strides)
    encoder, decoder = model.encoder.block, model.decoder.model
    near, far = shape.encoder_contexts
    assert seen(encoder[:cut], 1, near, hop, last) == near
    assert seen(encoder[cut:], 4 << (cut - 1), far, last, 1) == far
    near, far = shape.decoder_contexts
    assert seen(decoder[:2], model.latent_dim, far, 1, last) == far
    assert seen(decoder[2:], 512, near, last, hop) == near


def seen(layers: Any, channels: int, context: int, inputs: int, outputs: int) -> int:
    """Whole frames on either side of a frame that the network's output for it depends on."""
    frame = context + 2
    x = torch.randn(1, channels, (2 * frame + 1) * inputs, requires_grad=True)
    layers(x)[..., frame * outputs : (frame + 1) * outputs].abs().sum().backward()
    assert x.grad is not None
    steps = x.grad[0].abs().sum(0).nonzero() // inputs
    return max(frame - int(steps.min()), int(steps.max()) - frame)


@pytest.mark.parametrize("shape", [*SMALL.values(), *SHAPES.values()])
def test_a_shape_comes_back_from_its_dictionary(shape: Shape) -> None:
    assert shape_from(json.loads(json.dumps(shape.to_dict()))) == shape


CAUSES: list[tuple[object, str]] = [
    (None, "mapping"),
    ([], "mapping"),
    ({}, "family"),
    ({"family": []}, "family"),
    ({"family": "nano"}, "family is 'nano', not encodec or dac"),
    ({"family": "encodec", "layers": 3}, "'layers'"),
    ({"family": "encodec", 3: 3}, "no 3"),
    ({"family": "encodec", "filters": 10**9}, "filters"),
    ({"family": "encodec", "filters": 1024, "strides": [2] * 8}, "filters"),
    ({"family": "encodec", "filters": 8.0}, "filters is 8.0"),
    ({"family": "encodec", "filters": True}, "filters is True"),
    ({"family": "encodec", "strides": [2, -4]}, "a stride is -4"),
    ({"family": "encodec", "strides": "2458"}, "strides"),
    ({"family": "encodec", "strides": [2] * 10**6}, "strides"),
    ({"family": "encodec", "strides": [[[[2]]]]}, "a stride is"),
    ({"family": "encodec", "strides": [16, 16, 16, 16]}, "more than a second"),
    ({"family": "encodec", "strides": []}, "strides"),
    ({"family": "dac", "codebooks": 10**9}, "codebooks"),
    ({"family": "dac", "codebooks": 256, "codebook_size": 65_536, "codebook_dimension": 64}, "too"),
    ({"family": "dac", "codebook_size": 1000}, "power of two"),
    ({"family": "dac", "codebook_size": 1}, "codebook_size"),
    ({"family": "dac", "codebook_size": 1 << 17}, "codebook_size"),
    ({"family": "dac", "decoder_width": 16}, "decoder_width"),
    ({"family": "dac", "encoder_width": 1024}, "encoder_width"),
    ({"family": "dac", "latent_dimension": 0}, "latent_dimension"),
    ({"family": "dac", "sample_rate": "44100"}, "sample_rate is '44100'"),
    ({"family": "encodec", "causal": 1}, "causal"),
    ({"family": "encodec", "norm": "none"}, "norm"),
    ({"family": "encodec", "norm": "time_group_norm"}, "norm"),
    ({"family": "encodec", "segment": 1.0}, "segment"),
    ({"family": "encodec", "lstm_layers": 0}, "lstm_layers"),
    ({"family": "encodec", "causal": False, "segment": float("nan")}, "segment is nan"),
    ({"family": "encodec", "causal": False, "segment": 1e9}, "segment"),
    ({"family": "encodec", "causal": False, "segment": True}, "segment is True"),
    ({"family": "encodec", "causal": False, "segment": 0.99}, "take 0.986666667"),
    ({"family": "encodec", "causal": False, "segment": 60}, "take 54.6133333"),
]


@pytest.mark.parametrize(("values", "words"), CAUSES)
def test_what_is_no_shape_is_refused_in_a_line(values: object, words: str) -> None:
    with pytest.raises(acomp.CodecError) as failure:
        shape_from(values)
    message = str(failure.value)
    assert words in message
    assert "\n" not in message
    assert len(message) < 300


@pytest.mark.parametrize("rate", [16_000, 22_050, 44_100, 48_000])
def test_the_segment_that_is_suggested_is_taken(rate: int) -> None:
    for seconds in (0.1, 1 / 3, 0.77, 1.0, 7.0):
        values = {"family": "encodec", "sample_rate": rate, "causal": False, "segment": seconds}
        try:
            shape = shape_from(values)
        except acomp.CodecError as error:
            values["segment"] = float(str(error).rpartition(" ")[2])
            shape = shape_from(values)
        model: Any = shape.build() if rate == 22_050 and seconds < 0.5 else None
        assert isinstance(shape, EncodecShape)
        assert shape.segment_length % 320 == 0
        assert model is None or model.segment_length == shape.segment_length


# Files


def test_weights_keep_their_types_and_are_the_same_codec(folder: Path) -> None:
    shape = SMALL["causal"]
    state = lively(shape).state_dict()
    halves = {name: tensor.half() for name, tensor in state.items()}
    save_weights(folder / "half.safetensors", halves, shape)
    found = load_checkpoint(folder / "half.safetensors")
    assert shape_from(found.shape) == shape
    assert {tensor.dtype for tensor in found.state.values()} == {torch.float16}
    module = acomp.load("custom", weights=folder / "half.safetensors", engine="torch").module
    assert {tensor.dtype for tensor in module.state_dict().values()} == {torch.float32}
    assert shape_from(load_checkpoint(weights(folder, "causal")).shape) == shape
    save_weights(folder / "plain.safetensors", state)
    assert load_checkpoint(folder / "plain.safetensors").shape is None
    with pytest.raises(acomp.WeightsError, match="cannot write"):
        save_weights(folder / "no" / "folder.safetensors", state)


def test_a_module_can_be_trained_on(folder: Path) -> None:
    """Nothing in it is left without memory."""
    module: Any = acomp.load("custom", weights=weights(folder, "segments")).module.train()
    module(torch.randn(1, 1, 3200)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.decoder.parameters())


@needs_dac
def test_the_official_files_of_other_dacs_are_custom_codecs(folder: Path) -> None:
    shape = SMALL["dac"]
    model = lively(shape)
    path = folder / "official.pth"
    kwargs = {
        "encoder_dim": 8,
        "encoder_rates": [2, 4, 8],
        "latent_dim": 64,
        "decoder_dim": 64,
        "decoder_rates": [8, 4, 2],
        "n_codebooks": 4,
        "codebook_size": 128,
        "codebook_dim": 8,
        "quantizer_dropout": 0.5,
        "sample_rate": 16_000,
    }
    torch.save({"state_dict": model.state_dict(), "metadata": {"kwargs": kwargs}}, path)
    codec = acomp.load("custom", weights=path, engine="torch")
    assert_official(codec, noise(codec, 2000))
    for key, value in {"decoder_rates": [2, 4, 8], "codebook_dim": [8] * 4}.items():
        changed = {"kwargs": {**kwargs, key: value}}
        torch.save({"state_dict": model.state_dict(), "metadata": changed}, path)
        with pytest.raises(acomp.WeightsError, match=key.replace("dim", "dimension")):
            acomp.load("custom", weights=path)


HOSTILE = [
    "",
    "null",
    "{",
    "[" * 50_000,
    "[" * 10**6,
    '{"family": "encodec", "filters": 1' + "0" * 5000 + "}",
    json.dumps({"family": "encodec", "filters": 10**9}),
    json.dumps({"family": "encodec", "strides": [-1]}),
    json.dumps({"family": "dac", "codebooks": 10**9}),
    json.dumps({"family": "dac\nerror: ", "codebooks": 1}),
    json.dumps({"family": {"family": "dac"}}),
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_shape_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "hostile.safetensors"
    save_file({"x": torch.zeros(1)}, path, {"acomp": text})
    for name in ("custom", "encodec-24khz"):
        with pytest.raises(acomp.WeightsError) as failure:
            acomp.load(name, weights=path)
        assert str(path) in str(failure.value)
        assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    "shape",
    [
        EncodecShape(codebooks=256, filters=512, lstm_layers=4, dimension=1024),
        pytest.param(DacShape(codebooks=64, encoder_width=512), marks=needs_dac),
    ],
)
def test_no_memory_is_taken_for_a_shape_that_the_tensors_do_not_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: Shape
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr("acomp.backends.shared.loading.fill", fail)
    path = tmp_path / "claims.safetensors"
    save_weights(path, {"x": torch.zeros(1)}, shape)
    with pytest.raises(acomp.WeightsError, match="does not hold weights of custom"):
        acomp.load("custom", weights=path)


def test_files_and_names_that_do_not_go_together_are_refused(folder: Path) -> None:
    with pytest.raises(acomp.CodecError, match=r"give its file of weights \(--weights\)"):
        acomp.load("custom")
    with pytest.raises(acomp.WeightsError, match=r"weights of encodec-24khz.* take -b custom"):
        acomp.load("encodec-24khz", weights=weights(folder, "causal"))
    path = folder / "nameless.safetensors"
    save_weights(path, lively(SMALL["causal"]).state_dict())
    with pytest.raises(acomp.WeightsError, match="does not say what codec it is of"):
        acomp.load("custom", weights=path)
    # The tensors of a published codec, but for another sample rate.
    twin = replace(SHAPES["encodec-24khz"], sample_rate=16_000)
    save_weights(path, twin.build().state_dict(), twin)
    with pytest.raises(acomp.WeightsError, match="take -b custom"):
        acomp.load("encodec-24khz", weights=path)
    assert acomp.load("custom", weights=path).spec.sample_rate == 16_000


@pytest.mark.parametrize("size", [2, 65_536])
@pytest.mark.parametrize("suffix", ["nac", "txt", "npz"])
def test_codebooks_of_any_size_are_written_and_read(folder: Path, size: int, suffix: str) -> None:
    shape = EncodecShape(filters=4, dimension=4, codebooks=2, codebook_size=size)
    path = folder / f"{size}.safetensors"
    if not path.exists():
        save_weights(path, lively(shape).state_dict(), shape)
    codec = acomp.load("custom", weights=path, engine="torch")
    codes = codec.encode(noise(codec, 20_000))
    acomp.write_codes(folder / f"codes.{suffix}", codes)
    found = acomp.read_codes(folder / f"codes.{suffix}")
    np.testing.assert_array_equal(found.data, codes.data)
    assert found.info == codes.info
    assert found.info.bits == {2: 1, 65_536: 16}[size]


# The command line


@pytest.mark.parametrize("name", ["causal", "causal stereo", "segments", "dac"])
def test_from_file_to_file(cli: Cli, tmp_path: Path, folder: Path, name: str) -> None:
    mine, other = weights(folder, name), weights(folder, name, seed=1)
    stereo = name in ("causal stereo", "dac")
    make(tmp_path / "in.wav", 0.7, channels=1 + stereo)
    with_mine = ("--weights", mine, "--engine", "torch")
    assert_done(cli("encode", "-b", "custom", *with_mine, "in.wav", "-o", "a.nac"))
    assert json.loads(cli("info", "a.nac", "--json").out)["codec"] == "custom"
    assert_done(cli("convert", "a.nac", "b.txt"))
    for codes in ("a.nac", "b.txt"):
        assert_done(cli("decode", codes, *with_mine, "-o", f"{codes}.wav"))
        sound = read_audio(tmp_path / f"{codes}.wav")
        assert sound.samples.shape == (1 + stereo, 16_800)
    refused = cli("decode", "a.nac", "--weights", other, "--engine", "torch", "-o", "c.wav")
    prints = [fingerprint(load_checkpoint(path).state) for path in (mine, other)]
    assert_refused(refused, *prints, "--weights FILE")
    assert_refused(cli("decode", "a.nac", "-o", "c.wav"), "custom", "--weights")
    assert not (tmp_path / "c.wav").exists()


def test_what_a_stretch_sounds_like(cli: Cli, tmp_path: Path, folder: Path) -> None:
    with_mine = ("--weights", weights(folder, "segments"), "--engine", "torch")
    make(tmp_path / "in.wav", 1.5)
    assert_done(cli("encode", "-b", "custom", *with_mine, "in.wav", "-o", "a.nac"))
    assert_done(cli("decode", "a.nac", *with_mine, "-o", "a.wav"))
    stretch = ("--start", 0.9, "--duration", 0.3)
    assert_done(cli("decode", "a.nac", *with_mine, "-o", "b.wav", *stretch))
    whole, part = (read_audio(tmp_path / f"{name}.wav").samples for name in "ab")
    expected: NDArray[np.float32] = whole[:, 21_600:28_800]
    np.testing.assert_allclose(part, expected, atol=1e-3)


def test_what_is_whole_of_segments_is_recovered(cli: Cli, tmp_path: Path, folder: Path) -> None:
    with_mine = ("--weights", weights(folder, "segments"), "--engine", "torch")
    make(tmp_path / "in.wav", 30)
    assert_done(cli("encode", "-b", "custom", *with_mine, "in.wav", "-o", "a.nac"))
    path = tmp_path / "a.nac"
    path.write_bytes(path.read_bytes()[:-500])  # the last blocks and the index
    run = cli("decode", "a.nac", *with_mine, "-o", "a.wav", "--recover")
    assert "nothing can be read" in run.err, run
    assert 10 < read_audio(tmp_path / "a.wav").duration < 30


def test_the_commands_say_what_custom_is(cli: Cli, speech: Path) -> None:
    assert_refused(cli("encode", speech, "-b", "custom"), "custom", "--weights")
    assert_refused(cli("models", "fetch", "custom"), "custom")
    assert "custom" not in cli("models", "list").out
    assert "custom" in acomp.backends.names()
