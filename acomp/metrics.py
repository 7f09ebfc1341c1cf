"""Distances between a recording and what a codec made of it."""

from __future__ import annotations

import numpy as np

from acomp.audio import Audio
from acomp.errors import AudioError

WINDOW = 2048
MEL_BANDS = 80
FLOOR = 1e-5


def si_sdr(reference: Audio, estimate: Audio) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, all channels together; higher is better.

    J. Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019, equation 5.

    Raises:
        AudioError: the two differ in sample rate or shape.
    """
    _check(reference, estimate)
    target = reference.samples.astype(np.float64).ravel()
    output = estimate.samples.astype(np.float64).ravel()
    energy = target @ target
    if energy == 0:
        return float("nan")
    scaled = (output @ target) / energy * target
    noise = output - scaled
    with np.errstate(divide="ignore"):
        return float(10 * np.log10((scaled @ scaled) / (noise @ noise)))


def log_mel_distance(reference: Audio, estimate: Audio) -> float:
    """Mean absolute difference of log10 mel magnitudes (80 bands, window of 2048 samples, hop of
    512), floored at 1e-5; lower is better.

    Raises:
        AudioError: the two differ in sample rate or shape.
    """
    _check(reference, estimate)
    return float(np.abs(_log_mel(reference) - _log_mel(estimate)).mean())


def _check(reference: Audio, estimate: Audio) -> None:
    if reference.sample_rate != estimate.sample_rate:
        raise AudioError(
            f"sample rates differ: {reference.sample_rate} and {estimate.sample_rate} Hz"
        )
    if reference.samples.shape != estimate.samples.shape:
        raise AudioError(f"shapes differ: {reference.samples.shape} and {estimate.samples.shape}")


def _log_mel(audio: Audio) -> np.ndarray:
    import torch

    from acomp.torchaudio import ensure_torchaudio

    ensure_torchaudio()
    from torchaudio.transforms import MelSpectrogram

    mel = MelSpectrogram(audio.sample_rate, WINDOW, hop_length=512, n_mels=MEL_BANDS, power=1.0)
    # Centred windows are padded by reflection, which needs more samples than half a window.
    short = max(0, WINDOW - audio.length)
    padded = np.pad(audio.samples, ((0, 0), (0, short)))
    spectrum: np.ndarray = mel(torch.from_numpy(padded)).clamp(min=FLOOR).log10().numpy()
    return spectrum
