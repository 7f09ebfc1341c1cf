"""Reconstruction losses, on samples `[batch, time]` at 24 kHz."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from acomp.engines.torchaudio import ensure_torchaudio

SCALES = {64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}
"""Window length in samples and number of mel bands, as in DAC (https://arxiv.org/abs/2306.06546),
without its shortest window."""
COMPLEX_WINDOWS = (512, 2048)


def mel_loss(target: Tensor, output: Tensor, sample_rate: int = 24_000) -> Tensor:
    """Multi-scale log-mel distance: mean absolute difference of log10 mel magnitudes, each scale's
    added up (DAC, section 3.4).
    """
    total = target.new_zeros(())
    for window, bands in SCALES.items():
        filters = _mel_filters(window, bands, sample_rate)
        x = (_spectrogram(target, window).abs().transpose(1, 2) @ filters).clamp(min=1e-5).log10()
        spectrum = _magnitude(_spectrogram(output, window), 1e-10)
        y = (spectrum.transpose(1, 2) @ filters).clamp(min=1e-5).log10()
        total = total + (x - y).abs().mean()
    return total


def complex_loss(target: Tensor, output: Tensor) -> Tensor:
    """Difference of spectra whose magnitudes are compressed by a square root and whose phases are
    kept, relative to the target's mean: what the mel loss cannot hear, waveforms.
    """
    total = target.new_zeros(())
    for window in COMPLEX_WINDOWS:
        x, y = _spectrogram(target, window), _spectrogram(output, window)
        size = x.abs().clamp(min=1e-4)
        level = size.sqrt().mean((1, 2), keepdim=True) + 0.05
        difference = x / size.sqrt() - y / _magnitude(y, 1e-8).sqrt()
        total = total + (_magnitude(difference, 1e-10) / level).mean()
    return total


def relative_error(target: Tensor, output: Tensor) -> Tensor:
    """Mean squared error over the target's mean square, averaged over the batch."""
    error = (target - output).square().mean((1, 2))
    return (error / (target.square().mean((1, 2)) + 1e-4)).mean()


def _magnitude(spectrum: Tensor, floor: float) -> Tensor:
    """Magnitudes with a gradient at zero."""
    return (spectrum.real.square() + spectrum.imag.square() + floor).sqrt()


def _spectrogram(x: Tensor, window: int) -> Tensor:
    return torch.stft(x, window, window // 4, window=_hann(window), return_complex=True)


@cache
def _hann(window: int) -> Tensor:
    return torch.hann_window(window)


@cache
def _mel_filters(window: int, bands: int, sample_rate: int) -> Tensor:
    ensure_torchaudio()
    from torchaudio.functional import melscale_fbanks

    filters: Tensor = melscale_fbanks(window // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate)
    return filters
