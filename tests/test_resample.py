"""Resampling: exact lengths, and the same samples however they are pushed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from acomp.audio import Audio, Resampler, resample
from acomp.audio.samples import Samples
from acomp.errors import AudioError

RATES = [8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000, 96000, 192000]


def noise(channels: int, length: int, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, (channels, length)).astype(np.float32)


def in_pieces(resampler: Resampler, samples: Samples, cuts: list[int]) -> Samples:
    pieces = [resampler.push(piece) for piece in np.split(samples, sorted(cuts), axis=1)]
    return np.concatenate([*pieces, resampler.finish()], axis=1)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(RATES),
    st.sampled_from(RATES),
    st.integers(1, 3),
    st.integers(0, 6000),
    st.data(),
)
def test_pieces_give_exactly_the_whole(
    source: int, target: int, channels: int, length: int, data: st.DataObject
) -> None:
    samples = noise(channels, length)
    cuts = data.draw(st.lists(st.integers(0, length), max_size=20))
    whole = in_pieces(Resampler(source, target, channels), samples, [])
    pieces = in_pieces(Resampler(source, target, channels), samples, cuts)
    assert whole.shape == (channels, -(-length * target // source))
    np.testing.assert_array_equal(pieces, whole)


@pytest.mark.parametrize("source", RATES)
def test_a_round_trip_can_be_cut_to_the_length_it_began_with(source: int) -> None:
    for length in (1, 2, 639, 5000, 70_001):
        there = resample(Audio(noise(1, length), source), 24000)
        back = Resampler(24000, source, 1)
        samples = np.concatenate([back.push(there.samples), back.finish(length)], axis=1)
        assert samples.shape == (1, length)


@pytest.mark.parametrize(("source", "target"), [(48000, 24000), (44100, 24000), (24000, 48000)])
def test_a_tone_stays_the_same_tone(source: int, target: int) -> None:
    def tone(rate: int) -> Samples:
        return np.sin(2 * np.pi * 1000 * np.arange(rate) / rate).astype(np.float32)[None]

    resampled = resample(Audio(tone(source), source), target)
    middle = slice(target // 10, -target // 10)
    error = np.abs(resampled.samples - tone(target))[:, middle].max()
    assert error < 1e-4


def test_what_the_lower_rate_cannot_hold_is_filtered_out() -> None:
    tone = np.sin(2 * np.pi * 15_000 * np.arange(48_000) / 48_000).astype(np.float32)[None]
    resampled = resample(Audio(tone, 48_000), 24_000)
    assert np.abs(resampled.samples[:, 2400:-2400]).max() < 1e-4


def test_channels_stay_apart_and_in_order() -> None:
    samples = noise(3, 4000)
    together = resample(Audio(samples, 44100), 24000).samples
    for channel in range(3):
        alone = resample(Audio(samples[channel : channel + 1], 44100), 24000).samples
        np.testing.assert_array_equal(together[channel : channel + 1], alone)


def test_equal_rates_pass_through_without_a_copy() -> None:
    resampler = Resampler(24000, 24000, 2)
    samples = noise(2, 100)
    assert resampler.push(samples) is samples
    assert resampler.finish().shape == (2, 0)
    audio = Audio(samples, 24000)
    assert resample(audio, 24000) is audio


@pytest.mark.parametrize("rates", [(24000, 24000), (24000, 48000), (48000, 24000)])
def test_a_longer_length_is_padded_with_silence(rates: tuple[int, int]) -> None:
    source, target = rates
    samples = noise(2, 1000)
    natural = in_pieces(Resampler(source, target, 2), samples, [])
    resampler = Resampler(source, target, 2)
    longer = natural.shape[1] + 777
    padded = np.concatenate([resampler.push(samples), resampler.finish(longer)], axis=1)
    np.testing.assert_array_equal(padded[:, :-777], natural)
    assert padded.shape[1] == longer
    assert not padded[:, -777:].any()


def test_a_length_below_what_was_given_is_refused() -> None:
    resampler = Resampler(24000, 48000, 1)
    assert resampler.push(noise(1, 24000)).shape[1] > 10
    with pytest.raises(AudioError, match="or longer, not 10"):
        resampler.finish(10)


@pytest.mark.parametrize("target", [24000, 44100, 16000])
@pytest.mark.parametrize("length", [1, 100, 24000, 24639])
def test_what_is_held_back_can_be_cut(target: int, length: int) -> None:
    samples = noise(2, 24960)
    due = -(-length * target // 24000)
    whole = in_pieces(Resampler(24000, target, 2), samples, [])
    resampler = Resampler(24000, target, 2, hold=-(-24960 * target // 24000) - due)
    pieces = [resampler.push(piece) for piece in np.split(samples, [320, 20000], axis=1)]
    cut = np.concatenate([*pieces, resampler.finish(due)], axis=1)
    np.testing.assert_array_equal(cut, whole[:, :due])


@given(st.integers(0, 50), st.lists(st.integers(0, 60), max_size=9))
def test_holding_back_changes_nothing_else(hold: int, cuts: list[int]) -> None:
    samples = noise(1, 60)
    for target in (24000, 48000):
        whole = in_pieces(Resampler(24000, target, 1), samples, [])
        held = in_pieces(Resampler(24000, target, 1, hold=hold), samples, cuts)
        np.testing.assert_array_equal(held, whole)


def test_nothing_gives_nothing() -> None:
    assert Resampler(44100, 24000, 2).finish().shape == (2, 0)


@pytest.mark.parametrize("rates", [(0, 24000), (24000, 2_000_000), (10, 24000), (1_000_000, 100)])
def test_rates_out_of_reason_are_refused(rates: tuple[int, int]) -> None:
    with pytest.raises(AudioError):
        Resampler(*rates, 1)


def test_samples_of_other_channels_are_refused() -> None:
    with pytest.raises(AudioError, match="1 channels, where 2 are expected"):
        Resampler(24000, 48000, 2).push(noise(1, 10))
