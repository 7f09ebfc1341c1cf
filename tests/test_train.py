"""`acomp train`, from the first step to weights that code."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from agreement import assert_official_codes, dac_distances, encodec_distances
from cheap_training import leave_pictures_out, make_discriminators_small
from commands import (
    Cli,
    Process,
    Run,
    assert_done,
    assert_refused,
    assert_wrong_usage,
    files_in,
    finish,
    limited_file_size,
    make,
    start,
)
from safetensors.torch import load_file
from training_processes import START_SECONDS, Quiet, digest, fails, never_ends

import acomp
from acomp.backends.custom import shape_of
from acomp.errors import AcompError, TrainingError
from acomp.files import sole_user
from acomp.metrics import log_mel_distance
from acomp.torchaudio import ensure_torchaudio
from acomp.training import checkpoints, run as training
from acomp.training.codec_loop import CodecLoop
from acomp.training.config import Config, parse
from acomp.training.config_files import merge, recipe, write_yaml
from acomp.training.fabric import Fabric
from acomp.training.launching import launch, make_fabric
from acomp.training.record import Record, read_metrics, read_rows
from acomp.training.run import find_audio, train

SHORT: dict[str, Any] = {
    "batch": 2,
    "log_every": 1,
    "save_every": 4,
    "validate_every": 4,
    "data": {"segment": 0.25, "validation": 2},
    "optimiser": {"warm_up": 0},
}
"""A run as short as can be."""


def write(path: Path, *layers: dict[str, Any], **more: Any) -> Path:
    settings: dict[str, Any] = {}
    for layer in (*layers, more):
        settings = merge(settings, layer)
    path.write_text(yaml.safe_dump(settings))
    return path


DRAW = Record.draw
"""What draws the pictures of a run."""


@pytest.fixture(autouse=True)
def short_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs begin with little audio, and leave no pictures."""
    monkeypatch.setattr(training, "START_SECONDS", START_SECONDS)
    leave_pictures_out(monkeypatch)


