"""The latent space: the same numbers as inside encoding and decoding, for every family."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from checkpoints import encodec_model, save_encodec
from commands import Cli, assert_done, assert_refused, make, sound

import acomp
from acomp.backends.base import Codec
from acomp.errors import CodecError


@pytest.fixture(scope="module")
def nano() -> Codec:
    return acomp.load("nano", engine="torch")


@pytest.fixture(scope="module")
def of_segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of EnCodec 48 kHz."""
    return save_encodec(encodec_model("encodec-48khz"), tmp_path_factory.mktemp("w") / "w.th")


def test_latents_of_stereo_are_two_streams(nano: Codec) -> None:
    audio = sound(0.5, 44_100, 2)
    latents = nano.latents(audio)
    assert latents.dtype == np.float32
    assert latents.shape == (2, 128, nano.encode(audio).frames)
    codes = nano.quantise(latents, bandwidth=3, length=audio.length, sample_rate=44_100)
    assert codes == nano.encode(audio, bandwidth=3)


def test_latents_may_be_tensors_of_one_stream(nano: Codec) -> None:
    import torch

    latents = nano.latents(sound(0.2))
    found = nano.quantise(torch.from_numpy(latents[0]).double(), codebooks=4)
    assert found == nano.quantise(latents, codebooks=4)


def test_latents_that_were_not_quantised_decode_to_a_nearer_sound(nano: Codec) -> None:
    audio = acomp.resample(
        acomp.read_audio(Path(acomp.__file__).parent / "samples" / "speech.flac"), 24_000
    )

    def off(found: acomp.Audio) -> float:
        return float(np.square(found.samples[:, : audio.length] - audio.samples).mean())

    whole = nano.decode_latents(nano.latents(audio), length=audio.length)
    assert off(whole) < 0.7 * off(nano.decode(nano.encode(audio, bandwidth=3)))


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 64, 9), r"\(1, 64, 9\), and those of nano-2 are \[streams, 128, frames\]"),
        ((128,), r"\(128,\)"),
        ((1, 128, 0), r"\(1, 128, 0\)"),
        ((3, 128, 9), "3 streams"),
    ],
)
def test_other_arrays_are_refused(nano: Codec, shape: tuple[int, ...], words: str) -> None:
    for use in (nano.quantise, nano.decode_latents):
        with pytest.raises(CodecError, match=words):
            use(np.zeros(shape, np.float32))


def test_latents_that_are_no_numbers_are_refused(nano: Codec) -> None:
    for value, words in ((np.full((1, 128, 9), np.nan), "not finite"), ("latents", "latents")):
        with pytest.raises(CodecError, match=words):
            nano.quantise(value)


def test_a_stream_of_latents_has_one_number_of_streams(nano: Codec) -> None:
    decoder = acomp.LatentDecoder(nano, nano.info(sound(0.1)))
    with pytest.raises(CodecError, match="latents of 2 streams, where 1"):
        decoder.push(np.zeros((2, 128, 9), np.float32))


def test_segments_with_a_gain_have_no_latents_of_their_own(of_segments: Path) -> None:
    codec = acomp.load("encodec-48khz", weights=of_segments, engine="torch")
    with pytest.raises(CodecError, match="does not let its latents out"):
        codec.latents(sound(0.5, 48_000, 2))
    codes = codec.encode(sound(0.5, 48_000, 2))
    assert codec.latents_of(codes).shape == (1, 128, codes.frames)
    with pytest.raises(CodecError, match="codes of nano-1"):
        codec.latents_of(replace(codes, info=replace(codes.info, codec="nano-1")))


# acomp encode --latents


