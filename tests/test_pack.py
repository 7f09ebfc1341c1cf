"""`acomp pack`: streams of tokens that training programs read, and what cannot be packed."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from codes_samples import encodec_24khz
from commands import Cli, assert_done, assert_refused, files_in, limited_file_size, make
from numpy.typing import NDArray

import acomp
from acomp import layouts
from acomp.codes import Codes
from acomp.datasets.packing import Numbering, pack
from acomp.layouts import Vocabulary

MEGATRON = {1: np.uint8, 4: np.int32, 8: np.uint16}


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Three files of codes; the second has no frames."""
    folder = tmp_path / "clips"
    folder.mkdir()
    for number, frames in enumerate((20, 0, 7)):
        acomp.write_codes(folder / f"{number}.nac", encodec_24khz(frames=frames))
    return folder


def coded(folder: Path) -> list[NDArray[Any]]:
    return [acomp.read_codes(path).data[0] for path in sorted(folder.iterdir())]


def stream(target: Path) -> tuple[NDArray[Any], dict[str, Any]]:
    about = json.loads(target.with_name(f"{target.name}.json").read_text())
    return np.fromfile(target.with_name(f"{target.name}.bin"), about["dtype"]), about


def test_recordings_follow_each_other(cli: Cli, clips: Path, tmp_path: Path) -> None:
    done = cli(*("pack", clips, "-o", tmp_path / "train", "--offset", 500, "--eos", 499))
    assert_done(done)
    assert "2 recordings, 1 empty one left out" in done.out
    tokens, about = stream(tmp_path / "train")
    codes = coded(clips)
    books = len(codes[0])
    vocabulary = Vocabulary(books, 1024, 500, eos=499)
    due = [layouts.flat(each, vocabulary) for each in codes if each.size]
    np.testing.assert_array_equal(tokens, np.concatenate(due))
    assert about["tokens"] == len(tokens) and about["documents"] == 2
    assert about["layout"] == "flat" and about["vocabulary"]["eos"] == 499
    assert about["codec"] == "encodec-24khz" and about["dtype"] == "uint16"
    parts = np.split(tokens, np.flatnonzero(tokens == 499) + 1)[:-1]
    for part, each in zip(parts, (each for each in codes if each.size), strict=True):
        np.testing.assert_array_equal(layouts.from_flat(part, vocabulary), each)


@pytest.mark.parametrize("layout", ["coarse-first", "delayed", "parallel"])
def test_other_layouts(cli: Cli, clips: Path, tmp_path: Path, layout: str) -> None:
    run = ["pack", clips / "0.nac", "-o", tmp_path / "a", "--layout", layout, "--shared"]
    assert_done(cli(*run, "--pad", 1024))
    tokens, about = stream(tmp_path / "a")
    (codes,) = coded(clips)[:1]
    vocabulary = Vocabulary(len(codes), 1024, shared=True, pad=1024)
    assert about["vocabulary"]["shared"] and about["layout"] == layout
    if layout == "coarse-first":
        np.testing.assert_array_equal(layouts.from_coarse_first(tokens, vocabulary), codes)
        return
    rows = tokens.reshape(-1, len(codes)).T
    back = layouts.from_delayed if layout == "delayed" else layouts.from_parallel
    np.testing.assert_array_equal(back(rows, vocabulary), codes)


def test_a_dataset_is_packed_in_its_order(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "audio").mkdir()
    for number in range(3):
        make(tmp_path / "audio" / f"{number}.wav", 0.2 + 0.1 * number)
    dataset = tmp_path / "a.codes"
    assert_done(cli("tokenize", tmp_path / "audio", "-o", dataset, "-b", "nano", "-k", 1))
    assert_done(cli("pack", dataset, "-o", tmp_path / "train", "--bos", 5000))
    tokens, about = stream(tmp_path / "train")
    vocabulary = Vocabulary(2, 1024, bos=5000)
    due = [layouts.flat(row.codes.data[0], vocabulary) for row in acomp.Dataset(dataset)]
    np.testing.assert_array_equal(tokens, np.concatenate(due))
    assert about["weights"] == acomp.load("nano").fingerprint
    for name in ("train.bin", "train.json"):
        (tmp_path / name).rename(tmp_path / f"first-{name}")
    assert_done(cli("pack", dataset, "-o", tmp_path / "train", "--bos", 5000))
    for name in ("train.bin", "train.json"):
        assert (tmp_path / name).read_bytes() == (tmp_path / f"first-{name}").read_bytes()


