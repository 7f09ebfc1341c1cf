"""Yardsticks, each coded by its program; skipped where that is missing."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, Cli, assert_done, assert_refused, make

from acomp.audio import Audio, read_audio, resample
from acomp.errors import AcompError
from acomp.evaluation.alignment import find_delay, moved, same_channels
from acomp.evaluation.metrics import METRICS
from acomp.evaluation.results import Results, open_results
from acomp.evaluation.settings import parse_setting
from acomp.evaluation.yardsticks import YARDSTICKS, Coder

SAMPLES = Path(str(files("acomp") / "samples"))
DOCS = ROOT / "docs" / "evaluation.md"


@pytest.fixture(scope="module")
def speech() -> Audio:
    """3.4 s at 48 kHz, mono."""
    return read_audio(SAMPLES / "speech.flac")


def coder(setting: str) -> Coder:
    """The coder of a setting; where its program is missing, the test is skipped."""
    parsed = parse_setting(setting)
    yardstick = YARDSTICKS[parsed.codec]
    try:
        yardstick.version()
    except AcompError as missing:
        pytest.skip(str(missing))
    return yardstick.coder(parsed.bandwidth or 0)


def coded(setting: str, audio: Audio, folder: Path) -> tuple[float, Audio]:
    """The true bit rate in kbps, and what came back."""
    yardstick, name = coder(setting), setting.partition("@")[0]
    path = folder / f"coded{YARDSTICKS[name].suffix}"
    assert yardstick.encode(audio, path) > 0
    decoded, seconds = yardstick.decode(path, audio.sample_rate)
    assert seconds > 0 and decoded.sample_rate == audio.sample_rate
    return path.stat().st_size * 8 / audio.duration / 1000, decoded


@pytest.mark.parametrize(
    ("setting", "kbps", "least"),
    [
        ("opus@12", (8, 14), 3.5),
        ("mp3@16", (15, 19), 2),
        ("mp3@96", (90, 105), 4.4),
        ("aac@16", (14, 19), 1.8),
        ("aac@96", (70, 105), 4.4),
        ("speex@4", (4, 6), 1.2),
        ("speex@13", (12, 15), 2.5),
        ("pcm8", (384, 385), 2),
        ("pcm", (768, 769), 4.6),
    ],
)
def test_a_yardstick_has_its_bit_rate_and_is_in_step(
    setting: str, kbps: tuple[float, float], least: float, speech: Audio, tmp_path: Path
) -> None:
    rate, decoded = coded(setting, speech, tmp_path)
    assert kbps[0] <= rate <= kbps[1]
    assert abs(find_delay(speech, moved(decoded, 0, speech.length))) <= 48  # a millisecond
    assert METRICS["pesq"].of(speech, moved(decoded, 0, speech.length)) > least


@pytest.mark.parametrize("kbps", [3.2, 2.4, 1.6, 1.4, 1.3, 1.2, 0.7])
def test_codec_2_has_its_bit_rate_and_the_envelope_in_step(
    kbps: float, speech: Audio, tmp_path: Path
) -> None:
    """It is a vocoder: what it gives has no waveform of the speech, but its syllables."""
    rate, decoded = coded(f"codec2@{kbps}", speech, tmp_path)
    assert kbps <= rate <= 1.4 * kbps
    assert decoded.length >= speech.length
    first, second = (
        np.convolve(np.abs(audio.samples[0]), np.ones(160) / 160, "same")
        for audio in (resample(speech, 8000), resample(moved(decoded, 0, speech.length), 8000))
    )
    lags = range(-400, 401, 40)
    likeness = [float(np.corrcoef(first, np.roll(second, lag))[0, 1]) for lag in lags]
    assert abs(lags[int(np.argmax(likeness))]) <= 80  # 10 ms
    assert max(likeness) > 0.7


@pytest.mark.parametrize(
    "setting", ["mp3@24", "aac@24", "speex@8", "codec2@3.2", "pcm8", "opus@24"]
)
def test_any_rate_and_stereo_is_coded(setting: str, tmp_path: Path) -> None:
    for rate, channels in ((11_025, 1), (44_100, 2)):
        samples = 0.1 * np.random.default_rng(0).standard_normal((channels, rate))
        audio = Audio(samples.astype(np.float32), rate)
        _, decoded = coded(setting, audio, tmp_path)
        assert decoded.channels == (1 if setting[0] in "sc" else channels)
        assert abs(decoded.duration - 1) < 0.2
        assert same_channels(audio, decoded)[1].channels == decoded.channels


def test_8_bits_are_those_of_rounding(speech: Audio, tmp_path: Path) -> None:
    _, decoded = coded("pcm8", speech, tmp_path)
    assert np.abs(decoded.samples - speech.samples).max() <= 0.5 / 128 + 1e-6


def test_yardsticks_are_measured_like_codecs(cli: Cli, tmp_path: Path) -> None:
    wanted = ["speex@8", "codec2@2.4", "mp3@16", "aac@16", "pcm8"]
    for setting in wanted:
        coder(setting)
    make(tmp_path / "a.wav")
    asked = [part for setting in wanted for part in ("-c", setting)]
    assert_done(cli("eval", "a.wav", *asked, "-o", "results", "--metrics", "si_sdr"))
    results = open_results(tmp_path / "results")
    assert results.settings == wanted
    for row in results.rows:
        path = results.coded(row.setting, row.file)
        assert path.suffix == YARDSTICKS[row.codec].suffix
        assert row.bytes == path.stat().st_size and row.tokens_per_second is None
    assert_done(cli("report", "results"))


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("speex@3", "speex@3: give Speex 4 to 42 kbps, as in speex@8"),
        ("codec2@3", "give Codec 2 3.2, 2.4, 1.6, 1.4, 1.3, 1.2 or 0.7 kbps, as in codec2@3.2"),
        ("codec2", "as in codec2@3.2"),
        ("mp3@4", "give MP3 8 to 320 kbps"),
        ("aac@1000", "give AAC 8 to 512 kbps"),
        ("pcm8@3", "8-bit PCM has no choice of bit rate; write pcm8"),
        ("speex@8:weights", "speex has no weights"),
    ],
)
def test_a_bit_rate_that_a_yardstick_has_not(setting: str, words: str) -> None:
    with pytest.raises(AcompError) as problem:
        parse_setting(setting)
    assert words in str(problem.value)


@pytest.mark.parametrize(
    ("setting", "package"),
    [("opus@12", "ffmpeg"), ("mp3@16", "ffmpeg"), ("aac@16", "ffmpeg"), ("speex@8", "speex"),
     ("codec2@3.2", "codec2")],
)  # fmt: skip
def test_a_missing_program_is_named_with_its_package(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, package: str
) -> None:
    make(tmp_path / "a.wav")
    monkeypatch.setenv("PATH", "")
    run = cli("eval", "a.wav", "-c", setting, "-o", "results")
    name = setting.partition("@")[0]
    assert_refused(run, f"{name} needs the program", f"apt install {package}), or leave {name} out")


def test_a_program_that_fails_is_told_in_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("c2enc", "c2dec"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\necho >&2 first\necho >&2 no such mode\nexit 3\n")
        program.chmod(0o755)
    make(tmp_path / "a.wav")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    run = cli("eval", "a.wav", "-c", "codec2@1.2", "-o", "results")
    assert run.code == 1 and "a.wav in codec2@1.2: c2enc failed: no such mode" in run.err
    assert not Results(tmp_path / "results").coded("codec2@1.2", "a.wav").exists()


def test_every_record_fits_its_places() -> None:
    for name, each in YARDSTICKS.items():
        assert name == each.name and each.suffix.startswith(".")
        assert "\n" not in each.about and "|" not in each.about
        assert each.choices is None or each.usual in each.choices
    rows = ["| setting | kbps | what it is | file |", "|---|---|---|---|"]
    for each in YARDSTICKS.values():
        setting = each.name if each.choices is None else f"{each.name}@{each.usual:g}"
        rates = "" if each.choices is None else f"{each.choices}"
        rows.append(f"| `{setting}` | {rates} | {each.about} | `{each.suffix}` |")
    expected = "\n".join(rows).replace("|  |", "| |")
    assert expected in DOCS.read_text(), expected
