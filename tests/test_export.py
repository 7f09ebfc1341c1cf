"""`acomp export`: networks that do what acomp does, without acomp, and what cannot be exported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from commands import Cli, assert_done, assert_refused, files_in

import acomp
from acomp.audio.resampling import resample
from acomp.export.folder import FILES


def run_guide(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the Python of a folder's README in it, on two thirds of a second of speech."""
    speech = resample(acomp.read_audio(Path(acomp.__file__).parent / "samples/speech.flac"), 24_000)
    soundfile.write(folder / "speech.wav", speech.samples[0, :16_001], 24_000, "FLOAT")
    (python,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.S)
    monkeypatch.chdir(folder)
    exec(python, {})


@pytest.mark.parametrize(
    "command", [("nano", "-k", "1", "-k", "1.5"), ("nano-1", "--streaming", "-k", "3")]
)
def test_nano_is_exported_and_its_readme_works(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    folder = tmp_path / "out"
    run = cli("export", *command, "-o", str(folder), "--check")
    assert_done(run)
    assert set(files_in(folder)) == set(FILES)
    assert sum(map(len, files_in(folder).values())) < 11.1e6
    card = json.loads((folder / "codec.json").read_text())
    for model in card["models"].values():
        graph = onnx.load(folder / model["file"], load_external_data=False).graph
        assert [port.name for port in graph.input] == [port["name"] for port in model["inputs"]]
        assert {node.domain for node in graph.node} == {""}
    run_guide(folder, monkeypatch)
    audio = acomp.read_audio(folder / "speech.wav")
    codec = acomp.load(command[0], engine="torch", device="cpu")
    expected = codec.decode(codec.encode(audio, codebooks=card["codebooks"])).samples
    found, _ = soundfile.read(folder / "back.wav", dtype="float32")
    assert np.abs(found - expected[0]).max() < 1e-3  # written in 16 bits


def test_what_cannot_be_exported_leaves_no_folder(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert_refused(cli("export", "nano", "-o", str(folder), "-k", "5"), "5")
    assert_refused(cli("export", "encodec", "-o", str(folder)), "encodec", "nano")
    assert not folder.exists()


def test_files_that_exist_stay(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "codec.json").write_text("mine")
    assert_refused(cli("export", "nano", "-o", str(tmp_path)), "codec.json", "--overwrite")
    assert files_in(tmp_path) == {"codec.json": b"mine"}
