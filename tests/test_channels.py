"""Any number of channels, each coded alone (`--channels each`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import Cli, assert_done, assert_refused, files_in, make

from acomp.audio import Audio, read_audio, write_audio
from acomp.backends import load
from acomp.formats import read_codes

CHANNELS = 3


@pytest.mark.parametrize("codec", ["nano", "encodec-24khz"])
def test_every_channel_comes_back_in_its_place(
    cli: Cli, tmp_path: Path, encodec_24khz: Path, codec: str
) -> None:
    """From every form that says so many; one that cannot is refused and leaves nothing behind."""
    weights = ["--weights", encodec_24khz] if codec != "nano" else []
    how = ["--engine", "torch", *weights]
    many = read_audio(make(tmp_path / "many.wav", 0.3, 24_000, CHANNELS))
    encode = ["encode", "many.wav", "-b", codec, *how]
    write_audio(tmp_path / "last.wav", Audio(many.samples[-1:], 24_000))
    assert_done(cli(*encode, "--channels", "each", "-o", "many.nac"))
    assert_done(
        cli(*["last.wav" if each == "many.wav" else each for each in encode], "-o", "l.nac")
    )
    codes, last = read_codes(tmp_path / "many.nac"), read_codes(tmp_path / "l.nac")
    assert (codes.info.streams, codes.info.channels) == (CHANNELS, CHANNELS)
    np.testing.assert_array_equal(codes.data[-1:], last.data)
    assert len({stream.tobytes() for stream in codes.data}) == CHANNELS
    assert_done(cli("decode", "many.nac", "-o", "nac.wav", *how))
    sound = read_audio(tmp_path / "nac.wav").samples
    assert sound.shape == many.samples.shape
    for form in ("txt", "npz"):
        assert_done(cli("convert", "many.nac", f"many.{form}"))
        assert read_codes(tmp_path / f"many.{form}") == codes
        assert_done(cli("decode", f"many.{form}", "-o", f"{form}.wav", *how))
        np.testing.assert_array_equal(read_audio(tmp_path / f"{form}.wav").samples, sound)
    before = files_in(tmp_path)
    for form in ("dac", "ecdc"):
        assert_refused(cli("convert", "many.nac", f"many.{form}"), f"many.{form}")
    assert_refused(cli(*encode, "-o", "x.nac"), "3 channels", "--channels each")
    assert files_in(tmp_path) == before


def test_the_loudness_of_every_channel_is_restored(encodec_24khz: Path) -> None:
    codec = load("encodec-24khz", weights=encodec_24khz, engine="torch")
    sound = np.random.default_rng(0).standard_normal((CHANNELS, 24_000)) * 0.1
    codes = codec.encode(Audio(sound.astype(np.float32), 24_000), channels="each")
    plain = codec.decode(codes).samples
    due = (-30.0, -20.0, -25.0)
    found = codec.decode(replace(codes, info=replace(codes.info, loudness=due))).samples
    factors = np.abs(found).max(axis=1) / np.abs(plain).max(axis=1)
    np.testing.assert_allclose(found, plain * factors[:, None], atol=1e-5)
    assert len({round(float(factor), 6) for factor in factors}) == CHANNELS
