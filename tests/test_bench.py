"""`acomp bench`: its figures fit together, and what it cannot measure it says."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from commands import Cli, assert_done, assert_refused, assert_wrong_usage
from material import LYRA, material
from torch import nn

import acomp
import acomp.backends
from acomp.backends.converting import convert
from acomp.backends.families import family_of
from acomp.backends.weights.catalogue import lookup
from acomp.bench import Case, Loading, Machine, loading, parse_case
from acomp.bench.cases import audio_of, weights_of
from acomp.bench.flops import count
from acomp.bench.rounds import _direction, _warm_up
from acomp.bench.sides import Ours, official_side
from acomp.codecs import SPECS

LOADING = Loading(1.5, 1.0, None)


def report(cli: Cli, *arguments: object) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    run = cli("bench", *arguments, "--json")
    assert_done(run)
    found = json.loads(run.out)
    return found["machine"], found["rows"]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acomp.bench.machine.PEAK_SIZES", (64,))
    monkeypatch.setattr("acomp.bench.rounds.COUNTED_SECONDS", 1)
    # New processes take seconds each: two tests have them.
    monkeypatch.setattr("acomp.bench.loading.measure", lambda *_: {"acomp": LOADING})


def assert_consistent(row: dict[str, Any], machine: dict[str, Any]) -> None:
    """Each median, ratio and share follows from the rounds' seconds."""
    for direction in (row["encode"], row["decode"]):
        assert direction["gflop"] > 0
        for side in ("official", "fp32", "bf16"):
            timing = direction[side]
            if timing is None:
                continue
            seconds = timing["seconds"]
            speed = row["seconds"] / median(seconds)
            assert len(seconds) == row["rounds"]
            assert timing["times_real_time"] == pytest.approx(speed)
            peak = machine["peak_gflops"]["bf16" if side == "bf16" else "fp32"]
            assert timing["of_peak"] == pytest.approx(direction["gflop"] * speed / peak)
            if direction["official"] is None:
                assert timing["ratio"] is timing["ratio_range"] is None
                continue
            pairs = zip(direction["official"]["seconds"], seconds, strict=True)
            ratios = [theirs / ours for theirs, ours in pairs]
            assert timing["ratio"] == pytest.approx(median(ratios))
            assert timing["ratio_range"] == pytest.approx([min(ratios), max(ratios)])


def test_encodec_beside_its_package(cli: Cli) -> None:
    machine, (row,) = report(cli, "encodec-24khz:1", "--rounds", 1, "--engine", "torch")
    assert machine["engine"] == "torch"
    assert machine["versions"]["torch"] == torch.__version__
    assert machine["cores"] >= 1 and machine["cpu"]
    assert (row["codec"], row["seconds"], row["weights"]) == ("encodec-24khz", 1, "random")
    assert (row["bandwidth"], row["channels"]) == (6, 1)
    assert row["encode"]["official"] is not None
    assert row["agreement"]["fp32"]["codes"] == 1
    assert row["agreement"]["fp32"]["samples"] < 1e-5
    assert_consistent(row, machine)


def test_codecs_with_segments_and_several_rounds(cli: Cli) -> None:
    machine, (row,) = report(cli, "encodec-48khz:1", "--rounds", 2, "--engine", "torch")
    assert (row["rounds"], row["channels"]) == (2, 2)
    assert row["agreement"]["fp32"]["codes"] == 1
    assert row["agreement"]["fp32"]["samples"] < 1e-5
    assert_consistent(row, machine)


@pytest.mark.parametrize(
    ("name", "package", "repeats"),
    [("dac-16khz", "dac", True), ("snac-24khz", "snac", False), ("mimi", "transformers", True)],
)
def test_codecs_beside_their_packages(
    cli: Cli, tmp_path: Path, name: str, package: str, repeats: bool
) -> None:
    """The sides alone, on little audio: a whole run of these takes long."""
    del cli  # whose cache, an empty one, is in use
    pytest.importorskip(package, reason=f"the package {package} is not installed")
    case, official = Case(name, 1), family_of(name).official
    assert official is not None
    with weights_of(name) as (path, kind):
        codec = acomp.backends.load(name, weights=path, engine="torch")
        make = official_side(name, path)
        convert(path, tmp_path / "theirs", official.layout)
    samples = audio_of(codec.spec, 2).samples[:, -4000:]
    audio = acomp.Audio(np.ascontiguousarray(samples), codec.spec.sample_rate)
    codes = codec.encode(audio, codebooks=case.codebooks)
    assert kind == "random"
    assert make is not None and codes.info.codebooks == codec.spec.codebooks
    sides = {"official": make(audio, codes), "fp32": Ours(codec, audio, codes)}
    agreement = _warm_up(sides, repeats=repeats)["fp32"]
    theirs = official.side(official.open(tmp_path / "theirs", name), audio, codes)
    assert (theirs.encode() == codes.data).all()
    assert agreement.codes == 1
    assert (agreement.samples is not None) == repeats
    assert agreement.samples is None or agreement.samples < 1e-5
    assert count(sides["official"].encode) > 0


