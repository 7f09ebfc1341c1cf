"""Reconstruction losses, which measure how far the output of a codec is from its input.

Every loss takes float32 samples `[..., time]` of any sample rate; the leading dimensions may be
batch, channels or both. Gradients are finite at digital silence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from acomp.errors import TrainingError
from acomp.quiet import quiet
from acomp.torchaudio import ensure_torchaudio

SCALES = {64: 10, 128: 20, 256: 40, 512: 80, 1024: 160, 2048: 320}
"""Window length in samples and number of mel bands, as in DAC (https://arxiv.org/abs/2306.06546),
without its shortest window."""
DAC_SCALES = {32: 5, **SCALES}
ENCODEC_WINDOWS = tuple(2**power for power in range(5, 12))
ENCODEC_BANDS = 64
STFT_WINDOWS = (512, 2048)
COMPLEX_WINDOWS = (512, 2048)
INAUDIBLE = 5e-5
"""Floor of mel magnitudes, per square root of the window's length: about the magnitude of white
noise at -90 dB in a mel band. Without it the silence between words would outweigh the words."""


def waveform_loss(target: Tensor, output: Tensor) -> Tensor:
    """Mean absolute difference of the samples."""
    return (target - output).abs().mean()


def mel_loss(target: Tensor, output: Tensor, sample_rate: int = 24_000) -> Tensor:
    """Multi-scale log-mel distance: the mean absolute difference of log10 mel magnitudes, summed
    over the scales, on HTK's mel bands. Magnitudes below `INAUDIBLE` hardly count.
    """
    total = target.new_zeros(())
    for window, bands in SCALES.items():
        filters = _mel_filters(window, bands, sample_rate, "htk", target.device)
        floor = INAUDIBLE * math.sqrt(window)
        x = (_bands(_spectrogram(target, window).abs(), filters) + floor).log10()
        y = _bands(_magnitude(_spectrogram(output, window), 1e-10), filters)
        total = total + (x - (y + floor).log10()).abs().mean()
    return total


def dac_mel_loss(target: Tensor, output: Tensor, sample_rate: int) -> Tensor:
    """DAC's multi-scale log-mel distance (https://arxiv.org/abs/2306.06546, section 3.4): the mean
    absolute difference of log10 mel magnitudes, summed over the scales, on Slaney's mel bands.
    """
    total = target.new_zeros(())
    for window, bands in DAC_SCALES.items():
        filters = _mel_filters(window, bands, sample_rate, "slaney", target.device)
        x, y = (
            _bands(_spectrogram(samples, window).abs(), filters).clamp(min=1e-5).log10()
            for samples in (target, output)
        )
        total = total + (x - y).abs().mean()
    return total


def encodec_mel_loss(target: Tensor, output: Tensor, sample_rate: int) -> Tensor:
    """EnCodec's mel distance (https://arxiv.org/abs/2210.13438, equation 1): L1 plus L2 norm of the
    difference of 64-band mel magnitudes, averaged over seven scales.

    The norms are per element (mean and root mean square over each channel's spectrogram), so that
    the loss does not grow with the length of a segment.
    """
    total = target.new_zeros(())
    for window in ENCODEC_WINDOWS:
        filters = _mel_filters(window, ENCODEC_BANDS, sample_rate, "htk", target.device)
        x, y = (
            _bands(_spectrogram(samples, window).abs(), filters) for samples in (target, output)
        )
        difference = (x - y) / _hann(window, target.device).norm()
        # unlike the square root of a mean square, this norm has a gradient (zero) at zero
        norms = torch.linalg.vector_norm(difference, dim=(1, 2))
        total = total + difference.abs().mean() + (norms / difference[0].numel() ** 0.5).mean()
    return total / len(ENCODEC_WINDOWS)


def stft_loss(target: Tensor, output: Tensor) -> Tensor:
    """Multi-scale spectral distance (https://arxiv.org/abs/2001.04643): sum of the mean absolute
    differences of magnitudes and of log10 powers, with DAC's scales and floor.
    """
    total = target.new_zeros(())
    for window in STFT_WINDOWS:
        x, y = _spectrogram(target, window).abs(), _spectrogram(output, window).abs()
        powers = 2 * (x.clamp(min=1e-5).log10() - y.clamp(min=1e-5).log10())
        total = total + (x - y).abs().mean() + powers.abs().mean()
    return total


def complex_loss(target: Tensor, output: Tensor) -> Tensor:
    """Difference of complex spectra with magnitudes compressed by a square root, relative to the
    target's mean. Unlike the mel losses it depends on phases, and so on the waveform.
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
    """Mean squared error of `[batch, frames, features]`, relative to the target's mean square,
    averaged over the batch.
    """
    error = (target - output).square().mean((1, 2))
    return (error / (target.square().mean((1, 2)) + 1e-4)).mean()


Reconstruction = Callable[[Tensor, Tensor, int], Tensor]

RECONSTRUCTION: Mapping[str, Reconstruction] = MappingProxyType(
    {
        "waveform": lambda target, output, _: waveform_loss(target, output),
        "mel": mel_loss,
        "dac-mel": dac_mel_loss,
        "encodec-mel": encodec_mel_loss,
        "stft": lambda target, output, _: stft_loss(target, output),
        "complex": lambda target, output, _: complex_loss(target, output),
    }
)
"""Losses by name: of the target `[..., time]`, the output and the sample rate in Hz.

All but `waveform` raise TrainingError for segments of less than half their longest window.
"""


def _magnitude(spectrum: Tensor, floor: float) -> Tensor:
    """Magnitudes with a gradient at zero."""
    return (spectrum.real.square() + spectrum.imag.square() + floor).sqrt()


def _bands(magnitudes: Tensor, filters: Tensor) -> Tensor:
    """`[n, frequencies, frames]` to `[n, frames, bands]`."""
    return magnitudes.transpose(1, 2) @ filters


def _spectrogram(samples: Tensor, window: int) -> Tensor:
    """`[..., time]` to `[n, frequencies, frames]`, complex."""
    length = samples.shape[-1]
    if length <= window // 2:
        raise TrainingError(
            f"segments of {length} samples are too short for a spectral loss: "
            f"train on at least {window // 2 + 1}"
        )
    flat = samples.reshape(-1, length)
    return torch.stft(
        flat, window, window // 4, window=_hann(window, samples.device), return_complex=True
    )


# What is cached may be asked for first by a validation under inference_mode, whose tensors could
# not take part in a later training step.


@cache
def _hann(window: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):
        return torch.hann_window(window, device=device)


@cache
def _mel_filters(
    window: int, bands: int, sample_rate: int, scale: Literal["htk", "slaney"], device: torch.device
) -> Tensor:
    """`[frequencies, bands]`; Slaney's have unit area, HTK's unit height."""
    ensure_torchaudio()
    from torchaudio.functional import melscale_fbanks

    with (
        torch.inference_mode(False),
        quiet(),
    ):  # the shortest windows leave bands empty, as published
        filters: Tensor = melscale_fbanks(
            window // 2 + 1,
            0.0,
            sample_rate / 2,
            bands,
            sample_rate,
            norm="slaney" if scale == "slaney" else None,
            mel_scale=scale,
        )
        return filters.to(device)