def start_training(folder: Path, *arguments: object) -> Process:
    """A process of `acomp train` with a short start, and without pictures."""
    program = (
        f"import acomp.training.run; acomp.training.run.START_SECONDS = {START_SECONDS}\n"
        "import acomp.training.record; acomp.training.record.Record.draw = lambda _: None\n"
        "import acomp.cli; acomp.cli.main()"
    )
    return start(folder, "train", *arguments, program=("-c", program))


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Three recordings."""
    return make_clips(tmp_path / "clips")


def make_clips(folder: Path, count: int = 3) -> Path:
    folder.mkdir()
    for number in range(count):
        make(folder / f"{number}.wav", seconds=1.0 + 0.1 * number)
    return folder


# A run


def test_a_run_leaves_weights_that_code(
    cli: Cli, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Record, "draw", DRAW)
    monkeypatch.setattr("acomp.engines.find_spec", lambda _: None)  # nothing is compiled
    config = write(tmp_path / "short.yaml", SHORT, save_every=1, validate_every=1)
    run = cli(
        "train", "-b", "nano", "--data", clips, "--config", config, "--steps", 2, "--out", "r"
    )
    assert_done(run)
    assert "step 0: validation" in run.err
    assert "best.safetensors: validation" in run.out
    folder = tmp_path / "r"
    names = {path.name for path in folder.iterdir()}
    assert {"config.yaml", "metrics.csv", "losses.png", "metrics.png", "samples"} <= names
    assert {"best.safetensors", "last.safetensors", "checkpoints", "tensorboard"} <= names
    metrics = read_metrics(folder / "metrics.csv")
    assert [step for step, _ in metrics["validation"]] == [0, 1, 2]
    assert [step for step, _ in metrics["mel"]] == [1, 2]
    assert {"mel@6", "si_sdr@12", "utilisation@1.5"} <= metrics.keys()
    assert (folder / "samples" / "1-nano-2@6.wav").exists()
    assert not [name for name in files_in(folder) if ".part" in name]

    weights = folder / "last.safetensors"
    clip = clips / "0.wav"
    assert_done(cli("encode", "-b", "nano", "--weights", weights, clip, "-o", "own.nac"))
    assert_done(cli("decode", "own.nac", "--weights", weights, "-o", "own.wav"))
    assert acomp.read_audio(tmp_path / "own.wav").length == 24_000
    info = json.loads(cli("info", "--json", "own.nac").out)
    mark = acomp.load("nano", weights=weights).fingerprint
    assert mark is not None and mark in json.dumps(info)
    assert_refused(cli("decode", "own.nac", "-o", "other.wav"), mark, "--weights")
    assert not (tmp_path / "other.wav").exists()
    quick = ("--content", "other", "--metrics", "si_sdr")
    assert_done(cli("eval", clip, "-c", f"nano@6:{weights}", "-o", "results", *quick))


def test_nano_learns_a_kind_of_sound(cli: Cli, tmp_path: Path) -> None:
    """What fine-tuning is for: held-out sounds of the same kind come out nearer."""
    random = np.random.default_rng(0)
    folder = tmp_path / "beeps"
    folder.mkdir()

    def beeps(path: Path) -> Path:
        """Two seconds of square waves within an octave, as of an old home computer."""
        pitches = np.repeat(110 * 2 ** (random.integers(0, 12, 16) / 12), 3000)
        wave = 0.3 * np.sign(np.sin(2 * np.pi * np.cumsum(pitches) / 24_000))
        acomp.write_audio(path, acomp.Audio(wave[None].astype(np.float32), 24_000))
        return path

    for number in range(12):
        beeps(folder / f"{number}.wav")
    seldom = {"save_every": 20, "validate_every": 20, "log_every": 20}
    config = write(tmp_path / "short.yaml", SHORT, seldom, batch=4, data={"segment": 0.5})
    command = ("train", "-b", "nano", "--data", folder, "--config", config, "--out", "r")
    assert_done(cli(*command, "--steps", 20))
    reference = acomp.read_audio(beeps(tmp_path / "heldout.wav"))

    def distance(weights: Path | None) -> float:
        codec = acomp.load("nano", weights=weights, engine="torch")
        return log_mel_distance(reference, codec.decode(codec.encode(reference)))

    assert distance(tmp_path / "r" / "best.safetensors") < 0.9 * distance(None)


@pytest.mark.parametrize("family", ["encodec", "dac"])
def test_a_codec_of_ones_own_from_scratch(
    cli: Cli, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str
) -> None:
    if family == "dac":  # whose discriminators are the largest
        make_discriminators_small(monkeypatch)
    layout = {"family": family, "sample_rate": 8000, "strides": [4, 5], "codebooks": 2}
    more = {
        "encodec": {"filters": 4, "dimension": 8, "codebook_size": 16},
        "dac": {"encoder_width": 4, "decoder_width": 16, "codebook_size": 16},
    }
    shape, data = {**layout, **more[family]}, {"segment": 0.3}
    config = write(tmp_path / "own.yaml", SHORT, shape=shape, data=data, steps=2, batch=1)
    command = ("train", "--from-scratch", "--config", config, "--data", clips, "--out", "r")
    assert_done(cli(*command))
    metrics = read_metrics(tmp_path / "r" / "metrics.csv")
    assert {"adversarial", "feature_matching", "discriminator", "commitment"} <= metrics.keys()
    weights = tmp_path / "r" / "best.safetensors"
    own = ("--weights", weights, "--engine", "torch")
    assert_done(cli("encode", "-b", "custom", *own, clips / "0.wav", "-o", "a.nac"))
    assert_done(cli("decode", "a.nac", *own, "-o", "a.wav"))
    assert acomp.read_audio(tmp_path / "a.wav").length == 24_000
    if family == "dac":
        assert_official_dac(weights, clips / "0.wav", tmp_path)
    # It can be gone on from, like any other weights.
    more_steps = ("--weights", weights, "--data", clips, "--steps", 1, "--out", "r2")
    alone = {"adversary": {"discriminators": []}, "losses": {"waveform": 1.0}}
    again = write(tmp_path / "again.yaml", SHORT, alone, data=data)
    assert_done(cli("train", "-b", "custom", "--config", again, *more_steps))


def assert_official_dac(weights: Path, clip: Path, folder: Path) -> None:
    """The package takes weights that were trained, keeps them in its own form, and codes alike."""
    from dac.model import DAC

    codec = acomp.load("custom", weights=weights, engine="torch")
    shape = shape_of(weights)
    model: Any = shape.build()
    model.load_state_dict(load_file(weights))
    model.save(folder / "own.pth", package=False)
    official: Any = DAC.load(folder / "own.pth").eval()
    audio = acomp.resample(acomp.read_audio(clip), shape.sample_rate)
    samples = official.preprocess(torch.from_numpy(audio.samples)[None], shape.sample_rate)
    with torch.no_grad():
        _, found, latents, *_ = official.encode(samples)
    codes = codec.encode(audio, codebooks=shape.codebooks).data
    frames = min(codes.shape[-1], found.shape[-1])
    due = found.numpy()[..., :frames]
    assert_official_codes(codes[..., :frames], due, dac_distances(official, latents))


def test_published_weights_are_trained_on(
    cli: Cli, clips: Path, tmp_path: Path, encodec_24khz: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_discriminators_small(monkeypatch)
    ensure_torchaudio()
    from encodec.model import EncodecModel

    config = write(tmp_path / "short.yaml", SHORT, batch=1, data={"validation": 1})
    command = ("train", "-b", "encodec-24khz", "--weights", encodec_24khz, "--data", clips)
    assert_done(cli(*command, "--config", config, "--steps", 1, "--out", "r"))
    weights = tmp_path / "r" / "last.safetensors"
    before, after = (
        acomp.load("encodec-24khz", weights=path, engine="torch")
        for path in (encodec_24khz, weights)
    )
    assert before.fingerprint != after.fingerprint
    assert after.codebooks().shape == (32, 1024, 128)
    assert not np.array_equal(before.codebooks(), after.codebooks())
    # The package that published the codec takes them too, and codes alike.
    official = EncodecModel.encodec_model_24khz(pretrained=False).eval()
    official.load_state_dict(load_file(weights))
    official.set_target_bandwidth(3)
    audio = acomp.read_audio(clips / "0.wav")
    with torch.no_grad():
        ((found, _),) = official.encode(torch.from_numpy(audio.samples)[None])
        latents = official.encoder(torch.from_numpy(audio.samples)[None])
    codes = after.encode(audio, bandwidth=3).data
    assert_official_codes(codes, found.numpy(), encodec_distances(official, [latents], found))


# Going on


def compared(folder: Path) -> tuple[dict[str, bytes], list[Any]]:
    """What two runs that did the same have in common to the last bit."""
    weights = {
        name: (folder / name).read_bytes() for name in ("best.safetensors", "last.safetensors")
    }
    rows = [(row.step, row.name, row.value) for row in read_rows(folder / "metrics.csv")]
    return weights, rows


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration `long.yaml` in it and a whole run `whole`.

    In a process of its own, as the runs that it is compared with: what a process has done before
    moves its memory, and with it the last bits of sums. With discriminators, a balancer, mixing and
    codebooks that learn: all that has a state.
    """
    folder = tmp_path_factory.mktemp("train")
    shape = {"family": "encodec", "sample_rate": 8000, "strides": [4, 5], "codebooks": 4}
    shape |= {"filters": 8, "dimension": 16, "codebook_size": 32}
    sources = {str(make_clips(folder / "clips")): None}
    seldom = {"steps": 11, "save_every": 3, "validate_every": 4}
    data = {"mix": 0.5, "segment": 0.3, "sources": sources}
    own = {"shape": shape, "from_scratch": True, "device": "cpu", "data": data}
    settings = merge(merge(recipe("custom", "encodec"), SHORT), own | seldom)
    write(folder / "long.yaml", settings)
    assert_done(finish(start_training(folder, "--config", "long.yaml", "--out", "whole")))
    return folder


