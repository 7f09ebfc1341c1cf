"""What a training run leaves to look at: its table, pictures, audio and events of TensorBoard."""

from __future__ import annotations

import csv
import errno
import math
import struct
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib.figure  # noqa: F401 (here: a test's own home would get its cache of fonts)
import numpy as np
import pytest
import soundfile
from commands import limited_file_size
from PIL import Image

from acomp.audio import read_audio
from acomp.audio.samples import Samples
from acomp.errors import AcompError, TrainingError
from acomp.training.record import Record, read_metrics, read_rows, write_samples
from acomp.training.record.curves import plot_losses, plot_metrics

RATE = 24_000
ODD = [0.1 + 0.2, math.pi, 1e-300, -0.0, 5e-324, 1.7976931348623157e308, math.nan, math.inf]


@pytest.fixture
def without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)


def train(folder: Path, last: int, first: int = 0) -> None:
    """A session of 10 steps a record, which was killed if it does not end where the next begins."""
    with Record(folder, first) as record:
        for step in range(first + 10, last + 1, 10):
            record.add(step, {"mel": 1 / step, "rate": 0.1})
            if step % 20 == 0:
                record.add(step, {"validation": 2 / step, "si_sdr@6": step / 10})


# the table


@pytest.mark.usefixtures("without_tensorboard")
def test_figures_come_back_as_they_were(tmp_path: Path) -> None:
    with Record(tmp_path) as record:
        for step, value in enumerate(ODD):
            record.add(step, {"mel": value, 'a "name", with all': float(step)})
            assert read_metrics(tmp_path / "metrics.csv")["mel"][-1][0] == step  # at once
    points = read_metrics(tmp_path / "metrics.csv")["mel"]
    assert [step for step, _ in points] == list(range(len(ODD)))
    found = [value for _, value in points]
    assert struct.pack(f"{len(ODD)}d", *found) == struct.pack(f"{len(ODD)}d", *ODD)


@pytest.mark.usefixtures("without_tensorboard")
def test_the_table_is_plain_csv(tmp_path: Path) -> None:
    train(tmp_path, 20)
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["step"], row["name"], row["value"]) for row in rows] == [
        ("10", "mel", "0.1"),
        ("10", "rate", "0.1"),
        ("20", "mel", "0.05"),
        ("20", "rate", "0.1"),
        ("20", "validation", "0.1"),
        ("20", "si_sdr@6", "2.0"),
    ]
    assert all(float(row["seconds"]) >= 0 for row in rows)


@pytest.mark.usefixtures("without_tensorboard")
def test_a_resumed_run_does_later_steps_again(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    train(tmp_path, 50)
    aged = table.read_text().replace(",0.", ",7.")  # seconds and values alike
    table.write_text(aged)
    train(tmp_path, 40, first=20)
    before = aged.splitlines(keepends=True)
    assert table.read_text().startswith("".join(before[:7]))
    rows = read_rows(table)
    assert [step for step, _ in read_metrics(table)["mel"]] == [10, 20, 30, 40]
    assert read_metrics(table)["validation"][-1] == (40, 2 / 40)
    assert all(one.seconds <= other.seconds for one, other in pairwise(rows))
    assert rows[-1].seconds >= 7


@pytest.mark.usefixtures("without_tensorboard")
def test_a_new_run_keeps_nothing(tmp_path: Path) -> None:
    with Record(tmp_path) as record:
        record.add(0, {"validation": 3.0})
    with Record(tmp_path) as record:
        assert read_rows(tmp_path / "metrics.csv") == []
        record.add(0, {"validation": 3.0})
    assert read_metrics(tmp_path / "metrics.csv") == {"validation": [(0, 3.0)]}


@pytest.mark.usefixtures("without_tensorboard")
def test_a_run_whose_table_was_removed_goes_on(tmp_path: Path) -> None:
    train(tmp_path, 40, first=20)
    assert [step for step, _ in read_metrics(tmp_path / "metrics.csv")["mel"]] == [30, 40]


@pytest.mark.usefixtures("without_tensorboard")
def test_a_line_that_was_cut_anywhere_is_passed_over(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    train(tmp_path, 20)
    whole = table.read_bytes()
    rows = read_rows(table)
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last, len(whole)):
        table.write_bytes(whole[:end])
        assert read_rows(table) == rows[:-1]
    train(tmp_path, 30, first=20)
    assert [row[2:] for row in read_rows(table)] == [
        *(row[2:] for row in rows[:-1]),
        ("mel", 1 / 30),
        ("rate", 0.1),
    ]
    table.write_bytes(whole[:9])
    assert read_rows(table) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"step,seconds,name,value\n1,0.5,mel,2\n2,0.6,mel\n3,0.7,mel,1\n", "line 3 is damaged"),
        (b"step,seconds,name,value\n1,0.5,mel,2\n2,0.6,mel,\0\0\n", "line 3 is damaged"),
        (b"step,seconds,name,value\n\n", "line 2 is damaged"),
        (b"step,mel\n1,0.5\n", "other columns than step,seconds,name,value"),
        (b"step,seconds,name,value\n1,0.5,m\xe9l,2\n", "not text in UTF-8"),
    ],
)
def test_a_damaged_table_is_refused_and_kept(tmp_path: Path, content: bytes, words: str) -> None:
    table = tmp_path / "metrics.csv"
    table.write_bytes(content)
    for refusing in (lambda: read_metrics(table), lambda: Record(tmp_path, 2)):
        with pytest.raises(TrainingError, match=words) as refusal:
            refusing()
        assert str(table) in one_line(refusal.value)
    assert files_of(tmp_path) == {"metrics.csv": content}


