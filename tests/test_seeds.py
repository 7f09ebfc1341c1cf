"""docs/seeds.md: every line of code of its tables runs, in order, and does what its row says."""

from __future__ import annotations

import csv
import json
import re
import shlex
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cheap_training import leave_pictures_out, make_discriminators_small
from commands import ROOT, Cli, assert_done, make

import acomp
import acomp.layouts
from acomp.backends.weights import cache
from acomp.training import run as training
from acomp.training.record import read_metrics

PAGE = ROOT / "docs" / "seeds.md"
NOT_THERE = "\N{EN DASH}"
SHORT: dict[str, Any] = {
    "data": {"segment": 0.25, "validation": 1, "held_out": 0.34},
    "optimiser": {"warm_up": 0},
    "steps": 1,
    "batch": 1,
    "log_every": 1,
}
SMALL: dict[str, Any] = {"strides": [2, 4, 4, 4], "filters": 4, "lstm_layers": 1, "dimension": 16}
DAC: dict[str, Any] = {
    "family": "dac",
    "sample_rate": 16_000,
    "strides": [2, 4, 8],
    "encoder_width": 8,
    "decoder_width": 32,
    "codebooks": 2,
    "codebook_size": 32,
}
QUANTISERS = {"vq": 1, "rvq": 3, "gumbel": 3, "factorised": 3}
"""And their codebooks."""

Row = tuple[str, str, list[str]]
"""Number of a seed, what it describes, and the code that does it here."""


@dataclass(frozen=True)
class Left:
    """What a row left: files in a folder, what was printed, the names that Python bound."""

    place: Path
    said: str
    names: dict[str, Any]


Check = Callable[[Left], None]


def rows() -> Iterator[Row]:
    seed = ""
    for line in PAGE.read_text("utf-8").splitlines():
        if found := re.match(r"## (\d{3}): ", line):
            seed = found[1]
        elif line.startswith("| ") and not line.startswith("| described |"):
            described, here, _ = (cell.strip() for cell in line.strip("|").split("|"))
            yield seed, described, [] if here == NOT_THERE else re.findall(r"`([^`]+)`", here)


def write(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(settings))


@pytest.fixture
def place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encodec_24khz: Path, encodec_48khz: Path
) -> Path:
    """A folder with recordings, small codecs' settings and ratings; EnCodec has random weights.

    Nothing is compiled, and discriminators are small.
    """
    files = {"encodec-24khz": encodec_24khz, "encodec-48khz": encodec_48khz}
    fetch = cache.fetch
    monkeypatch.setattr(cache, "fetch", lambda name, *more: files.get(name) or fetch(name, *more))
    monkeypatch.setattr(training, "START_SECONDS", 0.5)
    make_discriminators_small(monkeypatch)
    monkeypatch.setattr("acomp.engines.find_spec", lambda _: None)
    for folder in ("data/input", "noise", "noisy", "ratings"):
        (tmp_path / folder).mkdir(parents=True)
    for number in range(3):
        clip = make(tmp_path / "data" / "input" / f"{number}.wav", 1 + 0.1 * number, 16_000)
        shutil.copy(clip, tmp_path / "noisy")
    make(tmp_path / "noise" / "noise.wav", 1.0, 16_000)
    make(tmp_path / "speech.wav", 1.0, 16_000)
    make(tmp_path / "example.wav", 0.5)
    shutil.copytree(ROOT / "examples" / "codec16", tmp_path / "examples" / "codec16")
    settings(tmp_path)
    for assessor, scores in {"Ada": (100, 80, 40), "Ben": (100, 60, 30)}.items():
        ratings(tmp_path / "ratings" / f"{assessor}.csv", assessor, scores)
    return tmp_path


def settings(folder: Path) -> None:
    """The settings of the page, of networks as small as can be."""
    for path in (folder / "examples" / "codec16").iterdir():
        own = yaml.safe_load(path.read_text()) | SHORT
        if "shape" in own:
            own["shape"] |= {**SMALL, "strides": own["shape"]["strides"]}
        write(path, own)
    codec = yaml.safe_load((folder / "examples" / "codec16" / "codec.yaml").read_text())
    for name, codebooks in QUANTISERS.items():
        shape = codec["shape"] | {"quantiser": name, "codebooks": codebooks, "codebook_size": 64}
        write(folder / f"{name}.yaml", codec | {"shape": shape})
    noise = {"noise": str(folder / "noise"), "snr": [0, 20]}
    write(folder / "noisy.yaml", codec | {"data": codec["data"] | noise})
    write(folder / "encodec.yaml", SHORT | {"shape": codec["shape"]})
    write(folder / "dac.yaml", SHORT | {"shape": DAC})