def end_after(process: Process, out: Path, step: int, number: signal.Signals) -> tuple[Run, int]:
    """End a run after a step; what it said, and the step of its last checkpoint."""
    table = out / "metrics.csv"
    while process.poll() is None:
        if table.exists() and any(row.step >= step for row in read_rows(table)):
            process.send_signal(number)
            break
        time.sleep(0.02)
    ended = finish(process)
    return ended, max(checkpoints.steps(out / "checkpoints"))


def test_a_run_that_was_ended_twice_goes_on_as_if_it_had_not_been(uninterrupted: Path) -> None:
    out = uninterrupted / "ended"
    process = start_training(uninterrupted, "--config", "long.yaml", "--out", out.name)
    ended, last = end_after(process, out, 4, signal.SIGKILL)
    assert ended.code == -signal.SIGKILL
    assert last % 3 == 0 and last < 9
    process = start_training(uninterrupted, "--resume", "--out", out.name)
    ended, of_the_step_at_hand = end_after(process, out, last + 2, signal.SIGINT)
    assert ended.code == 130 and "--resume goes on" in ended.err
    assert last + 2 <= of_the_step_at_hand < 11
    assert_done(finish(start_training(uninterrupted, "--resume", "--out", out.name)))
    assert compared(out) == compared(uninterrupted / "whole")


