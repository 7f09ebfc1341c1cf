"""`acomp info`, `convert`, `codebooks`, `doctor` and `demo`."""

from __future__ import annotations

import importlib
import json
import math
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from codes_samples import assert_same, encodec_24khz, encodec_48khz
from commands import Cli, assert_done, assert_refused, assert_wrong_usage, files_in, make_home
from numpy.typing import NDArray
from safetensors.numpy import load_file

import acomp
from acomp import demo, doctor
from acomp.analysis.codebooks import codebook_statistics
from acomp.audio import read_audio
from acomp.formats import read_codes, write_codes

NANO = ("-b", "nano")


# info


def test_info(cli: Cli, tmp_path: Path) -> None:
    write_codes(tmp_path / "a.nac", encodec_24khz())
    run = cli("info", "a.nac")
    assert_done(run)
    lines = dict(line.split(maxsplit=1) for line in run.out.splitlines()[1:])
    assert lines["codec"] == "encodec-24khz (weights d7cc33bcf1aad7f2)"
    assert lines["audio"] == "60.000 s, 1 channel, 1440000 samples at 24000 Hz"
    assert lines["codes"].startswith("1 stream x 8 codebooks x 4500 frames of 10 bits")
    assert lines["bandwidth"] == "6 kbps"
    assert lines["size"].startswith(f"{(tmp_path / 'a.nac').stat().st_size} bytes")


@pytest.mark.parametrize("form", ["nac", "txt", "npz"])
def test_info_as_json(cli: Cli, tmp_path: Path, form: str) -> None:
    name = f"a.{form}"
    write_codes(tmp_path / name, encodec_48khz())
    run = cli("info", "--json", name)
    assert_done(run)
    size = (tmp_path / name).stat().st_size
    assert json.loads(run.out) == {
        "file": name,
        "form": form,
        "language_model": None,
        "codec": "encodec-48khz",
        "fingerprint": "7e698e3e00000000",
        "sample_rate": 48_000,
        "source_rate": 48_000,
        "channels": 2,
        "streams": 1,
        "codebooks": 4,
        "codebook_size": 1024,
        "hop_length": 320,
        "bits": 10,
        "frame_rate": 150,
        "bandwidth": 6,
        "length": 2_880_000,
        "duration": 60,
        "frames": 9090,
        "segments": 61,
        "bytes": size,
        "kbps": size * 8 / 60 / 1000,
    }


def test_info_of_several_files_of_which_one_is_bad(cli: Cli, tmp_path: Path) -> None:
    write_codes(tmp_path / "a.nac", encodec_24khz())
    write_codes(tmp_path / "c.txt", encodec_24khz())
    (tmp_path / "b.nac").write_text("no codes")
    run = cli("info", "--json", "a.nac", "b.nac", "c.txt")
    assert run.code == 1
    assert [json.loads(line)["file"] for line in run.out.splitlines()] == ["a.nac", "c.txt"]
    assert run.err.count("error: b.nac") == 1
    assert "1 of 3" in run.err


def test_info_of_a_folder(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "codes" / "deep").mkdir(parents=True)
    names = [str(Path("codes", "a.nac")), str(Path("codes", "deep", "b.npz"))]
    for name in names:
        write_codes(tmp_path / name, encodec_24khz(frames=10))
    run = cli("info", "codes", "--json")
    assert_done(run)
    assert [json.loads(line)["file"] for line in run.out.splitlines()] == names
    assert cli("info", "codes").out.count(" kbps in all\n") == 2


# convert


@pytest.mark.parametrize("codes", [encodec_24khz(frames=900), encodec_48khz(seconds=9.9)])
def test_convert_keeps_everything(cli: Cli, tmp_path: Path, codes: acomp.Codes) -> None:
    write_codes(tmp_path / "a.nac", codes)
    for source, target in [("a.nac", "b.txt"), ("b.txt", "c.npz"), ("c.npz", "d.nac")]:
        assert_done(cli("convert", source, target))
        assert_same(read_codes(tmp_path / target), codes)
    assert (tmp_path / "d.nac").read_bytes() == (tmp_path / "a.nac").read_bytes()


