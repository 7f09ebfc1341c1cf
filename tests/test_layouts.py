"""Weights in the layouts of other programs: made by these programs, with their codes."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import SMALL, lively
from commands import Cli
from mimi_models import SMALL as SMALL_MIMI, lively as lively_mimi, small_mimi
from safetensors.torch import load_file, save_file
from torch import Tensor

import acomp
from acomp.backends.custom import load as load_custom, shape_from
from acomp.backends.encodec.shape import EncodecShape
from acomp.backends.families import published_shape
from acomp.backends.weights.checkpoint import fingerprint, load_checkpoint, save_weights
from acomp.backends.weights.layouts import audiocraft as audiocraft_layout, dac, encodec
from acomp.engines import pick_engine
from acomp.torchaudio import ensure_torchaudio

ensure_torchaudio()  # which transformers imports
KINDS = ("causal", "segments", "both sides", "dac")


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    """Official modules with random weights."""
    return {kind: lively(SMALL[kind]) for kind in KINDS}


def hugging_face(kind: str, state: dict[str, Tensor], folder: Path, **saving: Any) -> Any:
    """The model of `transformers` with the weights of an official one, saved in its layout."""
    from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel

    shape: Any = SMALL[kind]
    if kind == "dac":
        model: Any = DacModel(
            DacConfig(
                encoder_hidden_size=shape.encoder_width,
                downsampling_ratios=list(shape.strides),
                decoder_hidden_size=shape.decoder_width,
                n_codebooks=shape.codebooks,
                codebook_size=shape.codebook_size,
                sampling_rate=shape.sample_rate,
            )
        )
        model.load_state_dict(dac.HUGGING_FACE.from_acomp(state))
    else:
        bits = shape.codebook_size.bit_length() - 1
        rate = -(-shape.sample_rate // shape.hop_length)
        model = EncodecModel(
            EncodecConfig(
                target_bandwidths=[shape.codebooks * bits * rate / 1000],
                sampling_rate=shape.sample_rate,
                audio_channels=shape.channels,
                normalize=shape.segment is not None,
                use_conv_shortcut=shape.shortcut,
                pad_mode="constant" if shape.padding == "zero" else "reflect",
                chunk_length_s=shape.segment,
                overlap=0.01 if shape.segment else None,
                hidden_size=shape.dimension,
                num_filters=shape.filters,
                num_residual_layers=shape.residual_layers,
                upsampling_ratios=list(shape.strides[::-1]),
                norm_type=shape.norm,
                use_causal_conv=shape.causal,
                num_lstm_layers=shape.lstm_layers,
                codebook_size=shape.codebook_size,
            )
        )
        model.load_state_dict(encodec.HUGGING_FACE.from_acomp(state), strict=False)
    model.eval().save_pretrained(folder, **saving)
    return model


def custom(path: Path) -> Any:
    return load_custom("custom", path, pick_engine("torch"))


def sound(codec: Any) -> acomp.Audio:
    length = 60 * codec.spec.hop_length
    samples = 0.3 * torch.randn(codec.spec.channels, length, generator=torch.manual_seed(3))
    return acomp.Audio(samples.numpy(), codec.spec.sample_rate)


def agreement(codec: Any, theirs: Any) -> float:
    """Share of the codes of a sound that are the same."""
    ours = codec.encode(sound(codec)).data
    return float((ours == np.asarray(theirs).reshape(ours.shape)).mean())


@pytest.mark.parametrize("kind", ["causal", "both sides", "dac"])
@torch.no_grad()
def test_folders_of_transformers_give_its_codes(
    models: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    model = hugging_face(kind, models[kind].state_dict(), tmp_path)
    codec = custom(tmp_path)
    audio = torch.from_numpy(sound(codec).samples)[None]
    found = model.encode(audio).audio_codes
    assert agreement(codec, found) == 1.0
    assert len(np.unique(codec.encode(sound(codec)).data)) > 20


def test_a_folder_of_segments_is_the_same_codec(models: dict[str, Any], tmp_path: Path) -> None:
    hugging_face("segments", models["segments"].state_dict(), tmp_path)
    official = tmp_path / "official.th"
    torch.save(models["segments"].state_dict(), official)
    assert custom(tmp_path).shape == SMALL["segments"]
    assert custom(tmp_path).fingerprint == fingerprint(load_checkpoint(official).state)


@pytest.mark.parametrize("safe", [True, False])
def test_shards_and_pickles_are_the_same_weights(
    models: dict[str, Any], tmp_path: Path, safe: bool
) -> None:
    state = models["causal"].state_dict()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    hugging_face("causal", state, whole)
    parts.mkdir()
    theirs = load_file(whole / "model.safetensors")
    shutil.copy(whole / "config.json", parts)
    end = "safetensors" if safe else "bin"
    stem = "model" if safe else "pytorch_model"
    names = sorted(theirs)
    shards = {
        name: f"{stem}-0000{1 + index % 2}-of-00002.{end}" for index, name in enumerate(names)
    }
    for shard in set(shards.values()):
        held = {name: theirs[name] for name in names if shards[name] == shard}
        save_file(held, parts / shard) if safe else torch.save(held, parts / shard)
    index = parts / f"{stem}.{end}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    assert custom(parts).fingerprint == custom(whole).fingerprint == fingerprint(state)
    assert custom(index).fingerprint == fingerprint(state)
    second = parts / f"{stem}-00002-of-00002.{end}"
    second.write_bytes(second.read_bytes()[:-1000])
    with pytest.raises(acomp.WeightsError, match=re.escape(second.name)):
        custom(parts)
    second.unlink()
    with pytest.raises(acomp.WeightsError, match=r"lacks the shard .* download it again"):
        custom(parts)


def wrapped(state: dict[str, Tensor]) -> dict[str, Any]:
    """The same weights as programs for training leave them."""
    new = dict(state)
    for name in state:
        if name.endswith("weight_g"):
            stem = name.removesuffix("weight_g") + "parametrizations.weight.original"
            new[f"{stem}0"], new[f"{stem}1"] = new.pop(name), new.pop(f"{name[:-1]}v")
    return {
        "state_dict": {"state_dict": state, "epoch": 3},
        "model": {"model": state, "optimizer": {"lr": 0.1}},
        "model_state_dict": {"model_state_dict": state},
        "module": {f"module.{name}": tensor for name, tensor in state.items()},
        "model.module": {f"model.module.{name}": tensor for name, tensor in state.items()},
        "Lightning's": {"state_dict": {f"model.{name}": each for name, each in state.items()}},
        "new weight norm": new,
    }


@pytest.mark.parametrize("kind", ["causal", "dac"])
def test_wrapped_weights_are_the_same_weights(
    models: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    state = models[kind].state_dict()
    for title, contents in wrapped(state).items():
        torch.save(contents, tmp_path / "weights.pth")
        assert fingerprint(load_checkpoint(tmp_path / "weights.pth").state) == fingerprint(state), (
            title
        )


@pytest.mark.parametrize("inside", [".", "dac", "best/dac"])
def test_folders_of_dacs_training(models: dict[str, Any], tmp_path: Path, inside: str) -> None:
    models["dac"].save_to_folder(tmp_path / "saved", {"tracker.pth": {"step": 1}}, package=False)
    shutil.copytree(tmp_path / "saved" / "dac", tmp_path / "run" / inside)
    codec = custom(tmp_path / "run")
    assert codec.shape.sample_rate == SMALL["dac"].sample_rate
    assert codec.fingerprint == fingerprint(models["dac"].state_dict())
    (tmp_path / "run" / inside / "weights.pth").rename(tmp_path / "run" / inside / "package.pth")
    with pytest.raises(
        acomp.WeightsError, match=r"without weights\.pth: package\.pth is a program"
    ):
        custom(tmp_path / "run")


def moshis(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of Hugging Face's Mimi by the names and in the order of Moshi's file."""
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        name = re.sub(r"^(encoder|decoder)\.layers", r"\1.model", name)
        name = re.sub(r"^(encoder|decoder)_transformer\.", r"\1_transformer.transformer.", name)
        if name.startswith("quantizer"):
            name = name.replace("semantic_residual_vector_quantizer", "rvq_first")
            name = name.replace("acoustic_residual_vector_quantizer", "rvq_rest")
            name = name.replace(".layers.", ".vq.layers.").replace(".codebook.", "._codebook.")
            name = name.replace("initialized", "_initialized")
            name = name.replace("embed_sum", "embedding_sum")
        elif ".conv." in name:
            inner = "convtr.convtr" if tensor.ndim == 3 and "upsample" in name else "conv.conv"
            if re.match(r"decoder\.model\.(2|5|8|11)\.conv", name):
                inner = "convtr.convtr"
            outer = {"downsample": "conv.", "upsample": "convtr."}.get(name.split(".")[0], "")
            name = name.replace(".conv.", f".{outer}{inner}.")
        for ours, theirs in (
            ("input_layernorm", "norm1"),
            ("post_attention_layernorm", "norm2"),
            ("mlp.fc1", "linear1"),
            ("mlp.fc2", "linear2"),
            ("self_attn_layer_scale", "layer_scale_1"),
            ("mlp_layer_scale", "layer_scale_2"),
            ("self_attn.o_proj", "self_attn.out_proj"),
        ):
            name = name.replace(ours, theirs)
        result[name] = tensor
    for name in [name for name in result if name.endswith("q_proj.weight")]:
        stem = name.removesuffix("q_proj.weight")
        queries, keys = (
            interleaved(result.pop(f"{stem}{part}_proj.weight")) for part in ("q", "k")
        )
        values = result.pop(f"{stem}v_proj.weight")
        result[f"{stem}in_proj_weight"] = torch.cat([queries, keys, values])
    return result


