"""`acomp eval`: real files, true sizes, and a run that goes on where it stopped."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import time
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from commands import (
    Cli,
    Process,
    assert_done,
    assert_refused,
    assert_wrong_usage,
    files_in,
    finish,
    make,
    start,
)
from hypothesis import given, strategies as st
from results_folder import make_results

from acomp.analysis.usage import code_counts, perplexity, utilisation
from acomp.audio import Audio, read_audio, write_audio
from acomp.backends import load
from acomp.errors import AcompError
from acomp.evaluation.metrics import METRICS, fast
from acomp.evaluation.results import Results, folder_name, open_results
from acomp.evaluation.rows import columns, read_rows, write_rows
from acomp.evaluation.settings import parse_setting, short_labels
from acomp.evaluation.summary import count_usage, summarise
from acomp.formats import read_codes
from acomp.metrics import si_sdr

SAMPLES = Path(str(files("acomp") / "samples"))
NO_SPEECH = ("--content", "other")
"""What tells speech, and the metrics of speech, take most of a short run."""
QUICK = (*NO_SPEECH, "--metrics", "si_sdr")
TIMES = ("encode_speed", "decode_speed")
needs_proc = pytest.mark.skipif(not Path("/proc").exists(), reason="workers are found in /proc")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not here")


def table(folder: Path) -> list[dict[str, str]]:
    """The rows of results.csv without the times."""
    with (folder / "results.csv").open(newline="") as file:
        return [
            {name: cell for name, cell in row.items() if name not in TIMES}
            for row in csv.DictReader(file)
        ]


def ages(folder: Path) -> dict[str, int]:
    """When each coded file was written."""
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns
        for path in (folder / "coded").rglob("*")
        if path.is_file()
    }


def wait_for_rows(process: Process, folder: Path) -> None:
    """Wait until two rows are there, or the process has ended."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        if (folder / "results.csv").exists() and len(table(folder)) >= 2:
            return
        time.sleep(0.02)


