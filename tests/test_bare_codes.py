"""Bare codes in `.npy`, `.npz` and `.pt`, as language models of audio leave them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import asking_for_memory
from commands import Cli, assert_done, assert_refused
from numpy.typing import NDArray

from acomp.audio import read_audio
from acomp.bare import codes_from, parts_of
from acomp.codecs import SPECS
from acomp.errors import CodecError, FormatError
from acomp.formats import read_codes

TOKENS = np.random.default_rng(0).integers(0, 1024, (8, 100))
NANO = SPECS["nano-1"]


def saved(folder: Path, form: str, tokens: NDArray[Any]) -> Path:
    path = folder / f"tokens.{form.partition('-')[0]}"
    match form:
        case "npy":
            np.save(path, tokens)
        case "npy-fortran":
            np.save(path, np.asfortranarray(tokens))
        case "npz":
            np.savez(path, anything=tokens)
        case "npz-bark":
            np.savez(
                path, fine_prompt=tokens, coarse_prompt=tokens[..., :2, :], semantic_prompt=[1]
            )
        case "pt":
            torch.save(torch.from_numpy(tokens), path)
        case "pt-old":
            tensor = torch.from_numpy(tokens)
            torch.save(tensor, path, _use_new_zipfile_serialization=False)
        case "pt-dictionary":
            torch.save({"text": "hello", "audio_codes": torch.from_numpy(tokens)}, path)
    return path


FORMS = ("npy", "npy-fortran", "npz", "npz-bark", "pt", "pt-old", "pt-dictionary")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_and_shape(tmp_path: Path, form: str) -> None:
    for tokens in (TOKENS, TOKENS[None], TOKENS[None, None], TOKENS.astype(np.int16)):
        codes = read_codes(saved(tmp_path, form, tokens), codec=NANO)
        np.testing.assert_array_equal(codes.data, TOKENS[None])
        assert (codes.info.codec, codes.info.streams, codes.info.fingerprint) == ("nano-1", 1, None)
        assert codes.length == 99 * 320  # nano's frames are one more than the sound lasts


def test_they_decode_convert_and_are_described(cli: Cli, tmp_path: Path) -> None:
    saved(tmp_path, "npy", TOKENS)
    saved(tmp_path, "pt", TOKENS)
    for name in ("tokens.npy", "tokens.pt"):
        assert_refused(cli("decode", name, "-o", "x.wav"), name, "-b")
    assert_done(cli("decode", "tokens.npy", "-b", "nano-1", "x.wav"))
    assert read_audio(tmp_path / "x.wav").length == 99 * 320
    run = cli("info", "tokens.npy", "-b", "nano-1")
    assert_done(run)
    assert "8 codebooks x 100 frames" in run.out
    assert_done(cli("convert", "tokens.pt", "tokens.nac", "-b", "nano-1"))
    np.testing.assert_array_equal(read_codes(tmp_path / "tokens.nac").data[0], TOKENS)


def test_encodec_48khz_has_segments(tmp_path: Path) -> None:
    path = saved(tmp_path, "npy", np.tile(TOKENS, (1, 4)))
    codes = read_codes(path, codec=SPECS["encodec-48khz"])
    assert codes.segments is not None
    assert codes.segments.frames.tolist() == [150, 150, 100]
    assert (codes.info.channels, codes.info.streams) == (2, 1)


def test_a_codec_of_ones_own_has_segments_too(tmp_path: Path) -> None:
    spec = replace(SPECS["encodec-48khz"], name="custom", segment_frames=40)
    codes = read_codes(saved(tmp_path, "npy", TOKENS), codec=spec)
    assert codes.segments is not None
    assert codes.segments.frames.tolist() == [40, 40, 20]


@pytest.mark.parametrize("form", ["npy", "pt"])
def test_files_and_arrays_are_told_the_same(tmp_path: Path, form: str) -> None:
    """Of SNAC whole levels, and whole windows of frames."""
    spec = SPECS["snac-32khz"]
    for tokens, words in (
        (TOKENS[:2, :8], "1, 3, 7 or 15 codebooks, not 2"),
        (TOKENS[:3, :10], "multiple of 4 frames, not 10"),
    ):
        with pytest.raises(FormatError, match=words):
            read_codes(saved(tmp_path, form, tokens), codec=spec)
        with pytest.raises(CodecError, match=words):
            codes_from(spec, parts_of(tokens))


@pytest.mark.parametrize("made", ["bytearray", "set"])
def test_a_tensor_that_asks_torch_for_memory(tmp_path: Path, made: str) -> None:
    """Torch's own reader would make 64 GiB of a few hundred bytes."""
    path = tmp_path / "x.pt"
    path.write_bytes(asking_for_memory(made))
    with pytest.raises(FormatError, match=f"it asks for builtins.{made}"):
        read_codes(path, codec=NANO)


@pytest.mark.parametrize("form", ["npy", "npz", "pt"])
@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        (TOKENS.T, "transpose"),
        (TOKENS + 1024, "0 to 1023"),
        (TOKENS - 1024, "code -"),
        (TOKENS.astype(np.float32), "integer"),
        (TOKENS[0], "1 axes"),
        (TOKENS[:, :0], "are empty"),
        (np.tile(TOKENS, (3, 1, 1)), r"3 streams \(the first axis\)"),
        (np.zeros((0, 1, 8, 100), np.int64), "are empty"),
        (np.zeros((1 << 40, 1, 0, 100), np.int64), "are empty"),
        (np.zeros(((1 << 20) + 1, 1, 1, 1), np.uint8), "first of their 4 axes"),
    ],
)
def test_what_cannot_be_codes(tmp_path: Path, form: str, tokens: NDArray[Any], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        read_codes(saved(tmp_path, form, tokens), codec=NANO)


@pytest.mark.parametrize("form", FORMS)
def test_damage_is_one_error(tmp_path: Path, form: str) -> None:
    data = saved(tmp_path, form, TOKENS).read_bytes()
    path = tmp_path / "damaged"
    for size in (len(data) // 3, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(FormatError):
            read_codes(path, codec=NANO)


def test_no_object_is_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", codes=np.array([print], object))
    torch.save({"codes": print}, tmp_path / "a.pt")
    for name in ("a.npz", "a.pt"):
        with pytest.raises(FormatError):
            read_codes(tmp_path / name, codec=NANO)


def test_a_tensor_that_claims_more_than_its_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save(torch.zeros(1, 1, dtype=torch.int64).expand(8, 1 << 40), path)
    with pytest.raises(FormatError, match="more than"):
        read_codes(path, codec=NANO)
    np.savez(tmp_path / "a.npz", one=TOKENS, other=TOKENS)
    with pytest.raises(FormatError, match="one, other"):
        read_codes(tmp_path / "a.npz", codec=NANO)