def interleaved(rows: Tensor) -> Tensor:
    """Rows of 8 heads, whose pairs are half a head apart, with each pair side by side."""
    width = len(rows) // 8
    order = [
        head * width + channel + half * (width // 2)
        for head in range(8)
        for channel in range(width // 2)
        for half in range(2)
    ]
    return rows[order]


def test_moshis_file_is_the_same_weights_as_hugging_faces(tmp_path: Path) -> None:
    from transformers import MimiConfig, MimiModel

    torch.manual_seed(0)
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 4}
    model = lively_mimi(MimiModel(MimiConfig(**{**SMALL_MIMI, **heads})))
    model.save_pretrained(tmp_path)
    theirs = load_file(tmp_path / "model.safetensors")
    moshi = moshis(theirs)
    assert "downsample.conv.conv.conv.weight" in moshi
    assert "encoder_transformer.transformer.layers.0.self_attn.in_proj_weight" in moshi
    assert "quantizer.rvq_rest.vq.layers.0._codebook.embedding_sum" in moshi
    save_file(moshi, tmp_path / "tokenizer.safetensors")
    found = load_checkpoint(tmp_path / "tokenizer.safetensors")
    assert found.layout is not None and found.layout.title == "Moshi's layout of Mimi"
    assert fingerprint(found.state) == fingerprint(theirs)


def test_mimi_is_carried_back_into_moshis_file(cli: Cli, tmp_path: Path) -> None:
    from transformers import MimiConfig, MimiModel

    torch.manual_seed(0)
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 4}
    model = lively_mimi(MimiModel(MimiConfig(**{**SMALL_MIMI, **heads})))
    model.save_pretrained(tmp_path / "theirs")
    target = tmp_path / "moshi.safetensors"
    run = ["models", "convert", tmp_path / "theirs", "--to", "official", "-o"]
    assert cli(*run, target).code == 0
    written, due = load_file(target), moshis(load_file(tmp_path / "theirs" / "model.safetensors"))
    assert written.keys() == due.keys()
    assert all(torch.equal(written[name], tensor) for name, tensor in due.items())
    refused = cli(*run, tmp_path / "moshi.th")
    assert refused.code == 1 and "ends in .safetensors" in refused.err
    small_mimi().save_pretrained(tmp_path / "other")  # of other heads than moshi has
    target = tmp_path / "new.safetensors"
    refused = cli("models", "convert", tmp_path / "other", "--to", "official", "-o", target)
    assert refused.code == 1 and "heads of attention" in refused.err and not target.exists()