# what cannot be written


def test_folders_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the folder .*none does not exist"):
        Record(tmp_path / "none")
    (tmp_path / "tensorboard").write_text("a file")
    with pytest.raises(TrainingError, match=r"cannot make the folder .*tensorboard"):
        Record(tmp_path)
    with pytest.raises(TrainingError, match=r"cannot read .*none\.csv: there is no such file"):
        read_metrics(tmp_path / "none.csv")


@pytest.mark.usefixtures("without_tensorboard")
def test_a_disk_that_fills_up_takes_whole_records_or_none(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    train(tmp_path, 30)
    before = table.read_bytes()
    with Record(tmp_path, 30) as record:
        with limited_file_size(len(before) + 7), pytest.raises(TrainingError) as refusal:
            record.add(40, {"mel": 0.5, "rate": 0.1})
        assert one_line(refusal.value) == f"cannot write {table}: it would be too large"
        assert files_of(tmp_path) == {"metrics.csv": before}
        record.add(40, {"mel": 0.5})
    assert read_metrics(table)["mel"][-1] == (40, 0.5)
    before = table.read_bytes()
    with limited_file_size(50), pytest.raises(TrainingError, match=r"cannot write .*metrics\.csv"):
        Record(tmp_path, 30)
    assert files_of(tmp_path) == {"metrics.csv": before}


@pytest.mark.usefixtures("without_tensorboard")
def test_no_space_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tmp_path, 20)
    with Record(tmp_path, 20) as record:

        def full(*_: object, **__: object) -> Any:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(Path, "open", full)
        for write in (lambda: record.add(30, {"mel": 1.0}), lambda: Record(tmp_path, 10)):
            with pytest.raises(TrainingError, match=r"metrics\.csv: no space is left on the dev"):
                write()
        monkeypatch.undo()
    assert [step for step, _ in read_metrics(tmp_path / "metrics.csv")["mel"]] == [10, 20]


# pictures


def curve(values: Sequence[float], every: int = 10) -> list[tuple[int, float]]:
    return [(every * number, value) for number, value in enumerate(values, 1)]


