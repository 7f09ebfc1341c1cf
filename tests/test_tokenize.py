"""Datasets of codes: however they are made, they are the same to the last byte."""

from __future__ import annotations

import io
import json
import os
import pickle
import signal
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar, cast

import numpy as np
import pytest
from commands import (
    Cli,
    Process,
    assert_done,
    assert_refused,
    assert_same_sound,
    assert_wrong_usage,
    files_in,
    limited_file_size,
    make,
    sound,
    start,
)

import acomp
from acomp.audio import write_audio
from acomp.datasets import parts
from acomp.datasets.sources.files import unique

T = TypeVar("T")
NANO = ("-b", "nano", "-k", 1.5)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty short clips of three rates, some of two channels, and two files that are no audio."""
    folder = tmp_path_factory.mktemp("clips")
    for number in range(38):
        rate = (16_000, 24_000, 44_100)[number % 3]
        inner = folder / ("one" if number % 2 else "two")
        inner.mkdir(exist_ok=True)
        make(inner / f"{number:02}.wav", 0.1 + 0.01 * number, rate, 1 + (number % 5 == 0))
    (folder / "broken.flac").write_bytes(b"fLaC" + bytes(100))
    (folder / "empty.wav").write_bytes(b"")
    return folder


@pytest.fixture(scope="session")
def whole(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the dataset of the clips, made in one go by one process."""
    folder = tmp_path_factory.mktemp("whole") / "a.codes"
    order(clips, folder)
    return files_in(folder)


def order(source: Path, folder: Path, **more: object) -> None:
    from acomp.datasets.making import Order, tokenize
    from acomp.settings import Coding

    tokenize(Order(folder, (str(source),), "nano", coding=Coding(1.5)), **more)  # type: ignore[arg-type]