def test_mimi_takes_pickles_and_a_repository_in_the_cache(tmp_path: Path) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "models--kyutai--mimi"
    folder = repository / "snapshots" / revision
    small_mimi().save_pretrained(folder)
    expected = acomp.load("mimi", weights=folder, engine="torch").fingerprint
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(acomp.WeightsError, match="which revision is its main"):
        acomp.load("mimi", weights=repository)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    assert acomp.load("mimi", weights=repository, engine="torch").fingerprint == expected
    (repository / "refs" / "main").write_text("../../elsewhere")
    with pytest.raises(acomp.WeightsError, match="lacks its main revision"):
        acomp.load("mimi", weights=repository)


# What is refused


def test_a_config_of_another_codec_is_refused(models: dict[str, Any], tmp_path: Path) -> None:
    hugging_face("dac", models["dac"].state_dict(), tmp_path)
    with pytest.raises(acomp.WeightsError, match="does not hold weights of dac-16khz"):
        acomp.load("dac-16khz", weights=tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "sampling_rate": "fast"}))
    with pytest.raises(acomp.WeightsError, match="sample_rate is 'fast'"):
        custom(tmp_path)


def test_a_snac_of_44_khz_is_not_taken_for_32(cli: Cli, tmp_path: Path) -> None:
    """The two have the same tensors: what tells them apart is the config.json."""
    shape: Any = published_shape("snac-44khz")
    state, file = shape.build().state_dict(), tmp_path / "pytorch_model.bin"
    torch.save(state, file)
    assert acomp.load("snac-32khz", weights=file).spec.name == "snac-32khz"  # at its word
    run = ["models", "convert", file, "-o", tmp_path / "out", "--to", "official"]
    refused = cli(*run)
    assert refused.code == 1 and "may be of snac-32khz or of snac-44khz" in refused.err
    (tmp_path / "config.json").write_text(json.dumps(shape.config))
    for path in (tmp_path, file):
        with pytest.raises(acomp.WeightsError, match=r"in its config\.json sampling_rate is 44100"):
            acomp.load("snac-32khz", weights=path)
    assert cli(*run).code == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["sampling_rate"] == 44_100
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "model.safetensors").write_bytes(b"mine")
    refused = cli("models", "convert", file, "-o", theirs, "--to", "official", "--overwrite")
    assert refused.code == 1 and "holds other weights, model.safetensors" in refused.err
    assert [path.name for path in theirs.iterdir()] == ["model.safetensors"]


