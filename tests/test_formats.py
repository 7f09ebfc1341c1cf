"""What all file forms share: being found, converted, and never left half written."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, BinaryIO, get_args

import pytest
from codes_samples import (
    Pipe,
    all_codes,
    assert_same,
    encodec_24khz,
    encodec_48khz,
    to_bytes,
)
from commands import ROOT
from fuzzing import targets
from hypothesis import given, strategies as st

from acomp.codecs import PUBLISHED
from acomp.codes import Codes
from acomp.errors import FormatError
from acomp.formats import convert, create_codes, open_codes, read_codes, write_codes
from acomp.formats.registry import FORMS
from acomp.settings import FormName

OFFICIAL = {codec.official_form for codec in PUBLISHED.values()}
NAMES = [form.name for form in FORMS if form.name not in OFFICIAL]
"""Those of acomp's own, which hold any codec's codes; the others have tests of their own."""
form_names = pytest.mark.parametrize("form", NAMES)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# A form is whole


def test_the_names_of_forms_are_those_of_the_registry() -> None:
    assert get_args(FormName) == tuple(form.name for form in FORMS)


@pytest.mark.parametrize("form", [form.name for form in FORMS])
def test_a_form_is_fuzzed_and_documented(form: FormName, tmp_path: Path) -> None:
    assert any(name.rstrip("012") == form for name in targets(tmp_path)), "no seeds in fuzzing.py"
    assert f"\n| `.{form}` |" in (ROOT / "README.md").read_text(), "no row in README"
    pages = (ROOT / "docs" / "formats.md").read_text()
    assert f"\n| `{form}` |" in pages, "no row in docs/formats.md"
    assert f"\n## `.{form}`" in pages or f"[specification]({form}.md)" in pages, "no section"


# Finding the form


@form_names
def test_the_suffix_chooses_what_is_written_and_content_what_is_read(
    tmp_path: Path, form: FormName
) -> None:
    codes = encodec_48khz(2, 2.5)
    path = tmp_path / f"codes.{form.upper()}"
    write_codes(path, codes)
    assert path.read_bytes() == to_bytes(codes, form)
    other = path.rename(tmp_path / "codes.bin")
    assert_same(read_codes(str(other)), codes)
    with open_codes(other) as reader:
        assert reader.form == form
        assert (reader.length, reader.frames) == (codes.length, codes.frames)
    other.rename(tmp_path / "codes.txt")
    assert_same(read_codes(tmp_path / "codes.txt"), codes)


@form_names
def test_a_pipe_needs_no_suffix(form: FormName) -> None:
    assert_same(read_codes(Pipe(to_bytes(encodec_24khz(2, 9), form))), encodec_24khz(2, 9))


@pytest.mark.parametrize("content", [b"", b"RIFF\0\0\0\0WAVE", b"hello", b"NA", b"\0" * 99])
@pytest.mark.parametrize("suffix", ["nac", "txt", "npz", "wav"])
def test_other_files_are_refused_by_name(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"file.{suffix}"
    path.write_bytes(content)
    with pytest.raises(FormatError) as caught:
        read_codes(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_target_must_tell_its_form(tmp_path: Path) -> None:
    codes = encodec_24khz(2, 9)
    with pytest.raises(FormatError, match="nac, txt, npz"):
        write_codes(tmp_path / "codes.wav", codes)
    with pytest.raises(FormatError, match="nac, txt, npz"):
        write_codes(io.BytesIO(), codes)
    unknown: Any = "mp3"
    with pytest.raises(FormatError, match="'mp3' is no form"):
        write_codes(io.BytesIO(), codes, form=unknown)
    write_codes(tmp_path / "codes.bin", codes, form="nac")
    assert_same(read_codes(tmp_path / "codes.bin"), codes)
    assert names_in(tmp_path) == ["codes.bin"]


def test_sources_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="cannot be read: there is no such file"):
        open_codes(tmp_path / "none.nac")
    with pytest.raises(FormatError, match="cannot be read: it is a folder"):
        open_codes(tmp_path)


def test_a_source_that_fails_while_it_is_read() -> None:
    class Failing(Pipe):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.getbuffer().nbytes < 99:
                raise OSError(errno.EIO, "Input/output error")
            return super().read(size)

    with pytest.raises(FormatError, match="the stream: cannot be read: Input/output error"):
        read_codes(Failing(b"NAC"))


# Converting


@given(all_codes(), st.lists(st.sampled_from(NAMES), min_size=1, max_size=4))
def test_forms_convert_into_each_other_without_loss(codes: Codes, forms: list[FormName]) -> None:
    data = to_bytes(codes, "nac")
    for form in forms:
        stream = Pipe()
        convert(Pipe(data), stream, form)
        data = stream.getvalue()
        assert data == to_bytes(codes, form)
    assert_same(read_codes(io.BytesIO(data)), codes)


def test_a_file_converts_onto_itself(tmp_path: Path) -> None:
    path = tmp_path / "codes.txt"
    write_codes(path, encodec_24khz(2, 9))
    convert(path, path, "nac")
    assert_same(read_codes(path), encodec_24khz(2, 9))


def test_converting_a_damaged_file_leaves_nothing(tmp_path: Path) -> None:
    data = bytearray(to_bytes(encodec_24khz()))
    data[-3000] ^= 1
    (tmp_path / "bad.nac").write_bytes(data)
    with pytest.raises(FormatError, match=r"bad\.nac: .*damaged"):
        convert(tmp_path / "bad.nac", tmp_path / "out.txt")
    assert names_in(tmp_path) == ["bad.nac"]


# Whole files or none


@form_names
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, form: str) -> None:
    codes = encodec_24khz()
    path = tmp_path / f"codes.{form}"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), create_codes(path, codes.info) as writer:
        writer.write(codes.block)
        raise KeyboardInterrupt
    with pytest.raises(FormatError, match="not finished"), create_codes(path, codes.info) as writer:
        writer.write(codes.block)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == [path.name]


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    codes = encodec_24khz(2, 9)
    read_only = tmp_path / "read_only.nac"
    read_only.write_bytes(b"old")
    read_only.chmod(0o444)
    (tmp_path / "folder.nac").mkdir()
    (tmp_path / "file").touch()
    for name, message in (
        ("read_only.nac", "cannot write .*read_only.nac: it is read-only"),
        ("folder.nac", "cannot write .*: it is a folder"),
        ("missing/codes.nac", "the folder .*missing does not exist"),
        ("file/codes.nac", "file is not a folder"),
        ("x" * 300 + ".nac", "its name is too long"),
    ):
        with pytest.raises(FormatError, match=message) as caught:
            write_codes(tmp_path / name, codes)
        assert "\n" not in str(caught.value)
    assert read_only.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file", "folder.nac", "read_only.nac"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@form_names
def test_a_full_device_is_one_clear_error(form: FormName) -> None:
    with pytest.raises(FormatError, match="cannot write /dev/full: no space is left"):
        write_codes("/dev/full", encodec_24khz(), form=form)
    with (
        Path("/dev/full").open("wb", buffering=0) as stream,
        pytest.raises(FormatError, match="cannot write /dev/full: no space is left"),
    ):
        write_codes(stream, encodec_24khz(), form=form)


@form_names
def test_a_disk_that_fills_up_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    class Full(io.FileIO):
        def write(self, _: object, /) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    def open_full(path: Path, mode: str) -> BinaryIO:
        return io.BufferedWriter(Full(path, mode.replace("b", "")))

    path = tmp_path / f"codes.{form}"
    path.write_bytes(b"old")
    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(FormatError, match="no space is left"):
        write_codes(path, encodec_24khz())
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == [path.name]


def test_a_reader_that_went_away_is_told_from_a_failure() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    with (
        os.fdopen(write_end, "wb", buffering=0) as stream,
        pytest.raises(BrokenPipeError),
    ):
        write_codes(stream, encodec_24khz(), form="nac")


def test_a_named_pipe_is_written_and_stays(tmp_path: Path) -> None:
    fifo = tmp_path / "codes.nac"
    os.mkfifo(fifo)
    found: list[Codes] = []
    thread = threading.Thread(target=lambda: found.append(read_codes(fifo)))
    thread.start()
    write_codes(fifo, encodec_48khz(2, 3))
    thread.join()
    assert_same(found[0], encodec_48khz(2, 3))
    assert fifo.is_fifo()


def test_neither_torch_nor_a_codec_is_imported() -> None:
    program = "import sys, acomp.formats; print('torch' in sys.modules, 'encodec' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["False", "False"]
