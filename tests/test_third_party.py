"""A codec from another package, found by its entry point and used by its name."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, Run, assert_done, assert_refused, environment, make

from acomp.audio import read_audio, resample
from acomp.formats import read_codes
from acomp.metrics import si_sdr
from acomp.testing import CodecConformance

INSTALLED = Path(__file__).parent / "support" / "third_party"


def acomp(folder: Path, *arguments: object) -> Run:
    """Run the command line where the other package is installed."""
    path = f"{ROOT}:{INSTALLED}"
    result = subprocess.run(
        [sys.executable, "-m", "acomp", *map(str, arguments)],
        cwd=folder,
        env=environment(folder, PYTHONPATH=path),
        capture_output=True,
        text=True,
        check=False,
    )
    return Run(result.returncode, result.stdout, result.stderr)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_third_party_codec_is_used_by_its_name(tmp_path: Path, channels: int) -> None:
    make(tmp_path / "a.wav", 1.5, 12_000, channels)
    assert_done(acomp(tmp_path, "encode", "a.wav", "-b", "tiny"))
    codes = read_codes(tmp_path / "a.nac")
    assert (codes.info.codec, codes.info.codebook_size, codes.info.streams) == (
        "tiny",
        64,
        channels,
    )
    assert_done(acomp(tmp_path, "decode", "a.nac", "-o", "b.wav"))
    source, found = read_audio(tmp_path / "a.wav"), read_audio(tmp_path / "b.wav")
    assert found.samples.shape == source.samples.shape
    # Its 6 bits a line keep 25 dB or so of what 8 kHz can carry.
    assert si_sdr(resample(source, 8_000), resample(found, 8_000)) > 20


def test_its_codebooks_and_settings(tmp_path: Path) -> None:
    assert_done(acomp(tmp_path, "codebooks", "-b", "tiny", "-o", "books.npy"))
    assert np.load(tmp_path / "books.npy").shape == (16, 64, 1)
    make(tmp_path / "a.wav", 0.1)
    run = acomp(tmp_path, "encode", "a.wav", "-b", "tiny", "-k", 6)
    assert_refused(run, "tiny has no bandwidth of 6 kbps; it has 24, 48")


def test_an_entry_point_that_does_not_load_is_one_line(tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 0.1)
    run = acomp(tmp_path, "encode", "a.wav", "-b", "tiny-broken")
    assert_refused(run, "tiny-broken", "tiny_codec:not_there", "does not load")


def test_without_the_package_its_codes_name_what_is_missing(tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 0.1)
    assert_done(acomp(tmp_path, "encode", "a.wav", "-b", "tiny"))
    command = [sys.executable, "-m", "acomp", "decode", "a.nac", "-o", "b.wav"]
    result = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=False,
    )
    assert_refused(Run(result.returncode, result.stdout, result.stderr), "a.nac", "'tiny'")


def blocks_of(kind: str) -> list[str]:
    """The blocks of code in docs/backends.md."""
    text = (ROOT / "docs" / "backends.md").read_text()
    return re.findall(rf"^```{kind}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_documented_codec_is_this_one_and_is_short() -> None:
    documented, *_ = blocks_of("python")
    assert documented == (INSTALLED / "tiny_codec.py").read_text()
    lines = [line for line in documented.splitlines() if line.strip()]
    assert len(lines) < 60
    assert f"{len(lines)} lines" in (ROOT / "docs" / "backends.md").read_text()


def test_the_documented_entry_point_is_the_one_that_is_found() -> None:
    (documented,) = map(tomllib.loads, blocks_of("toml"))
    (folder,) = INSTALLED.glob("*.dist-info")
    installed = configparser.ConfigParser()
    installed.read(folder / "entry_points.txt")
    named = documented["project"]["entry-points"]["acomp.backends"]
    assert named.items() <= dict(installed["acomp.backends"]).items()


def test_the_documented_tests_pass_where_the_documented_codec_is_installed(tmp_path: Path) -> None:
    (tmp_path / "test_tiny.py").write_text(blocks_of("python")[1])
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_tiny.py"],
        cwd=tmp_path,
        env=environment(tmp_path, PYTHONPATH=f"{ROOT}:{INSTALLED}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout
    tests = [name for name in dir(CodecConformance) if name.startswith("test_")]
    assert f"{len(tests)} passed" in result.stdout
