"""What works where acomp is installed without extras: all codecs but SoundStream, and more."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import SMALL as OWN
from commands import Cli, assert_done, make
from safetensors.torch import save_file
from snac_models import SMALL as SNACS, spec_of

import acomp
from acomp.backends.families import families, family_called, published_shape
from acomp.backends.weights.checkpoint import load_checkpoint, save_weights
from acomp.codecs import PUBLISHED, CodecSpec
from acomp.engines import pick_engine

EXTRAS = ("dac", "audiotools", "snac", "transformers", "ai_edge_litert", "openvino")
"""Packages that `pip install acomp` does not bring."""


@pytest.fixture(autouse=True)
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.split(".")[0] in EXTRAS:
            monkeypatch.delitem(sys.modules, name)
    for name in EXTRAS:
        monkeypatch.setitem(sys.modules, name, None)


def small(name: str, **fields: Any) -> tuple[CodecSpec, Any]:
    return PUBLISHED[name].spec, replace(published_shape(name), **fields)


MIMI: dict[str, Any] = {
    **{"hidden_size": 32, "num_filters": 4, "num_hidden_layers": 1, "num_attention_heads": 4},
    **{"intermediate_size": 64, "sliding_window": 20},
}
NETWORKS: dict[str, tuple[str, CodecSpec, Any]] = {
    "encodec-24khz": ("encodec", *small("encodec-24khz", filters=4)),
    "dac-44khz": ("dac", *small("dac-44khz", encoder_width=4, decoder_width=32)),
    "dac of odd strides": ("dac", OWN["dac of odd strides"].spec(), OWN["dac of odd strides"]),
    "snac": ("snac", spec_of(SNACS["plain"]), SNACS["plain"]),
    "snac with attention": ("snac", spec_of(SNACS["windows"]), SNACS["windows"]),
    "mimi": ("mimi", *small("mimi", **MIMI)),
}
"""Family, spec and shape of small networks."""


def test_no_codec_but_soundstream_needs_a_package() -> None:
    assert [family.name for family in families() if family.package is not None] == ["soundstream"]
    shipped = {"nano", "soundstream"}
    assert {family for family, *_ in NETWORKS.values()} | shipped == {
        family.name for family in families()
    }


def noise(rate: int) -> acomp.Audio:
    """Two seconds."""
    samples = 0.1 * np.random.default_rng(0).standard_normal((1, 2 * rate))
    return acomp.Audio(samples.astype(np.float32), rate)


def drawn(name: str, path: Path) -> Path:
    """Random weights of a network, as `acomp bench` draws them."""
    family, spec, shape = NETWORKS[name]
    draw = family_called(family).random_weights
    assert draw is not None
    torch.manual_seed(0)
    state = draw(shape, noise(spec.sample_rate).samples)
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_random_weights_give_codes_that_vary_and_a_sound(name: str, tmp_path: Path) -> None:
    """Of codes that are all equal, equality would tell nothing."""
    family, spec, shape = NETWORKS[name]
    path = drawn(name, tmp_path / "weights.safetensors")
    codec = family_called(family).load(spec, shape, path, pick_engine("torch"))
    audio = noise(spec.sample_rate)
    codes = codec.encode(audio, codebooks=spec.codebooks if family == "snac" else 2)
    assert min(len(set(book)) for book in codes.data[0].tolist()) > 5
    decoded = codec.decode(codes).samples
    assert decoded.shape == audio.samples.shape
    assert decoded.std() > 0
    if family != "encodec":
        with pytest.raises(acomp.CodecError, match=rf"pip install \"acomp\[{family}\]\""):
            _ = codec.module


def test_nano_and_its_files(cli: Cli, tmp_path: Path) -> None:
    speech = make(tmp_path / "speech.wav", seconds=0.3)
    assert_done(cli("encode", speech, "-o", "speech.nac", "-b", "nano"))
    assert_done(cli("decode", "speech.nac", "-o", "again.wav"))
    assert acomp.read_audio(tmp_path / "again.wav").length == acomp.read_audio(speech).length


def test_a_custom_dac_from_the_command_line(cli: Cli, tmp_path: Path) -> None:
    speech = make(tmp_path / "speech.wav", seconds=0.5)
    state = load_checkpoint(drawn("dac of odd strides", tmp_path / "drawn.safetensors")).state
    save_weights(tmp_path / "mine.safetensors", state, OWN["dac of odd strides"])
    mine = ("--weights", "mine.safetensors")
    assert_done(cli("encode", speech, "-o", "a.nac", "-b", "custom", *mine))
    assert_done(cli("decode", "a.nac", "-o", "a.wav", *mine))
    assert_done(cli("models", "convert", "mine.safetensors", "-o", "mine.pth", "--to", "official"))
    assert_done(cli("encode", speech, "-o", "b.nac", "-b", "custom", "--weights", "mine.pth"))
    np.testing.assert_array_equal(
        acomp.read_codes(tmp_path / "a.nac").data, acomp.read_codes(tmp_path / "b.nac").data
    )
