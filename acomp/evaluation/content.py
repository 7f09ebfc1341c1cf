"""Whether a recording is speech: PESQ and STOI say nothing about anything else."""

from __future__ import annotations

from acomp.audio import Audio
from acomp.audio.speech import speech_in

SPEECH_SHARE = 0.5
"""The least share of a recording that must be speech for it to be taken for speech."""


def content_of(audio: Audio) -> str:
    """`speech` where Silero's voice activity detection hears it half the time, else `other`."""
    heard = sum(end - begin for begin, end in speech_in(audio))
    return "speech" if heard >= SPEECH_SHARE * audio.duration else "other"
