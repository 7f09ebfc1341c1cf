"""Whether a recording is speech: PESQ and STOI say nothing about anything else."""

from __future__ import annotations

from functools import cache
from typing import Any

from acomp.audio import Audio, resample, to_channels

SPEECH_SHARE = 0.5
"""The least share of a recording that must be speech for it to be taken for speech."""
VAD_RATE = 16_000


def content_of(audio: Audio) -> str:
    """`speech` where Silero's voice activity detection hears it half the time, else `other`."""
    import torch
    from silero_vad import get_speech_timestamps

    mono = Audio(to_channels(audio.samples, 1), audio.sample_rate)
    samples = torch.from_numpy(resample(mono, VAD_RATE).samples[0])
    found = get_speech_timestamps(samples, _detector(), sampling_rate=VAD_RATE)
    heard = sum(part["end"] - part["start"] for part in found)
    return "speech" if heard >= SPEECH_SHARE * len(samples) else "other"


@cache
def _detector() -> Any:
    from silero_vad import load_silero_vad

    return load_silero_vad()
