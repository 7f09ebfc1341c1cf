"""Where in a recording somebody speaks, by Silero's voice activity detection."""

from __future__ import annotations

from functools import cache
from typing import Any

from acomp.audio.resampling import resample
from acomp.audio.samples import Audio, to_channels

VAD_RATE = 16_000


def speech_in(audio: Audio) -> list[tuple[float, float]]:
    """The stretches of speech, begin and end of each in seconds. Needs `silero_vad`."""
    import torch
    from silero_vad import get_speech_timestamps

    mono = Audio(to_channels(audio.samples, 1), audio.sample_rate)
    samples = torch.from_numpy(resample(mono, VAD_RATE).samples[0])
    found = get_speech_timestamps(samples, _detector(), sampling_rate=VAD_RATE)
    return [(part["start"] / VAD_RATE, part["end"] / VAD_RATE) for part in found]


@cache
def _detector() -> Any:
    from silero_vad import load_silero_vad

    return load_silero_vad()
