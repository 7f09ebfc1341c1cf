"""Each metric beside its library called directly, on known signals; content and alignment."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from acomp.audio import Audio, read_audio, resample
from acomp.evaluation.alignment import find_delay, moved, same_channels
from acomp.evaluation.content import content_of
from acomp.evaluation.metrics import METRICS, DoesNotApply, fast, measure
from acomp.metrics import log_mel_distance, si_sdr as own_si_sdr, si_sdr_of_samples

si_sdr, pesq, stoi = METRICS["si_sdr"].of, METRICS["pesq"].of, METRICS["stoi"].of
log_mel, mr_stft = METRICS["log_mel"].of, METRICS["mr_stft"].of
SAMPLES = Path(str(files("acomp") / "samples"))


@pytest.fixture(scope="module")
def speech() -> Audio:
    """3.4 s at 24 kHz."""
    return resample(read_audio(SAMPLES / "speech.flac"), 24_000)


@pytest.fixture(scope="module")
def music() -> Audio:
    """5 s, stereo."""
    return read_audio(SAMPLES / "music.flac")


def noise(like: Audio, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(like.samples.shape)


def with_noise(audio: Audio, snr: float) -> Audio:
    """`audio` and noise that has nothing of it, `snr` dB below it."""
    target = audio.samples.astype(np.float64)
    rest = noise(audio)
    rest -= (rest * target).sum() / (target**2).sum() * target
    rest *= np.sqrt((target**2).sum() / (rest**2).sum() / 10 ** (snr / 10))
    return Audio((target + rest).astype(np.float32), audio.sample_rate)


@pytest.mark.parametrize("snr", [-5, 0, 12.5, 40])
def test_si_sdr_is_the_snr_of_noise_at_any_gain(speech: Audio, music: Audio, snr: float) -> None:
    for audio in (speech, music):
        decoded = with_noise(audio, snr)
        louder = Audio(0.3 * decoded.samples, audio.sample_rate)
        for found in (decoded, louder):
            assert si_sdr(audio, found) == pytest.approx(snr, abs=1e-3)
            assert si_sdr(audio, found) == pytest.approx(own_si_sdr(audio, found), abs=1e-6)


def test_si_sdr_is_that_of_torchmetrics(speech: Audio) -> None:
    """Of noise, of equal samples, of another gain and of what has nothing of the speech."""
    import torch
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    target = speech.samples.astype(np.float64)
    other = noise(speech)
    other -= (other * target).sum() / (target**2).sum() * target
    for samples in (with_noise(speech, 7).samples, target, -2 * target, other):
        expected = scale_invariant_signal_distortion_ratio(
            torch.from_numpy(samples.astype(np.float64)), torch.from_numpy(target)
        )
        found = si_sdr_of_samples(speech.samples, samples)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)
    assert si_sdr(speech, speech) > 150


def test_si_sdr_of_a_batch_is_that_of_each(speech: Audio) -> None:
    batch = speech.samples[:, :60_000].reshape(3, 2, 10_000)
    output = batch + np.float32(0.01) * np.random.default_rng(0).standard_normal(batch.shape)
    output[1, 0] = 0
    silent = np.where(np.arange(3)[:, None, None] == 2, 0, batch)
    found = si_sdr_of_samples(silent, output)
    assert found.shape == (3, 2)
    assert found[0, 1] == si_sdr_of_samples(batch[0, 1], output[0, 1])
    assert found[1, 0] == 0
    assert np.isnan(found).tolist() == [[False] * 2, [False] * 2, [True] * 2]


def test_pesq_is_that_of_its_package_at_16_khz(speech: Audio) -> None:
    from pesq import pesq as score

    decoded = with_noise(speech, 15)
    first, second = resample(speech, 16_000), resample(decoded, 16_000)
    expected = score(16_000, first.samples[0], second.samples[0], "wb")
    assert pesq(speech, decoded) == expected
    assert 1.04 < expected < 4
    assert pesq(speech, speech) == pytest.approx(4.64, abs=0.01)


def test_stoi_is_that_of_its_package_at_the_own_rate(speech: Audio) -> None:
    from pystoi import stoi as score

    decoded = with_noise(speech, 5)
    assert stoi(speech, decoded) == score(speech.samples[0], decoded.samples[0], 24_000)
    assert stoi(speech, speech) == pytest.approx(1)


def test_mr_stft_is_that_of_auraloss(music: Audio) -> None:
    import torch
    from auraloss.freq import MultiResolutionSTFTLoss

    decoded = with_noise(music, 10)
    pair = (torch.from_numpy(audio.samples[None]) for audio in (decoded, music))
    assert mr_stft(music, decoded) == pytest.approx(float(MultiResolutionSTFTLoss()(*pair)), 1e-6)
    assert mr_stft(music, music) == 0


def test_log_mel_is_the_distance_that_the_demo_shows(music: Audio) -> None:
    decoded = with_noise(music, 10)
    assert log_mel(music, decoded) == pytest.approx(log_mel_distance(music, decoded), rel=1e-6)
    assert log_mel(music, music) == 0


@pytest.mark.parametrize("name", ["pesq", "stoi", "mr_stft", "log_mel"])
def test_a_long_recording_is_measured_in_equal_stretches(name: str, speech: Audio) -> None:
    metric = METRICS[name].of
    long = Audio(np.tile(speech.samples, 10), speech.sample_rate)
    decoded = Audio(
        np.concatenate(
            [
                with_noise(long, 20).samples[:, : long.length // 2],
                with_noise(long, 0).samples[:, long.length // 2 :],
            ],
            axis=1,
        ),
        long.sample_rate,
    )
    halves = [
        metric(*(Audio(part, 24_000) for part in pair))
        for pair in zip(
            np.array_split(long.samples, 2, axis=1),
            np.array_split(decoded.samples, 2, axis=1),
            strict=True,
        )
    ]
    assert abs(halves[0] - halves[1]) > 0.02
    assert metric(long, decoded) == pytest.approx(np.mean(halves), rel=1e-6)


def test_channels_are_averaged(speech: Audio) -> None:
    good, bad = with_noise(speech, 25), with_noise(speech, 5)
    stereo = Audio(np.concatenate([speech.samples] * 2), speech.sample_rate)
    decoded = Audio(np.concatenate([good.samples, bad.samples]), speech.sample_rate)
    for metric in (pesq, stoi):
        expected = (metric(speech, good) + metric(speech, bad)) / 2
        assert metric(stereo, decoded) == pytest.approx(expected, rel=1e-6)


def test_what_is_for_speech_is_left_out_elsewhere(music: Audio) -> None:
    figures, left_out = measure(music, with_noise(music, 10), "other")
    assert {"si_sdr", "log_mel", "mr_stft"} <= figures.keys()
    of_speech = [each.name for each in fast() if each.method.content == "speech"]
    assert {"pesq", "stoi"} <= {*of_speech}
    assert dict.fromkeys(of_speech, "not speech").items() <= left_out.items()


def test_silence_has_no_ratio_to_anything(speech: Audio) -> None:
    silence = Audio(np.zeros_like(speech.samples), speech.sample_rate)
    figures, left_out = measure(silence, silence, "speech")
    assert figures["log_mel"] == 0
    of_sound = [each.name for each in fast() if not each.method.takes_silence]
    assert {"si_sdr", "pesq", "stoi", "mr_stft"} <= {*of_sound}
    assert dict.fromkeys(of_sound, "silence").items() <= left_out.items()


def test_speech_decoded_to_silence_gets_no_ratio(speech: Audio) -> None:
    """The ratio of nothing to nothing would be 0 dB, better than that of many a codec."""
    silence = Audio(np.zeros_like(speech.samples), speech.sample_rate)
    with pytest.raises(DoesNotApply, match="decoded to silence"):
        si_sdr(speech, silence)


@pytest.mark.parametrize("length", [1, 100, 1024, 1025, 3000])
def test_a_clip_that_is_too_short_for_a_metric(speech: Audio, length: int) -> None:
    clip = Audio(speech.samples[:, 20_000 : 20_000 + length], speech.sample_rate)
    figures, left_out = measure(clip, with_noise(clip, 10) if length > 1 else clip, "speech")
    assert "log_mel" in figures
    assert left_out["pesq"] == "no utterance found"
    assert left_out["stoi"] == "too little sound"
    assert ("mr_stft" in figures) == (length > 1024)
    assert sorted([*figures, *left_out]) == sorted(each.name for each in fast())


def test_content(speech: Audio, music: Audio) -> None:
    assert content_of(speech) == "speech"
    assert content_of(resample(speech, 44_100)) == "speech"
    assert content_of(music) == "other"
    assert content_of(Audio(0.1 * noise(speech).astype(np.float32), 24_000)) == "other"
    assert content_of(Audio(np.zeros((1, 50_000), np.float32), 48_000)) == "other"
    assert content_of(Audio(np.zeros((2, 1), np.float32), 48_000)) == "other"


# A copy that is a sample or two late is so like the original that noise hides it: too little gain.
DELAYS = st.just(0) | st.integers(-1200, -8) | st.integers(8, 1200)


@settings(max_examples=30, deadline=None)
@given(delay=DELAYS, snr=st.sampled_from([5, 30]))
def test_a_delayed_copy_is_found_and_put_back(speech: Audio, delay: int, snr: int) -> None:
    late = moved(with_noise(speech, snr), -delay, speech.length)
    found = find_delay(speech, late)
    assert found == delay
    back = moved(late, found, speech.length)
    assert back.length == speech.length
    inside = slice(1200, -1200)  # what was pushed over the edge is gone
    pair = (Audio(audio.samples[:, inside], 24_000) for audio in (speech, back))
    assert si_sdr(*pair) == pytest.approx(snr, abs=0.3)


def test_no_delay_is_believed_without_evidence(speech: Audio) -> None:
    assert find_delay(speech, speech) == 0
    hiss = Audio(noise(speech).astype(np.float32), speech.sample_rate)
    assert find_delay(speech, hiss) == 0
    silence = Audio(np.zeros_like(speech.samples), speech.sample_rate)
    assert find_delay(speech, silence) == find_delay(silence, speech) == 0
    beyond = moved(speech, -1900, speech.length)
    assert abs(find_delay(speech, beyond)) <= 1200
    one = Audio(np.ones((1, 1), np.float32), 24_000)
    assert find_delay(one, one) == 0


def test_the_smaller_number_of_channels_is_compared(music: Audio) -> None:
    mono = Audio(music.samples.mean(axis=0, keepdims=True), music.sample_rate)
    for pair in ((music, mono), (mono, music)):
        first, second = same_channels(*pair)
        assert first.channels == second.channels == 1
        np.testing.assert_allclose(first.samples, second.samples, atol=1e-7)
    assert same_channels(music, music)[0].channels == 2


def test_moving_keeps_the_length(speech: Audio) -> None:
    assert moved(speech, 10, 20).samples.tolist() == speech.samples[:, 10:30].tolist()
    early = moved(speech, -3, 5).samples
    assert early.tolist() == [[0, 0, 0, *speech.samples[0, :2].tolist()]]
    assert moved(speech, 0, speech.length + 7).samples[0, -7:].any() == np.False_