def test_a_dac_of_another_rate_is_refused(tmp_path: Path) -> None:
    shape: Any = published_shape("dac-16khz")
    kwargs = {"sample_rate": 24_000, "n_codebooks": 12}
    contents = {"state_dict": shape.build().state_dict(), "metadata": {"kwargs": kwargs}}
    torch.save(contents, tmp_path / "weights.pth")
    with pytest.raises(acomp.WeightsError, match="its metadata says 24000 Hz, not 16000"):
        acomp.load("dac-16khz", weights=tmp_path / "weights.pth")


def test_a_config_of_another_family_is_named(models: dict[str, Any], tmp_path: Path) -> None:
    hugging_face("dac", models["dac"].state_dict(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "encodec"}))
    words = "looks like Hugging Face's layout of DAC, but its config.json is of EnCodec"
    for name in ("dac-16khz", "custom"):
        with pytest.raises(acomp.WeightsError, match=words):
            acomp.load(name, weights=tmp_path)


def test_a_config_of_another_shape_is_named(models: dict[str, Any], tmp_path: Path) -> None:
    hugging_face("causal", models["causal"].state_dict(), tmp_path)
    words = (
        "does not hold weights of encodec-24khz: it looks like Hugging Face's layout of EnCodec, "
        r"and its shape is another one \(sample_rate is 16000, not 24000\): take -b custom"
    )
    with pytest.raises(acomp.WeightsError, match=words):
        acomp.load("encodec-24khz", weights=tmp_path)


