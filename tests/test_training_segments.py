"""Training audio: what is found, what is held out, and what the segments hold."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from sounds import sound

import acomp
from acomp.audio import Audio, read_audio, resample
from acomp.errors import TrainingError
from acomp.training.data.drawing import Segments, held_out
from acomp.training.data.prefetch import AHEAD, Prefetch
from acomp.training.data.reading import cut, look, probe
from acomp.training.data.scan import scan
from acomp.training.data.sources import Collection, Found, Source, Stretch, parse_source

RATE = 8000
SAMPLES = Path(acomp.__file__).parent / "samples"


def write(path: Path, samples: NDArray[np.floating], rate: int = RATE, **form: str) -> Path:
    """A file of `[time]` or `[time, channels]`, in the form of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **form)
    return path


def noise(seconds: float, rate: int = RATE, channels: int = 1) -> NDArray[np.float64]:
    random = np.random.default_rng(round(seconds * 1000) + rate)
    return 0.2 * random.standard_normal((round(seconds * rate), channels)).clip(-4, 4)


def level(path: Path, value: float, seconds: float = 1.0) -> Path:
    """A file of one value, by which its segments are known."""
    return write(path, np.full(round(seconds * RATE), value))


def ramp(path: Path, frames: int = 30_000, rate: int = RATE) -> Path:
    """A file whose samples say where they are."""
    return write(path, np.arange(1, frames + 1) / 32768, rate)


def collect(path: Path, share: float = 0.1) -> Collection:
    return scan([Source(path)], share)


def of(path: Path) -> Stretch:
    file = look(path)
    return Stretch(file, 0, file.length)


def all_of(*paths: Path, share: float = 1.0) -> Found:
    """A source whose files are all trained on."""
    return Found(paths[0].parent, share, tuple(of(path) for path in paths), (), ())


def everything(*paths: Path) -> Collection:
    return Collection((all_of(*paths),))


# Sources


def test_a_source_may_have_a_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_source("speech") == Source(Path("speech"), None)
    assert parse_source("speech=0.6") == Source(Path("speech"), 0.6)
    assert parse_source("a=b=1") == Source(Path("a=b"), 1.0)
    Path("take=2").mkdir()
    assert parse_source("take=2") == Source(Path("take=2"), None)
    assert parse_source("take=2=0.5") == Source(Path("take=2"), 0.5)


@pytest.mark.parametrize("share", ["0", "-1", "1.5", "nan", "inf", "", "60%"])
def test_a_bad_share_is_refused(share: str) -> None:
    with pytest.raises(TrainingError, match="the share of speech must be"):
        parse_source(f"speech={share}")


def test_shares_are_of_the_segments_and_default_to_hours(tmp_path: Path) -> None:
    for name, seconds in {"a": 1.0, "b": 1.0, "c": 3.0}.items():
        for number in range(2):
            level(tmp_path / name / f"{number}.wav", 0.5, seconds)

    def shares(**given: float | None) -> list[float]:
        sources = [Source(tmp_path / name, share) for name, share in given.items()]
        return [found.share for found in scan(sources, 0.1).sources]

    assert shares(a=None, b=None, c=None) == pytest.approx([0.2, 0.2, 0.6])
    assert shares(a=0.6, b=None, c=None) == pytest.approx([0.6, 0.1, 0.3])
    assert shares(a=0.6, b=0.2) == pytest.approx([0.75, 0.25])
    with pytest.raises(TrainingError, match=r"add up to 1\.2"):
        shares(a=0.6, b=0.6, c=None)


# Searching


