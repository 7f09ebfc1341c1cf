"""Values of wrong types end in an `AcompError` of one line, at every public callable."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import acomp

WRONG: tuple[Any, ...] = (None, 3, object(), b"bytes", ["a"])
AUDIO = acomp.Audio(np.zeros((1, 800), np.float32), 8000)
INFO = acomp.CodesInfo("nano-1", 24_000, 1, 1, 8, 1024, 320, 24_000)
CODES = acomp.Codes(INFO, np.zeros((1, 8, 3), np.uint16), 960)
NOTHING: Any = object()
LIST: Any = ["a"]
TEXT: Any = io.StringIO("1")
SAMPLES: Any = [0.0]
SPEC: list[Any] = ["mine", 24_000, 1, 320, 8, 1024, 128, {6: 8}]


def create(target: Any, info: Any) -> None:
    with acomp.create_codes(target, info):
        pass


def given(value: Any) -> Any:
    """`value`, where None would be right."""
    return 3 if value is None else value


CALLS: dict[str, tuple[Callable[[Any], object], ...]] = {
    "Audio": (lambda _: acomp.Audio(NOTHING, 8000), lambda _: acomp.Audio(SAMPLES, LIST)),
    "AudioWriter": (
        lambda x: acomp.AudioWriter(x, 8000, 1),
        lambda _: acomp.AudioWriter("a.wav", LIST, 1),
        lambda x: acomp.AudioWriter("a.wav", 8000, 1, raw=given(x)),
    ),
    "Block": (
        lambda _: acomp.Block(NOTHING),
        lambda x: acomp.Block(CODES.data, given(x)),
    ),
    "Codes": (
        lambda x: acomp.Codes(x, CODES.data, 960),
        lambda x: acomp.Codes.from_blocks(x, [CODES.block], 960),
        lambda x: acomp.Codes.from_blocks(INFO, given(x), 960),
    ),
    "CodesInfo": (lambda _: acomp.CodesInfo("nano-1", LIST, 1, 1, 8, 1024, 320, 24_000),),
    "CodecSpec": (
        lambda x: acomp.CodecSpec(x, *SPEC[1:]),
        lambda x: acomp.CodecSpec(*[*SPEC[:-1], x]),
    ),
    "Dataset": (acomp.Dataset,),
    "Decoder": (
        lambda x: acomp.Decoder(x, INFO),
        lambda x: acomp.Decoder(acomp.load("nano"), x),
    ),
    "Encoder": (
        lambda x: acomp.Encoder(x, INFO),
        lambda x: acomp.Encoder(acomp.load("nano"), x),
        lambda _: acomp.Encoder(acomp.load("nano"), given(acomp.load("nano").spec)),
    ),
    "LatentDecoder": (
        lambda x: acomp.LatentDecoder(x, INFO),
        lambda x: acomp.LatentDecoder(acomp.load("nano"), x),
    ),
    "LatentEncoder": (
        lambda x: acomp.LatentEncoder(x, INFO),
        lambda x: acomp.LatentEncoder(acomp.load("nano"), x),
    ),
    "Segments": (lambda _: acomp.Segments(NOTHING, np.ones(1, np.float32)),),
    "convert": (
        lambda x: acomp.convert(x, "a.nac"),
        lambda _: acomp.convert(TEXT, "a.nac"),
    ),
    "create_codes": (lambda x: create(x, INFO), lambda x: create("a.nac", x)),
    "decode_audio_from_embeddings": (lambda x: acomp.decode_audio_from_embeddings(x, "a.wav"),),
    "get_codebooks": (acomp.get_codebooks,),
    "get_model_and_sr": (lambda x: acomp.get_model_and_sr(x, 6),),
    "load": (acomp.load, lambda x: acomp.load("nano", weights=given(x))),
    "load_audio": (acomp.load_audio,),
    "open_audio": (
        acomp.open_audio,
        lambda x: acomp.open_audio(io.BytesIO(b"12"), raw=given(x)),
        lambda _: acomp.open_audio("a\0b"),
    ),
    "open_codes": (acomp.open_codes, lambda x: acomp.open_codes("a.nac", codec=given(x))),
    "process_audio": (lambda x: acomp.process_audio(x, 6, "a.txt"),),
    "read_audio": (acomp.read_audio,),
    "read_codes": (acomp.read_codes,),
    "read_embeddings_from_txt": (acomp.read_embeddings_from_txt,),
    "resample": (lambda x: acomp.resample(x, 8000), lambda _: acomp.resample(AUDIO, LIST)),
    "resample_audio": (lambda _: acomp.resample_audio(NOTHING, 8000, 16_000),),
    "write_audio": (lambda x: acomp.write_audio(x, AUDIO), lambda x: acomp.write_audio("a.wav", x)),
    "write_codes": (lambda x: acomp.write_codes(x, CODES), lambda x: acomp.write_codes("a.nac", x)),
}
"""Calls of each public callable with a wrong value in the place of one main value."""
NOT_CALLED = {"names", "AudioReader", "Codec", "CodesReader", "CodesWriter", "Row"}
"""They take nothing, are abstract, or are made by acomp alone."""


def test_every_public_callable_is_called() -> None:
    public = {name for name in acomp.__all__ if not name.endswith(("Error", "Warning"))}
    assert public == {*CALLS} | NOT_CALLED


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_type_is_an_error_of_acomp(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for call in CALLS[name]:
        for value in WRONG:
            with pytest.raises(acomp.AcompError) as caught:
                call(value)
            assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_closed_reader_and_writer_say_so(tmp_path: Path) -> None:
    acomp.write_audio(tmp_path / "a.wav", AUDIO)
    with acomp.open_audio(tmp_path / "a.wav") as reader:
        for wrong in (0, NOTHING, LIST):
            with pytest.raises(acomp.AudioError, match="block"):
                reader.blocks(wrong)
        begun = reader.blocks(100)
        next(begun)
    for read in (lambda: next(begun), lambda: reader.blocks(100)):
        with pytest.raises(acomp.AudioError, match="is closed"):
            read()
    writer = acomp.AudioWriter(tmp_path / "b.wav", 8000, 1)
    with pytest.raises(acomp.AudioError, match="not open"):
        writer.write(AUDIO.samples)
    acomp.write_codes(tmp_path / "a.nac", CODES)
    with acomp.open_codes(tmp_path / "a.nac") as codes:
        pass
    with pytest.raises(acomp.FormatError, match="is closed"):
        next(codes.blocks())