def test_a_finished_run_can_be_made_longer(uninterrupted: Path, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted / "whole", tmp_path / "longer")
    again = ("train", "--resume", "--config", uninterrupted / "long.yaml", "--out", "longer")
    assert_refused(cli(*again, "--batch", 3), "batch 2, as it began, not with 3")
    assert_refused(cli(*again, "-b", "nano"), "custom")
    assert_refused(cli(*again, "--language-model"), "trains a codec")
    assert_refused(cli(*again, "--weights", "x.safetensors"), "with weights None, as it began")
    (source,) = parse(
        yaml.safe_load((tmp_path / "longer" / "config.yaml").read_text())
    ).data.sources
    elsewhere = Path(source, "..", Path(source).name)
    assert_refused(cli(*again, "--data", tmp_path), "data.sources")
    assert_done(cli(*again, "--from-scratch", "--data", elsewhere, "--steps", 13))
    assert read_rows(tmp_path / "longer" / "metrics.csv")[-1].step == 13


def test_a_folder_with_a_run_is_not_begun_anew(uninterrupted: Path, cli: Cli) -> None:
    folder = uninterrupted
    before = files_in(folder / "whole")
    command = ("train", "--config", folder / "long.yaml", "--out", folder / "whole")
    assert_refused(cli(*command), "holds a run already", "--resume")
    assert files_in(folder / "whole") == before


def small_run(folder: Path, clips: Path, **more: Any) -> Config:
    """A codec of one's own that takes no time to train."""
    shape = {"family": "encodec", "sample_rate": 8000, "strides": [4, 5], "codebooks": 2}
    shape |= {"filters": 4, "dimension": 8, "codebook_size": 16}
    settings = SHORT | {"backend": "custom", "shape": shape, "from_scratch": True, "steps": 9}
    data = {"segment": 0.5, "validation": 2, "sources": {str(clips): None}}
    folder.mkdir(parents=True)
    return parse({**settings, "losses": {"waveform": 1.0}, "data": data, "device": "cpu", **more})


