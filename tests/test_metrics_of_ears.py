"""The metrics that predict ears, each beside its package called directly; skipped without it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stdout
from importlib.resources import files
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from commands import Cli, assert_done, assert_refused, make
from hypothesis import given, settings, strategies as st

from acomp.audio import Audio, read_audio, resample
from acomp.evaluation.metrics import METRICS, DoesNotApply, measure, recognition
from acomp.evaluation.metrics.recognition import (
    error_rate,
    heard_phones,
    heard_words,
    phone_error,
    word_error,
)
from acomp.evaluation.results import open_results

SLOW = [metric for metric in METRICS.values() if metric.method.extra == "eval-full"]
SAMPLES = Path(str(files("acomp") / "samples"))


@pytest.fixture(scope="module")
def speech() -> Audio:
    """2.4 s at 48 kHz."""
    audio = resample(read_audio(SAMPLES / "speech.flac"), 48_000)
    return Audio(audio.samples[:, -115_200:], 48_000)


@pytest.fixture(scope="module")
def decoded(speech: Audio) -> Audio:
    """The same with noise."""
    noise = np.random.default_rng(0).standard_normal(speech.samples.shape)
    return Audio((speech.samples + 0.05 * noise).astype(np.float32), 48_000)


def needs(*names: str) -> None:
    """Skip a test of metrics whose packages are not installed."""
    missing = [name for name in names if not METRICS[name].method.is_installed]
    if missing:
        pytest.skip(f"{', '.join(missing)}: not installed")


def by_zimtohrli(reference: Audio, decoded: Audio) -> dict[str, float]:
    from zimtohrli import mos_from_signals

    return {"zimtohrli": mos_from_signals(reference.samples[0], decoded.samples[0])}


def by_visqol(reference: Audio, decoded: Audio) -> dict[str, float]:
    from visqol import VisqolApi

    found = {}
    for mode, rate in (("speech", 16_000), ("audio", 48_000)):
        judge = VisqolApi()
        judge.create(mode=mode)
        first, second = resample(reference, rate), resample(decoded, rate)
        result = judge.measure_from_arrays(first.samples[0], second.samples[0], rate)
        found[f"visqol_{mode}"] = result.moslqo
    return found


def by_dnsmos(_: Audio, decoded: Audio) -> dict[str, float]:
    from speechmos import dnsmos

    found = dnsmos.run(resample(decoded, 16_000).samples[0], 16_000)
    return {f"dnsmos_{name}": found[f"{name}_mos"] for name in ("sig", "bak", "ovrl")}


def by_distillmos(_: Audio, decoded: Audio) -> dict[str, float]:
    import torch

    from acomp.torchaudio import ensure_torchaudio

    ensure_torchaudio()
    import distillmos

    with redirect_stdout(StringIO()), torch.no_grad():
        model = distillmos.ConvTransformerSQAModel().eval()
        return {"distillmos": float(model(torch.from_numpy(resample(decoded, 16_000).samples)))}


def by_resemblyzer(reference: Audio, decoded: Audio) -> dict[str, float]:
    from resemblyzer import VoiceEncoder, preprocess_wav

    encoder = VoiceEncoder("cpu", verbose=False)
    first, second = (
        encoder.embed_utterance(preprocess_wav(resample(audio, 16_000).samples[0]))
        for audio in (reference, decoded)
    )
    return {"speaker": float(np.dot(first, second))}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("names", "package"),
    [
        ("zimtohrli", by_zimtohrli),
        ("visqol_speech,visqol_audio", by_visqol),
        ("dnsmos_sig,dnsmos_bak,dnsmos_ovrl", by_dnsmos),
        ("distillmos", by_distillmos),
        ("speaker", by_resemblyzer),
    ],
)
def test_a_figure_is_that_of_its_package(
    names: str,
    package: Callable[[Audio, Audio], dict[str, float]],
    speech: Audio,
    decoded: Audio,
) -> None:
    needs(*names.split(","))
    metrics = [METRICS[name] for name in names.split(",")]
    found, left_out = measure(speech, decoded, "speech", metrics)
    assert not left_out
    assert found == pytest.approx(package(speech, decoded), rel=1e-5)
    clean, _ = measure(speech, speech, "speech", metrics)
    assert clean[metrics[-1].name] > found[metrics[-1].name]


def test_what_is_silent_or_too_short_has_no_figures(speech: Audio) -> None:
    """What packages raise, and what they give silence, is not shown."""
    metrics = [metric for metric in SLOW if metric.method.is_installed]
    speech = Audio(speech.samples[:, 24_000:48_000], 48_000)
    silence = Audio(np.zeros_like(speech.samples), 48_000)
    _, left_out = measure(silence, speech, "speech", metrics)
    assert left_out == {metric.name: "silence" for metric in metrics}
    figures, left_out = measure(speech, silence, "speech", metrics)
    assert not {*figures} - {"zimtohrli", "word_error", "phone_error"}
    assert {*left_out.values()} <= {"decoded to silence", "no voice found", "no words to hear"}
    clip = Audio(speech.samples[:, :100], 48_000)
    figures, left_out = measure(clip, clip, "speech", metrics)
    assert not {*figures} - {metric.name for metric in metrics if "mos" in metric.name}
    assert {*left_out.values()} <= {"too short", "no voice found", "no words to hear"}


# Recognition


def test_what_is_heard_does_not_depend_on_what_was_heard_before(
    speech: Audio, decoded: Audio
) -> None:
    needs("word_error", "phone_error")
    clean, noisy = resample(speech, 16_000), resample(decoded, 16_000)
    for listen in (heard_words, heard_phones):
        first = listen(clean)
        recognition._known.clear()
        assert len(first.split()) > 3 and listen(noisy) and listen(clean) == first
        assert error_rate(first, first) == 0
    assert "SIL" not in first and "+" not in first


def test_any_function_can_be_the_recogniser(speech: Audio) -> None:
    pytest.importorskip("rapidfuzz")
    stereo, rates = Audio(np.repeat(speech.samples, 2, axis=0), 48_000), set()
    level = speech.samples.std()

    def listens(audio: Audio) -> str:
        rates.add((audio.sample_rate, audio.channels))
        return "One two, three four" if audio.samples.std() < 2 * level else "one three for"

    metrics = [word_error(listens), phone_error(listens)]
    loud = Audio(stereo.samples * 3, 48_000)
    assert measure(stereo, loud, "speech", metrics)[0] == {"word_error": 50, "phone_error": 50}
    assert rates == {(16_000, 1)}


def test_words_are_held_against_transcripts(cli: Cli, tmp_path: Path) -> None:
    """One file has words, one has none; with others they are measured anew."""
    needs("word_error")
    for name in ("a.wav", "b.wav"):
        make(tmp_path / name)
    words = tmp_path / "words.txt"
    command = [
        *("eval", "a.wav", "b.wav", "-c", "pcm", "-o", "results", "--content", "speech"),
        *("--metrics", "word_error", "--transcripts", "words.txt"),
    ]
    words.write_text("a.wav\tnobody says that\n\nother.wav\tor this\n")
    assert_done(cli(*command))
    first, second = open_results(tmp_path / "results").rows
    assert first.metrics["word_error"] >= 100 * 2 / 3
    assert second.left_out == {"word_error": "no transcript"}
    words.write_text("a.wav\tnobody says that\nb.wav\tat all\n")
    assert_done(cli(*command))
    assert [*open_results(tmp_path / "results").rows[1].metrics] == ["word_error"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a.wav one two", "line 1: 'a.wav one two' is no name, tab and words"),
        ("\n\tone", "line 2"),
        ("a\tone\na\ttwo", "is there twice"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (None, "cannot read"),
    ],
)
def test_transcripts_that_are_none(
    cli: Cli, tmp_path: Path, text: str | bytes | None, problem: str
) -> None:
    make(tmp_path / "a.wav")
    if text is not None:
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "words.txt").write_bytes(data)
    command = ("eval", "a.wav", "-c", "pcm", "-o", "results", "--transcripts", "words.txt")
    assert_refused(cli(*command), problem)
    assert not (tmp_path / "results").exists()


@settings(max_examples=50, deadline=None)
@given(*[st.lists(st.sampled_from("abc"), max_size=5)] * 2)
def test_an_error_rate_counts_the_fewest_changes(expected: list[str], heard: list[str]) -> None:
    pytest.importorskip("rapidfuzz")

    def changes(first: list[str], second: list[str]) -> int:
        if not first or not second:
            return len(first) + len(second)
        replaced = changes(first[1:], second[1:]) + (first[0] != second[0])
        return min(replaced, 1 + changes(first[1:], second), 1 + changes(first, second[1:]))

    texts = " ".join(expected).upper(), ", ".join(heard)
    if not expected:
        with pytest.raises(DoesNotApply, match="no words to hear"):
            error_rate(*texts)
    else:
        assert error_rate(*texts) == pytest.approx(100 * changes(expected, heard) / len(expected))


# The command


def test_full_leaves_out_what_is_not_installed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    there = importlib.util.find_spec
    gone = {module for metric in SLOW for module in metric.method.packages}
    for module in ("acomp.evaluation.metrics.record", "acomp.packages"):
        monkeypatch.setattr(
            f"{module}.find_spec", lambda name: None if name in gone else there(name)
        )
    command = ("eval", make(tmp_path / "a.wav"), "-c", "pcm", "-o", "results", "--metrics")
    refused = cli(*command, "speaker")
    wanted = 'pip install "acomp[eval-full]" && pip install --no-deps resemblyzer'
    assert_refused(refused, f"eval needs resemblyzer, webrtcvad, librosa: {wanted}")
    assert_done(cli(*command, "full", "--content", "speech"))
    text = (tmp_path / "results" / "results.csv").read_text()
    assert all(f"{metric.name}: not installed" in text for metric in SLOW)