def test_a_folder_without_weights_and_a_link_to_nothing_are_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "encodec"}')
    with pytest.raises(acomp.WeightsError, match="looks like a folder of Hugging Face but holds"):
        custom(tmp_path)
    (tmp_path / "model.safetensors").symlink_to("../../blobs/gone")
    with pytest.raises(acomp.WeightsError, match=r"lacks what its model\.safetensors links to"):
        custom(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"more": torch.zeros(1)}, "it has 'more' beside them"),
        ({"decoder.model.0.conv.conv.bias": None}, r"it lacks decoder\.model\.0\.conv\.conv\.bias"),
        ({"decoder.model.0.conv.conv.bias": torch.zeros(3)}, r"bias is \[3\], not \[512\]"),
    ],
)
def test_one_tensor_more_or_fewer_is_named(
    tmp_path: Path, change: dict[str, Tensor | None], words: str
) -> None:
    from acomp.backends.families import published_shape

    state: dict[str, Any] = {**published_shape("encodec-24khz").build().state_dict(), **change}
    kept = {name: tensor for name, tensor in state.items() if tensor is not None}
    torch.save(kept, tmp_path / "x.th")
    title = "it looks like the layout of the package encodec, and "
    with pytest.raises(acomp.WeightsError, match=f"{title}.*{words}"):
        acomp.load("encodec-24khz", weights=tmp_path / "x.th")


AUDIOCRAFT = """
sample_rate: 16000
channels: 1
encodec: {autoencoder: seanet, quantizer: rvq, sample_rate: "${sample_rate}", causal: false,
  renormalize: false}
seanet: {dimension: 16, channels: "${channels}", causal: "${encodec.causal}", n_filters: 8,
  n_residual_layers: 1, ratios: [5, 4, 3], activation: ELU, activation_params: {alpha: 1.0},
  norm: weight_norm, kernel_size: 7, residual_kernel_size: 3, last_kernel_size: 7, dilation_base: 2,
  pad_mode: constant, true_skip: true, compress: 2, lstm: 1, disable_norm_outer_blocks: 0}
rvq: {n_q: 3, bins: 64, q_dropout: false}
"""
"""Of a small codec, as its configurations of compression models are laid out."""


def audiocraft(state: dict[str, Tensor], path: Path, text: str = AUDIOCRAFT) -> Path:
    torch.save({"best_state": state, "xp.cfg": text, "version": "1.3.0", "exported": True}, path)
    return path


@torch.no_grad()
def test_audiocrafts_files_say_their_shape(tmp_path: Path) -> None:
    """Its codecs are the package's with other settings, and have its names."""
    sighted = SMALL["both sides"]
    assert isinstance(sighted, EncodecShape)
    shape = replace(sighted, padding="zero")
    model: Any = lively(shape)
    codec = custom(audiocraft(model.state_dict(), tmp_path / "compression_state_dict.bin"))
    assert codec.shape == shape
    audio = torch.from_numpy(sound(codec).samples)[None]
    ((found, _),) = model.encode(audio)
    assert agreement(codec, found) == 1.0
    assert custom(tmp_path).fingerprint == codec.fingerprint  # its folder
    training = {"model": model.state_dict()}  # as a checkpoint of training wraps it
    assert custom(audiocraft(training, tmp_path / "checkpoint.th")).shape == shape