def megatron(target: Path) -> list[NDArray[Any]]:
    """The documents, read as megatron/core/datasets/indexed_dataset.py of 0.16.1 reads them."""
    index = target.with_name(f"{target.name}.idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, kind, sequences, documents = struct.unpack("<QBQQ", index[9:34])
    assert version == 1
    lengths = np.frombuffer(index, np.int32, sequences, 34)
    places = np.frombuffer(index, np.int64, sequences, 34 + 4 * sequences)
    ends = np.frombuffer(index, np.int64, documents, 34 + 12 * sequences)
    assert len(index) == 34 + 12 * sequences + 8 * documents
    assert ends.tolist() == list(range(sequences + 1))
    data = target.with_name(f"{target.name}.bin").read_bytes()
    return [
        np.frombuffer(data, MEGATRON[kind], length, place)
        for length, place in zip(lengths, places, strict=True)
    ]


@pytest.mark.parametrize(("offset", "dtype"), [(0, np.uint16), (60_000, np.int32)])
def test_megatrons_form(
    cli: Cli, clips: Path, tmp_path: Path, offset: int, dtype: type[np.integer[Any]]
) -> None:
    run = ["pack", clips, "-o", tmp_path / "m", "--format", "megatron", "--eos", 99_999 - offset]
    shown = cli(*run, "--offset", offset)
    if offset == 0:  # the token 99 999 takes four bytes
        dtype = np.int32
    assert_done(shown)
    found = megatron(tmp_path / "m")
    codes = [each for each in coded(clips) if each.size]
    vocabulary = Vocabulary(len(codes[0]), 1024, offset, eos=99_999 - offset)
    for document, each in zip(found, codes, strict=True):
        assert document.dtype == dtype
        np.testing.assert_array_equal(document, layouts.flat(each, vocabulary))


def test_megatrons_own_reader_reads_it(cli: Cli, clips: Path, tmp_path: Path) -> None:
    indexed = pytest.importorskip("megatron.core.datasets.indexed_dataset")
    assert_done(cli("pack", clips, "-o", tmp_path / "m", "--format", "megatron", "--eos", 40_000))
    dataset = indexed.IndexedDataset(str(tmp_path / "m"))
    found = megatron(tmp_path / "m")
    assert len(dataset) == len(found)
    for one, other in zip(dataset, found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("size", "offset", "dtype"), [(16, 0, "uint8"), (16, 250, "uint16"), (1024, 65_000, "uint32")]
)
def test_tokens_take_the_fewest_bytes(tmp_path: Path, size: int, offset: int, dtype: str) -> None:
    codes = small(size)
    packed = pack([("a", codes)], tmp_path / "t", Numbering(offset=offset))
    assert packed.dtype == dtype
    assert stream(tmp_path / "t")[0].min() >= offset


def small(size: int = 16, streams: int = 1, **more: Any) -> Codes:
    codes = encodec_24khz(frames=5)
    info = replace(codes.info, codebook_size=size, streams=streams, channels=streams, **more)
    return replace(codes, info=info, data=np.repeat(codes.data % size, streams, axis=0))


def test_orpheus_has_its_own_offset(tmp_path: Path) -> None:
    codes = small(codebooks=8)
    seven = replace(
        codes,
        info=replace(codes.info, codec="snac-24khz", codebooks=7, codebook_size=4096),
        data=codes.data[:, :7],
    )
    pack([("a", seven)], tmp_path / "t", Numbering("orpheus"))
    tokens, _ = stream(tmp_path / "t")
    np.testing.assert_array_equal(layouts.from_orpheus(tokens), seven.data[0])


def test_what_does_not_go_together_is_refused(cli: Cli, clips: Path, tmp_path: Path) -> None:
    target = tmp_path / "t"
    acomp.write_codes(clips / "9.nac", small(codec="nano-1"))
    assert_refused(cli("pack", clips, "-o", target), "9.nac has the codec nano-1, and")
    (clips / "9.nac").unlink()
    acomp.write_codes(clips / "9.nac", replace(encodec_24khz(), info=other_weights()))
    assert_refused(cli("pack", clips, "-o", target), "pack them apart")
    acomp.write_codes(tmp_path / "two.nac", small(1024, 2, codec="dac"))
    assert_refused(cli("pack", tmp_path / "two.nac", "-o", target), "--channels mono")
    (tmp_path / "broken.nac").write_bytes(b"NAC")
    assert_refused(cli("pack", tmp_path / "broken.nac", "-o", target), "broken.nac")
    assert not [name for name in files_in(tmp_path) if name.startswith((".t", "t."))]


def other_weights() -> Any:
    return replace(encodec_24khz().info, fingerprint="0123456789abcdef")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--eos", 5], "eos is 5, which is a code's"),
        (["--layout", "delayed"], "give pad="),
        (["--layout", "delayed", "--pad", 50_000, "--delays", "1"], "delays are"),
        (["--layout", "delayed", "--pad", 50_000, "--delays", "a,b"], "--delays takes numbers"),
        (["--layout", "parallel", "--eos", 50_000], "eos have no place in the layout parallel"),
        (["--layout", "orpheus"], "frames of 7 codes"),
    ],
)
def test_numberings_that_cannot_be(
    cli: Cli, clips: Path, tmp_path: Path, options: list[object], words: str
) -> None:
    assert_refused(cli("pack", clips, "-o", tmp_path / "t", *options), words)
    assert not (tmp_path / "t.bin").exists() and not (tmp_path / "t.json").exists()


