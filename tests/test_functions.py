"""The commands and functions of the program that acomp began as, under their names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import Cli, assert_done, assert_same_sound, make

import acomp
from acomp.audio import read_audio


def test_documented_commands_with_nano(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "example.wav", 0.5)
    run = cli(
        *("encode", "--input_file", "example.wav", "--embedding_file", "example.txt"),
        *("--bandwidth", 6, "--output_file", "check.wav", "-b", "nano"),
    )
    assert_done(run)
    lines = (tmp_path / "example.txt").read_text().splitlines()
    assert lines[:2] == ["1", "06"]
    assert len(lines[2].split()) == 12
    run = cli(
        *("decode", "--embedding_file", "example.txt"),
        *("--output_file", "reconstructed_example.wav"),
    )
    assert_done(run)
    assert_same_sound(tmp_path / "reconstructed_example.wav", tmp_path / "check.wav")


@pytest.mark.parametrize("channels", [1, 2])
def test_documented_commands_with_encodec(
    cli: Cli, tmp_path: Path, encodec_24khz: Path, encodec_48khz: Path, channels: int
) -> None:
    own = encodec_24khz if channels == 1 else encodec_48khz
    weights = ("--weights", own, "--engine", "torch")
    make(tmp_path / "example.wav", 1.2, 32_000, channels)
    run = cli(
        *("encode", "--input_file", "example.wav", "--embedding_file", "example.txt"),
        *("--bandwidth", 6, *weights),
    )
    assert_done(run)
    lines = (tmp_path / "example.txt").read_text().splitlines()
    assert lines[:2] == [str(channels), "06"]
    assert len(lines[2].split()) == (8 if channels == 1 else 4)
    arguments = ("--embedding_file", "example.txt", "--output_file", "reconstructed.wav")
    assert_done(cli("decode", *arguments, *weights))
    assert read_audio(tmp_path / "reconstructed.wav").samples.shape == (channels, 38_400)
    # Without the trailing lines, and with nothing that says they are due, it is what the documented
    # program wrote.
    plain = [line for line in lines if not line.startswith("#")]
    plain[1] = "6"
    (tmp_path / "example.txt").write_text("\n".join(plain) + "\n")
    assert_done(cli("decode", *arguments, *weights, "--overwrite"))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch, encodec_24khz: Path, encodec_48khz: Path) -> None:
    """Random weights in the place of EnCodec's published ones; nothing is compiled."""
    files = {"encodec-24khz": encodec_24khz, "encodec-48khz": encodec_48khz}
    monkeypatch.setattr("acomp.backends.weights.cache.fetch", lambda name, *_: files[name])
    monkeypatch.setattr("acomp.engines.find_spec", lambda _: None)


@pytest.mark.usefixtures("published")
def test_documented_functions(tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 0.5, 16_000)
    samples, rate = acomp.load_audio(tmp_path / "a.wav")
    assert (tuple(samples.shape), rate) == ((1, 8_000), 16_000)
    model, model_rate = acomp.get_model_and_sr(1, 3)
    assert type(model).__name__ == "EncodecModel"
    assert (model_rate, model.bandwidth) == (24_000, 3)
    resampled = acomp.resample_audio(samples, rate, model_rate)
    assert tuple(resampled.shape) == (1, 12_000)

    acomp.process_audio(tmp_path / "a.wav", 3, tmp_path / "a.txt", tmp_path / "check.wav")
    acomp.decode_audio_from_embeddings(tmp_path / "a.txt", tmp_path / "b.wav")
    assert_same_sound(tmp_path / "b.wav", tmp_path / "check.wav")
    assert read_audio(tmp_path / "b.wav").length == 8_000

    (frame,) = acomp.read_embeddings_from_txt(tmp_path / "a.txt", 4)
    official = model.encode(resampled[None])
    assert frame[1] is None
    assert frame[0].equal(official[0][0])
    with pytest.raises(acomp.CodecError, match="4 codebooks, not 8"):
        acomp.read_embeddings_from_txt(tmp_path / "a.txt", 8)


@pytest.mark.usefixtures("published")
def test_documented_functions_in_stereo(tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 1.5, 48_000, 2)
    acomp.process_audio(tmp_path / "a.wav", 6, tmp_path / "a.txt")
    frames = acomp.read_embeddings_from_txt(tmp_path / "a.txt")
    assert [tuple(codes.shape) for codes, _ in frames] == [(1, 4, 150), (1, 4, 77)]
    model, rate = acomp.get_model_and_sr(2, 6)
    assert rate == 48_000
    acomp.decode_audio_from_embeddings(tmp_path / "a.txt", tmp_path / "b.wav")
    decoded = model.decode(frames)[0, :, :72_000].detach().numpy()
    found = read_audio(tmp_path / "b.wav").samples
    np.testing.assert_allclose(found, decoded.clip(-1, 1), atol=1 / 32768 + 1e-5)


@pytest.mark.usefixtures("published")
def test_documented_codebooks() -> None:
    assert tuple(acomp.get_codebooks("mono").shape) == (32, 1024, 128)
    assert tuple(acomp.get_codebooks("encodec_48khz").shape) == (16, 1024, 128)
    with pytest.raises(acomp.CodecError, match="'quad'"):
        acomp.get_codebooks("quad")
    with pytest.raises(acomp.CodecError, match="not for 3"):
        acomp.get_model_and_sr(3, 6)
    with pytest.raises(acomp.CodecError, match="no bandwidth of 7"):
        acomp.get_model_and_sr(1, 7)