def test_musicgens_codec_has_a_shape() -> None:
    """The settings of its 32 kHz codec, as published: 50 frames/s, 4 codebooks of 2048."""
    text = AUDIOCRAFT.replace("16000", "32000").replace("dimension: 16", "dimension: 128")
    text = text.replace("n_filters: 8", "n_filters: 64").replace("[5, 4, 3]", "[8, 5, 4, 4]")
    text = text.replace("lstm: 1", "lstm: 2").replace("n_q: 3, bins: 64", "n_q: 4, bins: 2048")
    spec = shape_from(audiocraft_layout.shape_values(text, "it")).spec()
    assert (spec.frame_rate, spec.codebooks, spec.codebook_size) == (50, 4, 2048)
    assert max(spec.bandwidths) == 2.2


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("activation: ELU", "activation: GELU", "seanet.activation is 'GELU', not 'ELU'"),
        ("renormalize: false", "renormalize: true", "encodec.renormalize is True"),
        ("pad_mode: constant", "pad_mode: circular", "padding is 'circular'"),
        ("bins: 64", "bins: 65", "codebook_size is 65"),
        ("quantizer: rvq", "quantizer: no_quant", "encodec.quantizer is 'no_quant'"),
        ("ratios: [5, 4, 3]", "ratios: {a: 1}", "strides are a list"),
        ("causal: false", "causal: true", "a causal network has a shortcut"),
        ("seanet: {", "seanet: [", "is not YAML"),
    ],
)
def test_audiocrafts_other_networks_are_told(
    models: dict[str, Any], tmp_path: Path, old: str, new: str, words: str
) -> None:
    path = audiocraft(models["both sides"].state_dict(), tmp_path / "a.th")
    audiocraft(models["both sides"].state_dict(), path, AUDIOCRAFT.replace(old, new))
    with pytest.raises(acomp.WeightsError, match=words):
        custom(path)


def test_audiocrafts_damaged_files_are_told(models: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.th"
    torch.save({"best_state": models["causal"].state_dict(), "xp.cfg": {"a": 1}}, path)
    with pytest.raises(acomp.WeightsError, match=r"AudioCraft's layout: its xp\.cfg is no text"):
        custom(path)
    torch.save({"best_state": None, "xp.cfg": AUDIOCRAFT}, path)
    with pytest.raises(acomp.WeightsError, match="no weights file"):
        custom(path)
    audiocraft(models["causal"].state_dict(), path)
    with pytest.raises(acomp.WeightsError, match="does not hold weights of custom"):
        custom(path)


def test_headers_that_claim_what_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    claims = b'{"x":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    path.write_bytes(len(claims).to_bytes(8, "little") + claims + bytes(64))
    with pytest.raises(acomp.WeightsError, match="tells of more than it holds"):
        load_checkpoint(path)
    path.write_bytes((1 << 42).to_bytes(8, "little") + b"{" + bytes(64))
    with pytest.raises(acomp.WeightsError, match="claims to be larger than the file"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[]", "has no weight_map"),
        ('{"weight_map": {"x": "../y"}}', "names the file"),
        ("[" * 90_000, "no index of shards"),
    ],
)
def test_bad_indices_are_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(acomp.WeightsError, match=words):
        load_checkpoint(tmp_path)


def test_a_name_that_comes_twice_is_refused(models: dict[str, Any], tmp_path: Path) -> None:
    state = models["causal"].state_dict()
    stem = "encoder.model.0.conv.conv"
    state[f"{stem}.parametrizations.weight.original0"] = state[f"{stem}.weight_g"].clone()
    torch.save(state, tmp_path / "x.th")
    with pytest.raises(acomp.WeightsError, match="twice, by two names"):
        load_checkpoint(tmp_path / "x.th")


# Carried into other programs


@torch.no_grad()
def test_converted_encodec_is_loaded_by_transformers_and_by_its_package(
    cli: Cli, models: dict[str, Any], tmp_path: Path
) -> None:
    from transformers import EncodecModel

    state = models["causal"].state_dict()
    mine = tmp_path / "mine.safetensors"
    save_weights(mine, state, SMALL["causal"])
    folder, file = tmp_path / "theirs", tmp_path / "official.th"
    assert cli("models", "convert", mine, "-o", folder, "--to", "huggingface").code == 0
    assert cli("models", "convert", folder, "-o", file, "--to", "official").code == 0
    codec = custom(mine)
    theirs: Any = EncodecModel.from_pretrained(folder)
    audio = torch.from_numpy(sound(codec).samples)[None]
    found = theirs.encode(audio, bandwidth=theirs.config.target_bandwidths[-1]).audio_codes
    assert agreement(codec, found) == 1.0
    package = SMALL["causal"].build()
    package.load_state_dict(torch.load(file))
    assert fingerprint(package.state_dict()) == codec.fingerprint
    back = tmp_path / "back.safetensors"
    assert cli("models", "convert", folder, "-o", back, "--to", "acomp").code == 0
    assert back.read_bytes() == mine.read_bytes()


