"""`acomp export` of codecs of each family: small networks with random weights, on real audio."""

from __future__ import annotations

from pathlib import Path

import pytest
import snac_models
import torch
from checkpoints import QUANTISED, SMALL, lively
from exported import assert_guide_works, speech
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


def assert_exports(
    codec: Codec, folder: Path, monkeypatch: pytest.MonkeyPatch, *, streaming: bool
) -> None:
    """What is exported does what the codec does, from one sample on, and so does its README."""
    codebooks = codec.spec.codebook_counts[-1]
    export(codec, None, folder, codebooks=[codebooks], streaming=streaming)
    exported = Exported(folder)
    for length in (1, codec.spec.hop_length // 2, 30 * codec.spec.hop_length + 5):
        compare(codec, exported, speech(codec, length).samples, codebooks)
    assert_guide_works(codec, folder, speech(codec, 4001), monkeypatch)


@pytest.mark.parametrize(
    ("shape", "streaming"),
    [
        pytest.param(SMALL["causal stereo"], True, id="causal stream"),
        pytest.param(QUANTISED["fsq"], False, id="causal whole"),
        pytest.param(SMALL["segments"], False, id="segments"),
        pytest.param(SMALL["both sides"], False, id="both sides"),
    ],
)
def test_custom_codecs_do_what_they_do_in_acomp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: Shape, streaming: bool
) -> None:
    codec = custom(tmp_path, shape)
    assert_exports(codec, tmp_path / "out", monkeypatch, streaming=streaming)


def test_dac_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = custom(tmp_path, SMALL["dac of odd strides"])
    assert_exports(codec, tmp_path / "out", monkeypatch, streaming=False)


@pytest.mark.parametrize("name", snac_models.SMALL)
def test_snac_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    shape = snac_models.SMALL[name]
    torch.save(snac_models.lively(shape).state_dict(), tmp_path / "weights.bin")
    engine = pick_engine("torch", "fp32", "cpu")
    codec = load_snac(snac_models.spec_of(shape), shape, tmp_path / "weights.bin", engine)
    assert_exports(codec, tmp_path / "out", monkeypatch, streaming=False)


def test_mimi_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_mimi().save_pretrained(tmp_path)
    codec = acomp.load("mimi", weights=tmp_path, engine="torch", device="cpu")
    assert_exports(codec, tmp_path / "out", monkeypatch, streaming=True)


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
