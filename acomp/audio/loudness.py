"""Loudness by ITU-R BS.1770, measured over a stream.

Each channel is measured on its own. Results are those of `audiotools`, by which
`descript-audio-codec` normalises: the filters are pyloudnorm's with coefficients rounded to
float32, audio shorter than half a second is padded with silence, the last block is padded with
silence, and the lowest loudness is -70 LUFS.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from acomp.audio.samples import Samples
from acomp.errors import AudioError

QUIETEST = -70.0
"""Loudness of silence in LUFS; blocks no louder than this do not count (BS.1770)."""
_OFFSET = -0.691
_BLOCK_SECONDS = 0.4
_LEAST_SECONDS = 0.5
_GATE = 10.0
"""Blocks that are more than this quieter than the mean, in LU, do not count either (BS.1770)."""


class LoudnessMeter:
    """Measures the integrated loudness of each channel of a stream.

    Raises:
        AudioError: pyloudnorm is not installed.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self._rate = sample_rate
        self._block = int(_BLOCK_SECONDS * sample_rate)
        self._step = int(_BLOCK_SECONDS * sample_rate * 0.25)
        self._filters = [(b, a, np.zeros((channels, 2))) for b, a in _k_weighting(sample_rate)]
        self._squares = np.zeros((channels, 0))
        """Squares of the filtered samples, from the beginning of the next block on."""
        self._powers: list[NDArray[np.float64]] = []
        """Mean squares of the blocks so far, `[channels, blocks]` in each."""
        self._taken = 0

    def push(self, samples: Samples) -> None:
        """Take the next samples `[channels, time]`, of any number."""
        if not samples.shape[1]:
            return  # scipy would make the filter's state NaN
        self._taken += samples.shape[1]
        squares = self._filtered(samples) ** 2
        self._squares = np.concatenate([self._squares, squares], axis=1)
        if self._squares.shape[1] >= self._block:
            windows = sliding_window_view(self._squares, self._block, axis=1)[:, :: self._step]
            self._add(windows.sum(axis=2))
            self._squares = self._squares[:, windows.shape[1] * self._step :]

    def finish(self) -> tuple[float, ...]:
        """End the stream and return the loudness of each channel in LUFS."""
        channels = self._squares.shape[0]
        missing = int((_LEAST_SECONDS - self._taken / self._rate) * self._rate)
        if missing > 0:
            self.push(np.zeros((channels, missing), np.float32))
        if self._squares.shape[1] > self._block - self._step:
            self._add(self._squares.sum(axis=1, keepdims=True))
        powers = np.concatenate(self._powers, axis=1)
        return tuple(_gated(channel) for channel in powers)

    def _filtered(self, samples: Samples) -> NDArray[np.float64]:
        from scipy.signal import lfilter

        filtered: NDArray[np.float64] = samples.astype(np.float64)
        for b, a, state in self._filters:
            filtered, state[:] = lfilter(b, a, filtered, axis=1, zi=state)
        return filtered

    def _add(self, sums: NDArray[np.float64]) -> None:
        self._powers.append(sums / (_BLOCK_SECONDS * self._rate))


def gains(wanted: tuple[float, ...], measured: tuple[float, ...]) -> Samples:
    """Factors `[channels, 1]` that change the loudness of channels from `measured` to `wanted`.

    Both are in LUFS.
    """
    steps = np.array(wanted) - np.array(measured)
    factors: Samples = (10 ** (steps / 20)).astype(np.float32)[:, np.newaxis]
    return factors


def _k_weighting(rate: int) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Coefficients b and a of the two filters of BS.1770: the head's shelf and the high-pass."""
    try:
        from pyloudnorm import IIRfilter
    except ImportError as error:
        raise AudioError(
            f"measuring loudness needs pyloudnorm ({error}): pip install pyloudnorm"
        ) from error
    head = IIRfilter(4.0, 1 / np.sqrt(2), 1500.0, rate, "high_shelf")
    ear = IIRfilter(0.0, 0.5, 38.0, rate, "high_pass")
    return [
        (part.b.astype(np.float32).astype(float), part.a.astype(np.float32).astype(float))
        for part in (head, ear)
    ]


def _loudness(power: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        loudness: NDArray[np.float64] = _OFFSET + 10 * np.log10(power)
    return loudness


def _gated(powers: NDArray[np.float64]) -> float:
    """The gated loudness in LUFS of blocks with these mean squares (BS.1770, equations 3 to 7)."""
    powers = powers[np.isfinite(powers)]  # a broken network may give anything
    loudness = _loudness(powers)
    audible = loudness > QUIETEST
    if not audible.any():
        return QUIETEST
    threshold = _loudness(powers[audible].mean()) - _GATE
    counted = powers[audible & (loudness > threshold)]
    return max(QUIETEST, float(_loudness(counted.mean())))