def test_nothing_is_replaced_unasked(cli: Cli, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("mine")
    assert_refused(cli("pack", clips, "-o", tmp_path / "t"), "exists")
    assert (tmp_path / "t.json").read_text() == "mine" and not (tmp_path / "t.bin").exists()
    assert_done(cli("pack", clips, "-o", tmp_path / "t", "--overwrite"))
    assert stream(tmp_path / "t")[1]["documents"] == 2


def test_no_file_of_a_dataset_is_replaced(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 0.2)
    assert_done(cli("tokenize", "a.wav", "-o", "a.codes", "-b", "nano", "-k", "1.5"))
    before = files_in(tmp_path / "a.codes")
    assert_refused(cli("pack", "a.codes", "-o", "a.codes/dataset", "--overwrite"), "dataset.json")
    assert files_in(tmp_path / "a.codes") == before


@pytest.mark.parametrize("name", [".", "..", ""])
def test_a_stream_has_a_name(cli: Cli, clips: Path, name: str) -> None:
    assert_refused(cli("pack", clips, "-o", name), "give the files a name")


def test_a_full_disk_leaves_nothing(cli: Cli, clips: Path, tmp_path: Path) -> None:
    with limited_file_size(400):
        refused = cli("pack", clips, "-o", tmp_path / "t")
    assert_refused(refused, "it would be too large")
    assert {*files_in(tmp_path)} == {f"clips/{number}.nac" for number in range(3)}


def test_there_must_be_something_to_pack(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert_refused(cli("pack", tmp_path / "empty", "-o", tmp_path / "t"), "empty")
    assert_refused(cli("pack", tmp_path / "no.nac", "-o", tmp_path / "t"), "no.nac")