@torch.no_grad()
def test_converted_dac_is_loaded_by_transformers_and_by_its_package(
    cli: Cli, models: dict[str, Any], tmp_path: Path
) -> None:
    from dac.model import DAC
    from transformers import DacModel

    mine = tmp_path / "mine.safetensors"
    save_weights(mine, models["dac"].state_dict(), SMALL["dac"])
    folder, file = tmp_path / "theirs", tmp_path / "official.pth"
    assert cli("models", "convert", mine, "-o", folder, "--to", "huggingface").code == 0
    assert cli("models", "convert", mine, "-o", file, "--to", "official").code == 0
    codec = custom(mine)
    audio = torch.from_numpy(sound(codec).samples)[None]
    theirs: Any = DacModel.from_pretrained(folder)
    assert agreement(codec, theirs.encode(audio).audio_codes) == 1.0
    package = DAC.load(str(file)).eval()
    assert package.sample_rate == SMALL["dac"].sample_rate
    assert agreement(codec, package.encode(audio)[1]) == 1.0


@torch.no_grad()
def test_converted_snac_and_mimi_are_loaded_by_their_packages(cli: Cli, tmp_path: Path) -> None:
    from snac import SNAC
    from transformers import MimiModel

    from acomp.backends.families import published_shape

    model: Any = published_shape("snac-24khz").build()
    torch.save(model.state_dict(), tmp_path / "snac.bin")
    folder = tmp_path / "snac"
    for to in ("official", "huggingface"):
        result = cli("models", "convert", tmp_path / "snac.bin", "-o", folder / to, "--to", to)
        assert result.code == 0
        package = SNAC.from_pretrained(str(folder / to))
        assert fingerprint(package.state_dict()) == fingerprint(model.state_dict())
    mimi = small_mimi()
    mimi.save_pretrained(tmp_path / "mimi")
    copy = tmp_path / "copy"
    result = cli("models", "convert", tmp_path / "mimi", "-o", copy, "--to", "huggingface")
    assert result.code == 0
    audio = 0.3 * torch.randn(1, 1, 24_000, generator=torch.manual_seed(1))
    theirs: Any = MimiModel.from_pretrained(copy)
    assert torch.equal(theirs.encode(audio).audio_codes, mimi.encode(audio).audio_codes)


def test_what_cannot_be_converted_is_told(cli: Cli, models: dict[str, Any], tmp_path: Path) -> None:
    odd = SMALL["dac of odd strides"]
    save_weights(tmp_path / "odd.safetensors", lively(odd).state_dict(), odd)
    out = tmp_path / "out"
    result = cli(
        "models", "convert", tmp_path / "odd.safetensors", "-o", out, "--to", "huggingface"
    )
    assert result.code == 1 and "no DAC whose latents" in result.err
    torch.save(models["causal"].state_dict(), tmp_path / "x.th")
    result = cli("models", "convert", tmp_path / "x.th", "-o", out / "y", "--to", "official")
    assert result.code == 1 and "does not say what codec it is of" in result.err
    file = tmp_path / "there.pth"
    file.write_bytes(b"mine")
    source = tmp_path / "odd.safetensors"
    result = cli("models", "convert", source, "-o", file, "--to", "official")
    assert result.code == 1 and file.read_bytes() == b"mine"
    result = cli("models", "convert", source, "-o", file, "--to", "official", "--overwrite")
    assert result.code == 0 and file.read_bytes() != b"mine"
