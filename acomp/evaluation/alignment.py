"""Putting decoded audio beside its reference: channels, length, and place in time."""

from __future__ import annotations

import numpy as np

from acomp.audio import Audio, to_channels

MOST_DELAY = 0.05
"""Seconds that a codec's audio may be early or late."""
LEAST_GAIN_DB = 1.0
LEAST_SI_SDR_DB = -5.0
"""By how much the SI-SDR must grow, and what it must reach, for a delay to be believed: chance
finds some likeness between any two sounds."""
LOOKED_AT = 30.0
"""Seconds in which the delay is looked for."""


def same_channels(reference: Audio, decoded: Audio) -> tuple[Audio, Audio]:
    """Both with the smaller number of channels of the two; mixed down where it is one."""
    channels = min(reference.channels, decoded.channels)
    first, second = (
        Audio(to_channels(audio.samples, channels), audio.sample_rate)
        for audio in (reference, decoded)
    )
    return first, second


def find_delay(reference: Audio, decoded: Audio) -> int:
    """Samples by which `decoded` is late; negative where it is early.

    It is the lag within 50 ms, over the first 30 s, at which the SI-SDR is the highest; 0 unless
    that is at least -5 dB, and 1 dB above the SI-SDR without a lag.
    """
    from scipy.signal import correlate

    length = round(LOOKED_AT * reference.sample_rate)
    target, output = (
        audio.samples[:, :length].mean(axis=0, dtype=np.float64) for audio in (reference, decoded)
    )
    most = min(round(MOST_DELAY * reference.sample_rate), len(target) - 1, len(output) - 1)
    energy = (target @ target) * (output @ output)
    if most < 1 or energy == 0:
        return 0
    products = correlate(output, target, mode="full", method="fft")
    middle = len(target) - 1  # the product without a lag
    share = products[middle - most : middle + most + 1] ** 2 / energy
    best = int(share.argmax())
    reached = _decibels(share[best])
    gain = reached - _decibels(share[most])
    return best - most if reached >= LEAST_SI_SDR_DB and gain >= LEAST_GAIN_DB else 0


def _decibels(share: float) -> float:
    """The SI-SDR in dB of a signal of whose energy `share` lies along its reference.

    Of a thousand lags the share alone is known, and of the best of them this is precise enough.
    """
    tiny = np.finfo(np.float64).eps
    return float(10 * np.log10((share + tiny) / (max(0.0, 1 - share) + tiny)))


def moved(decoded: Audio, delay: int, length: int) -> Audio:
    """`decoded` without its first `delay` samples, and `length` samples long.

    What is missing, and what a negative delay puts before it, is silence.
    """
    samples = decoded.samples[:, max(0, delay) :]
    samples = np.pad(samples, ((0, 0), (max(0, -delay), 0)))[:, :length]
    samples = np.pad(samples, ((0, 0), (0, length - samples.shape[1])))
    return Audio(samples, decoded.sample_rate)