class InterruptsItself(Quiet):
    """Sends a signal before what follows the fourth step, which is a validation."""

    def update(self, step: int, losses: object) -> None:
        del losses
        if step == 4:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_validation_is_given_up_and_done_when_the_run_goes_on(
    clips: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = small_run(tmp_path / "whole", clips)
    train(config, tmp_path / "whole", resume=False, make_display=Quiet)
    small_run(tmp_path / "ended", clips)
    capfd.readouterr()
    ended = train(config, tmp_path / "ended", resume=False, make_display=InterruptsItself)
    assert ended.interrupted and ended.step == 4
    assert capfd.readouterr().err.startswith("ending after the step at hand")
    assert [step for step, _ in read_metrics(tmp_path / "ended" / "metrics.csv")["validation"]] == [
        0
    ]
    train(config, tmp_path / "ended", resume=True, make_display=Quiet)
    assert compared(tmp_path / "ended") == compared(tmp_path / "whole")


def test_a_second_signal_ends_at_once_and_says_what_is_kept(
    cli: Cli, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def validate(loop: CodecLoop, samples: torch.Tensor) -> dict[str, float]:
        del loop, samples
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the second signal did not end it")

    monkeypatch.setattr(CodecLoop, "validate", validate)
    config = small_run(tmp_path / "r", clips)
    write_yaml(tmp_path / "own.yaml", config)
    run = cli("train", "--config", "own.yaml", "--out", "r")
    assert run.code == 130
    assert run.err.splitlines()[-1] == "ended at once; there is no checkpoint before it"
    assert run.err.startswith("ending after the step at hand")


def test_one_process_at_a_time_trains_in_a_folder(cli: Cli, clips: Path, tmp_path: Path) -> None:
    config = small_run(tmp_path / "r", clips)
    write_yaml(tmp_path / "own.yaml", config)
    with sole_user(tmp_path / "r", AcompError):
        assert_refused(cli("train", "--config", "own.yaml", "--out", "r"), "another process is")
    left = tmp_path / "r" / "checkpoints" / ".00000003.part"
    left.mkdir(parents=True)
    assert_done(cli("train", "--config", "own.yaml", "--steps", 1, "--out", "r"))
    assert not left.exists()


# Several processes


def test_a_second_signal_ends_several_processes_at_once() -> None:
    config = parse({**recipe("nano-2"), "data": {"sources": {}}, "device": "cpu", "devices": 2})
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        launch(make_fabric(config), never_ends)
    assert signal.getsignal(signal.SIGINT) == before
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_two_processes_end_with_identical_parameters_and_errors(
    clips: Path, tmp_path: Path
) -> None:
    shape = {
        "family": "encodec",
        "sample_rate": 8000,
        "strides": [4, 5],
        "codebooks": 2,
        "filters": 4,
        "dimension": 8,
        "codebook_size": 16,
    }
    settings = recipe("custom", "encodec") | SHORT | {"shape": shape, "from_scratch": True}
    data = {"segment": 0.5, "validation": 2, "sources": {str(clips): None}}
    config = parse({**settings, "data": data, "steps": 1000, "device": "cpu", "devices": 2})
    wild = small_run(tmp_path / "r" / "wild", clips, optimiser={"rate": 1e20}, devices=2)
    collection, folder = find_audio(config.data), tmp_path / "r"
    work = partial(digest, config=config, wild=wild, collection=collection, folder=folder)
    first, second = launch(make_fabric(config), work)
    assert first == second and np.isfinite(first).all()
    # A signal to the one that started them ends both after the same step.
    step = max(checkpoints.steps(folder / "checkpoints"))
    assert 3 <= step < 1000
    for rank in range(2):
        assert "lower optimiser.rate" in (folder / f"error-{rank}").read_text()
        # One that is left when the interpreter ends can abort the process.
        names = (folder / f"threads-{rank}").read_text()
        assert names and "gloo" not in names


def test_an_error_in_several_processes_is_one_line() -> None:
    """Of processes that are forked, which takes less time, as of those of `make_fabric`."""
    forked = Fabric(accelerator="cpu", devices=2, strategy="ddp_fork")
    with pytest.raises(TrainingError, match="not finite") as caught:
        launch(forked, fails)
    assert "\n" not in str(caught.value)


# What goes wrong


def last_line(run: Any) -> Any:
    """A run as if nothing had been said before its end."""
    from dataclasses import replace

    return replace(run, err=run.err.splitlines(keepends=True)[-1])


def test_losses_that_are_no_numbers_end_the_run(cli: Cli, clips: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "wild.yaml", SHORT, optimiser={"rate": 1e20})
    run = cli("train", "-b", "nano-1", "--data", clips, "--config", config, "--out", "r")
    assert_refused(last_line(run), "not finite", "best.safetensors", "optimiser.rate")
    weights = tmp_path / "r" / "best.safetensors"
    assert acomp.load("nano-1", weights=weights).fingerprint == acomp.load("nano-1").fingerprint


def test_losses_that_explode_end_the_run(cli: Cli, clips: Path, tmp_path: Path) -> None:
    losses = {"waveform": 1.0}
    config = write(
        tmp_path / "wild.yaml", SHORT, losses=losses, optimiser={"rate": 0.3, "clip": None}
    )
    run = cli("train", "-b", "nano", "--data", clips, "--config", config, "--out", "r")
    assert_refused(last_line(run), "grown to", "best.safetensors")


def test_a_full_disk_ends_the_run(cli: Cli, clips: Path, tmp_path: Path) -> None:
    config = write(tmp_path / "short.yaml", SHORT)
    command = ("train", "-b", "nano", "--data", clips, "--config", config, "--out", "r")
    with limited_file_size(25_000_000):  # the weights have 18 MB, a checkpoint more
        run = cli(*command, "--steps", 8)
    assert_refused(
        last_line(run), "cannot write the checkpoint", "make room", "there is no checkpoint"
    )
    assert not (tmp_path / "r" / "last.safetensors").exists()
    assert [path for path in files_in(tmp_path / "r") if ".part" in path] == []


def test_check_tells_what_there_is(cli: Cli, clips: Path, tmp_path: Path) -> None:
    run = cli("train", "-b", "nano", "--data", clips, "--out", "r", "--check")
    assert_done(run)
    assert "24000" in run.out and " 3 " in run.out
    (clips / "text.wav").write_text("not audio")
    (clips / "empty.flac").touch()
    whole = (clips / "0.wav").read_bytes()
    (clips / "cut.wav").write_bytes(whole[: len(whole) // 2])
    run = cli("train", "-b", "nano", "--data", clips, "--out", "r", "--check")
    assert run.code == 1
    assert "text.wav" in run.err and "empty.flac" in run.err
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": "many"}, ["steps is to be a whole number"]),
        ({"stepz": 3}, ["no setting stepz"]),
        ({"data": {"segments": 1}}, ["no setting data.segments"]),
        ({"losses": {"mse": 1.0}}, ["no loss 'mse'", "waveform"]),
        ({"losses": {"commitment": 1.0}}, ["compares sounds"]),
        ({"losses": {"mel": 1.0, "adversarial": 1.0}}, ["need each other"]),
        ({"batch": 0}, ["batch is to be more than 0"]),
        ({"optimiser": {"betas": [0.5]}}, ["a list of 2"]),
        ({"optimiser": {"betas": [0.5, 2.0]}}, ["optimiser.betas"]),
        ({"optimiser": {"rate": float("nan")}}, ["optimiser.rate"]),
        ({"optimiser": {"weight_decay": float("inf")}}, ["optimiser.weight_decay"]),
        ({"seed": 10**19}, ["seed is to be"]),
        ({"losses": None}, ["losses is to be keys and values"]),
        ({"data": {"gain": [float("nan"), 0.0]}}, ["data.gain"]),
        ({"optimiser": {"schedule": "linear"}}, ["constant, cosine, exponential"]),
        ({"data": {"held_out": 1.5}}, ["between 0 and 1"]),
        ({"shape": {"family": "encodec"}}, ["custom"]),
        ({"adversary": {"discriminators": ["judge"]}}, ["no discriminator 'judge'"]),
        ({"devices": 4096}, ["4096"]),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    cli: Cli, clips: Path, tmp_path: Path, settings: dict[str, Any], words: list[str]
) -> None:
    config = write(tmp_path / "wrong.yaml", SHORT, settings)
    run = cli(
        "train", "-b", "nano", "--data", clips, "--config", config, "--device", "cpu", "-o", "r"
    )
    assert_refused(run, *words)
    assert not (tmp_path / "r" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("-b", "nano", "--data", "missing"), ["cannot read missing"]),
        (("-b", "nano", "--data", "empty"), ["no audio in empty"]),
        (("-b", "nano", "--data", "clips", "--config", "missing.yaml"), ["missing.yaml"]),
        (("-b", "nano", "--data", "clips", "--config", "clips/0.wav"), ["0.wav"]),
        (("-b", "nona", "--data", "clips"), ["no codec 'nona'"]),
        (("-b", "custom", "--data", "clips"), ["family"]),
        (("-b", "encodec-24khz", "--data", "clips"), ["encodec-24khz"]),  # not to be had offline
        (("--resume",), ["no run in"]),
    ],
)
def test_what_is_not_there_is_said(
    cli: Cli, clips: Path, tmp_path: Path, arguments: tuple[Any, ...], words: list[str]
) -> None:
    assert clips.exists()
    (tmp_path / "empty").mkdir()
    assert_refused(cli("train", *arguments, "--out", "r"), *words)


def test_wrong_usage(cli: Cli) -> None:
    assert_wrong_usage(cli("train", "-o", "r"), "name the codec")
    assert_wrong_usage(cli("train", "-b", "nano", "-o", "r"), "name a folder of audio")


def test_recipes_are_whole() -> None:
    for backend in ("nano-1", "nano-2", "encodec-24khz", "encodec-48khz", "dac-16khz", "dac-44khz"):
        settings = recipe(backend)
        config = parse({**settings, "data": {**settings["data"], "sources": {"audio": None}}})
        assert config.backend == backend
