"""Exported folders beside the codecs that they are of."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

import acomp
from acomp.audio import to_channels
from acomp.audio.resampling import resample
from acomp.backends.base import Codec


def speech(codec: Codec, length: int) -> acomp.Audio:
    """Some of the speech that ships with acomp, as the codec takes it."""
    audio = acomp.read_audio(Path(acomp.__file__).parent / "samples/speech.flac")
    samples = resample(audio, codec.spec.sample_rate).samples[:, 2000 : 2000 + length]
    return acomp.Audio(to_channels(samples, codec.spec.channels), codec.spec.sample_rate)


def assert_guide_works(
    codec: Codec, folder: Path, audio: acomp.Audio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python of a folder's README, run there, does what the codec does."""
    rate = codec.spec.sample_rate
    soundfile.write(folder / "speech.wav", audio.samples.T, rate, "FLOAT")
    text = (folder / "README.md").read_text()
    (python,) = re.findall(r"```python\n(.*?)```", text, re.S)
    monkeypatch.chdir(folder)
    exec(python, {})
    (codebooks,) = {int(count) for count in re.findall(r"to (\d+) codes a frame", text)}
    expected = codec.decode(codec.encode(audio, codebooks=codebooks)).samples
    found, _ = soundfile.read(folder / "back.wav", dtype="float32", always_2d=True)
    assert np.abs(found.T - expected.clip(-1, 1)).max() < 1e-3  # written in 16 bits
