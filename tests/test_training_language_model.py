"""`acomp train --language-model`, from the first step to smaller files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cheap_training import leave_pictures_out
from checkpoints import SMALL, lively
from commands import Cli, assert_done, assert_refused, make
from test_train import compared, write

import acomp
from acomp.backends.weights.checkpoint import save_weights
from acomp.cli import main
from acomp.entropy.cascade import CascadeShape
from acomp.training.cascade import CascadeNetwork
from acomp.training.record import read_metrics

TINY: dict[str, Any] = {
    "language_model": {
        "embedding": 8,
        "width": 16,
        "hidden": 16,
        "narrow": 8,
        "dilations": [1, 2],
    },
    "batch": 2,
    "log_every": 1,
    "save_every": 8,
    "validate_every": 8,
    "data": {"segment": 0.5, "validation": 1},
    "optimiser": {"warm_up": 0, "rate": 0.05, "schedule": "constant"},
}
"""A model as small as can be, and a run as short."""


def make_beeps(folder: Path, count: int = 3) -> Path:
    """Recordings of the same two tones, over and over."""
    folder.mkdir()
    for number in range(count):
        time_ = np.arange(24_000 + 2400 * number) / 24_000
        pitch = np.where(time_ % 0.2 < 0.1, 300, 700)
        wave = 0.3 * np.sin(2 * np.pi * pitch * time_)
        sound = acomp.Audio(wave[np.newaxis].astype(np.float32), 24_000)
        acomp.write_audio(folder / f"{number}.wav", sound)
    return folder


@pytest.fixture(scope="module", autouse=True)
def no_pictures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        leave_pictures_out(patch)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Any, ...]]:
    """A folder to run in, the command but for its output, and a whole run `whole`."""
    folder = tmp_path_factory.mktemp("train")
    beeps = make_beeps(folder / "beeps")
    config = write(folder / "tiny.yaml", TINY)
    command = ("train", "-b", "nano", "--language-model", "--config", config, "--data", beeps)
    whole = map(str, (*command, "--steps", 16, "--out", folder / "whole"))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as end:
        patch.setattr(sys, "argv", ["acomp", *whole])
        main()
    assert end.value.code == 0
    return folder, command


def test_a_run_learns_what_is_always_the_same(whole: tuple[Path, tuple[Any, ...]]) -> None:
    folder = whole[0] / "whole"
    metrics = read_metrics(folder / "metrics.csv")
    assert [step for step, _ in metrics["validation"]] == [0, 8, 16]
    (_, first), *_, (_, last) = metrics["validation"]
    assert 9.8 < first < 10.5, "at first all entries are as likely"
    assert last < 8.5
    assert {"bits@1.5", "bits@12", "saving@6"} <= metrics.keys()
    saving, bits = metrics["saving@6"][-1][1], metrics["bits@6"][-1][1]
    assert saving == pytest.approx(1 - bits / 10)
    assert not list((folder / "samples").glob("*")), "it has nothing to play"


def test_its_weights_make_files_smaller(
    whole: tuple[Path, tuple[Any, ...]], cli: Cli, tmp_path: Path
) -> None:
    folder = whole[0]
    weights, clip = folder / "whole" / "best.safetensors", folder / "beeps" / "0.wav"
    small = ("--entropy", "lm", "--language-model", weights)
    for name, more in (("plain", ()), ("small", small)):
        assert_done(cli("encode", "-b", "nano", "-k", 6, clip, "-o", f"{name}.nac", *more))
    sizes = [(tmp_path / f"{name}.nac").stat().st_size for name in ("plain", "small")]
    assert sizes[1] < sizes[0] - 100
    assert_done(cli("convert", "small.nac", "again.nac", "--language-model", weights))
    assert (tmp_path / "again.nac").read_bytes() == (tmp_path / "plain.nac").read_bytes()
    assert_done(cli("decode", "small.nac", "-o", "out.wav", "--language-model", weights))
    assert acomp.read_audio(tmp_path / "out.wav").length == 24_000
    assert_refused(cli("encode", "-b", "nano", "--weights", weights, clip, "-o", "a.nac"))


def test_a_run_that_was_ended_goes_on_as_if_it_had_not_been(
    whole: tuple[Path, tuple[Any, ...]], cli: Cli
) -> None:
    folder, command = whole
    assert_done(cli(*command, "--steps", 8, "--out", folder / "parted"))
    assert_done(cli("train", "--resume", "--steps", 16, "--out", folder / "parted"))
    assert compared(folder / "parted") == compared(folder / "whole")


def test_codecs_in_segments_are_learnt_too(cli: Cli, tmp_path: Path) -> None:
    shape = SMALL["segments"]
    weights = tmp_path / "segments.safetensors"
    save_weights(weights, lively(shape).state_dict(), shape)
    (tmp_path / "clips").mkdir()
    for number in range(2):
        make(tmp_path / "clips" / f"{number}.wav", seconds=1.3, rate=32_000)
    config = write(tmp_path / "tiny.yaml", TINY, steps=8)
    command = ("train", "-b", "custom", "--weights", weights, "--language-model")
    assert_done(cli(*command, "--config", config, "--data", "clips", "--out", "r"))
    metrics = read_metrics(tmp_path / "r" / "metrics.csv")
    assert metrics["validation"][-1][1] < metrics["validation"][0][1]
    own = ("--weights", weights, "--engine", "torch")
    model = ("--language-model", tmp_path / "r" / "best.safetensors")
    coded = ("-o", "a.nac", "--entropy", "lm", *model)
    assert_done(cli("encode", "clips/0.wav", "-b", "custom", *own, *coded))
    assert_done(cli("decode", "a.nac", *own, "-o", "a.wav", *model))
    assert acomp.read_audio(tmp_path / "a.wav").length == round(1.3 * 32_000)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"language_model": {"width": 0}}, ["language_model", "no language model has the shape"]),
        ({"language_model": {"width": 517}}, ["language_model", "width=517"]),
        ({"language_model": {"width": "16"}}, ["language_model", "width='16'"]),
        ({"language_model": {"depth": 3}}, ["language_model", "depth"]),
        ({"language_model": {"codebooks": 3}}, ["language_model", "codebooks"]),
        ({"language_model": {"dilations": 3}}, ["language_model"]),
        ({"language_model": {"dilations": [2000]}}, ["language_model", "2000"]),
        ({"language_model": 3}, ["language_model is to be keys and values"]),
        ({"losses": {"mel": 1.0}}, ["no `losses`"]),
        ({"from_scratch": True}, ["from scratch"]),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    cli: Cli, tmp_path: Path, wrong: dict[str, Any], words: list[str]
) -> None:
    make_beeps(tmp_path / "beeps", 2)
    config = write(tmp_path / "wrong.yaml", TINY, wrong)
    command = ("train", "-b", "nano", "--language-model", "--data", "beeps", "--config", config)
    assert_refused(cli(*command, "--out", "r"), *words)
    assert not (tmp_path / "r" / "checkpoints").exists()


def test_the_network_sees_no_code_that_is_to_come() -> None:
    """What a code takes does not depend on those after it."""
    shape = CascadeShape(2, 8, embedding=4, width=8, hidden=8, narrow=4, dilations=(1, 2))
    torch.manual_seed(0)
    network = CascadeNetwork(shape)
    with torch.no_grad():
        network.entries.mul_(20)
        codes = torch.randint(8, (1, 2, 6))
        for last in range(1, 6):
            other = codes.clone()
            other[:, 1, last] = (other[:, 1, last] + 1) % 8
            # The first codebook's code comes before the second's, in the last frame too.
            part, changed = (network(each[:, :, : last + 1]) for each in (codes, other))
            assert part[0] == changed[0]
            assert part[1] != changed[1]