def put(files: dict[str, bytes], folder: Path) -> Path:
    """A dataset of these files."""
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def test_a_dataset_is_the_same_by_shards(
    cli: Cli, clips: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    shards = tmp_path / "shards"
    assert_done(cli("tokenize", clips, "-o", shards, *NANO, "--shard", "2/2"))
    assert json.loads((shards / "dataset.json").read_text())["finished"] is False
    run = cli("tokenize", clips, "-o", shards, *NANO, "--shard", "1/2", "--json")
    assert_done(run)
    assert files_in(shards) == whole
    events = [json.loads(line) for line in run.out.splitlines()]
    assert [event["event"] for event in events] == ["part"] * 2 + ["end"]
    assert events[-1]["rows"] == 38
    assert events[-1]["failures"] == 2


def test_a_killed_run_and_a_killed_worker_cost_nothing_that_was_done(
    clips: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    folder = tmp_path / "a.codes"
    run = start(tmp_path, "tokenize", clips, "-o", folder, *NANO)
    first = wait_for(lambda: list(folder.glob("part-*.parquet")), run)
    os.kill(run.pid, signal.SIGKILL)
    run.communicate()
    kept = first[0].stat().st_ino
    killer = Thread(target=kill_a_worker)
    killer.start()
    order(clips, folder, workers=2)
    killer.join()
    assert files_in(folder) == whole
    assert first[0].stat().st_ino == kept


def kill_a_worker() -> None:
    """Kill the first process that this one starts to work for it."""
    while not (found := workers_of(os.getpid())):
        time.sleep(0.01)
    os.kill(found[0], signal.SIGKILL)


def wait_for(look: Callable[[], list[T]], run: Process) -> list[T]:
    while not (found := look()):
        assert run.poll() is None
        time.sleep(0.01)
    return found


def workers_of(parent: int) -> list[int]:
    """Processes that work for a run, but for the one that tracks what they share."""
    found = []
    for task in Path(f"/proc/{parent}/task").iterdir():
        with suppress(OSError):  # a thread or a process that has just ended
            for child in (task / "children").read_text().split():
                if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
                    found.append(int(child))
    return found


def test_a_full_disk_ends_in_a_line_and_the_run_goes_on_later(
    cli: Cli, clips: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    folder = put({k: v for k, v in whole.items() if "00001" not in k}, tmp_path / "a.codes")
    before = files_in(folder)
    with limited_file_size(1000):
        run = cli("tokenize", clips, "-o", folder, *NANO)
    assert_refused(run, "part-00001.parquet", "it would be too large")
    assert files_in(folder) == before
    assert_done(cli("tokenize", clips, "-o", folder, *NANO))
    assert files_in(folder) == whole


def test_retry_takes_only_what_failed(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "clips"
    source.mkdir()
    for name in "abc":
        make(source / f"{name}.wav", 0.2)
    good = (source / "b.wav").read_bytes()
    (source / "b.wav").write_bytes(good[:20])
    run = cli("tokenize", "clips", "-o", "x", *NANO)
    assert_done(run)
    assert "1 of the recordings could not be coded" in run.err
    failure = json.loads((tmp_path / "x/failures.jsonl").read_text())
    assert failure["id"] == "b.wav"
    assert "b.wav" in failure["reason"]
    (source / "b.wav").write_bytes(good)
    (source / "a.wav").write_bytes(b"no longer audio, and not looked at")
    assert_done(cli("tokenize", "clips", "-o", "x", *NANO, "--retry"))
    assert not (tmp_path / "x/failures.jsonl").exists()
    make(source / "a.wav", 0.2)
    assert_done(cli("tokenize", "clips", "-o", "y", *NANO))
    assert files_in(tmp_path / "x") == files_in(tmp_path / "y")


def test_rows_are_the_codes_that_encode_gives(
    clips: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    import torch

    dataset = acomp.Dataset(put(whole, tmp_path / "a.codes"))
    torch.set_num_threads(1)
    nano = acomp.load("nano", engine="torch")
    assert len(dataset) == len(dataset.ids) == 38
    for row in (dataset[0], dataset[-1], dataset.by_id("two/20.wav")):
        assert row.codes == nano.encode(acomp.read_audio(clips / row.id), bandwidth=1.5)
        assert row.source == str(clips / row.id)
    assert [row.id for row in dataset] == dataset.ids
    assert [row.id for row in dataset[3:5]] == dataset.ids[3:5]
    with pytest.raises(IndexError):
        dataset[38]
    with pytest.raises(acomp.FormatError, match="no row 'x'"):
        dataset.by_id("x")


def test_segments_with_scales_come_back(encodec_48khz: Path, tmp_path: Path) -> None:
    from acomp.datasets.making import Order, tokenize
    from acomp.settings import Coding, Running

    write_audio(tmp_path / "a.wav", sound(1.3, 48_000, 2))
    running = Running(encodec_48khz, engine="torch")
    folder = tmp_path / "a.codes"
    source = (str(tmp_path / "a.wav"),)
    tokenize(Order(folder, source, "encodec", running, Coding(3, channels="stereo")))
    codec = acomp.load("encodec-48khz", weights=encodec_48khz, engine="torch")
    expected = codec.encode(acomp.read_audio(tmp_path / "a.wav"), bandwidth=3)
    codes = acomp.Dataset(folder)[0].codes
    assert codes.segments is not None
    assert codes == expected


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_torch_loader_reads_it_in_processes(
    whole: dict[str, bytes], tmp_path: Path, method: str
) -> None:
    from torch.utils.data import DataLoader

    dataset: Any = acomp.Dataset(put(whole, tmp_path / "a.codes"))
    assert dataset[5].id == dataset.ids[5]  # a file is open in this process
    loader: Any = DataLoader(
        cast(Any, dataset),
        batch_size=7,
        num_workers=1 + (method == "fork"),
        collate_fn=ids_of,
        multiprocessing_context=method,
    )
    assert [identity for batch in loader for identity in batch] == dataset.ids
    assert len(pickle.dumps(dataset)) < 4000


def ids_of(rows: list[acomp.Row]) -> list[str]:
    return [row.id for row in rows]


def test_a_row_takes_reading_one_row_group(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "GROUP_CODES", 100)
    order(clips, tmp_path / "a.codes")
    dataset = acomp.Dataset(tmp_path / "a.codes")
    file = dataset._reader._file(0)
    assert file.metadata.num_row_groups > 5
    assert [dataset[number].id for number in range(38)] == dataset.ids
    taken: list[int] = []
    read = file.read_row_group
    monkeypatch.setattr(file, "read_row_group", partial(noting, taken, read))
    dataset[9]
    assert len(taken) == 1


def noting(taken: list[int], read: Callable[..., Any], group: int, **more: Any) -> Any:
    taken.append(group)
    return read(group, **more)


def test_a_row_can_be_heard(cli: Cli, clips: Path, whole: dict[str, bytes], tmp_path: Path) -> None:
    put(whole, tmp_path / "a.codes")
    assert_done(cli("decode", "a.codes", "--id", "one/07.wav", "-o", "x.wav"))
    assert_done(cli("encode", clips / "one/07.wav", "x.nac", *NANO, "--engine", "torch"))
    assert_done(cli("decode", "x.nac", "y.wav"))
    assert_same_sound(tmp_path / "x.wav", tmp_path / "y.wav")
    assert_refused(cli("decode", "a.codes", "--id", "z", "-o", "z.wav"), "no row 'z'")
    assert_wrong_usage(cli("decode", "a.codes", "--id", "one/07.wav"), "-o")
    assert_refused(cli("decode", "a.codes", "-o", "z.wav"), "a.codes is a dataset", "--id")


def test_info_sums_it_up(cli: Cli, whole: dict[str, bytes], tmp_path: Path) -> None:
    put(whole, tmp_path / "a.codes")
    run = cli("info", "a.codes")
    assert_done(run)
    assert "nano-2 (weights a12d17611d04b8f4)" in run.out
    assert "38 rows" in run.out
    (tmp_path / "a.codes/part-00001.parquet").unlink()
    facts = json.loads(cli("info", "--json", "a.codes").out)
    assert (facts["missing"], facts["finished"], facts["failures"]) == (1, False, 2)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-b", "nano", "-k", 6), ("codebooks 3", "this is 12")),
        ((*NANO, "--channels", "mono"), ("channels auto", "this is mono")),
        ((*NANO, "--weights", "other.safetensors"), ("fingerprint a12d17611d04b8f4",)),
    ],
)
def test_a_dataset_of_other_settings_is_not_mixed_with(
    cli: Cli,
    clips: Path,
    whole: dict[str, bytes],
    tmp_path: Path,
    options: tuple[object, ...],
    words: tuple[str, ...],
) -> None:
    other_weights(tmp_path / "other.safetensors")
    folder = put(whole, tmp_path / "a.codes")
    assert_refused(cli("tokenize", clips, "-o", folder, *options), "another dataset", *words)
    assert files_in(folder) == whole


def other_weights(path: Path) -> None:
    from safetensors import safe_open
    from safetensors.numpy import save_file

    own = Path(acomp.__file__).parent / "backends/nano/nano_2.safetensors"
    with safe_open(own, "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        metadata = file.metadata()
    first = next(iter(tensors))
    tensors[first] = tensors[first] * np.float32(0.5)
    save_file(tensors, path, metadata)


def test_a_folder_is_the_same_with_a_slash_behind_it(
    cli: Cli, clips: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    put(whole, tmp_path / "a.codes")
    assert_done(cli("tokenize", f"{clips}/", "-o", "a.codes", *NANO))
    assert files_in(tmp_path / "a.codes") == whole


def test_a_dataset_in_its_own_source_is_gone_on_with(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    make(tmp_path / "a.wav", 0.2)
    line = json.dumps({"audio_filepath": str(tmp_path / "a.wav")})
    (tmp_path / "shards/m.jsonl").write_text(line)
    for _ in range(2):
        assert_done(cli("tokenize", "shards", "-o", "shards/../shards/a.codes", *NANO))
    assert len(acomp.Dataset(tmp_path / "shards/a.codes")) == 1


def test_other_recordings_are_another_dataset(
    cli: Cli, clips: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    folder = put(whole, tmp_path / "a.codes")
    run = cli("tokenize", clips / "one", "-o", folder, *NANO)
    assert_refused(run, "another dataset", "sources")


def test_what_cannot_begin_is_refused_in_a_line(cli: Cli, clips: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a.txt").write_text("mine")
    assert_refused(cli("tokenize", "empty", "-o", "x", *NANO), "no audio files in empty")
    assert_refused(cli("tokenize", "none.wav", "-o", "x", *NANO), "none.wav", "no such file")
    assert_refused(cli("tokenize", clips, "-o", "full", *NANO), "full holds other files")
    assert_refused(cli("tokenize", clips / "empty.wav", "-o", "x", *NANO), "none of the recordings")
    assert_wrong_usage(cli("tokenize", clips, "-o", "x", *NANO, "--shard", "0/4"), "from 1 to N")


@pytest.mark.parametrize("name", ["dataset.json", "part-00001.parquet"])
def test_a_damaged_dataset_is_refused_in_a_line(
    cli: Cli, whole: dict[str, bytes], tmp_path: Path, name: str
) -> None:
    folder = put(whole, tmp_path / "a.codes")
    for size in (0, 4, len(whole[name]) // 2, len(whole[name]) - 5):
        (folder / name).write_bytes(whole[name][:size])
        assert_refused(cli("info", folder), name)
        assert_refused(cli("decode", folder, "--id", "one/07.wav", "-o", "x.wav"), name)


@pytest.mark.parametrize(
    ("name", "value"), [("parts", 0), ("parts", 10**12), ("rows", 3), ("columns", {"a": [1]})]
)
def test_a_description_that_cannot_be_is_refused(
    whole: dict[str, bytes], tmp_path: Path, name: str, value: object
) -> None:
    folder = put(whole, tmp_path / "a.codes")
    facts = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**facts, name: value}))
    with pytest.raises(acomp.FormatError, match=name):
        acomp.Dataset(folder)


def test_damaged_pages_are_said_by_whatever_reads_them(
    cli: Cli, clips: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    folder = put(whole, tmp_path / "a.codes")
    for path in folder.glob("part-*"):
        data = path.read_bytes()
        path.write_bytes(data[:4] + bytes(400) + data[404:])
    dataset = acomp.Dataset(folder)
    for read in (lambda: dataset.ids, lambda: dataset[0], lambda: list(dataset)):
        with pytest.raises(acomp.FormatError, match="is damaged"):
            read()
    run = cli("tokenize", clips, "-o", folder, *NANO, "--retry")
    assert_refused(run, "is damaged", "remove it")


def test_codes_out_of_range_are_refused(whole: dict[str, bytes], tmp_path: Path) -> None:
    folder = put(whole, tmp_path / "a.codes")
    described = json.loads(whole["dataset.json"])
    (folder / "dataset.json").write_text(json.dumps({**described, "codebook_size": 512}))
    with pytest.raises(acomp.FormatError, match="out of range"):
        list(acomp.Dataset(folder))


def test_ids_that_are_the_same_get_a_number() -> None:
    assert list(unique(iter(["a", "a", "b", "a~2", "a"]))) == ["a", "a~2", "b", "a~2~2", "a~3"]


def test_what_a_source_says_is_not_lost_in_webdataset(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 0.2)
    line = {"audio_filepath": "a.wav", "codec": "opus", "text": "hi"}
    (tmp_path / "m.jsonl").write_text(json.dumps(line))
    assert_done(cli("tokenize", "m.jsonl", "-o", "a.codes", *NANO, "--to", "webdataset"))
    with tarfile.open(tmp_path / "a.codes/webdataset/shard-00000.tar") as tar:
        facts = json.loads(cast(Any, tar.extractfile("000000000.json")).read())
    assert (facts["codec"], facts["codec_"], facts["text"]) == ("nano-2", "opus", "hi")


@pytest.mark.parametrize("form", ["nac", "webdataset"])
def test_a_dataset_is_written_in_other_forms_too(
    cli: Cli, clips: Path, whole: dict[str, bytes], tmp_path: Path, form: str
) -> None:
    folder = put(whole, tmp_path / "a.codes")
    assert_done(cli("tokenize", clips, "-o", folder, *NANO, "--to", form))
    row = acomp.Dataset(folder)[3]
    files = files_in(folder / form)
    if form == "nac":
        assert len(files) == 38
        name = f"000000003-{row.id.replace('/', '_').replace('.', '_')}.nac"
        assert acomp.read_codes(folder / form / name) == row.codes
        return
    (data,) = files.values()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert len(tar.getnames()) == 76
        codes = np.load(io.BytesIO(contents(tar, "000000003.npy")))
        facts = json.loads(contents(tar, "000000003.json"))
    assert np.array_equal(codes, row.codes.data.reshape(-1, row.codes.frames))
    assert (facts["id"], facts["codec"], facts["source"]) == (row.id, "nano-2", row.source)


def contents(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()


def read_by_datasets(folder: Path) -> Any:
    import datasets

    cache = str(folder.parent / "cache")
    parts = str(folder / "*.parquet")
    return datasets.load_dataset("parquet", data_files=parts, split="train", cache_dir=cache)[3][
        "codes"
    ]


def read_by_pyarrow(folder: Path) -> Any:
    import pyarrow.dataset

    files = sorted(map(str, folder.glob("*.parquet")))
    return pyarrow.dataset.dataset(files).to_table(columns=["codes"])["codes"][3].as_py()


def read_by_polars(folder: Path) -> Any:
    import polars

    return polars.scan_parquet(folder / "*.parquet").collect()["codes"][3].to_list()


def read_by_duckdb(folder: Path) -> Any:
    import duckdb

    query = f"select codes from '{folder}/*.parquet' where id = 'one/07.wav'"
    return duckdb.connect().execute(query).fetchall()[0][0]


READERS: dict[str, Callable[[Path], Any]] = {
    "datasets": read_by_datasets,
    "pyarrow": read_by_pyarrow,
    "polars": read_by_polars,
    "duckdb": read_by_duckdb,
}


@pytest.mark.parametrize("package", READERS)
def test_other_programs_read_it(package: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    pytest.importorskip(package)
    folder = put(whole, tmp_path / "a.codes")
    dataset = acomp.Dataset(folder)
    row = dataset.by_id("one/07.wav") if package == "duckdb" else dataset[3]
    assert READERS[package](folder) == row.codes.data.reshape(-1, row.codes.frames).tolist()