def run_of(count: int) -> dict[str, list[tuple[int, float]]]:
    """A run of so many records, of eight losses and a validation each tenth of it."""
    random = np.random.default_rng(0)
    time = np.linspace(0, 1, count)
    noise = np.exp(0.1 * random.standard_normal((8, count)))
    losses = (0.2 + np.exp(-5 * time)) * noise
    metrics = {f"loss_{number}": curve(loss.tolist()) for number, loss in enumerate(losses)}
    few = losses[0, :: max(1, count // 10)]
    metrics["validation"] = curve(few.tolist())
    for kbps in (1.5, 6, 12):
        metrics[f"mel@{kbps:g}"] = curve((few + 1 / kbps).tolist())
        metrics[f"si_sdr@{kbps:g}"] = curve((kbps - few).tolist())
    return metrics


def look(picture: Path) -> tuple[int, int, str]:
    """Width and height of a PNG, and what it says of itself."""
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert len(np.unique(np.asarray(image.convert("L")))) > 20  # not blank
        return *image.size, image.info["Description"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [1, 3, 600])
def test_pictures_of_short_and_long_runs(tmp_path: Path, count: int) -> None:
    metrics = run_of(count)
    plot_losses(metrics, tmp_path / "losses.png")
    plot_metrics(metrics, tmp_path / "metrics.png")
    step, value = min(metrics["validation"], key=lambda point: point[1])
    best = f"dashed: best validation, {value:.4g} at step {step:,}"
    light = "light: as recorded, dark: median over 15 points; " if count == 600 else ""
    width, height, text = look(tmp_path / "losses.png")
    assert (width, text) == (1800, light + best)
    assert 1000 < height < 1600  # three rows
    width, height, text = look(tmp_path / "metrics.png")
    assert (width, text) == (1800, best)
    assert 400 < height < 700  # one row


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.0, math.nan, math.inf],
        [math.nan] * 3,
        [-math.inf, 1.0, 1.0],
        [0.0] * 200,
        [1.0, -1.0] * 100 + [3e38, -3e38, math.nan] * 5,
        [10.0 ** (number - 40) for number in range(80)],
        [1e-7] * 50,
    ],
)
def test_pictures_of_runs_that_exploded(tmp_path: Path, values: list[float]) -> None:
    metrics = {name: curve(values) for name in ("mel", "rate", "validation", "mel@3", "mel@6")}
    plot_losses(metrics, tmp_path / "losses.png")
    plot_metrics(metrics, tmp_path / "metrics.png")
    for name in ("losses", "metrics"):
        text = look(tmp_path / f"{name}.png")[2]
        assert ("crosses: not finite" in text) == (not np.isfinite(values).all())
        assert ("best validation" in text) == bool(np.isfinite(values).any())


def test_the_picture_says_where_it_exploded(tmp_path: Path) -> None:
    plot_losses({"mel": [(1000, 1.0), (2000, math.nan)]}, tmp_path / "a.png")
    assert look(tmp_path / "a.png")[2] == "crosses: not finite, first at step 2,000"


def test_pictures_of_a_resumed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # nothing global is touched
    for folder in ("whole", "resumed"):
        (tmp_path / folder).mkdir()
    train(tmp_path / "whole", 100)
    train(tmp_path / "resumed", 70)
    train(tmp_path / "resumed", 100, first=40)
    for folder in ("whole", "resumed"):
        with Record(tmp_path / folder, 100) as record:
            record.draw()
    assert set(files_of(tmp_path / "resumed")) == {"metrics.csv", "losses.png", "metrics.png"}
    for name in ("losses.png", "metrics.png"):
        one, other = (tmp_path / folder / name for folder in ("whole", "resumed"))
        assert one.read_bytes() == other.read_bytes()
    assert "0.02 at step 100" in look(one)[2]


def test_nothing_to_draw(tmp_path: Path) -> None:
    plot_losses({}, tmp_path / "a.png")
    plot_losses({"mel@6": [(1, 1.0)]}, tmp_path / "a.png")
    plot_metrics({"mel": [(1, 1.0)]}, tmp_path / "a.png")
    assert files_of(tmp_path) == {}


def test_pictures_that_cannot_be_written(tmp_path: Path) -> None:
    metrics = {"mel": [(1, 1.0)], "validation": [(1, 1.0)]}
    picture = tmp_path / "a.png"
    picture.write_bytes(b"old")
    for plot in (plot_losses, plot_metrics):
        with limited_file_size(1000), pytest.raises(TrainingError, match=r"cannot write .*a\.png"):
            plot(metrics, picture)
    assert files_of(tmp_path) == {"a.png": b"old"}


# audio


def clips(count: int, channels: int = 1, seed: int = 0) -> list[Samples]:
    random = np.random.default_rng(seed)
    sizes = random.integers(100, 200, count)
    return [0.5 * random.uniform(-1, 1, (channels, n)).astype(np.float32) for n in sizes]


def check_samples(folder: Path, expected: Mapping[str, Samples]) -> None:
    assert {path.name for path in folder.iterdir()} == {f"{name}.wav" for name in expected}
    for name, samples in expected.items():
        path = folder / f"{name}.wav"
        audio = read_audio(path)
        assert audio.sample_rate == RATE
        assert soundfile.info(path).subtype == "PCM_24"
        np.testing.assert_allclose(audio.samples, samples, rtol=0, atol=2.0**-24)


@pytest.mark.usefixtures("without_tensorboard")
@pytest.mark.parametrize("channels", [1, 2])
def test_samples_are_those_written_last(tmp_path: Path, channels: int) -> None:
    originals, first, second = (clips(2, channels, seed) for seed in range(3))
    with Record(tmp_path) as record:
        record.add_samples(10, RATE, originals, {"nano@6": first, "nano@1.5": second})
        expected = {"1-original": originals[0], "2-original": originals[1]}
        expected |= {"1-nano@6": first[0], "2-nano@6": first[1]}
        expected |= {"1-nano@1.5": second[0], "2-nano@1.5": second[1]}
        check_samples(tmp_path / "samples", expected)
        record.add_samples(20, RATE, originals, {"nano@6": second})
    expected |= {"1-nano@6": second[0], "2-nano@6": second[1]}
    check_samples(tmp_path / "samples", expected)


