"""Training: the parts do what they say, and a few steps make a codec better."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import acomp
from acomp.training import nano
from acomp.training.data import HELD_OUT, Segments, is_held_out, prepare
from acomp.training.losses import complex_loss, mel_loss, relative_error
from acomp.training.quantiser import LearningQuantiser, kmeans, nearest


@pytest.fixture
def array(tmp_path: Path) -> Path:
    """Ten seconds of tones in noise, as acomp.training.data writes them."""
    random = np.random.default_rng(0)
    time = np.arange(240_000) / 24_000
    tones = sum(np.sin(2 * np.pi * pitch * time) for pitch in (220, 330, 550))
    sound = 0.1 * tones + 0.01 * random.standard_normal(len(time))
    path = tmp_path / "tones.npy"
    np.save(path, (sound * 32_767).astype(np.int16))
    return path


def test_kmeans_finds_the_clusters() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    vectors = centres.repeat(100, 1) + 0.1 * torch.randn(300, 2)
    found = kmeans(vectors, 12)
    assert (found[nearest(centres, found)] - centres).norm(dim=1).max() < 0.2


def test_a_quantiser_learns_what_it_is_shown() -> None:
    torch.manual_seed(0)
    books = torch.randn(4, 32, 8)
    quantiser = LearningQuantiser(books)
    vectors = torch.randn(1, 2000, 8) + 5  # far from where the codebooks are
    everything = torch.tensor([4])
    before = (quantiser(vectors, everything)[0] - vectors).square().mean()
    for _ in range(700):  # an entry that nothing chooses is moved after some 460
        quantiser(vectors, everything)
    after = (quantiser(vectors, everything)[0] - vectors).square().mean()
    assert after < 0.1 * before
    used = np.unique(nearest(vectors[0], books[0]).numpy())
    assert len(used) > 28  # no entry stays unused


def test_fewer_codebooks_are_used_where_fewer_are_asked_for() -> None:
    torch.manual_seed(0)
    quantiser = LearningQuantiser(torch.randn(4, 32, 8))
    vectors = torch.randn(2, 50, 8, requires_grad=True)
    quantised, commitment = quantiser(vectors, torch.tensor([1, 4]))
    errors = (quantised - vectors).square().mean((1, 2))
    assert errors[1] < errors[0]
    torch.autograd.backward(quantised.sum() + commitment)
    assert vectors.grad is not None and (vectors.grad != 0).all()


def test_losses_are_least_for_the_same_sound() -> None:
    torch.manual_seed(0)
    x = 0.1 * torch.randn(2, 24_000)
    for loss in (mel_loss, complex_loss):
        assert loss(x, x) < 0.01
        assert loss(x, 0.5 * x) > 10 * loss(x, x)
    assert complex_loss(x, -x) > 10 * mel_loss(x, -x)  # one hears the sign, the other does not
    y = torch.randn(2, 10, 3)
    assert relative_error(y, y) == 0
    assert relative_error(y, torch.zeros_like(y)) == pytest.approx(1, abs=1e-3)


def test_segments_are_cut_and_levelled(array: Path) -> None:
    batch = Segments({array: 1.0}, seed=0).batch(4, 1000)
    assert batch.shape == (4, 1000) and batch.dtype == torch.float32
    peaks = batch.abs().amax(1)
    assert (peaks <= 1.0).all() and (peaks >= 10 ** (-24 / 20) * 0.999).all()
    again = Segments({array: 1.0}, seed=0).batch(4, 1000)
    torch.testing.assert_close(batch, again, atol=0, rtol=0)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_prepare_decodes_and_holds_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names = [f"clips/{number}.wav" for number in range(60)]
    held_out = [name for name in names if is_held_out(Path(name))]
    assert 0 < len(held_out) < 60 * 3 / HELD_OUT
    (tmp_path / "clips").mkdir()
    for name in [*held_out[:1], *[name for name in names if name not in held_out][:2]]:
        acomp.write_audio(name, acomp.Audio(np.full((2, 4800), 0.5, np.float32), 48_000))
    (tmp_path / "clips" / "broken.wav").write_text("not audio")
    prepare("out", tmp_path, ["clips/*"])
    assert len(np.load("out.train.npy")) == 2 * 2400
    assert len(np.load("out.heldout.npy")) == 2400
    assert "out.train.npy: 2 files" in capsys.readouterr().out


@torch.no_grad()
def mel(trainer: nano.Trainer, samples: torch.Tensor, codebooks: torch.Tensor) -> float:
    return trainer._losses(samples, codebooks)["mel"].item()


def test_training_makes_a_codec_better(
    array: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nano, "START_BATCH", 20)
    monkeypatch.setattr(nano, "BATCH", 4)
    monkeypatch.setattr(nano, "WARM_UP", 1)
    torch.manual_seed(0)
    random.seed(0)
    data = Segments({array: 1.0}, seed=0)
    trainer = nano.Trainer(data)
    trainer.start()
    kept_out, codebooks = data.batch(4, 24_000), torch.tensor([2, 4, 8, 16])
    before = mel(trainer, kept_out, codebooks)
    for number in range(15):
        trainer.step(0.0, number)
    assert mel(trainer, kept_out, codebooks) < 0.95 * before
    path = tmp_path / "weights.safetensors"
    nano.write_weights(path, trainer.network)
    codec = acomp.load("nano", weights=path)
    sound = acomp.Audio(np.load(array)[None, :24_000].astype(np.float32) / 32_768, 24_000)
    assert codec.decode(codec.encode(sound)).length == 24_000
