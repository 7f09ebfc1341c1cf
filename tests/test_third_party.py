"""A codec from another package, found by its entry point and used by its name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, Run, assert_done, assert_refused, environment, make

from acomp.audio import read_audio, resample
from acomp.formats import read_codes
from acomp.metrics import si_sdr

INSTALLED = Path(__file__).parent / "third_party"


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
        256,
        channels,
    )
    assert_done(acomp(tmp_path, "decode", "a.nac", "-o", "b.wav"))
    source, found = read_audio(tmp_path / "a.wav"), read_audio(tmp_path / "b.wav")
    assert found.samples.shape == source.samples.shape
    # mu-law keeps 35 dB or so of what 8 kHz can carry.
    assert si_sdr(resample(source, 8_000), resample(found, 8_000)) > 20


def test_its_codebooks_and_settings(tmp_path: Path) -> None:
    assert_done(acomp(tmp_path, "codebooks", "-b", "tiny", "-o", "books.npy"))
    assert np.load(tmp_path / "books.npy").shape == (1, 256, 1)
    make(tmp_path / "a.wav", 0.1)
    run = acomp(tmp_path, "encode", "a.wav", "-b", "tiny", "-k", 6)
    assert_refused(run, "tiny has no bandwidth of 6 kbps; it has 64")


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