def ratings(path: Path, assessor: str, scores: tuple[int, ...]) -> None:
    """What a listener's browser leaves of one trial."""
    from acomp.listening.ratings import COLUMNS

    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for position, condition in enumerate(("reference", "nano@6", "nano@1.5")):
            when = "2025-01-01T00:00:00.000Z"
            rated = (condition, scores[position], 10.5, when)
            table.writerow((assessor, "t1", 1, "0.wav", position + 1, *rated))


PICTURED = "results/vq_baseline"
"""The run whose pictures are looked for."""


def perform(code: str, cli: Cli, names: dict[str, Any]) -> str:
    """Run a command, or a statement of Python; what it printed."""
    if code.startswith("acomp "):
        words = shlex.split(code)[1:]
        with pytest.MonkeyPatch.context() as patch:
            if PICTURED not in words:
                leave_pictures_out(patch)
            done = cli(
                *(path for word in words for path in sorted(map(str, Path().glob(word))) or [word])
            )
        assert_done(done)
        return done.out
    if code.startswith("examples/"):
        assert (ROOT / code).is_file()
        assert Path(code).name in (ROOT / "tests" / "test_notebook.py").read_text()
        return ""
    exec(code, names)
    return ""


def test_every_row_does_what_it_says(cli: Cli, place: Path) -> None:
    pytest.importorskip("pyarrow")
    names: dict[str, Any] = {"acomp": acomp}
    for seed, described, codes in rows():
        said = "".join(perform(code, cli, names) for code in codes)
        for words, check in CHECKS.items():
            if words in f"{seed} {described}":
                check(Left(place, said, names))


def test_every_check_has_a_row_and_what_is_not_there_is_told() -> None:
    described = [f"{seed} {what}" for seed, what, _ in rows()]
    assert {one[:3] for one in described} == {"000", "001", "002", "003", "004"}
    for words in CHECKS:
        assert sum(words in one for one in described) == 1, words
    missing = [f"{seed} {what.split()[0]}" for seed, what, codes in rows() if not codes]
    of_003 = ["003 other", "003 `datasets/`,", "003 `docs/quantization_review.md`"]
    assert missing == ["000 the", "000 other", "002 DAC's", *of_003]


# What rows leave


def of_24_kbps(left: Left) -> None:
    codes = acomp.read_codes(left.place / "speech.nac")
    info = codes.info
    assert info.codebooks * info.bits * info.sample_rate / info.hop_length == 24_000
    assert codes.data.shape == (1, 24, 125)


def of_bit_rates(left: Left) -> None:
    five, thin = (acomp.read_codes(left.place / f"{name}.nac").data for name in ("five", "thin"))
    assert five.shape[1] == 5
    np.testing.assert_array_equal(five, thin)


def of_header(left: Left) -> None:
    header = struct.unpack(">3sBIB", (left.place / "speech.nac").read_bytes()[:9])
    assert (header[0], header[1], header[3]) == (b"NAC", 1, 24)
    assert json.loads(left.said)["codec"] == "custom"


def of_mushra(left: Left) -> None:
    assert (left.place / "results" / "listen.html").stat().st_size > 10_000
    with (left.place / "scores.csv").open() as file:
        overall = [row for row in csv.DictReader(file) if row["file"] in ("", "all")]
    means = {row["condition"]: float(row["mean"]) for row in overall}
    assert means == {"reference": 100, "nano@6": 70, "nano@1.5": 35}


def of_frames(left: Left) -> None:
    assert json.loads(left.said)["hop_length"] == 128


def of_losses(run: str, *losses: str) -> Check:
    def check(left: Left) -> None:
        assert set(losses) <= read_metrics(left.place / "runs" / run / "metrics.csv").keys()

    return check


def of_delays(left: Left) -> None:
    assert left.names["tokens"].shape == (24, 125 + 23)


def of_editing(left: Left) -> None:
    assert acomp.read_codes(left.place / "part.nac").data.shape[2] == 62


