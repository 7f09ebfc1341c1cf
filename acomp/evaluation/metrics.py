"""How near decoded audio is to its reference: the figures of well-kept libraries, applied rightly.

Both sides have the same rate, channels and length, and are in step (see alignment.py). A metric
that does not apply raises `DoesNotApply`, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import ceil, isfinite

import numpy as np

from acomp.audio import Audio, resample
from acomp.metrics import log_mel_distance
from acomp.quiet import quiet

PESQ_RATE = 16_000
"""Hz: wide band."""
STRETCH_SECONDS = 30.0
"""PESQ is made for sentences of some seconds, and spectra of an hour do not fit into memory: what
is longer is measured in equal stretches, none of them longer than this."""
SPECTRUM = 2048
"""Samples of the largest transform of MR-STFT."""


class DoesNotApply(Exception):  # noqa: N818  not an error: most metrics apply to some audio only
    """A metric says nothing about some audio; the message says why."""


def measure(reference: Audio, decoded: Audio, content: str) -> tuple[dict[str, float], list[str]]:
    """Every metric that applies to a recording.

    Args:
        reference: the audio that was coded.
        decoded: what came back, of the same rate, channels and length, and in step.
        content: speech or other; PESQ and STOI are for speech.

    Returns:
        The figures by the metrics' names, and the metrics left out: `pesq: not speech`.
    """
    figures: dict[str, float] = {}
    left_out = []
    with _one_thread():
        for name, metric in METRICS.items():
            try:
                if name in SPEECH_ONLY and content != "speech":
                    raise DoesNotApply("not speech")
                figures[name] = _finite(metric(reference, decoded))
            except DoesNotApply as reason:
                left_out.append(f"{name}: {reason}")
    return figures, left_out


def si_sdr(reference: Audio, decoded: Audio) -> float:
    """Scale-invariant signal-to-distortion ratio in dB, all channels together, means kept.

    torchmetrics; J. Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019.
    """
    import torch
    from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

    _refuse_silence(reference, decoded)
    output, target = (
        torch.from_numpy(audio.samples.ravel().astype(np.float64)) for audio in (decoded, reference)
    )
    return float(scale_invariant_signal_distortion_ratio(output, target))


def pesq(reference: Audio, decoded: Audio) -> float:
    """Wide-band PESQ (ITU-T P.862.2), MOS-LQO of 1.04 to 4.64, at 16 kHz; the mean of the channels.

    The package `pesq`, which lines the two up on its own.
    """
    reference, decoded = resample(reference, PESQ_RATE), resample(decoded, PESQ_RATE)
    return _mean(_pesq, reference, decoded)


def _pesq(reference: Audio, decoded: Audio) -> float:
    from pesq import PesqError, pesq as score

    _refuse_silence(reference)
    found = [
        score(PESQ_RATE, *pair, "wb", on_error=PesqError.RETURN_VALUES)
        for pair in zip(reference.samples, decoded.samples, strict=True)
    ]
    if min(found) < 0:  # the codes of its errors: too short, or no utterance found
        raise DoesNotApply("no utterance found")
    return float(np.mean(found))


def stoi(reference: Audio, decoded: Audio) -> float:
    """Short-time objective intelligibility, up to 1; the mean of the channels.

    The package `pystoi`, which resamples to its 10 kHz; C. Taal et al., "An Algorithm for
    Intelligibility Prediction of Time-Frequency Weighted Noisy Speech", 2011.
    """
    return _mean(_stoi, reference, decoded)


_STOI_OF_TOO_LITTLE = 1e-5
"""What pystoi returns, with a warning, where fewer than its 30 frames hold sound."""


def _stoi(reference: Audio, decoded: Audio) -> float:
    from pystoi import stoi as score

    _refuse_silence(reference)
    found = []
    for pair in zip(reference.samples, decoded.samples, strict=True):
        try:
            with quiet():
                found.append(score(*pair, reference.sample_rate))
        except (ValueError, IndexError) as problem:  # of no sound at all
            raise DoesNotApply("too little sound") from problem
        if found[-1] == _STOI_OF_TOO_LITTLE:
            raise DoesNotApply("too little sound")
    return float(np.mean(found))


def log_mel(reference: Audio, decoded: Audio) -> float:
    """`acomp.metrics.log_mel_distance`, at the reference's rate."""
    return _mean(log_mel_distance, reference, decoded)


def mr_stft(reference: Audio, decoded: Audio) -> float:
    """Multi-resolution STFT distance with auraloss's own settings, at the reference's rate.

    Spectral convergence and log magnitudes, over three windows; R. Yamamoto et al., "Parallel
    WaveGAN", ICASSP 2020.
    """
    return _mean(_mr_stft, reference, decoded)


def _mr_stft(reference: Audio, decoded: Audio) -> float:
    import torch
    from auraloss.freq import MultiResolutionSTFTLoss

    if reference.length <= SPECTRUM // 2:
        raise DoesNotApply(f"no longer than {SPECTRUM // 2} samples")
    _refuse_silence(reference)
    distance = MultiResolutionSTFTLoss()
    output, target = (torch.from_numpy(audio.samples[None]) for audio in (decoded, reference))
    return float(distance(output, target))


METRICS: dict[str, Callable[[Audio, Audio], float]] = {
    "si_sdr": si_sdr,
    "pesq": pesq,
    "stoi": stoi,
    "log_mel": log_mel,
    "mr_stft": mr_stft,
}
SPEECH_ONLY = ("pesq", "stoi")


def _mean(metric: Callable[[Audio, Audio], float], reference: Audio, decoded: Audio) -> float:
    """The mean over the stretches to which the metric applies."""
    found, reason = [], DoesNotApply("no samples")
    for stretch in zip(_stretches(reference), _stretches(decoded), strict=True):
        try:
            found.append(metric(*stretch))
        except DoesNotApply as why:
            reason = why
    if not found:
        raise reason
    return float(np.mean(found))


def _stretches(audio: Audio) -> Iterator[Audio]:
    """The audio in the fewest equal stretches of at most STRETCH_SECONDS."""
    count = ceil(audio.duration / STRETCH_SECONDS)
    for part in np.array_split(audio.samples, count, axis=1) if count else ():
        yield Audio(part, audio.sample_rate)


def _refuse_silence(reference: Audio, decoded: Audio | None = None) -> None:
    if not reference.samples.any():
        raise DoesNotApply("silence")
    if decoded is not None and not decoded.samples.any():
        raise DoesNotApply("decoded to silence")


def _finite(figure: float) -> float:
    if not isfinite(figure):
        raise DoesNotApply("it has no finite value")
    return figure


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, so that figures do not depend on the number of threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
