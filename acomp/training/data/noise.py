"""Recordings with noise behind them, for codecs that learn to leave it out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from acomp.training.data.drawing import Segments

_OWN = 1
"""What tells the draws of signal-to-noise ratios from others of the same seed."""


class NoisySegments:
    """Random segments as pairs, noisy and clean; as `Segments` otherwise.

    Args:
        clean: what is drawn, at the level that it is to have.
        noise: what is put behind it.
        snr: signal-to-noise ratios in dB between which one is drawn for each segment.
        seed: of these draws.
    """

    def __init__(
        self, clean: Segments, noise: Segments, snr: tuple[float, float], seed: int
    ) -> None:
        self._clean, self._noise = clean, noise
        self._snr, self._seed = snr, seed
        self.length = clean.length

    @property
    def damaged(self) -> dict[Path, str]:
        """Files in which a stretch could not be read, and why the first could not."""
        return {**self._clean.damaged, **self._noise.damaged}

    def batch(self, step: int, rank: int, size: int) -> Tensor:
        """`[size, 2, channels, length]`: a function of the seed, the step and the process alone.

        Raises:
            TrainingError: no audio could be read any more.
        """
        random = np.random.default_rng([self._seed, step, rank, _OWN])
        ratios = random.uniform(*self._snr, size).tolist()
        clean = self._clean.batch(step, rank, size)
        return with_noise(clean, self._noise.batch(step, rank, size), ratios)


def with_noise(clean: Tensor, noise: Tensor, ratios: Sequence[float]) -> Tensor:
    """Clean segments `[n, channels, length]` and the same with noise behind them, in pairs.

    Args:
        clean: float32.
        noise: of any level, in turn where there are fewer; silent noise stays silent.
        ratios: signal-to-noise ratio of each in dB, by the powers of the whole segments.

    Returns:
        `[n, 2, channels, length]`, the noisy one first. A pair that would exceed full scale is
        scaled down together.
    """
    noise = noise[torch.arange(len(clean)) % len(noise)]
    powers = [each.square().mean((1, 2), keepdim=True) for each in (clean, noise)]
    wanted = torch.tensor(ratios, dtype=clean.dtype).view(-1, 1, 1)
    gain = (powers[0] / powers[1].clamp(min=1e-12)).sqrt() * 10 ** (-wanted / 20)
    pairs = torch.stack([clean + gain * noise, clean], dim=1)
    return pairs / pairs.abs().amax((1, 2, 3), keepdim=True).clamp(min=1)


def fixed_pairs(clean: Tensor, noise: Tensor, snr: tuple[float, float]) -> Tensor:
    """Pairs as of `with_noise`, whose ratios are spread evenly over a range."""
    ratios = np.linspace(*snr, len(clean))
    return with_noise(clean, noise, np.random.default_rng(0).permutation(ratios).tolist())
