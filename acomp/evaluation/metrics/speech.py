"""Metrics that are made for speech."""

from __future__ import annotations

from acomp.audio import Audio
from acomp.evaluation.metrics.record import DoesNotApply, Method, Metric
from acomp.quiet import quiet

PESQ_RATE = 16_000
"""Hz: wide band."""
_STOI_OF_TOO_LITTLE = 1e-5
"""What pystoi returns, with a warning, where fewer than its 30 frames hold sound."""


def _pesq(reference: Audio, decoded: Audio) -> float:
    from pesq import PesqError, pesq

    pair = reference.samples[0], decoded.samples[0]
    found = float(pesq(PESQ_RATE, *pair, "wb", on_error=PesqError.RETURN_VALUES))
    if found < 0:  # the codes of its errors: too short, or no utterance found
        raise DoesNotApply("no utterance found")
    return found


def _stoi(reference: Audio, decoded: Audio) -> float:
    from pystoi import stoi

    try:
        with quiet():
            found = float(stoi(reference.samples[0], decoded.samples[0], reference.sample_rate))
    except (ValueError, IndexError) as problem:  # of no sound at all
        raise DoesNotApply("too little sound") from problem
    if found == _STOI_OF_TOO_LITTLE:
        raise DoesNotApply("too little sound")
    return found


METRICS = (
    Metric(
        name="pesq",
        label="PESQ-WB",
        short="PESQ",
        unit="MOS-LQO",
        higher_is_better=True,
        digits=2,
        about="wide-band PESQ (ITU-T P.862.2), 1.04 to 4.64; it lines the two sides up on its own",
        method=Method(
            compute=_pesq,
            content="speech",
            sample_rate=PESQ_RATE,
            channels="each",
            packages=("pesq",),
        ),
    ),
    Metric(
        name="stoi",
        label="STOI",
        short="STOI",
        higher_is_better=True,
        digits=3,
        about="short-time objective intelligibility, at most 1 (C. Taal et al., 2011); "
        "it resamples to 10 kHz on its own",
        method=Method(compute=_stoi, content="speech", channels="each", packages=("pystoi",)),
    ),
)