def test_folders_are_searched_to_their_ends(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("b.wav", "sub/a.FLAC", "sub/deeper/c.ogg", ".hidden.wav", ".git/d.wav"):
        path = write(folder / name.lower(), noise(0.5))
        path.rename(folder / name)
    (folder / "notes.txt").write_text("no audio")
    write(tmp_path / "elsewhere/e.wav", noise(0.5))
    (folder / "linked.wav").symlink_to(tmp_path / "elsewhere/e.wav")
    (folder / "more").symlink_to(tmp_path / "elsewhere")
    (folder / "sub/back").symlink_to(folder)  # a loop
    progress: list[tuple[int, int]] = []
    found = scan([Source(folder)], 0.1, lambda *at: progress.append(at)).sources[0]
    names = sorted(str(file.path.relative_to(folder)) for file in found.files)
    assert names == ["b.wav", "linked.wav", "more/e.wav", "sub/a.FLAC", "sub/deeper/c.ogg"]
    assert progress == [(number, 5) for number in range(1, 6)]
    assert not found.unusable


def test_a_list_names_files(tmp_path: Path) -> None:
    level(tmp_path / "music/a b#1.wav", 0.5)
    level(tmp_path / "far.dat.wav", 0.5)
    (tmp_path / "far.dat.wav").rename(tmp_path / "far.dat")  # a named file may have any suffix
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists/train.txt"
    lines = ["\ufeff# music", "", "../music/a b#1.wav", str(tmp_path / "far.dat"), "../gone.wav"]
    path.write_text("\r\n".join([*lines, "../music", "../music/a b#1.wav"]), "utf-8")
    found = collect(path).sources[0]
    assert sorted(file.path.name for file in found.files) == ["a b#1.wav", "far.dat"]
    reasons = {each.path.name: each.reason for each in found.unusable}
    assert reasons == {"gone.wav": "there is no such file", "music": "it is no file"}


def test_what_cannot_be_used_is_told_of(tmp_path: Path) -> None:
    level(tmp_path / "good.wav", 0.5)
    (tmp_path / "text.wav").write_text("this is no audio\n" * 100)
    (tmp_path / "empty.flac").touch()
    write(tmp_path / "nothing.wav", noise(0))
    write(tmp_path / "short.wav", noise(0.05))
    (tmp_path / "broken.wav").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe.wav")
    found = collect(tmp_path).sources[0]
    assert [file.path.name for file in found.files] == ["good.wav"]
    reasons = {each.path.name: each.reason for each in found.unusable}
    assert "it is text" in reasons.pop("text.wav")
    assert reasons == {
        "empty.flac": "it is empty",
        "nothing.wav": "it holds no samples",
        "short.wav": "it is shorter than 0.1 s",
        "broken.wav": "the link leads to nothing",
    }


def test_no_audio_is_an_error_of_one_line(tmp_path: Path) -> None:
    def refusal(path: Path) -> str:
        with pytest.raises(TrainingError) as failure:
            collect(path)
        message = str(failure.value)
        assert "\n" not in message and str(path) in message
        return message

    empty = tmp_path / "empty"
    empty.mkdir()
    assert "there is no audio in" in refusal(empty)
    assert "there is no such file" in refusal(tmp_path / "missing")
    (empty / "list.txt").write_text("# nothing\n")
    assert "there is no audio in" in refusal(empty / "list.txt")
    (empty / "list.txt").write_bytes(b"\x00\x01\xff")
    assert "is no list of audio" in refusal(empty / "list.txt")
    (empty / "a.wav").write_text("text")
    assert "a.wav: it is text" in refusal(empty)
    (empty / "b.wav").touch()
    assert "none of 2 files can be used" in refusal(empty)
    with pytest.raises(TrainingError, match="name a folder"):
        scan([], 0.1)


def test_a_summary_is_plain_data(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(2))
    write(tmp_path / "b.flac", noise(1, 44_100, 2), 44_100)
    write(tmp_path / "c.wav", noise(1))
    (tmp_path / "d.wav").touch()
    collection = collect(tmp_path)
    assert pickle.loads(pickle.dumps(collection)) == collection
    (summary,) = json.loads(json.dumps(collection.summary()))
    assert summary["source"] == str(tmp_path) and summary["share"] == 1
    assert summary["files"] == 3 and summary["held_out_files"] >= 1
    assert summary["hours"] == pytest.approx(4 / 3600)
    assert 0 < summary["held_out_hours"] < summary["hours"]
    assert summary["sample_rates"] == {"8000": 2, "44100": 1}
    assert summary["channels"] == {"1": 2, "2": 1}
    assert summary["unusable"] == [[str(tmp_path / "d.wav"), "it is empty"]]


def test_a_probe_finds_damage_that_a_header_hides(tmp_path: Path) -> None:
    good = write(tmp_path / "good.flac", noise(5))
    whole = good.read_bytes()
    cut_short = tmp_path / "short.flac"
    cut_short.write_bytes(whole[: len(whole) * 3 // 4])
    holed = tmp_path / "holed.flac"
    middle = len(whole) // 2
    holed.write_bytes(whole[: middle - 4000] + bytes(8000) + whole[middle + 4000 :])
    odd = write(tmp_path / "odd.wav", np.full(RATE, np.nan), subtype="FLOAT")
    damage = {file.path.name: probe(file) for file in collect(tmp_path).sources[0].files}
    assert damage["good.flac"] is None
    assert damage["short.flac"] and damage["holed.flac"]
    assert damage[odd.name] == "it has samples that are not finite numbers"
    for file in collect(SAMPLES).sources[0].files:
        assert probe(file) is None


# Holding out


def held_names(path: Path, share: float) -> set[str]:
    found = collect(path, share).sources[0]
    train = {stretch.file.path for stretch in found.train}
    held = {stretch.file.path for stretch in found.held_out}
    assert not train & held and train and held
    return {str(each.relative_to(path)) for each in held}


def test_files_are_held_out_by_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    first = level(folder / "0.wav", 0.5, 0.1)
    for number in range(1, 60):
        shutil.copy(first, folder / f"{number}.wav")
    held = held_names(folder, 0.2)
    assert 4 <= len(held) <= 24
    assert held_names(folder, 0.2) == held
    assert held_names(folder, 0.3) > held
    shutil.copytree(folder, tmp_path / "copy")
    assert held_names(tmp_path / "copy", 0.2) == held
    for number in range(60, 90):
        shutil.copy(first, folder / f"{number}.wav")
    later = held_names(folder, 0.2)
    assert {name for name in later if int(name[:-4]) < 60} == held


@pytest.mark.parametrize("share", [0.0001, 0.9999])
def test_two_files_are_one_of_each(tmp_path: Path, share: float) -> None:
    level(tmp_path / "a.wav", 0.5)
    level(tmp_path / "b.wav", 0.5)
    assert len(held_names(tmp_path, share)) == 1


@pytest.mark.parametrize(("seconds", "kept"), [(100.0, 90.0), (5.0, 4.0), (0.5, 0.25)])
def test_a_single_file_gives_its_end(tmp_path: Path, seconds: float, kept: float) -> None:
    path = level(tmp_path / "a.wav", 0.5, seconds)
    for source in (tmp_path, path):
        found = collect(source, 0.1).sources[0]
        (train,), (held,) = found.train, found.held_out
        assert (train.start, train.stop) == (0, round(kept * RATE))
        assert (held.start, held.stop) == (train.stop, round(seconds * RATE))
        assert len(found.files) == 1


def test_what_one_source_holds_out_no_other_trains_on(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for number in range(20):
        level(folder / f"{number}.wav", 0.5)
    (tmp_path / "links").mkdir()
    for number in range(20):
        (tmp_path / f"links/{number + 50}.wav").symlink_to(folder / f"{number}.wav")
    (tmp_path / "one.txt").write_text("\n".join(f"data/{n}.wav" for n in range(10)))
    sources = [Source(tmp_path / name) for name in ("data", "links", "one.txt")]
    found = scan(sources, 0.2).sources
    held = {os.path.realpath(s.file.path) for each in found for s in each.held_out}
    train = {os.path.realpath(s.file.path) for each in found for s in each.train}
    assert held and train and not held & train


def test_a_source_that_others_hold_out_is_an_error(tmp_path: Path) -> None:
    for number in range(10):
        level(tmp_path / f"data/{number}.wav", 0.5)
    held = held_names(tmp_path / "data", 0.1).pop()
    (tmp_path / "list.txt").write_text(f"data/{held}")
    with pytest.raises(TrainingError, match=r"all of .*list\.txt is held out"):
        scan([Source(tmp_path / "data"), Source(tmp_path / "list.txt")], 0.1)


# Cutting


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_cut_is_what_the_file_holds(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a.{suffix}", noise(3, 16_000, 2), 16_000)
    whole = read_audio(path).samples
    for start in (0, 777, 31_000, whole.shape[1] - 5000):
        segment = cut(of(path), start, 16_000, 2, 5000)
        assert segment.dtype == np.float32
        np.testing.assert_allclose(segment, whole[:, start : start + 5000], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["low mp3", "m4a", "aac", "webm"])
def test_a_cut_of_what_cannot_be_sought_in(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.mp3"
    path.write_bytes(sound(name, 2))
    whole = read_audio(path)
    stretch = of(path)
    assert abs(stretch.length - whole.length) < 0.1 * whole.sample_rate
    for start in (0, 777, 11_000, min(whole.length, stretch.length) - 5000):
        segment = cut(stretch, start, whole.sample_rate, 1, 5000)
        np.testing.assert_array_equal(segment, whole.samples[:, start : start + 5000])


@pytest.mark.parametrize(
    ("rate", "target"),
    [(44_100, 24_000), (48_000, 24_000), (24_000, 48_000), (8000, 44_100), (22_050, 16_000)],
)
def test_a_cut_is_part_of_the_whole_resampled(tmp_path: Path, rate: int, target: int) -> None:
    path = write(tmp_path / "a.wav", noise(2, rate), rate)
    samples = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    whole = resample(Audio(np.pad(samples, ((0, 0), (rate, rate))), rate), target).samples
    length = target // 2
    unit = rate // np.gcd(rate, target)
    for start in (0, rate // unit // 2 * unit, rate // 2 * 3):
        begin = target + start * target // rate
        segment = cut(of(path), start, target, 1, length)
        np.testing.assert_allclose(segment, whole[:, begin : begin + length], atol=1e-6)


def test_nothing_beyond_a_stretch_is_heard(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", np.repeat([0.5, -0.5], RATE))
    file = of(path).file
    for target in (RATE, 24_000):
        segment = cut(Stretch(file, 0, RATE), RATE // 2, target, 1, target)
        assert segment.shape == (1, target)
        assert segment[0, : target // 2 - 200] == pytest.approx(0.5, abs=0.01)
        assert np.abs(segment[0, target // 2 + 200 :]).max() < 0.01
        assert segment.min() > -0.1  # the second half has -0.5


def test_channels_become_those_asked_for(tmp_path: Path) -> None:
    values = np.array([0.1, 0.3, 0.5, -0.5, 0.2, 0.4])
    for channels in (1, 2, 6):
        write(tmp_path / f"{channels}.wav", np.tile(values[:channels], (RATE, 1)))

    def heard(present: int, channels: int) -> list[float]:
        segment = cut(of(tmp_path / f"{present}.wav"), 10, RATE, channels, 100)
        return [round(float(value), 3) for value in segment[:, 50]]

    assert heard(1, 1) == [0.1] and heard(1, 2) == [0.1, 0.1]
    assert heard(2, 1) == [0.2] and heard(2, 2) == [0.1, 0.3]
    assert heard(6, 1) == [0.167] and heard(6, 2) == [0.1, 0.3]


# Drawing


def test_segments_are_cut_from_all_of_a_file(tmp_path: Path) -> None:
    collection = everything(ramp(tmp_path / "a.flac", 30_000))
    segments = Segments(collection, RATE, 1, 10_000, gain=None)
    batch = segments.batch(0, 0, 200)
    assert batch.shape == (200, 1, 10_000) and batch.dtype == torch.float32
    starts = (batch[:, 0, 0] * 32768).round().int()
    expected = (starts[:, None] + torch.arange(10_000)) / 32768
    assert torch.equal(batch[:, 0], expected)
    assert starts.min() < 1000 and starts.max() > 19_000
    assert starts.float().std() > 5000


def test_the_last_and_the_first_sample_are_drawn(tmp_path: Path) -> None:
    collection = everything(ramp(tmp_path / "a.wav", 1003))
    batch = Segments(collection, RATE, 1, 1000, gain=None).batch(0, 0, 100)
    starts = (batch[:, 0, 0] * 32768).round().int()
    assert sorted(set(starts.tolist())) == [1, 2, 3, 4]


def test_after_a_short_file_others_follow(tmp_path: Path) -> None:
    files = level(tmp_path / "a.wav", 0.5, 0.25), level(tmp_path / "b.wav", 0.25, 0.125)
    segments = Segments(everything(*files), RATE, 1, RATE, gain=None)
    batch = segments.batch(0, 0, 50)[:, 0]
    assert ((batch == 0.5) | (batch == 0.25)).all()
    assert (batch[:, 0] == 0.5).any() and (batch[:, 0] == 0.25).any()
    # The last one is cut off, and each of the others is whole.
    for row in batch:
        changes = (row.diff() != 0).nonzero()[:, 0] + 1
        assert (changes % (RATE // 8) == 0).all()


def test_a_batch_depends_on_seed_step_and_rank_alone(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", noise(3))
    write(tmp_path / "b.flac", noise(2, 22_050, 2), 22_050)
    collection = collect(tmp_path)

    def make(seed: int) -> Segments:
        return Segments(collection, 16_000, 2, 4000, mix=0.5, seed=seed)

    one, other = make(3), make(3)
    batches = {(step, rank): one.batch(step, rank, 4) for step in range(3) for rank in range(2)}
    for (step, rank), batch in reversed(batches.items()):
        assert torch.equal(other.batch(step, rank, 4), batch)
    seen = [*batches.values(), make(4).batch(0, 0, 4)]
    assert len({batch.numpy().tobytes() for batch in seen}) == 7


def test_draws_follow_shares_and_lengths(tmp_path: Path) -> None:
    values = {"a/1": 0.1, "a/2": 0.2, "b/1": 0.3, "b/2": 0.4}
    seconds = {"a/1": 1.0, "a/2": 3.0, "b/1": 5.0, "b/2": 5.0}
    for name, value in values.items():
        level(tmp_path / f"{name}.wav", value, seconds[name])
    sources = [
        all_of(*sorted((tmp_path / name).iterdir()), share=share)
        for name, share in {"a": 0.8, "b": 0.2}.items()
    ]
    batch = Segments(Collection(tuple(sources)), RATE, 1, 100, gain=None).batch(0, 0, 2000)
    drawn = {
        name: (batch[:, 0, 0] - value).abs().lt(0.01).float().mean().item()
        for name, value in values.items()
    }
    expected = {"a/1": 0.2, "a/2": 0.6, "b/1": 0.1, "b/2": 0.1}
    assert drawn == pytest.approx(expected, abs=0.05)


def test_peaks_are_within_the_gain(tmp_path: Path) -> None:
    collection = everything(write(tmp_path / "a.wav", noise(3)))
    batch = Segments(collection, RATE, 1, 800, gain=(-12.0, -6.0)).batch(0, 0, 100)
    peaks = 20 * batch.abs().amax((1, 2)).log10()
    assert -12.01 < peaks.min() < -11 and -7 < peaks.max() < -5.99


def test_mixed_segments_are_sums(tmp_path: Path) -> None:
    time = np.arange(RATE * 3) / RATE
    tones = {
        pitch: write(tmp_path / f"{pitch}.wav", 0.4 * np.sin(2 * np.pi * pitch * time))
        for pitch in (500, 1500)
    }
    collection = everything(*tones.values())

    def mixed(mix: float) -> torch.Tensor:
        """Levels of the two tones, `[200, 2]`."""
        batch = Segments(collection, RATE, 1, 800, gain=None, mix=mix).batch(0, 0, 200)
        assert batch.abs().max() < 0.41  # the first one's peak is kept
        spectrum: torch.Tensor = torch.fft.rfft(batch[:, 0]).abs() / 400
        return spectrum[:, [50, 150]]

    assert (mixed(0.0).amin(1) < 0.01).all()
    share = (mixed(1.0).amin(1) > 0.05).float().mean()
    assert 0.35 < share < 0.65  # the others have the same tone twice
    both = mixed(1.0)
    both = both[both.amin(1) > 0.05]
    levels = 20 * (both.amin(1) / both.amax(1)).log10()
    assert levels.min() > -12.5 and levels.min() < -10 and levels.max() > -2
    assert 0.15 < (mixed(0.5).amin(1) > 0.05).float().mean() < 0.35


def test_silence_is_drawn_again(tmp_path: Path) -> None:
    samples = np.zeros(20 * RATE)
    samples[5 * RATE : 6 * RATE] = 0.5
    samples += 1e-4
    collection = everything(write(tmp_path / "a.wav", samples))
    batch = Segments(collection, RATE, 1, 1000).batch(0, 0, 20)
    assert (batch.abs().amax((1, 2)) > 0.06).all()
    shutil.rmtree(tmp_path)
    collection = everything(write(tmp_path / "a.wav", np.full(RATE, 1e-4)))
    batch = Segments(collection, RATE, 1, 1000, mix=1.0).batch(0, 0, 3)
    assert batch.isfinite().all() and batch.abs().max() < 0.001  # it does not become noise


def test_damaged_files_are_left_for_others(tmp_path: Path) -> None:
    paths = [level(tmp_path / f"{number}.wav", 0.1 * number) for number in range(1, 5)]
    damaged = write(tmp_path / "damaged.flac", noise(4))
    collection = everything(*paths, damaged)
    data = damaged.read_bytes()
    damaged.write_bytes(data[: len(data) // 2])
    paths[0].unlink()
    write(paths[1], noise(1), 16_000)
    segments = Segments(collection, RATE, 1, 800, gain=None)
    batch = segments.batch(0, 0, 100)
    assert set(segments.damaged) == {damaged, paths[0], paths[1]}
    assert segments.damaged[paths[0]] == "there is no such file"
    assert segments.damaged[paths[1]] == "it has changed since its header was read"
    assert torch.equal(Segments(collection, RATE, 1, 800, gain=None).batch(0, 0, 100), batch)
    for path in [*paths[1:], damaged]:
        path.unlink()
    with pytest.raises(TrainingError, match="cannot be read; the first was"):
        segments.batch(1, 0, 4)


# Held-out segments


def test_held_out_segments_are_never_trained_on(tmp_path: Path) -> None:
    for number in range(1, 40):
        level(tmp_path / f"{number}.wav", 0.02 * number)
    collection = collect(tmp_path, 0.3)
    held = held_out(collection, RATE, 1, RATE // 2, 1000)
    train = Segments(collection, RATE, 1, RATE // 2, gain=None).batch(0, 0, 500)
    values = [{round(value, 3) for value in part[:, 0, 100].tolist()} for part in (held, train)]
    assert not values[0] & values[1]
    assert len(values[0] | values[1]) == 39
    assert len(held) == 2 * len(values[0])


def test_the_end_of_a_single_file_is_never_trained_on(tmp_path: Path) -> None:
    ramp(tmp_path / "a.wav", 30_000)
    collection = collect(tmp_path, 0.4)
    train = Segments(collection, RATE, 1, 3000, gain=None).batch(0, 0, 100)
    held = held_out(collection, RATE, 1, 3000, 100)
    assert train.max() * 32768 <= 18_000 < held[held > 0].min() * 32768
    starts = sorted((held[:, 0, 0] * 32768).round().int().tolist())
    assert starts == [18_001, 21_001, 24_001, 27_001]  # side by side


def test_held_out_segments_are_fixed_and_shared_out(tmp_path: Path) -> None:
    for name, value in {"a": 0.2, "b": 0.4}.items():
        for number in range(4):
            level(tmp_path / name / f"{number}.wav", value, 20)
    sources = [Source(tmp_path / "a", 0.75), Source(tmp_path / "b", 0.25)]
    collection = scan(sources, 0.1)
    held = held_out(collection, 16_000, 2, 4000, 16)
    assert held.shape == (16, 2, 4000) and held.dtype == torch.float32
    assert torch.equal(held_out(collection, 16_000, 2, 4000, 16), held)
    first = held[:, 0, 2000] < 0.3
    assert first.sum() == 12 and first[:4].sum() == 3


def test_held_out_segments_are_not_silent(tmp_path: Path) -> None:
    samples = np.zeros(40 * RATE)
    samples[-RATE:] = 0.5
    write(tmp_path / "a.wav", samples)
    held = held_out(collect(tmp_path, 0.5), RATE, 1, RATE, 10)
    assert held.shape == (1, 1, RATE) and (held == 0.5).all()
    write(tmp_path / "a.wav", np.zeros(RATE))
    with pytest.raises(TrainingError, match="silent or damaged"):
        held_out(collect(tmp_path, 0.5), RATE, 1, RATE, 10)


# Prefetching


@pytest.fixture
def segments(tmp_path: Path) -> Segments:
    return Segments(everything(write(tmp_path / "a.wav", noise(2))), RATE, 1, 800)


def test_prefetched_batches_come_in_order(segments: Segments) -> None:
    with Prefetch(segments, range(5, 30), rank=1, size=2) as batches:
        taken = list(batches)
    assert len(taken) == 25
    for step, batch in enumerate(taken, 5):
        assert torch.equal(batch, segments.batch(step, 1, 2))
    with Prefetch(segments, range(0), 0, 2) as batches:
        assert list(batches) == []


class Spied(Segments):
    """Segments that do something before each batch."""

    before: Callable[[int], None]

    def batch(self, step: int, rank: int, size: int) -> torch.Tensor:
        self.before(step)
        return super().batch(step, rank, size)


@pytest.fixture
def spied(tmp_path: Path) -> Spied:
    return Spied(everything(write(tmp_path / "a.wav", noise(2))), RATE, 1, 800)


def test_an_error_is_raised_where_its_batch_is_due(spied: Spied) -> None:
    def fail(step: int) -> None:
        if step == 3:
            raise TrainingError("the disk is gone")

    spied.before = fail
    taken = []
    with pytest.raises(TrainingError, match="the disk is gone"):  # noqa: SIM117
        with Prefetch(spied, range(10), 0, 2) as batches:
            for batch in batches:
                taken.append(batch)
    assert len(taken) == 3


def test_prefetching_is_bounded_and_ends_when_closed(spied: Spied) -> None:
    begun: list[int] = []
    spied.before = begun.append
    threads = threading.active_count()
    batches = Prefetch(spied, range(10_000), 0, 1)
    with batches:
        for _ in range(3):
            next(batches)
        assert threading.active_count() > threads
    assert len(begun) <= 3 + AHEAD
    assert threading.active_count() == threads
    assert list(batches) == []
    with pytest.raises(KeyboardInterrupt), Prefetch(spied, range(100), 0, 1) as batches:
        next(batches)
        raise KeyboardInterrupt
    assert threading.active_count() == threads
