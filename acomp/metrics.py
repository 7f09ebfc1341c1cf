"""Distances between a recording and what a codec made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from acomp.audio import Audio
from acomp.errors import AudioError

WINDOW = 2048
MEL_BANDS = 80
FLOOR = 1e-5
TINY = float(np.finfo(np.float64).eps)


def si_sdr(reference: Audio, estimate: Audio) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, all channels together; higher is better.

    As `si_sdr_of_samples`: NaN for a silent reference, some 200 dB for an estimate that is exact.

    Raises:
        AudioError: the two differ in sample rate or shape.
    """
    _check(reference, estimate)
    return float(si_sdr_of_samples(reference.samples.ravel(), estimate.samples.ravel()))


def si_sdr_of_samples(
    reference: NDArray[np.floating[Any]], estimate: NDArray[np.floating[Any]]
) -> NDArray[np.float64]:
    """Scale-invariant signal-to-distortion ratios in dB of arrays of samples `[..., time]`.

    J. Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019, equation 5, in 64 bits. Means
    are kept. The rounding error of 64-bit floats is added to both energies of the ratio, so that it
    is finite where an estimate is exact or has nothing of the reference; a silent estimate gives
    0 dB.

    Returns:
        Ratios `[...]`; NaN where the reference is silent.
    """
    target, output = reference.astype(np.float64), estimate.astype(np.float64)
    energy = np.sum(target**2, axis=-1, keepdims=True)
    with np.errstate(invalid="ignore"):  # of 0 / 0, for silence
        scaled = np.sum(output * target, axis=-1, keepdims=True) / energy * target
    signal, noise = (np.sum(part**2, axis=-1) for part in (scaled, output - scaled))
    ratio: NDArray[np.float64] = 10 * np.log10((signal + TINY) / (noise + TINY))
    return ratio


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