def test_convert_to_any_name_by_format(cli: Cli, tmp_path: Path) -> None:
    write_codes(tmp_path / "a.nac", encodec_24khz())
    assert_done(cli("convert", "a.nac", "codes.dat", "--format", "txt"))
    assert (tmp_path / "codes.dat").read_text().startswith("1\n06\n")


def test_convert_never_replaces_its_source(cli: Cli, tmp_path: Path) -> None:
    write_codes(tmp_path / "a.nac", encodec_24khz())
    (tmp_path / "link.nac").symlink_to("a.nac")
    before = files_in(tmp_path)
    for target in ("link.nac", "./a.nac", str(tmp_path / "a.nac")):
        assert_refused(cli("convert", "a.nac", target, "--overwrite"), "input")
    assert files_in(tmp_path) == before


def test_convert_wrongly_used(cli: Cli, tmp_path: Path) -> None:
    write_codes(tmp_path / "a.nac", encodec_24khz())
    assert_wrong_usage(cli("convert", "a.nac", "-"), "--format")
    assert_wrong_usage(cli("convert", "a.nac"), "OUT")
    assert_wrong_usage(cli("frobnicate"), "frobnicate")


# codebooks


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors"])
def test_codebooks_of_nano(cli: Cli, tmp_path: Path, suffix: str) -> None:
    run = cli("codebooks", "-o", f"books.{suffix}", *NANO)
    assert_done(run)
    assert "24 x 1024 x" in run.out
    path = tmp_path / f"books.{suffix}"
    load = load_file if suffix == "safetensors" else np.load
    content = load(path)
    books = content if suffix == "npy" else content["codebooks"]
    np.testing.assert_array_equal(books, acomp.load("nano").codebooks())


def test_codebooks_of_encodec(
    cli: Cli, tmp_path: Path, encodec_24khz: Path, encodec_48khz: Path
) -> None:
    assert_done(cli("codebooks", "-o", "mono.npy", "--weights", encodec_24khz))
    assert np.load(tmp_path / "mono.npy").shape == (32, 1024, 128)
    weights = ("--weights", encodec_48khz)
    assert_done(cli("codebooks", "-o", "stereo.npy", "--channels", 2, *weights))
    assert np.load(tmp_path / "stereo.npy").shape == (16, 1024, 128)
    assert_refused(cli("codebooks", "-o", "none.npy", *weights), "encodec-24khz")


def test_codebooks_as_json(cli: Cli, tmp_path: Path) -> None:
    run = cli("codebooks", "--json", *NANO)
    assert_done(run)
    facts = json.loads(run.out)
    codec = acomp.load("nano")
    assert facts["codec"] == "nano-2"
    assert facts["fingerprint"] == codec.fingerprint
    assert facts["shape"] == list(codec.codebooks().shape)
    assert len(facts["codebooks"]) == 24
    assert files_in(tmp_path) == {}


def test_statistics_of_codebooks() -> None:
    books = np.random.default_rng(0).standard_normal((3, 40, 5)).astype(np.float32)
    for book, found in zip(books, codebook_statistics(books), strict=True):
        norms = np.linalg.norm(book, axis=1)
        nearest = np.array([nearest_to(place, book) for place in range(len(book))])
        assert math.isclose(found["norm_mean"], norms.mean(), rel_tol=1e-5)
        assert math.isclose(found["norm_std"], norms.std(), rel_tol=1e-5)
        assert math.isclose(found["nearest_min"], nearest.min(), rel_tol=1e-5)
        assert math.isclose(found["nearest_mean"], nearest.mean(), rel_tol=1e-5)


def nearest_to(place: int, book: NDArray[np.float32]) -> float:
    others = np.delete(book, place, axis=0)
    return float(np.linalg.norm(others - book[place], axis=1).min())


def test_codebooks_that_go_nowhere(cli: Cli) -> None:
    assert_wrong_usage(cli("codebooks", *NANO), "--output")


