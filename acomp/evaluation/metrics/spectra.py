"""Metrics that compare magnitudes of spectra."""

from __future__ import annotations

from acomp.audio import Audio
from acomp.evaluation.metrics.record import DoesNotApply, Method, Metric
from acomp.metrics import log_mel_distance

SPECTRUM = 2048
"""Samples of the largest transform of MR-STFT."""


def _mr_stft(reference: Audio, decoded: Audio) -> float:
    import torch
    from auraloss.freq import MultiResolutionSTFTLoss

    if reference.length <= SPECTRUM // 2:
        raise DoesNotApply(f"no longer than {SPECTRUM // 2} samples")
    distance = MultiResolutionSTFTLoss()
    output, target = (torch.from_numpy(audio.samples[None]) for audio in (decoded, reference))
    return float(distance(output, target))


METRICS = (
    Metric(
        name="log_mel",
        label="log-mel distance",
        short="mel",
        unit="log10",
        higher_is_better=False,
        digits=3,
        about="mean absolute difference of log10 mel magnitudes: 80 bands, window 2048, hop 512, "
        "floor 1e-5",
        method=Method(compute=log_mel_distance, takes_silence=True),
    ),
    Metric(
        name="mr_stft",
        label="MR-STFT distance",
        short="STFT",
        higher_is_better=False,
        digits=2,
        about="multi-resolution STFT distance: spectral convergence and log magnitudes, windows of "
        "600, 1200 and 240 (R. Yamamoto et al., 2020)",
        method=Method(compute=_mr_stft, packages=("auraloss",)),
    ),
)
