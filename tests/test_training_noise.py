"""Training to leave noise out: pairs of segments, and a run on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from cheap_training import leave_pictures_out
from commands import Cli, assert_done, assert_refused, make
from training_processes import START_SECONDS

import acomp
from acomp.training import run as training
from acomp.training.codec_loop import CodecLoop
from acomp.training.config import Config, parse
from acomp.training.data.drawing import Segments
from acomp.training.data.noise import NoisySegments, fixed_pairs, with_noise
from acomp.training.data.scan import scan
from acomp.training.data.sources import Source
from acomp.training.families import build
from acomp.training.launching import make_fabric

RATE = 8000


def snr(pair: torch.Tensor) -> float:
    """Of a noisy and a clean segment, in dB."""
    noisy, clean = pair
    return float(10 * (clean.square().sum() / (noisy - clean).square().sum()).log10())


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    (tmp_path / "clips").mkdir()
    for number in range(3):
        make(tmp_path / "clips" / f"{number}.wav", 1.0, RATE)
    return tmp_path / "clips"


@pytest.fixture
def hiss(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    (tmp_path / "hiss").mkdir()
    for number in range(3):
        samples = (0.1 * random.standard_normal((1, 2 * RATE))).astype(np.float32)
        acomp.write_audio(tmp_path / "hiss" / f"{number}.wav", acomp.Audio(samples, RATE))
    return tmp_path / "hiss"


def segments(folder: Path) -> Segments:
    return Segments(scan([Source(folder)], 0.1), RATE, 1, RATE // 2, gain=None)


def test_noise_is_as_loud_as_was_asked_for() -> None:
    torch.manual_seed(0)
    clean, noise = 0.1 * torch.randn(4, 1, 4000), torch.randn(2, 1, 4000)
    pairs = with_noise(clean, noise, [0.0, 10.0, 20.0, -30.0])
    assert pairs.shape == (4, 2, 1, 4000)
    for pair, due in zip(pairs, [0, 10, 20, -30], strict=True):
        assert snr(pair) == pytest.approx(due, abs=0.01)
    assert torch.equal(pairs[0, 1], clean[0])
    assert pairs.abs().max() <= 1  # what would be louder is turned down, both sides alike
    factor = pairs[3, 1] / clean[3]
    torch.testing.assert_close(factor, factor.mean().expand_as(factor))


def test_silent_noise_changes_nothing() -> None:
    clean = 0.1 * torch.randn(2, 1, 100)
    pairs = with_noise(clean, torch.zeros(1, 1, 100), [0.0, 20.0])
    assert torch.equal(pairs[:, 0], clean) and torch.equal(pairs[:, 1], clean)


def test_pairs_are_drawn_from_the_seed_the_step_and_the_process(clips: Path, hiss: Path) -> None:
    clean = segments(clips)
    drawn = NoisySegments(clean, segments(hiss), (10.0, 20.0), 3)
    batch = drawn.batch(5, 0, 6)
    assert torch.equal(batch, drawn.batch(5, 0, 6))
    assert not torch.equal(batch, drawn.batch(6, 0, 6))
    assert not torch.equal(batch, drawn.batch(5, 1, 6))
    assert torch.equal(batch[:, 1], clean.batch(5, 0, 6))
    ratios = [snr(pair) for pair in batch]
    assert all(9.99 <= ratio <= 20.01 for ratio in ratios) and np.ptp(ratios) > 1


def test_validation_has_each_ratio_once() -> None:
    torch.manual_seed(0)
    clean, noise = 0.1 * torch.randn(5, 1, 1000), torch.randn(2, 1, 1000)
    pairs = fixed_pairs(clean, noise, (0.0, 20.0))
    assert torch.equal(pairs, fixed_pairs(clean, noise, (0.0, 20.0)))
    assert sorted(map(snr, pairs)) == pytest.approx([0, 5, 10, 15, 20], abs=0.01)


def config(**data: object) -> Config:
    shape = {"family": "encodec", "sample_rate": RATE, "strides": [4, 5], "filters": 4}
    shape |= {"lstm_layers": 1, "dimension": 8, "codebooks": 2, "codebook_size": 16}
    return parse(
        {
            "backend": "custom",
            "from_scratch": True,
            "shape": shape,
            "losses": {"mel": 1.0},
            "data": {"sources": {}, **data},
            "device": "cpu",
        }
    )


def test_the_noisy_side_is_coded_and_compared_with_the_clean_one() -> None:
    torch.manual_seed(0)
    loop = CodecLoop(make_fabric(config()), config(), build(config())[0])
    clean = 0.1 * torch.randn(2, 1, 2000)
    pairs = torch.stack([clean + 0.1 * torch.randn_like(clean), clean], dim=1)
    loop.trainee.start(clean)
    mixed, own = loop.validate(pairs), loop.validate(clean)
    kbps = max(loop.spec.bandwidths)
    with torch.no_grad():
        output = loop.trainee.eval()(pairs[:, 0], torch.tensor([2, 2])).output
        due = loop.reconstruction(clean, output)["mel"]
    assert mixed[f"mel@{kbps:g}"] == pytest.approx(float(due), rel=1e-4)
    assert mixed[f"mel@{kbps:g}"] != own[f"mel@{kbps:g}"]
    assert torch.equal(loop.originals(pairs), clean)
    heard = loop.decoded(pairs)
    assert np.array_equal(heard["noisy"][0], pairs[0, 0].numpy())
    assert {*heard} == {"noisy", *(f"custom@{kbps:g}" for kbps in loop.spec.bandwidths)}


def test_a_run_on_noisy_audio(
    cli: Cli, clips: Path, hiss: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "START_SECONDS", START_SECONDS)
    leave_pictures_out(monkeypatch)
    settings = config().model_dump(mode="json", include={"shape", "losses"})
    settings |= {"data": {"noise": str(hiss), "snr": [0, 10], "segment": 0.25, "validation": 2}}
    settings |= {"batch": 2, "adversary": {"discriminators": []}, "balance": False}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings))
    run = ["train", "--from-scratch", "--config", tmp_path / "mine.yaml", "--data", clips]
    assert_done(cli(*run, "--out", tmp_path / "run", "--steps", 2))
    names = {path.name for path in (tmp_path / "run" / "samples").iterdir()}
    assert {"1-original.wav", "1-noisy.wav", "2-noisy.wav"} <= names
    checked = cli(*run, "--out", tmp_path / "other", "--check")
    assert_done(checked)
    assert "hiss" in checked.out


def test_noise_that_is_not_there(cli: Cli, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"data": {"noise": "nowhere"}}))
    run = ["train", "-b", "nano", "--config", tmp_path / "mine.yaml", "--data", clips]
    assert_refused(cli(*run, "--out", tmp_path / "run"), "cannot read nowhere")


def test_a_language_model_has_no_noise(cli: Cli, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"data": {"noise": str(clips)}}))
    run = ["train", "-b", "nano", "--language-model", "--config", tmp_path / "mine.yaml"]
    assert_refused(cli(*run, "--data", clips, "--out", tmp_path / "run"), "leave data.noise out")
