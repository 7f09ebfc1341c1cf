"""`acomp export` of codecs of each family: small networks with random weights, on real audio."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import snac_models
import torch
from checkpoints import QUANTISED, SMALL, lively
from exported import assert_guide_works, assert_javascript_works, needs_node, speech
from mimi_models import small_mimi

import acomp
from acomp.backends.base import Codec
from acomp.backends.shared.shape import Shape
from acomp.backends.snac.codec import load as load_snac
from acomp.backends.weights.checkpoint import save_weights
from acomp.engines import pick_engine
from acomp.errors import CodecError
from acomp.export.bits import BITS
from acomp.export.checking import compare
from acomp.export.folder import export
from acomp.export.onnx import WEIGHTS
from acomp.export.running import Exported


def custom(folder: Path, shape: Shape) -> Codec:
    """A codec of one's own with random weights."""
    path = folder / "weights.safetensors"
    save_weights(path, lively(shape).state_dict(), shape)
    return acomp.load("custom", weights=path, engine="torch", device="cpu")


def exported(codec: Codec, folder: Path, *, streaming: bool) -> tuple[Codec, Path]:
    """A codec and what it was exported to."""
    codebooks = codec.spec.codebook_counts[-1]
    export(codec, None, folder, codebooks=[codebooks], streaming=streaming)
    return codec, folder


def assert_does_the_same(codec: Codec, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exported does what the codec does, from one sample on, and so does its README."""
    again, codebooks = Exported(folder), codec.spec.codebook_counts[-1]
    for length in (1, codec.spec.hop_length // 2, 30 * codec.spec.hop_length + 5):
        compare(codec, again, speech(codec, length).samples, codebooks)
    assert_guide_works(codec, folder, speech(codec, 4001), monkeypatch)


CUSTOM = {
    "causal stream": SMALL["causal stereo"],
    "causal whole": QUANTISED["fsq"],
    "segments": SMALL["segments"],
    "both sides": SMALL["both sides"],
}


@pytest.fixture(scope="module")
def customs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Codec, Path]]:
    """Custom codecs and what they were exported to, each when it is first asked for."""

    @cache
    def made(name: str) -> tuple[Codec, Path]:
        folder = tmp_path_factory.mktemp("custom")
        codec = custom(folder, CUSTOM[name])
        return exported(codec, folder / "out", streaming=name == "causal stream")

    return made


@pytest.mark.parametrize("name", CUSTOM)
def test_custom_codecs_do_what_they_do_in_acomp(
    customs: Callable[[str], tuple[Codec, Path]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    assert_does_the_same(*customs(name), monkeypatch)


@needs_node
def test_the_javascript_of_their_readmes_does(
    customs: Callable[[str], tuple[Codec, Path]], tmp_path: Path
) -> None:
    assert_javascript_works({folder: codec for codec, folder in map(customs, CUSTOM)}, tmp_path)


def test_dac_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = custom(tmp_path, SMALL["dac of odd strides"])
    assert_does_the_same(*exported(codec, tmp_path / "out", streaming=False), monkeypatch)


@pytest.mark.parametrize("name", snac_models.SMALL)
def test_snac_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    shape = snac_models.SMALL[name]
    torch.save(snac_models.lively(shape).state_dict(), tmp_path / "weights.bin")
    engine = pick_engine("torch", "fp32", "cpu")
    codec = load_snac(snac_models.spec_of(shape), shape, tmp_path / "weights.bin", engine)
    assert_does_the_same(*exported(codec, tmp_path / "out", streaming=False), monkeypatch)


def test_mimi_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_mimi().save_pretrained(tmp_path)
    codec = acomp.load("mimi", weights=tmp_path, engine="torch", device="cpu")
    assert_does_the_same(*exported(codec, tmp_path / "out", streaming=True), monkeypatch)


def test_weights_in_fewer_bits_do_nearly_the_same_and_damaged_ones_do_not(tmp_path: Path) -> None:
    codec = custom(tmp_path, SMALL["dac of odd strides"])
    codebooks = codec.spec.codebook_counts[-1]
    samples = speech(codec, 30 * codec.spec.hop_length).samples
    sizes, levels = [], []
    for bits in (None, *BITS.values()):
        written = export(codec, None, tmp_path, codebooks=[codebooks], streaming=False, bits=bits)
        sizes.append(written[WEIGHTS])
        levels.append(compare(codec, Exported(tmp_path), samples, codebooks).level)
    assert sizes[1] < 0.6 * sizes[0] and sizes[2] < 0.8 * sizes[1], sizes
    assert levels[0] > 100 > levels[1] > levels[2] > 25, levels
    path = tmp_path / WEIGHTS
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(CodecError, match="does not do what acomp does"):
        compare(codec, Exported(tmp_path), samples, codebooks)
