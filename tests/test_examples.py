"""The examples run as they say."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

import acomp

ROOT = Path(__file__).parents[1]
SPEECH = ROOT / "acomp" / "samples" / "speech.flac"


def run(*arguments: str | Path) -> str:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


def test_tokenise(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    shutil.copy(SPEECH, clips)
    (clips / "bad.wav").write_text("no audio")
    (clips / "notes.txt").write_text("no audio either")
    out = run("examples/tokenise.py", clips, tmp_path / "tokens", "nano", "6")
    tokens = np.load(tmp_path / "tokens" / "speech.flac.npy")
    assert tokens.shape == (1, 8, 260)
    assert "speech.flac: 260 frames of 8 tokens" in out


def test_stream(tmp_path: Path) -> None:
    run("examples/stream.py", SPEECH, tmp_path / "out.wav")
    streamed, original = acomp.read_audio(tmp_path / "out.wav"), acomp.read_audio(SPEECH)
    assert streamed.samples.shape == original.samples.shape
    codec = acomp.load("nano")
    whole = codec.decode(codec.encode(original, bandwidth=6))
    np.testing.assert_allclose(streamed.samples, whole.samples.clip(-1, 1), atol=1e-4)
