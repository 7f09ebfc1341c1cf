"""The anchors of a listening test: the reference through a low-pass filter."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from acomp.audio import Audio

STOPPED = 9 / 7
"""Where a low-pass attenuates by 50 dB, as a multiple of its cut-off: 4.5 kHz for 3.5 kHz."""
ATTENUATION = 60.0
"""dB, and a passband ripple of 0.01 dB: more than BS.1534 asks for, at the cost of a few taps."""


def can_be_anchored(sample_rate: int, cutoff: int) -> bool:
    """Whether audio of that rate reaches beyond what the low-pass with that cut-off stops.

    Otherwise the anchor would have nothing to take away and be the reference once more.
    """
    return sample_rate / 2 >= STOPPED * cutoff


def low_pass(sample_rate: int, cutoff: int) -> NDArray[np.float64]:
    """Taps, an odd number, of a linear-phase FIR low-pass filter (Kaiser window): `[taps]`.

    ITU-R BS.1534-3, 5.1, asks of a cut-off of 3.5 kHz for a ripple of at most +-0.1 dB up to there,
    and for an attenuation of at least 25 dB at 4 kHz and 50 dB at 4.5 kHz. It has no such figures
    for 7 kHz: the same are held at twice the frequencies.

    Args:
        sample_rate: Hz; high enough, as `can_be_anchored` tells.
        cutoff: the end of the passband in Hz.
    """
    from scipy.signal import firwin, kaiserord

    stop = cutoff * 8 / 7
    taps, beta = kaiserord(ATTENUATION, (stop - cutoff) / (sample_rate / 2))
    middle = (cutoff + stop) / 2
    found: NDArray[np.float64] = firwin(taps | 1, middle, window=("kaiser", beta), fs=sample_rate)
    return found


def anchor(audio: Audio, cutoff: int) -> Audio:
    """The audio without what is above `cutoff` in Hz, in step with it.

    It is made quieter where the filter's overshoot would not fit into full scale.
    """
    taps = low_pass(audio.sample_rate, cutoff)
    from scipy.signal import oaconvolve

    filtered = oaconvolve(audio.samples.astype(np.float64), taps[None], mode="same", axes=1)
    peak = max(1.0, float(np.abs(filtered).max(initial=0)))
    return Audio((filtered / peak).astype(np.float32), audio.sample_rate)
