"""Yardsticks that are not coded: PCM of 16 bits and of 8."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import numpy as np

from acomp.audio import Audio, read_audio, resample, write_audio
from acomp.errors import AudioError
from acomp.evaluation.yardsticks.record import Coder, Yardstick
from acomp.files import atomic_write


class _PcmCoder(Coder):
    """16-bit PCM in a WAV."""

    def encode(self, audio: Audio, target: Path) -> float:
        began = perf_counter()
        write_audio(target, audio)
        return perf_counter() - began

    def decode(self, source: Path, sample_rate: int) -> tuple[Audio, float]:
        began = perf_counter()
        audio = resample(read_audio(source), sample_rate)
        return audio, perf_counter() - began


class _Pcm8Coder(_PcmCoder):
    """8-bit PCM in a WAV, rounded without dither."""

    def encode(self, audio: Audio, target: Path) -> float:
        import soundfile

        began = perf_counter()
        samples = np.clip(np.round(128 * audio.samples.T), -128, 127) / 128
        with atomic_write(target, AudioError) as file:
            soundfile.write(file, samples, audio.sample_rate, "PCM_U8", format="WAV")
        return perf_counter() - began


def _none() -> str:
    return ""


YARDSTICKS = (
    Yardstick(
        name="pcm",
        label="16-bit PCM",
        suffix=".wav",
        about="16-bit WAV",
        coder=lambda _: _PcmCoder(),
        version=_none,
    ),
    Yardstick(
        name="pcm8",
        label="8-bit PCM",
        suffix=".wav",
        about="8-bit WAV, without dither",
        coder=lambda _: _Pcm8Coder(),
        version=_none,
    ),
)