def test_a_codec_with_no_package_in_python_is_timed_alone(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert", reason="the extra acomp[soundstream] is not installed")
    files, cache = material(LYRA), Path("cache")
    folder = cache / lookup("soundstream").file
    shutil.copytree(files, folder, copy_function=shutil.copyfile)
    monkeypatch.setenv("ACOMP_CACHE", str(cache.absolute()))
    _, (row,) = report(cli, "soundstream:1", "--rounds", 1)
    assert (row["weights"], row["bandwidth"], row["agreement"]) == ("published", 6, {})
    for direction in (row["encode"], row["decode"]):
        assert direction["official"] is direction["bf16"] is direction["gflop"] is None
        assert direction["fp32"]["times_real_time"] > 0
        assert direction["fp32"]["of_peak"] is None
    assert any("acomp alone, as there is no official package" in note for note in row["notes"])
    run = cli("bench", "soundstream:1", "--rounds", 1)
    assert_done(run)
    assert "acomp alone" in run.out


def test_weights_that_nothing_can_draw_are_asked_for(cli: Cli) -> None:
    run = cli("bench", "soundstream:1")
    assert_refused(run, "its published weights: acomp models fetch soundstream")


def test_only_codecs_that_acomp_has_are_timed(cli: Cli) -> None:
    assert_refused(cli("bench", "custom:1"), "custom is not one of the codecs that acomp has")


def test_nano_has_no_official_package(cli: Cli) -> None:
    machine, (row,) = report(cli, "nano:1", "--rounds", 2)
    assert row["weights"] == "published"
    assert row["encode"]["official"] is row["decode"]["official"] is None
    assert row["agreement"] == {}
    assert_consistent(row, machine)


measure = loading.measure


def test_both_sides_load_in_processes_of_their_own(cli: Cli) -> None:
    del cli  # whose cache, an empty one, is in use
    with weights_of("encodec-24khz") as (path, _):
        sides = measure("encodec-24khz", path, "torch", 1)
    assert list(sides) == ["official", "acomp"]
    for side in sides.values():
        assert side.cpu_seconds > 0 and side.seconds > 0
        assert side.mib is None or side.mib > 100


def test_a_side_that_fails_is_said_in_one_line(cli: Cli, tmp_path: Path) -> None:
    del cli
    with pytest.raises(
        acomp.CodecError, match=r"nano-2 does not load in a new process \(acomp\): .*"
    ):
        measure("nano-2", tmp_path / "none.safetensors", "torch", 1)


def test_loading_is_told_by_the_medians_of_its_starts() -> None:
    half = Loading(3.0, 2.5, 1024.0)
    assert Loading.of([(3.0, 2.0, 512.0), (1.0, 2.5, 2048.0), (4.0, 3.0, 1024.0)]) == half
    assert Loading.of([(1.5, 1.0, None)]) == LOADING


def test_tables(cli: Cli) -> None:
    run = cli("bench", "nano:1", "--rounds", 1, "--engine", "torch")
    assert_done(run)
    assert re.search(r"nano-2\s*│acomp\s*│\s*1\.50│\s*1\.00│\s*-│", run.out)
    for words in ("nano-2:1", "encode", "decode", "acomp fp32", "published", " core", "torch"):
        assert words in run.out


def test_a_machine_without_bf16_is_said_to_be_one(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acomp.engines.torch._has_bf16", lambda _: False)
    machine, (row,) = report(cli, "nano:1", "--rounds", 1, "--engine", "torch")
    assert row["encode"]["bf16"] is row["decode"]["bf16"] is None
    assert list(machine["peak_gflops"]) == ["fp32"]
    assert any("no figures in bf16: this CPU has no bf16" in note for note in machine["notes"])


def test_without_openvino_acomp_runs_on_torch_and_says_so(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    machine, (row,) = report(cli, "nano:1", "--rounds", 1)
    assert machine["engine"] == "torch"
    assert "OpenVINO is not installed: acomp runs on torch" in machine["notes"]
    assert_consistent(row, machine)


def test_a_case_too_long_for_the_official_package_is_timed_without_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acomp.bench.sides.memory_of", lambda _: 500_000_000)
    machine, (row,) = report(cli, "encodec-24khz:1", "--rounds", 1, "--engine", "torch")
    assert row["encode"]["official"] is None
    assert row["encode"]["fp32"]["times_real_time"] > 0
    (note,) = row["notes"]
    assert "encodec-24khz:1: the official package was not run" in note
    assert_consistent(row, machine)


def test_audio_is_the_samples_one_after_the_other_and_again() -> None:
    folder = Path(acomp.__file__).parent / "samples"
    speech, music = (acomp.read_audio(folder / f"{name}.flac") for name in ("speech", "music"))
    audio = audio_of(SPECS["encodec-48khz"], 20)
    assert (audio.samples.shape, audio.sample_rate) == ((2, 20 * 48_000), 48_000)
    both = np.concatenate([np.repeat(speech.samples, 2, axis=0), music.samples], axis=1)
    np.testing.assert_array_equal(audio.samples, np.tile(both, 3)[:, : audio.length])


@pytest.mark.parametrize("name", ["encodec-24khz", "encodec-48khz"])
def test_random_weights_give_each_frame_codes_of_its_own(cli: Cli, name: str) -> None:
    """Else equal codes would say nothing; test_without_packages.py has the other families."""
    del cli  # whose cache, an empty one, is in use
    with weights_of(name) as (path, _):
        codec = acomp.backends.load(name, weights=path, engine="torch")
    codes = codec.encode(audio_of(codec.spec, 1))
    assert min(len(np.unique(level)) for level in codes.data[0]) > 20


def test_operations_of_an_lstm_are_counted_as_its_matrix_products() -> None:
    lstm = nn.LSTM(8, 16, num_layers=2)
    x = torch.zeros(5, 3, 8)
    weights = 4 * 16 * (8 + 16) + 4 * 16 * (16 + 16)
    with torch.no_grad():
        assert count(lambda: lstm(x)) == 2 * 5 * 3 * weights


def test_cases() -> None:
    assert parse_case("nano:20") == Case("nano-2", 20)
    assert parse_case("encodec:3600") == Case("encodec-24khz", 3600)


@pytest.mark.parametrize(
    "case", ["nano", "nano:", ":5", "nano:x", "nano:-1", "nano:1.5", "nano:\u0661"]
)
def test_what_is_no_case(cli: Cli, case: str) -> None:
    assert_refused(cli("bench", case), "is no case: write CODEC:SECONDS")


@pytest.mark.parametrize("case", ["nano:0", "nano:3601", "nano:999999999"])
def test_seconds_out_of_bounds(cli: Cli, case: str) -> None:
    assert_refused(cli("bench", case), "1 to 3600")


def test_an_unknown_codec(cli: Cli) -> None:
    assert_refused(cli("bench", "nano:1", "opus:1"), "there is no codec 'opus'")


def test_rounds_out_of_bounds(cli: Cli) -> None:
    assert_wrong_usage(cli("bench", "nano:1", "--rounds", 0), "--rounds")


def test_an_unknown_engine(cli: Cli) -> None:
    assert_wrong_usage(cli("bench", "nano:1", "--engine", "abacus"), "--engine")


def test_a_codec_whose_package_is_not_installed_is_timed_alone(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "snac", None)
    _, (row,) = report(cli, "snac-24khz:1", "--rounds", 1, "--engine", "torch")
    assert (row["weights"], row["encode"]["official"], row["agreement"]) == ("random", None, {})
    assert row["encode"]["fp32"]["times_real_time"] > 0
    assert row["encode"]["gflop"] > 0
    assert any("acomp alone, as snac is not installed" in note for note in row["notes"])


def test_long_cases_have_fewer_rounds() -> None:
    assert [Case("nano-2", seconds).rounds for seconds in (1, 59, 60)] == [5, 5, 3]


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    machine = Machine("cpu", 1, 1, None, {}, "torch", {"fp32": 100.0, "bf16": 200.0}, [])
    rounds = [
        {"official": 8.0, "fp32": 2.0, "bf16": 1.0},
        {"official": 9.0, "fp32": 1.0, "bf16": 3.0},
        {"official": 2.0, "fp32": 4.0, "bf16": 2.0},
    ]
    found = _direction(Case("nano-2", 10), rounds, 4.0, machine)
    assert found.fp32.times_real_time == 5
    assert (found.fp32.ratio, found.fp32.ratio_range) == (4, (0.5, 9))
    assert found.fp32.of_peak == pytest.approx(0.2)
    assert found.bf16 is not None and found.bf16.of_peak == pytest.approx(0.1)
    assert found.official is not None and found.official.ratio == 1
