"""What datasets are made of: tars, Parquet, manifests, recordings that are cut, other places."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from socket import SHUT_RDWR
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import Cli, assert_done, assert_refused, files_in, make, sound

import acomp
from acomp.audio import Audio, write_audio
from acomp.codes import Codes
from acomp.datasets.cutting import Cutting
from acomp.datasets.entries import Entry, Unit
from acomp.datasets.making import Order, tokenize
from acomp.datasets.sources import tars
from acomp.datasets.sources.cutting import units_of
from acomp.datasets.sources.manifests import units_of_manifest
from acomp.settings import Coding


def rows_of(folder: Path, *sources: object, cutting: Cutting | None = None) -> list[acomp.Row]:
    """The rows of a dataset of these sources."""
    order = Order(
        folder / "a.codes",
        tuple(map(str, sources)),
        "nano",
        coding=Coding(1.5),
        cutting=cutting or Cutting(),
    )
    tokenize(order)
    return list(acomp.Dataset(folder / "a.codes"))


def failures_of(folder: Path) -> dict[str, str]:
    path = folder / "a.codes/failures.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return {failure["id"]: failure["reason"] for failure in map(json.loads, lines)}


def entries(units: list[Unit]) -> list[Entry]:
    return [entry for unit in units for entry in unit.entries()]


@pytest.fixture(scope="module")
def nano() -> acomp.Codec:
    import torch

    torch.set_num_threads(1)
    return acomp.load("nano", engine="torch")


def codes_of(nano: acomp.Codec, audio: Audio) -> Codes:
    return nano.encode(audio, bandwidth=1.5)


def make_tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def wav(folder: Path, seconds: float = 0.2) -> bytes:
    return make(folder / "some.wav", seconds).read_bytes()


def test_a_webdataset_gives_its_sidecars_as_columns(tmp_path: Path, nano: acomp.Codec) -> None:
    clip = wav(tmp_path)
    path = make_tar(
        tmp_path / "a.tar",
        {
            "x/one.wav": clip,
            "x/one.json": b'{"speaker": "ada", "frames": 7, "tags": ["a", "b"]}',
            "x/one.txt": b"hello\n",
            "x/two.flac": b"no audio",
            "x/two.cls": b"3",
            "x/three.txt": b"nothing to hear",
            "x/four.wav": clip,
            "x/four.json": b"[",
        },
    )
    (row,) = rows_of(tmp_path, path)
    assert row.id == "x/one"
    assert row.source == f"{path}/x/one.wav"
    assert row.codes == codes_of(nano, acomp.read_audio(tmp_path / "some.wav"))
    assert {k: v for k, v in row.columns.items() if v is not None} == {
        **{"speaker": "ada", "frames_": 7, "tags": '["a", "b"]', "text": "hello"},
    }
    failures = failures_of(tmp_path)
    assert set(failures) == {"x/two", "x/three", "x/four"}
    assert "has no file of audio" in failures["x/three"]
    assert "is not JSON" in failures["x/four"]


def test_a_tar_that_is_cut_short_gives_what_is_whole(tmp_path: Path) -> None:
    clip = wav(tmp_path)
    path = make_tar(tmp_path / "a.tar", {f"{n}.wav": clip for n in range(3)})
    path.write_bytes(path.read_bytes()[: 2 * len(clip) + 2000])
    assert [row.id for row in rows_of(tmp_path, path)] == ["0", "1"]
    assert "cut short" in failures_of(tmp_path)["2"]


@pytest.mark.parametrize("place", ["in a header", "behind a file", "a header of nonsense"])
def test_no_tar_ends_early_in_silence(tmp_path: Path, place: str) -> None:
    """`tarfile` itself sees the end of a tar in each of these."""
    clip = wav(tmp_path)
    tar = bytearray(make_tar(tmp_path / "a.tar", {f"{n}.wav": clip for n in range(3)}).read_bytes())
    second = 512 + -(-len(clip) // 512) * 512
    if place == "a header of nonsense":
        tar[second : second + 512] = b"x" * 512
    else:
        del tar[second + (100 if place == "in a header" else 0) :]
    (tmp_path / "a.tar").write_bytes(tar)
    found = entries(units_of([str(tmp_path / "a.tar")]))
    assert [each.problem is None for each in found] == [True, False]
    assert found[0].id == "0" and "after 0, the tar is damaged" in str(found[1].problem)


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz", "a.tgz"])
def test_a_compressed_tar_is_to_be_unpacked(cli: Cli, tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(gzip.compress(bytes(10_240)))
    assert_refused(cli("tokenize", "in", "-o", "x", "-b", "nano"), f"in/{name}", "gunzip")


def test_a_tar_that_claims_more_than_memory_holds_is_damaged(tmp_path: Path) -> None:
    header = tarfile.TarInfo("a name")
    header.type, header.size = tarfile.XHDTYPE, 1 << 60
    path = tmp_path / "a.tar"
    path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    (found,) = entries(units_of([str(path)]))
    assert "the tar is damaged or cut short: a header claims" in str(found.problem)


def test_a_large_tar_is_cut_into_parts_with_each_sample_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = wav(tmp_path)
    files = {
        f"{n:02}.{kind}": clip if kind == "wav" else b"x"
        for n in range(9)
        for kind in ("txt", "wav")
    }
    path = make_tar(tmp_path / "a.tar", files)
    whole = [entry.id for entry in entries(units_of([str(path)]))]
    for piece in (512, 10_000, 25_000):
        monkeypatch.setattr(tars, "PIECE", piece)
        units = units_of([str(path)])
        assert len(units) > 3
        assert [entry.id for entry in entries(units)] == whole == [f"{n:02}" for n in range(9)]


def test_parquet_with_audio_is_read_as_hugging_face_writes_it(tmp_path: Path) -> None:
    clip = wav(tmp_path)
    make(tmp_path / "beside.wav", 0.3)
    rows = [
        {"audio": {"bytes": clip, "path": "a.wav"}, "text": "hello", "score": 0.5, "n": None},
        {"audio": {"bytes": None, "path": "beside.wav"}, "text": None, "score": 1.0, "n": 2},
        {"audio": None, "text": "nothing", "score": None, "n": None},
        {"audio": {"bytes": None, "path": None}, "text": "no", "score": None, "n": None},
        {"audio": {"bytes": clip, "path": "a.wav"}, "text": "again", "score": 2.0, "n": None},
    ]
    audio = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema(
        [("audio", audio), ("text", pa.string()), ("score", pa.float32()), ("n", pa.int64())]
    )
    path = tmp_path / "train.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema), path, row_group_size=2)
    found = rows_of(tmp_path, path)
    assert [row.id for row in found] == ["a.wav", "beside.wav", "a.wav~2"]
    assert [row.columns["text"] for row in found] == ["hello", None, "again"]
    assert [row.columns["n"] for row in found] == [None, 2, None]
    assert set(failures_of(tmp_path)) == {"train/2", "train/3"}


def test_sources_that_hold_nothing_are_refused(cli: Cli, tmp_path: Path) -> None:
    audio = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"audio": pa.array([], audio)}), tmp_path / "a.parquet")
    (tmp_path / "b.tar").write_bytes(bytes(10240))
    (tmp_path / "c.jsonl").touch()
    for number, name in enumerate(("a.parquet", "b.tar", "c.jsonl")):
        run = cli("tokenize", tmp_path / name, "-o", tmp_path / f"{number}", "-b", "nano")
        assert_refused(run, "there are no recordings in the sources")


def test_rows_without_a_name_get_one_of_their_place(tmp_path: Path) -> None:
    line = {"audio_filepath": str(make(tmp_path / "x.wav", 0.3))}
    lines = [json.dumps(line | {"id": own}) for own in ("", None, 7, "own")]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    found = entries(units_of_manifest(str(tmp_path / "a.jsonl")))
    path = line["audio_filepath"]
    assert [each.id for each in found] == [path, f"{path}~2", "7", "own"]


def test_parquet_without_audio_is_refused(cli: Cli, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    run = cli("tokenize", "a.parquet", "-o", "x", "-b", "nano")
    assert_refused(run, "no column of audio")
    named = pa.struct([("bytes", pa.binary()), ("path", pa.int64())])
    pq.write_table(pa.table({"a": pa.array([{"path": 1}], named)}), tmp_path / "a.parquet")
    assert_refused(cli("tokenize", "a.parquet", "-o", "x", "-b", "nano"), "no column of audio")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and then nothing")
    assert_refused(cli("tokenize", "a.parquet", "-o", "x", "-b", "nano"), "cannot read a.parquet")


def test_a_manifest_of_nemo_names_stretches(tmp_path: Path, nano: acomp.Codec) -> None:
    audio = sound(2.0)
    write_audio(tmp_path / "long.wav", audio)
    audio = acomp.read_audio(tmp_path / "long.wav")
    lines = [
        {"audio_filepath": "long.wav", "offset": 0.25, "duration": 0.5, "text": "a", "lang": "en"},
        {"audio_filepath": "long.wav", "offset": 0.5, "duration": 0.25, "text": "b"},
        {"audio_filepath": "long.wav", "offset": 1.5, "duration": 9, "new": {"x": 1}},
        {"audio_filepath": "long.wav", "offset": 2.5, "duration": 1},
        {"audio_filepath": "gone.wav", "duration": 1},
        {"audio_filepath": "long.wav", "offset": -1},
        {"text": "no file"},
    ]
    text = "\n".join(map(json.dumps, lines)) + "\n{\n\n"
    (tmp_path / "m.jsonl").write_text(text)
    found = rows_of(tmp_path, tmp_path / "m.jsonl")
    rate = audio.sample_rate
    for row, (begin, end) in zip(found, [(0.25, 0.75), (0.5, 0.75), (1.5, 2.0)], strict=True):
        samples = audio.samples[:, round(begin * rate) : round(end * rate)]
        assert row.codes == codes_of(nano, Audio(samples, rate))
        assert row.start == begin
    assert [row.id for row in found] == ["long.wav@0.25", "long.wav@0.5", "long.wav@1.5"]
    assert found[0].columns["lang"] == "en"
    assert found[2].columns["new"] == '{"x": 1}'
    reasons = " ".join(failures_of(tmp_path).values())
    for word in ("ends before 2.5 s", "gone.wav", "offset is -1", "audio_filepath", "not JSON"):
        assert word in reasons


def test_cuts_and_recordings_of_lhotse_are_read(tmp_path: Path, nano: acomp.Codec) -> None:
    write_audio(tmp_path / "two.wav", sound(1.0, channels=2))
    audio = acomp.read_audio(tmp_path / "two.wav")
    recording = {
        "id": "rec",
        "sources": [{"type": "file", "channels": [0, 1], "source": str(tmp_path / "two.wav")}],
        "sampling_rate": 24_000,
        "num_samples": 24_000,
        "duration": 1.0,
    }
    supervision = {"id": "s", "text": "hello", "speaker": "ada", "language": "en"}
    cut = {
        "id": "cut",
        "start": 0.5,
        "duration": 0.25,
        "channel": 1,
        "supervisions": [supervision],
        "recording": recording,
        "custom": {"snr": 12.5},
        "type": "MonoCut",
    }
    command = {**recording, "sources": [{"type": "command", "source": "touch x", "channels": [0]}]}
    lines = [cut, recording, {**cut, "tracks": []}, {**cut, "id": "bad", "recording": command}]
    with gzip.open(tmp_path / "cuts.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    found = rows_of(tmp_path, tmp_path / "cuts.jsonl.gz")
    assert [row.id for row in found] == ["cut", "rec"]
    assert found[0].codes == codes_of(nano, Audio(audio.samples[1:, 12_000:18_000], 24_000))
    said = {k: v for k, v in found[0].columns.items() if v is not None}
    assert said == {"text": "hello", "speaker": "ada", "language": "en", "snr": 12.5}
    assert found[1].codes == codes_of(nano, audio)
    reasons = " ".join(failures_of(tmp_path).values())
    assert "mixes others" in reasons and "only files are read" in reasons


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_a_manifest_is_cut_without_being_kept(tmp_path: Path, suffix: str) -> None:
    import tracemalloc

    path = tmp_path / f"m.{suffix}"
    opened: Any = (
        gzip.open(path, "wt", compresslevel=1)  # noqa: SIM115
        if suffix.endswith("gz")
        else path.open("w")
    )
    with opened as file:
        file.writelines(f'{{"audio_filepath": "{n:07}.wav"}}\n' for n in range(100_000))
    tracemalloc.start()
    units = units_of_manifest(str(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5e6
    assert [entry.id for entry in units[-1].entries()][-1] == "0099999.wav"
    some = [*units[3].entries(), *units[4].entries()]
    size = len(some) // 2
    assert [entry.id for entry in some] == [f"{n:07}.wav" for n in range(3 * size, 5 * size)]


def test_lines_that_are_too_long_cost_no_other(tmp_path: Path) -> None:
    """However they fall on the pieces that are read."""
    lines = []
    for number, length in enumerate((65_536, 65_537, 131_073, 131_074)):
        lines += ["x" * length, json.dumps({"audio_filepath": f"{number}.wav"})]
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    found = entries(units_of([str(tmp_path / "m.jsonl")]))
    good = [each.id for each in found if each.problem is None]
    assert (len(found), good) == (8, ["0.wav", "1.wav", "2.wav", "3.wav"])


def test_what_json_can_hold_and_a_dataset_cannot_costs_that_alone(tmp_path: Path) -> None:
    clip = make(tmp_path / "a.wav", 0.2)
    lines: list[dict[str, Any]] = [
        {"audio_filepath": clip.name, "id": "half", "\ud800": 1},
        {"audio_filepath": clip.name, "id": "two", "codes": 1, "codes_": 2},
        {"id": "own", "sources": [{"type": "file", "source": clip.name}], "custom": {"id": "b"}},
        *({"audio_filepath": name} for name in ("\ud800.wav", "a" * 5000, "b\0.wav", "/dev/zero")),
    ]
    lines += [{"audio_filepath": clip.name, "id": f"{n}", "late": n} for n in range(20)]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, lines)))
    found = {row.id: row.columns for row in rows_of(tmp_path, tmp_path / "m.jsonl")}
    assert found["half"]["\\ud800"] == 1
    assert (found["two"]["codes_"], found["two"]["others"]) == (1, '{"codes_": 2}')
    assert found["own"]["id_"] == "b"
    assert found["19"]["late"] == 19, "the first hundred entries say which columns there are"
    assert len(failures_of(tmp_path)) == 4


@pytest.mark.parametrize("name", ["a.wav", "a.tar", "a.parquet", "a.jsonl"])
def test_a_pipe_is_not_waited_for(cli: Cli, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    run = cli("tokenize", name, "-o", "x", "-b", "nano")
    (tmp_path / name).unlink()
    if name == "a.wav":
        assert_refused(run, "none of the recordings")
        assert "a pipe" in (tmp_path / "x/failures.jsonl").read_text()
    else:
        assert_refused(run, f"cannot read {name}: it is a pipe or a device")


def test_recordings_are_cut_by_seconds(tmp_path: Path, nano: acomp.Codec) -> None:
    make(tmp_path / "long.wav", 2.2)
    make(tmp_path / "short.wav", 0.2)
    audio = acomp.read_audio(tmp_path / "long.wav")
    sources = tmp_path / "long.wav", tmp_path / "short.wav"
    found = rows_of(tmp_path, *sources, cutting=Cutting(1.0, least=0.3))
    assert [row.id for row in found] == ["long.wav#0", "long.wav#1"]
    assert [row.start for row in found] == [0.0, 1.0]
    assert found[1].codes == codes_of(nano, Audio(audio.samples[:, 24_000:48_000], 24_000))
    assert not failures_of(tmp_path)


def test_short_recordings_are_left_out_of_what_is_not_cut(tmp_path: Path) -> None:
    sources = make(tmp_path / "long.wav", 0.4), make(tmp_path / "short.wav", 0.2)
    found = rows_of(tmp_path, *sources, cutting=Cutting(least=0.3))
    assert [row.id for row in found] == ["long.wav"]
    assert not failures_of(tmp_path)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_pieces_have_a_length(seconds: float) -> None:
    for make_one in (Cutting, lambda given: Cutting(most=given)):
        with pytest.raises(acomp.AcompError, match=r"give 0\.1 to"):
            make_one(seconds)
    if seconds:
        with pytest.raises(acomp.AcompError, match="give 0 to"):
            Cutting(least=seconds)


def test_recordings_are_cut_where_somebody_speaks(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("silero_vad")
    speech = acomp.read_audio(Path(acomp.__file__).parent / "samples/speech.flac")
    silence = np.zeros((1, 3 * speech.sample_rate), np.float32)
    parts = [silence, speech.samples, silence, silence, speech.samples, silence]
    write_audio(tmp_path / "talk.wav", Audio(np.concatenate(parts, axis=1), speech.sample_rate))
    run = cli(
        *("tokenize", "talk.wav", "-o", "x", "-b", "nano", "--segment", "vad"),
        *("--max-duration", 5),
    )
    assert_done(run)
    found = list(acomp.Dataset(tmp_path / "x"))
    assert len(found) == 2
    for row, begin in zip(found, (3.0, 3 + speech.duration + 6), strict=True):
        assert begin - 0.1 < row.start < begin + 1
        assert row.start + row.codes.duration < begin + speech.duration + 0.2


def test_folders_of_tars_and_several_kinds_of_sources_go_together(tmp_path: Path) -> None:
    clip = wav(tmp_path)
    (tmp_path / "shards").mkdir()
    make_tar(tmp_path / "shards/0.tar", {"a.wav": clip, "a.cls": b"1"})
    make_tar(tmp_path / "shards/1.tar", {"b.wav": clip, "b.cls": b"x"})
    found = rows_of(tmp_path, tmp_path / "shards", tmp_path / "some.wav")
    assert [row.id for row in found] == ["some.wav", "a", "b"]
    assert [row.columns["cls"] for row in found] == [None, "1", "x"]


@dataclass
class S3:
    """What a server of S3 is to do; all are ends of paths.

    Attributes:
        broken: what is answered with an error.
        cut: where the connection ends before the answer.
        asked: paths that were asked for, whole.
    """

    broken: set[str] = field(default_factory=set)
    cut: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3]:
    """A server of S3 on this machine, with three clips, a tar, and a manifest that names a clip and
    one that is not there.
    """
    moto = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    import fsspec
    from s3fs import S3FileSystem
    from werkzeug.serving import make_server

    state = S3()
    s3 = moto.DomainDispatcherApplication(moto.create_backend_app)

    def answer(request: dict[str, Any], start: Any) -> Any:
        path = request["PATH_INFO"]
        state.asked.add(path)
        if path.endswith(tuple(state.cut)):
            request["werkzeug.socket"].shutdown(SHUT_RDWR)
        if not path.endswith(tuple(state.broken)):
            return s3(request, start)
        start("503 Service Unavailable", [("Content-Type", "application/xml")])
        return [b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"]

    server = make_server("127.0.0.1", 0, answer, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "a")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_MAX_ATTEMPTS", "1")
            patch.setenv("AWS_EC2_METADATA_DISABLED", "true")  # another place of credentials
            patch.setenv("AWS_SHARED_CREDENTIALS_FILE", f"{folder}/none")
            patch.setattr(S3FileSystem, "retries", 1)
            fill_bucket(fsspec.filesystem("s3"), Path(folder))
            yield state
    finally:
        server.shutdown()
        thread.join()


def fill_bucket(system: Any, folder: Path) -> None:
    system.mkdir("corpus")
    clip = wav(folder)
    make_tar(folder / "a.tar", {"a.wav": clip, "a.txt": b"hello"})
    for name in ("one", "two", "three"):
        system.pipe(f"corpus/clips/{name}.wav", clip)
    system.pipe("corpus/tars/a.tar", (folder / "a.tar").read_bytes())
    lines = [{"audio_filepath": "clips/one.wav", "duration": 0.1}, {"audio_filepath": "gone.wav"}]
    system.pipe("corpus/m.jsonl", "\n".join(map(json.dumps, lines)).encode())


@pytest.fixture
def s3(s3_server: S3) -> Iterator[S3]:
    yield s3_server
    s3_server.broken.clear()
    s3_server.cut.clear()


@pytest.mark.usefixtures("s3_server")
def test_sources_are_read_from_s3(tmp_path: Path) -> None:
    found = rows_of(tmp_path, *(f"s3://corpus/{name}" for name in ("clips/", "tars/", "m.jsonl")))
    assert [row.id for row in found] == ["one.wav", "three.wav", "two.wav", "a", "clips/one.wav"]
    assert [round(row.codes.duration, 3) for row in found] == [0.2, 0.2, 0.2, 0.2, 0.1]
    assert found[0].sha256 == found[-1].sha256
    gone = "cannot read s3://corpus/gone.wav: there is no such file"
    assert failures_of(tmp_path) == {"gone.wav": gone}


@pytest.mark.usefixtures("s3_server")
def test_a_dataset_from_s3_differs_from_a_local_one_in_the_names_of_its_sources(
    tmp_path: Path,
) -> None:
    import fsspec

    fsspec.filesystem("s3").get("corpus/clips", str(tmp_path / "clips"), recursive=True)
    found = []
    for name, source in (("s3", "s3://corpus/clips/"), ("local", str(tmp_path / "clips"))):
        tokenize(Order(tmp_path / name, (source,), "nano", coding=Coding(1.5)))
        made = json.loads((tmp_path / name / "dataset.json").read_text())
        assert made.pop("sources") == [source]
        del made["plan"]  # a check of which file is in which part
        table = pq.read_table(tmp_path / name / "part-00000.parquet")
        found.append((made, table.drop_columns(["source"]).to_pylist()))
    assert found[0] == found[1]


def test_errors_of_s3_cost_what_they_hit_and_retry_takes_it(s3: S3, tmp_path: Path) -> None:
    sources = ("s3://corpus/clips/", "s3://corpus/tars/")
    whole, order = (
        Order(tmp_path / name, sources, "nano", coding=Coding(1.5)) for name in ("whole", "a.codes")
    )
    tokenize(whole)
    s3.broken.add("clips/two.wav")
    s3.cut.add("clips/three.wav")
    tokenize(order)
    failures = failures_of(tmp_path)
    assert list(failures) == ["three.wav", "two.wav"]
    for name, reason in failures.items():
        assert reason.startswith(f"cannot read s3://corpus/clips/{name}: ")
    assert "Connection was closed" in failures["three.wav"]
    s3.broken.clear()
    s3.cut.clear()
    s3.asked.clear()
    tokenize(order, retry=True)
    assert "/corpus/clips/two.wav" in s3.asked
    assert "/corpus/clips/one.wav" not in s3.asked
    assert files_in(tmp_path / "a.codes") == files_in(tmp_path / "whole")


def test_a_tar_on_s3_that_cannot_be_read_ends_the_run_and_it_goes_on_later(
    s3: S3, tmp_path: Path
) -> None:
    sources = ("s3://corpus/clips/", "s3://corpus/tars/")
    whole, order = (
        Order(tmp_path / name, sources, "nano", coding=Coding(1.5)) for name in ("whole", "a.codes")
    )
    tokenize(whole)
    with pytest.raises(acomp.AcompError, match=r"cannot read s3://corpus/tars/a\.tar: "):
        tokenize(order, tell=lambda _: s3.broken.add("a.tar"))
    s3.broken.clear()
    tokenize(order)
    assert files_in(tmp_path / "a.codes") == files_in(tmp_path / "whole")


@pytest.mark.usefixtures("s3_server")
def test_what_s3_has_not_or_does_not_give_is_refused_in_a_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    def refused(source: str, *words: str, output: str = "x") -> None:
        assert_refused(cli("tokenize", source, "-o", output, "-b", "nano"), *words)
        assert not list(tmp_path.glob("*x*"))

    refused("s3://corpus/none.tar", "cannot read s3://corpus/none.tar")
    refused("s3://gone/clips/", "cannot read s3://gone/clips/", "bucket does not exist")
    refused("s3://corpus/clips/", "made in a folder", "s3:/corpus/x", output="s3://corpus/x")
    assert not (tmp_path / "s3:").exists()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    S3FileSystem.clear_instance_cache()
    refused("s3://corpus/clips/", "cannot read s3://corpus/clips/", "Unable to locate credentials")
    S3FileSystem.clear_instance_cache()


def test_addresses_are_read_by_fsspec(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    fsspec.filesystem("memory").pipe("/clips/one.wav", wav(tmp_path))
    (row,) = rows_of(tmp_path, "memory://clips/")
    assert row.id == "one.wav"
    assert row.codes.duration == 0.2


def test_a_source_that_vanishes_costs_nothing_that_was_done(cli: Cli, tmp_path: Path) -> None:
    clip = wav(tmp_path)
    for number in range(2):
        make_tar(tmp_path / f"{number}.tar", {f"{n}.wav": clip for n in range(3)})
    order = ("tokenize", "0.tar", "1.tar", "-b", "nano", "-o")
    assert_done(cli(*order, "whole"))
    assert_done(cli(*order, "x", "--shard", "1/2"))
    (tmp_path / "1.tar").rename(tmp_path / "away.tar")
    assert_refused(cli(*order, "x"), "1.tar", "no such file")
    (tmp_path / "away.tar").rename(tmp_path / "1.tar")
    assert_done(cli(*order, "x"))
    assert files_in(tmp_path / "x") == files_in(tmp_path / "whole")