def workers_of(process: Process) -> list[int]:
    """The processes that work for one with several jobs."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def is_running(number: int) -> bool:
    """Whether there is such a process, and not only what is left of it."""
    try:
        return ") Z " not in Path(f"/proc/{number}/stat").read_text()
    except OSError:
        return False


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    """A folder of speech, and of music in stereo below it, 1.5 s of each."""
    folder = tmp_path / "audio"
    (folder / "more").mkdir(parents=True)
    for name in ("speech.flac", "more/music.flac"):
        whole = read_audio(SAMPLES / Path(name).name)
        stretch = whole.samples[:, : round(1.5 * whole.sample_rate)]
        write_audio(folder / name, Audio(stretch, whole.sample_rate))
    return folder


def test_figures_are_those_of_the_files(cli: Cli, audio: Path, tmp_path: Path) -> None:
    assert_done(cli("eval", audio, "-c", "nano@3", "-c", "pcm", "-o", "results"))
    results = open_results(tmp_path / "results")
    assert results.settings == ["nano@3", "pcm"]
    assert results.files == ["more/music.flac", "speech.flac"]
    for row in results.rows:
        coded = results.coded(row.setting, row.file)
        source = read_audio(audio / row.file)
        assert row.bytes == coded.stat().st_size
        assert row.kbps == pytest.approx(8e-3 * row.bytes / source.duration, rel=1e-5)
        assert (row.sample_rate, row.channels) == (source.sample_rate, source.channels)
        assert row.content == ("speech" if row.file == "speech.flac" else "other")
        reference = read_audio(results.reference(row.file))
        np.testing.assert_allclose(reference.samples, source.samples, atol=2**-23)
    pcm = results.row("pcm", "speech.flac")
    assert pcm is not None and pcm.kbps == pytest.approx(768, rel=1e-3)
    assert pcm.metrics["log_mel"] == 0 and pcm.tokens_per_second is None and pcm.utilisation == ()


def test_what_came_back_is_what_decode_gives(cli: Cli, audio: Path, tmp_path: Path) -> None:
    speech = audio / "speech.flac"
    assert_done(cli("eval", speech, "-c", "nano@3", "-o", "results"))
    results = Results(tmp_path / "results")
    coded = results.coded("nano@3", "speech.flac")
    assert_done(cli("encode", speech, "-o", "speech.nac", "-b", "nano", "-k", 3))
    assert read_codes(coded).data.tolist() == read_codes("speech.nac").data.tolist()
    assert_done(cli("decode", coded, "-o", "out.wav"))
    decoded = read_audio(results.decoded("nano@3", "speech.flac"))
    np.testing.assert_allclose(decoded.samples, read_audio("out.wav").samples, atol=1 / 32_000)
    (row,) = open_results(tmp_path / "results").rows
    counts = code_counts(read_codes(coded))
    np.testing.assert_allclose(row.utilisation, utilisation(counts), rtol=1e-5)
    np.testing.assert_allclose(row.perplexity, perplexity(counts), rtol=1e-5)
    assert row.tokens_per_second == pytest.approx(75 * 4, rel=0.02)


def test_the_summary_is_of_all_files(cli: Cli, audio: Path, tmp_path: Path) -> None:
    run = cli("eval", audio, "-c", "nano@1.5", "-o", "results", "--json")
    assert_done(run)
    summary = json.loads(run.out)
    assert summary == json.loads((tmp_path / "results" / "summary.json").read_text())
    (setting,) = summary["settings"]
    rows = open_results(tmp_path / "results").rows
    seconds = sum(row.seconds for row in rows)
    assert setting["files"] == 2
    assert setting["kbps"] == pytest.approx(sum(row.bytes for row in rows) * 8e-3 / seconds)
    mean = np.mean([row.metrics["si_sdr"] for row in rows])
    assert setting["metrics"]["si_sdr"]["mean"] == pytest.approx(mean)
    assert setting["metrics"]["pesq"]["files"] == 1
    assert setting["left_out"] == {"pesq": {"not speech": 1}, "stoi": {"not speech": 1}}
    counts = sum(
        code_counts(read_codes(path)) for path in (tmp_path / "results/coded").rglob("*.nac")
    )
    found = [book["perplexity"] for book in setting["codebooks"]["nano-2"]]
    np.testing.assert_allclose(found, perplexity(np.asarray(counts)))


def test_processes_side_by_side_give_the_same(cli: Cli, audio: Path, tmp_path: Path) -> None:
    for jobs in (1, 2):
        settings = ("-c", "pcm", "-c", "nano@1.5")
        assert_done(cli("eval", audio, *settings, "-o", f"results{jobs}", "--jobs", jobs))
    assert table(tmp_path / "results1") == table(tmp_path / "results2")
    one, two = (files_in(tmp_path / f"results{jobs}" / "coded") for jobs in (1, 2))
    assert one == two


def test_what_is_done_is_not_done_again(cli: Cli, audio: Path, tmp_path: Path) -> None:
    command = ("eval", audio, "-c", "nano@6", "-o", "results", *QUICK)
    assert_done(cli(*command))
    results = tmp_path / "results"
    first, rows = ages(results), table(results)
    assert_done(cli(*command, "-c", "pcm"))
    assert {name: ages(results)[name] for name in first} == first
    assert [row for row in table(results) if row["setting"] == "nano@6"] == rows
    assert len(table(results)) == 4
    assert_done(cli("eval", audio, "-c", "nano@1.5", "-o", "results", *QUICK))
    assert [row["setting"] for row in table(results)][::2] == ["nano@6", "pcm", "nano@1.5"]


def test_what_has_changed_is_done_again(cli: Cli, audio: Path, tmp_path: Path) -> None:
    command = ("eval", audio, "-c", "nano@6", "-o", "results", "--metrics", "si_sdr")
    assert_done(cli(*command))
    results = tmp_path / "results"
    first = ages(results)
    make(audio / "speech.flac")
    Results(results).decoded("nano@6", "more/music.flac").unlink()
    assert_done(cli(*command))
    assert all(ages(results)[name] > age for name, age in first.items())
    assert [row["seconds"] for row in table(results)] == ["1.5", "1"]
    again = ages(results)
    assert_done(cli(*command, "--content", "speech"))
    assert ages(results) != again
    assert [row["content"] for row in table(results)] == ["speech", "speech"]


@pytest.mark.parametrize("cut", [1, 40, 150])
def test_an_unfinished_line_is_done_again(cli: Cli, audio: Path, tmp_path: Path, cut: int) -> None:
    command = ("eval", audio, "-c", "pcm", "-o", "results", *NO_SPEECH)
    assert_done(cli(*command))
    rows, path = table(tmp_path / "results"), tmp_path / "results" / "results.csv"
    path.write_bytes(path.read_bytes()[:-cut])
    assert_done(cli(*command))
    assert table(tmp_path / "results") == rows


def many(folder: Path) -> Path:
    """So many short recordings that a run can be ended in their midst."""
    folder.mkdir()
    for index in range(24):
        make(folder / f"{index:02}.wav", 0.3 + 0.01 * index)
    return folder


@pytest.mark.parametrize(
    ("jobs", "number"),
    [
        (1, signal.SIGTERM),
        (2, signal.SIGINT),
        pytest.param(2, signal.SIGKILL, marks=needs_proc),
    ],
)
def test_a_run_that_is_ended_goes_on_later(
    cli: Cli, tmp_path: Path, number: signal.Signals, jobs: int
) -> None:
    """And the processes that it has started end with it, even where it cannot tell them."""
    audio, results = many(tmp_path / "audio"), tmp_path / "results"
    command = ("eval", audio, "-c", "nano@6", "-o", results, "--jobs", jobs, *QUICK)
    process = start(tmp_path, *command)
    wait_for_rows(process, results)
    killed = number == signal.SIGKILL
    workers = workers_of(process) if killed else []
    assert len(workers) == (jobs if killed else 0)
    process.send_signal(number)
    run = finish(process)
    wait_for_end(workers)
    before = table(results)
    assert 2 <= len(before) < 24
    assert run.code not in (0, 1)
    assert "Traceback" not in run.err
    kept = {row["file"]: ages(results)[f"coded/nano@6/{row['file']}.nac"] for row in before}
    assert_done(cli("eval", audio, "-c", "nano@6", "-o", results, *QUICK))
    assert [row["file"] for row in table(results)] == [f"{index:02}.wav" for index in range(24)]
    assert all(ages(results)[f"coded/nano@6/{name}.nac"] == age for name, age in kept.items())
    assert not list(results.rglob("*.part"))


def wait_for_end(processes: list[int]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(map(is_running, processes)):
        time.sleep(0.05)
    assert not any(map(is_running, processes))


@needs_proc
def test_processes_that_are_ended_are_told(tmp_path: Path) -> None:
    audio, results = many(tmp_path / "audio"), tmp_path / "results"
    process = start(tmp_path, "eval", audio, "-c", "nano@6", "-o", results, "--jobs", 2, *QUICK)
    wait_for_rows(process, results)
    for worker, number in zip(workers_of(process), (signal.SIGTERM, signal.SIGKILL), strict=True):
        os.kill(worker, number)
    run = finish(process)
    assert run.code == 1
    *told, end = run.err.splitlines()
    assert end == "error: 2 of 24 codings failed, as said above"
    died = ".wav in nano@6: the process that worked on it has died"
    assert len(told) == 2 and all(died in line for line in told)
    assert any("(SIGKILL)" in line for line in told)
    assert len(table(results)) == 22
    assert not list(results.rglob("*.part"))


def test_one_bad_file_does_not_stop_the_others(cli: Cli, audio: Path, tmp_path: Path) -> None:
    (audio / "bad.wav").write_bytes(b"RIFF no audio")
    make(audio / "six.wav", channels=6)
    run = cli("eval", audio, "-c", "nano@6", "-c", "pcm", "-o", "results", *QUICK)
    assert run.code == 1
    assert "bad.wav" in run.err and "six.wav" in run.err
    assert run.err.endswith("error: 3 of 8 codings failed, as said above\n")
    assert "Traceback" not in run.err
    assert len(table(tmp_path / "results")) == 5
    (audio / "bad.wav").unlink()
    (audio / "six.wav").unlink()
    assert_done(cli("eval", audio, "-c", "nano@6", "-c", "pcm", "-o", "results", *QUICK))


def test_what_ails_a_setting_is_said_once(cli: Cli, audio: Path, tmp_path: Path) -> None:
    run = cli("eval", audio, "-c", "nano@5", "-c", "pcm", "-o", "results", *QUICK)
    assert run.code == 1
    assert run.err.count("nano-2 has no bandwidth of 5 kbps") == 1
    assert len(table(tmp_path / "results")) == 2


def test_a_checkpoint_is_a_setting(cli: Cli, audio: Path, tmp_path: Path) -> None:
    weights = Path(str(files("acomp") / "backends" / "nano" / "nano_2.safetensors"))
    (tmp_path / "runs").mkdir()
    shutil.copy(weights, tmp_path / "runs" / "best.safetensors")
    settings = ("-c", "nano@6", "-c", "nano@6:runs/best.safetensors")
    assert_done(cli("eval", audio / "speech.flac", *settings, "-o", "results"))
    published, own = table(tmp_path / "results")
    assert own["setting"] == "nano@6:runs/best.safetensors"
    same = set(columns()) - {"setting", "key", *TIMES}
    assert {name: own[name] for name in same} == {name: published[name] for name in same}


def test_noisy_files_are_compared_with_the_clean_ones(
    cli: Cli, audio: Path, tmp_path: Path
) -> None:
    noisy, results = tmp_path / "noisy", tmp_path / "results"
    for name in files_in(audio):
        clean = read_audio(audio / name)
        hiss = 0.1 * np.random.default_rng(0).standard_normal(clean.samples.shape)
        (noisy / name).parent.mkdir(parents=True, exist_ok=True)
        samples = (clean.samples + hiss).clip(-1, 1).astype(np.float32)
        write_audio(noisy / name, Audio(samples, clean.sample_rate))
    run = ["eval", audio, "-c", "nano@6", "--noisy", noisy, "-o", results, *NO_SPEECH]
    assert_done(cli(*run, "--metrics", "si_sdr"))
    figures = {(row["setting"], row["file"]): float(row["si_sdr"]) for row in table(results)}
    assert {setting for setting, _ in figures} == {"nano@6", "noisy", "nano@6+noise"}
    folder, codec = Results(results), load("nano")
    for name in files_in(audio):
        clean, hissing = read_audio(audio / name), read_audio(noisy / name)
        assert figures["noisy", name] == pytest.approx(si_sdr(clean, hissing), abs=0.1)
        coded = read_codes(folder.coded("nano@6+noise", name))
        np.testing.assert_array_equal(coded.data, codec.encode(hissing, bandwidth=6).data)


def test_a_noisy_version_is_missing_or_another_recording(
    cli: Cli, audio: Path, tmp_path: Path
) -> None:
    run = ["eval", audio, "-c", "nano@6", "-o", tmp_path / "results", *NO_SPEECH]
    (tmp_path / "empty").mkdir()
    assert_refused(cli(*run, "--noisy", tmp_path / "empty"), "takes a folder of the same files")
    for name in files_in(audio):
        (tmp_path / "short" / name).parent.mkdir(parents=True, exist_ok=True)
        make(tmp_path / "short" / name, 0.1)
    failed = cli(*run, "--noisy", tmp_path / "short")
    assert failed.code == 1 and "its noisy version" in failed.err


@needs_ffmpeg
def test_opus_has_the_size_of_its_file_and_stays_in_step(
    cli: Cli, audio: Path, tmp_path: Path
) -> None:
    shutil.copy(SAMPLES / "speech.flac", audio)
    make(audio / "low.wav", seconds=1.234, rate=11_025)
    assert_done(cli("eval", audio, "-c", "opus@8", "-c", "opus@64", "-o", "results"))
    results = open_results(tmp_path / "results")
    for row in results.rows:
        coded = results.coded(row.setting, row.file)
        assert coded.read_bytes()[:4] == b"OggS"
        assert row.bytes == coded.stat().st_size
        assert abs(row.delay_ms) < 0.2
        found, source = read_audio(results.decoded(row.setting, row.file)), row.file
        assert found.length == read_audio(results.reference(source)).length
    fine, coarse = results.row("opus@64", "speech.flac"), results.row("opus@8", "speech.flac")
    assert fine is not None and coarse is not None
    assert fine.metrics["pesq"] > 4.2 > coarse.metrics["pesq"]
    assert 6 < coarse.kbps < 12 and 40 < fine.kbps < 90


def test_opus_needs_ffmpeg(cli: Cli, audio: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert_refused(cli("eval", audio, "-c", "opus@8", "-o", "results"), "ffmpeg", "install it")


def test_the_extra_is_named_where_it_is_missing(
    cli: Cli, audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acomp.cli.evaluate.EVALUATION", ("pesq", "not_installed_at_all"))
    run = cli("eval", audio, "-c", "pcm", "-o", "results")
    assert_refused(run, "not_installed_at_all", 'pip install "acomp[eval]"')
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("nano@", "no setting"),
        ("@6", "no setting"),
        ("", "no setting"),
        ("nano@six", "no bandwidth"),
        ("nano@-6", "no bandwidth"),
        ("nano@nan", "no bandwidth"),
        ("nanoo@6", "there is no codec"),
        ("opus", "6 to 510"),
        ("opus@3", "6 to 510"),
        ("opus@12:file", "no weights"),
        ("pcm@3", "write pcm"),
        ("nano@6:missing.safetensors", "missing.safetensors"),
    ],
)
def test_settings_that_are_none(cli: Cli, audio: Path, setting: str, words: str) -> None:
    assert_refused(cli("eval", audio, "-c", setting, "-o", "results"), words)


def test_a_setting_says_all() -> None:
    setting = parse_setting("nano@1.5:/a b/c:d.pth")
    assert (setting.codec, setting.bandwidth) == ("nano", 1.5)
    assert setting.weights == Path("/a b/c:d.pth")
    assert parse_setting("nano").bandwidth is None
    assert parse_setting("nano:w.safetensors").weights == Path("w.safetensors")


def test_inputs_that_cannot_be(cli: Cli, audio: Path, tmp_path: Path) -> None:
    command = ("-c", "pcm", "-o", "results")
    assert_refused(cli("eval", "nothere", *command), "nothere", "no such file")
    (tmp_path / "empty").mkdir()
    assert_refused(cli("eval", "empty", *command), "no audio files in empty")
    shutil.copytree(audio, tmp_path / "other")
    make(tmp_path / "other" / "speech.flac")
    run = cli("eval", audio, "other", *command)
    assert_refused(run, "music.flac in the results", "folder above")
    assert_wrong_usage(cli("eval", audio, "-o", "results"), "-c")
    assert_wrong_usage(cli("eval", audio, "-c", "pcm"), "-o")
    assert not (tmp_path / "results").exists()


def test_a_folder_of_other_things_is_left_alone(cli: Cli, audio: Path, tmp_path: Path) -> None:
    before = files_in(audio)
    assert_refused(cli("eval", audio, "-c", "pcm", "-o", audio), "name a new folder")
    assert files_in(audio) == before
    (tmp_path / "file").write_text("text")
    assert_refused(cli("eval", audio, "-c", "pcm", "-o", "file"), "cannot use the folder file")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "results.csv").write_text("a,b\n1,2\n")
    assert_refused(cli("eval", audio, "-c", "pcm", "-o", "results"), "other columns")
    assert (tmp_path / "results" / "results.csv").read_text() == "a,b\n1,2\n"


def test_results_among_the_inputs_are_not_measured(cli: Cli, audio: Path) -> None:
    for _ in range(2):
        assert_done(cli("eval", audio, "-c", "pcm", "-o", audio / "results", *QUICK))
    assert [row["file"] for row in table(audio / "results")] == ["more/music.flac", "speech.flac"]


def test_one_run_at_a_time(cli: Cli, audio: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "results").mkdir()
    with FileLock(tmp_path / "results" / ".lock"):
        assert_refused(cli("eval", audio, "-c", "pcm", "-o", "results"), "at work in results")


def line(**changes: object) -> dict[str, str]:
    """A row of results.csv."""
    cells = dict.fromkeys(columns(), "1") | {"file": "a.wav", "setting": "pcm", "left_out": ""}
    return cells | {name: str(value) for name, value in changes.items()}


def write_table(folder: Path, *rows: dict[str, str]) -> Path:
    folder.mkdir(exist_ok=True)
    with (folder / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns())
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.mark.parametrize("name", ["../a.wav", "a/../../b.wav", "/etc/passwd"])
def test_a_table_cannot_lead_out_of_its_folder(tmp_path: Path, name: str) -> None:
    results = open_results(write_table(tmp_path / "results", line(file=name)))
    for place in (results.reference, lambda file: results.decoded("pcm", file)):
        with pytest.raises(AcompError, match="no name of a file in"):
            place(name)


@pytest.mark.parametrize(
    "change", [{"bytes": "many"}, {"kbps": ""}, {"si_sdr": "x"}, {"utilisation": "0.1;0.2"}]
)
def test_a_damaged_table_is_named(tmp_path: Path, change: dict[str, str]) -> None:
    folder = write_table(tmp_path / "results", line(), line(**change))
    with pytest.raises(AcompError, match=rf"line 3: {next(iter(change))} is"):
        open_results(folder)


def test_a_folder_that_holds_no_results(tmp_path: Path) -> None:
    with pytest.raises(AcompError, match="acomp eval"):
        open_results(tmp_path)
    with pytest.raises(AcompError, match="no rows"):
        open_results(write_table(tmp_path / "results"))


def test_rows_come_back_as_they_were_written(cli: Cli, audio: Path, tmp_path: Path) -> None:
    assert_done(cli("eval", audio, "-c", "nano@6", "-o", "results"))
    path = tmp_path / "results" / "results.csv"
    (first, second) = rows = read_rows(path)
    assert {("pesq", "not speech"), ("stoi", "not speech")} <= {*first.left_out.items()}
    for row in rows:
        assert sorted([*row.metrics, *row.left_out]) == sorted(each.name for each in fast())
    assert {*METRICS} >= {*second.metrics} >= {"si_sdr", "log_mel", "mr_stft", "pesq", "stoi"}
    assert len(first.utilisation) == 12
    before = path.read_bytes()
    write_rows(path, rows)
    assert path.read_bytes() == before


def test_encodec_of_mono_and_stereo_is_two_codecs(tmp_path: Path) -> None:
    """Their codebooks are not to be added up."""
    made = make_results(tmp_path)
    names = {"nano@1.5": "encodec-48khz", "nano@6": "encodec-24khz"}
    rows = [
        replace(row, setting="encodec@6", codec=names[row.setting], file=row.setting)
        for row in made.rows
        if row.setting in names and row.file == "talk.wav"
    ]
    results = Results(tmp_path, rows)
    for row in made.rows:
        if row.setting in names:
            target = results.coded("encodec@6", row.setting)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(made.coded(row.setting, "talk.wav"), target)
    (summary,) = summarise(results, count_usage(results))
    assert {name: len(books) for name, books in summary.codebooks.items()} == {
        "encodec-48khz": 2,
        "encodec-24khz": 8,
    }
    every = [book.perplexity for books in summary.codebooks.values() for book in books]
    assert summary.use is not None
    assert summary.use.perplexity == pytest.approx(np.mean(every))


def test_folders_of_settings_differ_and_stay_below() -> None:
    names = ["nano@6", "nano@6:a/b", "nano@6:a_b", "..", ".", "é", "x" * 300, "x" * 301]
    folders = [folder_name(name) for name in names]
    assert folders[0] == "nano@6"
    assert len(set(folders)) == len(names)
    assert all("/" not in folder and folder not in (".", "..") for folder in folders)
    assert max(map(len, folders)) < 100


@given(st.lists(st.text("abc@12:.~", min_size=1, max_size=16), unique=True), st.integers(0, 20))
def test_short_labels_are_short_and_differ(labels: list[str], width: int) -> None:
    short = short_labels(labels, width)
    assert {*short} == {*labels}
    assert len({*short.values()}) == len(labels)
    assert all(len(label) <= max(width, 6) for label in short.values())
    assert all(short[label] == label for label in labels if len(label) <= width)


def test_short_labels_keep_the_bandwidth() -> None:
    labels = ["soundstream@3.2", "soundstream@6", "nano@6", "nano@6:runs/x.safetensors"]
    short = ["soundst@3.2", "soundstre@6", "nano@6", "nano@6~2"]
    assert [short_labels(labels, 11)[label] for label in labels] == short