def of_latents(left: Left) -> None:
    assert left.names["latents"].shape == (1, 16, 125)
    assert left.names["codes"].data.shape == (1, 24, 125)
    assert left.names["softer"].samples.shape == (1, 16_000)


def of_files_of_latents(left: Left) -> None:
    assert np.load(left.place / "latents.npy").shape == (1, 16, 125)
    assert acomp.read_codes(left.place / "edited.nac").data.shape == (1, 24, 125)


def of_codecs(left: Left) -> None:
    for name in ("soundstream", "encodec-24khz", "dac-44khz", "snac-24khz"):
        assert name in left.said


def of_dac(left: Left) -> None:
    assert left.names["dac"].sample_rate == 44_100
    assert 8 in left.names["dac"].bandwidths


def of_noise(left: Left) -> None:
    results = left.place / "results" / "rvq_3stage"
    with (results / "results.csv").open() as file:
        settings = {row["setting"] for row in csv.DictReader(file) if row["si_sdr"]}
    assert "noisy" in settings and any(name.endswith("+noise") for name in settings)


def of_runs(left: Left) -> None:
    files = {path.name for path in (left.place / PICTURED).iterdir()}
    assert {"checkpoints", "samples", "metrics.csv", "metrics.png", "losses.png"} <= files
    assert (left.place / "results" / "rvq_3stage" / "report.html").is_file()


def of_vq(left: Left) -> None:
    assert np.load(left.place / "vq.npy").shape == (1, 64, 16)


def of_encoding(left: Left) -> None:
    lines = (left.place / "example.txt").read_text().splitlines()
    assert lines[0] == "1" and float(lines[1]) == 6
    assert len(lines[2].split()) == 8


def of_decoding(left: Left) -> None:
    for name in ("check.wav", "reconstructed_example.wav"):
        assert acomp.read_audio(left.place / name).length == 12_000


def of_models(left: Left) -> None:
    mono, stereo = left.names["mono"], left.names["stereo"]
    assert (mono.sample_rate, stereo.sample_rate) == (24_000, 48_000)
    assert set(mono.bandwidths) == {1.5, 3, 6, 12, 24}
    assert set(stereo.bandwidths) == {3, 6, 12, 24}


def of_functions(left: Left) -> None:
    assert (tuple(left.names["samples"].shape), left.names["rate"]) == ((1, 12_000), 24_000)
    assert (left.names["model"].bandwidth, left.names["model_rate"]) == (6, 24_000)
    assert tuple(left.names["resampled"].shape) == (1, 12_000)
    ((codes, scale),) = left.names["frames"]
    assert (tuple(codes.shape), scale) == ((1, 8, 38), None)
    for name in ("verified.wav", "decoded.wav"):
        assert acomp.read_audio(left.place / name).length == 12_000


def of_codebooks(left: Left) -> None:
    assert tuple(left.names["all_codebooks_mono"].shape) == (32, 1024, 128)
    assert tuple(left.names["all_codebooks_stereo"].shape) == (16, 1024, 128)


CHECKS: dict[str, Check] = {
    "000 24 kbps": of_24_kbps,
    "000 adaptive bit rate": of_bit_rates,
    "000 `.nac`": of_header,
    "000 HiFi-GAN": of_losses("hifigan", "adversarial", "feature_matching"),
    "000 a MUSHRA score": of_mushra,
    "001 16 kHz": of_frames,
    "001 multi-scale STFT": of_losses("mine", "stft", "commitment"),
    "001 the same STFT": of_losses("melgan", "stft", "adversarial"),
    "001 codes for generative": of_delays,
    "001 editing, as codes": of_editing,
    "001 editing, as files": of_files_of_latents,
    "001 editing, in the latent space": of_latents,
    "002 SoundStream": of_codecs,
    "002 DAC: 44.1 kHz": of_dac,
    "002 DAC's training: periodic": of_losses("dac", "dac-mel", "codebook", "adversarial"),
    "002 EnCodec's training": of_losses("encodec", "encodec-mel", "adversarial"),
    "003 `--codebook-size`": of_vq,
    "003 SI-SDR": of_noise,
    "003 `results/": of_runs,
    "004 `python acomp.py encode`": of_encoding,
    "004 `python acomp.py decode`": of_decoding,
    "004 mono at 24 kHz": of_models,
    "004 `decode_audio_from": of_functions,
    "004 `get_codebooks`": of_codebooks,
}
"""By the beginning of their rows."""