# doctor


def test_doctor_finds_all_in_order(cli: Cli) -> None:
    run = cli("doctor")
    assert_done(run)
    for name in ("python", "torch", "numpy", "soundfile", "EnCodec", "nano", "measuring"):
        assert name in run.out
    assert "!!" not in run.out
    assert re.search(r"^ -- +weights of dac-44khz +acomp models fetch dac-44khz", run.out, re.M)
    assert re.search(r"^ ok +weights of nano-2 ", run.out, re.M)


def test_doctor_as_json(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        doctor.Finding("a", "ok", "1.0"),
        doctor.Finding("b", "not here", "pip install b"),
        doctor.Finding("c", "not in order", "broken"),
    ]
    monkeypatch.setattr(doctor, "examine", lambda: iter(found))
    run = cli("doctor", "--json")
    assert (run.code, run.err) == (1, "error: not in order: c\n")
    assert json.loads(run.out)[1] == {"name": "b", "state": "not here", "detail": "pip install b"}
    run = cli("doctor")
    assert [line.split()[:2] for line in run.out.splitlines()] == [
        ["ok", "a"],
        ["--", "b"],
        ["!!", "c"],
    ]


def test_doctor_names_what_is_damaged(cli: Cli, tmp_path: Path) -> None:
    make_home(tmp_path)
    (tmp_path / ".home" / "encodec_24khz-d7cc33bc.th").write_bytes(b"damaged")
    run = cli("doctor")
    assert run.code == 1
    assert "acomp models fetch encodec-24khz" in run.out
    assert run.err == "error: not in order: weights of encodec-24khz\n"


def test_doctor_survives_packages_that_do_not_fit(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = importlib.import_module

    def fail(name: str, package: str | None = None) -> ModuleType:
        if name == "soxr":
            raise TypeError("Descriptors cannot\nbe created directly")
        if name.startswith("dac"):
            raise ModuleNotFoundError("No module named 'dac'")
        return load(name, package)

    monkeypatch.setattr(importlib, "import_module", fail)
    run = cli("doctor")
    assert run.code == 1
    assert "TypeError: Descriptors cannot be created directly" in run.out
    assert 'pip install "acomp[dac]"' in run.out
    assert run.err == "error: not in order: soxr\n"


# demo


def test_demo(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "SAMPLES", ("speech",))
    run = cli("demo", "-o", "deep/out")
    assert_done(run)
    assert str(tmp_path / "deep" / "out") in run.out
    rows = [line for line in run.out.splitlines() if "speech" in line]
    found = files_in(tmp_path / "deep" / "out")
    expected = []
    for row, bandwidth in zip(rows, ("1", "1.5", "3", "6", "12"), strict=False):
        name = f"speech-{bandwidth}kbps"
        assert bandwidth in row
        assert f" {len(found[f'{name}.nac'])} " in row
        assert f" {len(found[f'{name}.txt'])} " in row
        expected += [f"{name}.{suffix}" for suffix in ("nac", "txt", "wav", "txt.wav")]
    assert sorted(found) == sorted([*expected, "listen.html"])
    assert str(tmp_path / "deep" / "out" / "listen.html") in run.out
    length = read_audio(Path(demo.__file__).parent / "samples" / "speech.flac").length
    assert read_audio(tmp_path / "deep" / "out" / "speech-6kbps.wav").length == length


def test_demo_in_a_place_that_cannot_be(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    assert_refused(cli("demo", "-o", "file/out"), "file/out")
    assert_refused(cli("demo", "-o", "file"), "file")


# The program itself


def test_version(cli: Cli) -> None:
    run = cli("--version")
    assert_done(run)
    assert run.out == f"{acomp.__version__}\n"


def test_help_names_every_command(cli: Cli) -> None:
    run = cli("--help")
    assert_done(run)
    for command in ("encode", "decode", "info", "convert", "codebooks", "models", "doctor", "demo"):
        assert command in run.out
        assert_done(cli(command, "--help"))
