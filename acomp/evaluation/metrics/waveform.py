"""Metrics that compare samples."""

from __future__ import annotations

from acomp import metrics
from acomp.audio import Audio
from acomp.evaluation.metrics.record import DoesNotApply, Method, Metric


def _si_sdr(reference: Audio, decoded: Audio) -> float:
    if not decoded.samples.any():  # nothing beside nothing would be better than many a codec
        raise DoesNotApply("decoded to silence")
    return metrics.si_sdr(reference, decoded)


METRICS = (
    Metric(
        name="si_sdr",
        label="SI-SDR",
        short="SI-SDR",
        unit="dB",
        higher_is_better=True,
        digits=2,
        about="scale-invariant signal-to-distortion ratio, means kept (J. Le Roux et al., 2019)",
        method=Method(compute=_si_sdr, longest=None),
    ),
)