def test_latents_of_a_file_are_written_and_encoded(
    cli: Cli, tmp_path: Path, nano: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acomp.pipeline.encoding.BLOCK_SECONDS", 1)
    monkeypatch.setattr("acomp.backends.latents.BLOCK_SECONDS", 1)
    make(tmp_path / "a.wav", 2.5, 44_100, 2)
    done = cli("encode", "--latents", "a.wav", "a.npy", "-b", "nano", "--engine", "torch")
    assert_done(done)
    assert "a.wav -> a.npy: latents of nano-2, 2.50 s" in done.err
    audio = acomp.read_audio(tmp_path / "a.wav")
    latents = np.load(tmp_path / "a.npy")
    np.testing.assert_allclose(latents, nano.latents(audio), atol=1e-5)
    # In the order of C too, as numpy saves what was worked on.
    np.save(tmp_path / "b.npy", latents.copy("C").astype(np.float64))
    for name in ("a", "b"):
        coded = cli("encode", "--latents", f"{name}.npy", "-b", "nano", "-k", 3, "-q")
        assert_done(coded)
        codes = acomp.read_codes(tmp_path / f"{name}.nac")
        assert codes.info.source_rate == 24_000
        assert np.array_equal(codes.data, nano.encode(audio, bandwidth=3).data)


def test_a_folder_of_latents_is_encoded(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    for name in ("a", "b"):
        np.save(tmp_path / "made" / f"{name}.npy", np.zeros((128, 9), np.float16))
    run = cli("encode", "--latents", "made", "--output-dir", "codes", "-b", "nano", "-q")
    assert_done(run)
    assert [each.name for each in sorted((tmp_path / "codes").iterdir())] == ["a.nac", "b.nac"]


def whole(values: object) -> bytes:
    """A `.npy` file."""
    file = BytesIO()
    np.save(file, np.asarray(values))
    return file.getvalue()


GOOD = np.zeros((1, 128, 9), np.float32)
HUGE = whole(GOOD).replace(b"(1, 128, 9), }          ", b"(1, 128, 99999999999), }")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"RIFF", "is no array of numpy"),
        (whole(np.array([{}], object)), "not one of numbers"),
        (whole(GOOD)[:-1], "cut short"),
        (whole(GOOD) + b"x", "cut short, or has bytes after its end"),
        (HUGE, "cut short"),
        (whole(np.zeros((1, 8, 9), np.int64)), "int64, where latents are floats"),
        (whole(GOOD[:, :64]), "(1, 64, 9), and those of nano-2"),
        (whole(GOOD[0, 0]), "(9,), not [streams, dimension, frames]"),
        (whole(GOOD[:, :, :0]), "(1, 128, 0), not"),
        (whole(np.zeros((3, 128, 9), np.float32)), "3 streams"),
        (whole(GOOD + np.nan), "not finite"),
    ],
)
def test_files_that_hold_no_latents_are_refused(
    cli: Cli, tmp_path: Path, content: bytes, words: str
) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    assert_refused(cli("encode", "--latents", "a.npy", "-b", "nano"), "a.npy", words)
    assert [each.name for each in tmp_path.glob("[!.]*")] == ["a.npy"]


def test_what_does_not_go_with_latents_is_refused(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", GOOD)
    make(tmp_path / "b.wav", 0.1)
    for words, arguments in (
        ("from standard input", ("-",)),
        ("--channels", ("a.npy", "--channels", "mono")),
        ("--bandwidth", ("b.wav", "b.npy", "-k", "3")),
    ):
        run = cli("encode", "--latents", *arguments, "-b", "nano")
        assert run.code == 2 and words in run.err
    assert_refused(cli("encode", "--latents", "b.wav", "a.npy", "-b", "nano"), "a.npy exists")


def test_codecs_of_segments_take_no_latents(cli: Cli, tmp_path: Path, of_segments: Path) -> None:
    np.save(tmp_path / "a.npy", GOOD)
    make(tmp_path / "b.wav", 0.1, 48_000)
    given = ("-b", "encodec-48khz", "--weights", of_segments, "--engine", "torch")
    assert_refused(cli("encode", "--latents", "a.npy", *given), "a.npy", "segments with a gain")
    refused = cli("encode", "--latents", "b.wav", "b.npy", *given)
    assert_refused(refused, "b.wav", "does not let its latents out")
    assert not (tmp_path / "b.npy").exists()
