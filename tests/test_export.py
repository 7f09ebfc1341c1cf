"""`acomp export`: networks that do what acomp does, without acomp, and what cannot be exported."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import onnx
import pytest
from commands import Cli, assert_done, assert_refused, files_in, make
from exported import assert_guide_works, speech

import acomp
from acomp.errors import CodecError
from acomp.evaluation.rows import read_rows
from acomp.export.folder import FILES
from acomp.export.running import Exported

ON_DISK = 11.1e6
"""Bytes of nano's folders at most."""


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
    assert sum(map(len, files_in(folder).values())) < ON_DISK
    card = json.loads((folder / "codec.json").read_text())
    for model in card["models"].values():
        graph = onnx.load(folder / model["file"], load_external_data=False).graph
        assert [port.name for port in graph.input] == [port["name"] for port in model["inputs"]]
        assert {node.domain for node in graph.node} == {""}
    codec = acomp.load(command[0], engine="torch", device="cpu")
    assert_guide_works(codec, folder, speech(codec, 16_001), monkeypatch)


def test_what_cannot_be_exported_leaves_no_folder(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    assert_refused(cli("export", "nano", "-o", str(folder), "-k", "5"), "5")
    assert_refused(cli("export", "soundstream", "-o", str(folder)), "soundstream", "nano")
    stereo = cli("export", "encodec-48khz", "-o", str(folder), "--streaming")
    assert_refused(stereo, "encodec-48khz", "leave --streaming out")
    assert not folder.exists()


def test_an_exported_folder_is_measured(cli: Cli, tmp_path: Path) -> None:
    folder, sound, results = tmp_path / "a@b", make(tmp_path / "a.wav"), tmp_path / "results"
    setting = f"onnx:{folder}"
    assert_refused(cli("eval", sound, "-c", setting, "-o", results), "a@b", "acomp export")
    assert_done(cli("export", "nano-1", "-o", folder, "-k", "3", "--bits", "8"))
    assert sum(map(len, files_in(folder).values())) < 0.75 * ON_DISK
    run = cli("eval", sound, "-c", f"{setting}@6", "-o", results)
    assert_refused(run, f"{setting}@6", "for 3 kbps", "-k 6")
    settings = ("-c", f"{setting}@3", "-c", "nano-1@3")
    metrics = ("--content", "other", "--metrics", "si_sdr", "--engine", "torch")
    assert_done(cli("eval", sound, *settings, *metrics, "-o", results))
    exported, own = read_rows(results / "results.csv")
    assert exported.codec == own.codec == "nano-1"
    assert abs(exported.metrics["si_sdr"] - own.metrics["si_sdr"]) < 0.5
    whole = (folder / "codec.json").read_text()
    card = json.loads(whole)
    damaged = {"models": {}, "codebooks": 7, "weights": "x"}
    damaged |= {"first_frames": 1 << 40, "last_frames": 1 << 40}
    for key, value in damaged.items():
        (folder / "codec.json").write_text(json.dumps({**card, key: value}))
        run = cli("eval", sound, "-c", setting, *metrics, "-o", results)
        assert_refused(run, "not a folder that acomp export wrote")
    card["models"]["encoder"]["inputs"][0]["name"] = "other"
    (folder / "codec.json").write_text(json.dumps(card))
    with pytest.raises(CodecError, match="do not fit each other"):
        Exported(folder)
    (folder / "codec.json").write_text(whole)
    (folder / "decoder.onnx").write_bytes(b"damaged")
    run = cli("eval", sound, "-c", setting, *metrics, "-o", results)
    assert run.code == 1 and f"{setting}: onnxruntime cannot load {folder}/decoder.onnx" in run.err


def test_files_that_exist_stay(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "codec.json").write_text("mine")
    assert_refused(cli("export", "nano", "-o", str(tmp_path)), "codec.json", "--overwrite")
    assert files_in(tmp_path) == {"codec.json": b"mine"}


def test_a_disk_that_is_full_leaves_what_was_there(cli: Cli, tmp_path: Path) -> None:
    mine = {"codec.json": b"mine", "encoder.onnx": b"mine too"}
    for name, data in mine.items():
        (tmp_path / name).write_bytes(data)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        run = cli("export", "nano", "-o", str(tmp_path), "--overwrite")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_refused(run, "weights.bin")
    assert files_in(tmp_path) == mine
