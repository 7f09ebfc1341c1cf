"""The examples run as they say."""

from __future__ import annotations

import importlib
import json
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from commands import Cli, assert_done, environment, make

import acomp

ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "acomp" / "samples" / "speech.flac"


def run(*arguments: str | Path) -> str:
    """What an example says, run in this process: another would take seconds to import torch."""
    said = StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setattr(sys, "argv", [*map(str, arguments)])
        runpy.run_path(str(ROOT / arguments[0]), run_name="__main__")
    return said.getvalue()


@pytest.mark.usefixtures("cli")  # whose cache of compiled networks is in use
def test_tokenise(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    shutil.copy(SPEECH, clips)
    (clips / "bad.wav").write_text("no audio")
    (clips / "notes.txt").write_text("no audio either")
    out = run("examples/tokenise.py", clips, tmp_path / "tokens", "nano", "6")
    tokens = np.load(tmp_path / "tokens" / "speech.flac.npy")
    assert tokens.shape == (1, 12, 174)
    assert "speech.flac: 174 frames of 12 tokens" in out


def test_stream(tmp_path: Path) -> None:
    command = [sys.executable, "examples/stream.py", str(SPEECH), str(tmp_path / "out.wav")]
    subprocess.run(command, check=True, cwd=ROOT, env=environment(tmp_path))
    streamed, original = acomp.read_audio(tmp_path / "out.wav"), acomp.read_audio(SPEECH)
    assert streamed.samples.shape == original.samples.shape
    codec = acomp.load("nano")
    whole = codec.decode(codec.encode(original, bandwidth=6))
    np.testing.assert_allclose(streamed.samples, whole.samples.clip(-1, 1), atol=1e-4)


@pytest.fixture
def walk(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands that examples/speech_lm.md runs with python, where those of acomp have run."""
    pytest.importorskip("pyarrow")
    (tmp_path / "prompts").mkdir()
    for name in "ab":
        shutil.copy(SPEECH, tmp_path / "prompts" / f"{name}.flac")
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "examples" / "speech_lm.md").read_text()
    done = [line for line in re.findall(r"^    (acomp .*)", page, re.M) if "megatron" not in line]
    for line in done:
        assert_done(cli(*shlex.split(line)[1:]))
    assert {line.split()[1] for line in done} == {"tokenize", "pack"}
    return re.findall(r"^    python (examples/.*)", page, re.M)


def test_the_walk_through_a_language_model_ends_in_sound(walk: list[str], tmp_path: Path) -> None:
    about = json.loads((tmp_path / "train.json").read_text())
    assert about["documents"] == 2 and about["vocabulary"]["codebooks"] == 2
    (line,) = walk
    script, stream, out = shlex.split(line)
    short = ("--minutes", "0.01", "--seconds", "0.5")
    said = run(script, tmp_path / stream, tmp_path / out, *short)
    assert re.search(r"after \d+ steps: \d+\.\d+ bits a token", said)
    assert 0 < acomp.read_audio(tmp_path / out).duration <= 0.5


def test_a_language_model_needs_more_than_a_few_tokens(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "short.wav", 0.2)
    assert_done(cli("encode", tmp_path / "short.wav", "-b", "nano", "-k", 1))
    assert_done(cli("pack", tmp_path / "short.nac", "-o", tmp_path / "train", "--eos", 2048))
    with pytest.raises(SystemExit, match="23 tokens are too few"):
        run("examples/speech_lm.py", tmp_path / "train", tmp_path / "out.wav")


def test_quantisers_are_compared(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("fabric", "pesq", "jinja2"):
        pytest.importorskip({"fabric": "lightning_fabric"}.get(package, package))
    speech = acomp.resample(acomp.read_audio(SPEECH), 16_000).samples[:, :24_000]
    hiss = 0.01 * np.random.default_rng(0).standard_normal(speech.shape).astype(np.float32)
    for name, samples in {
        "speech/train/a.wav": speech,
        "noise/train/b.wav": hiss,
        "test/clean/a.wav": speech,
        "test/noisy/a.wav": speech + hiss,
    }.items():
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        acomp.write_audio(tmp_path / "data" / name, acomp.Audio(samples, 16_000))
    monkeypatch.syspath_prepend(ROOT / "examples" / "quantisers")
    program = importlib.import_module("run")
    monkeypatch.setattr(program, "prepare", lambda _: None)  # which fetches packages of Debian
    monkeypatch.setattr(program, "acomp", lambda *arguments: assert_done(cli(*arguments)))
    monkeypatch.setattr(program, "STEPS_AN_EPOCH", 1)
    monkeypatch.setattr("acomp.training.run.START_SECONDS", 4)
    folders = ["--data-dir", str(tmp_path / "data"), "--results-dir", str(tmp_path / "results")]
    asked = ["--vq-type", "fsq", "--epochs", "1", "--batch-size", "1", "--seeds", "1"]
    monkeypatch.setattr(sys, "argv", ["run.py", *folders, *asked])
    program.main()
    found = {path.name for path in (tmp_path / "results" / "fsq-0").iterdir()}
    assert found >= {"checkpoints", "audio", "plots", "metrics.csv", "best.safetensors"}
    rows = (tmp_path / "results" / "table.md").read_text().splitlines()
    assert [row.split("|")[1].strip() for row in rows[2:]] == ["none: noisy as it is", "fsq"]
    assert (tmp_path / "results" / "evaluation" / "report.html").exists()