def test_samples_that_cannot_be_written(tmp_path: Path) -> None:
    folder = tmp_path / "samples"
    originals = clips(1)
    write_samples(folder, RATE, originals, {"nano@6": originals})
    before = files_of(folder)
    with pytest.raises(AcompError, match="samples are not finite numbers"):
        write_samples(folder, RATE, originals, {"nano@6": [originals[0] * np.float32(np.nan)]})
    with limited_file_size(100), pytest.raises(AcompError, match=r"cannot write .*1-original\.wav"):
        write_samples(folder, RATE, originals, {"nano@6": originals})
    assert files_of(folder) == before
    with pytest.raises(TrainingError, match="cannot make the folder"):
        write_samples(folder / "1-original.wav" / "b", RATE, originals, {})


# TensorBoard


def events(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return found


def scalars(found: Any, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in found.Scalars(tag)]


def test_events_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    train(tmp_path, 50)
    train(tmp_path, 40, first=20)  # purges the steps 30 to 50 of the one before
    found = events(tmp_path)
    assert set(found.Tags()["scalars"]) == {
        *("training/mel", "training/rate", "validation/validation", "validation/si_sdr@6"),
    }
    for name, points in read_metrics(tmp_path / "metrics.csv").items():
        tag = next(tag for tag in found.Tags()["scalars"] if tag.endswith(f"/{name}"))
        assert scalars(found, tag) == [(step, float(np.float32(value))) for step, value in points]
    train(tmp_path, 10)
    assert scalars(events(tmp_path), "training/mel") == [(10, float(np.float32(0.1)))]


@pytest.mark.parametrize("channels", [1, 2])
def test_the_first_clip_for_tensorboard(tmp_path: Path, channels: int) -> None:
    pytest.importorskip("tensorboard")
    originals, decoded = clips(2, channels), [3 * clip for clip in clips(2, channels, 1)]
    with Record(tmp_path) as record:
        assert record.has_tensorboard
        record.add_samples(10, RATE, originals, {"nano@6": decoded})
    found = events(tmp_path)
    assert set(found.Tags()["audio"]) == {"samples/original", "samples/nano@6"}
    for tag, clip in (("original", originals[0]), ("nano@6", np.clip(decoded[0], -1, 1))):
        (event,) = found.Audio(f"samples/{tag}")
        assert (event.step, event.sample_rate, event.length_frames) == (10, RATE, clip.shape[1])
        path = tmp_path / "a.wav"
        path.write_bytes(event.encoded_audio_string)
        np.testing.assert_allclose(read_audio(path).samples, clip, rtol=0, atol=2.0**-15)


def test_a_disk_that_fills_up_under_the_events(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with Record(tmp_path) as record:
        values = {f"loss_{number}": 1.0 for number in range(40)}
        record.add(1, values)
        size = next((tmp_path / "tensorboard").iterdir()).stat().st_size
        assert size > 2 * (tmp_path / "metrics.csv").stat().st_size
        with (
            limited_file_size(size + 20),
            pytest.raises(TrainingError, match="tfevents") as refusal,
        ):
            record.add(2, values)
        one_line(refusal.value)
    assert scalars(events(tmp_path), "training/loss_39")[0] == (1, 1.0)


@pytest.mark.usefixtures("without_tensorboard")
def test_without_tensorboard(tmp_path: Path) -> None:
    with Record(tmp_path) as record:
        assert not record.has_tensorboard
        record.add(1, {"mel": 1.0})
        record.add_samples(1, RATE, clips(1), {})
    assert set(files_of(tmp_path)) == {"metrics.csv", "samples/1-original.wav"}


def test_a_folder_called_tensorboard_is_not_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    (tmp_path / "tensorboard").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with Record(tmp_path) as record:
        assert not record.has_tensorboard


def test_a_tensorboard_that_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(TrainingError, match="repair it, or uninstall it") as refusal:
        Record(tmp_path)
    one_line(refusal.value)


def one_line(error: AcompError) -> str:
    assert "\n" not in str(error)
    return str(error)


def files_of(folder: Path) -> dict[str, bytes]:
    """The files below a folder, hidden ones too."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}
