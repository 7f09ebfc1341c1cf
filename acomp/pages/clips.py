"""Stretches of audio to put into a page: of one length, equally loud, as base64 of FLAC."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from acomp.audio import Audio, open_audio, to_channels
from acomp.quiet import quiet

MOST_GAIN = 4.0
"""Largest factor, 12 dB, that makes a clip louder: what is quieter than that is broken."""
MOST_CHANNELS = 5
"""Channels that BS.1770 defines a loudness for."""


@dataclass(frozen=True)
class Clip:
    """One version of a stretch of audio.

    Attributes:
        id: name of the version.
        audio: the stretch, at most some seconds.
        gain: factor that makes it as loud as the first of its clips. All gains are lowered together
            where one of the clips would exceed full scale.
    """

    id: str
    audio: Audio
    gain: float

    @property
    def flac(self) -> str:
        """The audio as base64 of a 16-bit FLAC, before `gain`."""
        file = io.BytesIO()
        soundfile.write(file, self.audio.samples.T, self.audio.sample_rate, "PCM_16", format="FLAC")
        return base64.b64encode(file.getvalue()).decode("ascii")


def excerpt(path: Path, start: float, seconds: float) -> Audio:
    """At most `seconds` of a file, from `start` on.

    Raises:
        AudioError: the file cannot be read.
    """
    with open_audio(path) as reader:
        rate = reader.sample_rate
        first, last = round(start * rate), round((start + seconds) * rate)
        parts, position = [np.zeros((reader.channels, 0), np.float32)], 0
        for block in reader.blocks(rate):
            parts.append(block[:, max(0, first - position) : max(0, last - position)])
            position += block.shape[1]
            if position >= last:
                break
    return Audio(np.concatenate(parts, axis=1), rate)


def level_matched(versions: dict[str, Audio]) -> list[Clip]:
    """The versions of one stretch as clips that are as loud as the first of them.

    Loudness is that of ITU-R BS.1770-4; versions too short or too quiet for it stay as they are.
    """
    loudness = {name: _loudness(audio) for name, audio in versions.items()}
    target = next(iter(loudness.values()))
    gains = {name: _gain(target, found) for name, found in loudness.items()}
    peak = max(
        float(np.abs(audio.samples).max(initial=0)) * gains[name]
        for name, audio in versions.items()
    )
    least = min(1.0, 1 / peak) if peak else 1.0
    return [Clip(name, audio, gains[name] * least) for name, audio in versions.items()]


def _loudness(audio: Audio) -> float | None:
    """Integrated loudness in LUFS; None where there is too little to measure it."""
    from pyloudnorm import Meter

    meter = Meter(audio.sample_rate)
    if audio.duration < meter.block_size or audio.channels > MOST_CHANNELS:
        return None
    # A single channel is played by both speakers, and beside stereo it is to be as loud as that.
    heard = to_channels(audio.samples, 2) if audio.channels == 1 else audio.samples
    with quiet(), np.errstate(divide="ignore"):  # of silence, which is asked about below
        found = float(meter.integrated_loudness(heard.T.astype(np.float64)))
    return found if np.isfinite(found) else None


def _gain(target: float | None, found: float | None) -> float:
    """The factor from one loudness to another, in LUFS; 1 where one is not known."""
    if target is None or found is None:
        return 1.0
    return float(np.clip(10 ** ((target - found) / 20), 1 / MOST_GAIN, MOST_GAIN))
