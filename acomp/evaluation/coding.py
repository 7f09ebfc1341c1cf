"""Coding a recording into a file and back: acomp's codecs, Opus and 16-bit PCM alike."""

from __future__ import annotations

import shutil
import subprocess
from abc import ABC, abstractmethod
from io import BytesIO
from pathlib import Path
from time import perf_counter

from acomp.audio import Audio, read_audio, resample, write_audio
from acomp.backends.base import Codec
from acomp.errors import AcompError, AudioError
from acomp.evaluation.settings import OPUS, PCM, Setting
from acomp.files import atomic_write
from acomp.formats import read_codes, write_codes

OPUS_RATE = 48_000
"""Hz that Opus decodes at."""


class Coder(ABC):
    """Codes audio into a file and decodes the file, and measures how long each takes."""

    @abstractmethod
    def encode(self, audio: Audio, target: Path) -> float:
        """Write audio as a coded file; returns the seconds that coding took."""

    @abstractmethod
    def decode(self, source: Path, sample_rate: int) -> tuple[Audio, float]:
        """Decode a file; returns audio at `sample_rate` Hz, and the seconds that decoding took."""


class NeuralCoder(Coder):
    """A codec of acomp's. Its times are those of the codec, without reading and writing files."""

    def __init__(self, codec: Codec, bandwidth: float | None) -> None:
        self._codec = codec
        self._bandwidth = bandwidth
        codec.warm_up(bandwidth)

    def encode(self, audio: Audio, target: Path) -> float:
        began = perf_counter()
        codes = self._codec.encode(audio, bandwidth=self._bandwidth)
        seconds = perf_counter() - began
        write_codes(target, codes)
        return seconds

    def decode(self, source: Path, sample_rate: int) -> tuple[Audio, float]:
        codes = read_codes(source)
        began = perf_counter()
        audio = self._codec.decode(codes, sample_rate=sample_rate)
        return audio, perf_counter() - began


class OpusCoder(Coder):
    """Opus by ffmpeg's libopus, in Ogg. Its times are those of whole processes of ffmpeg."""

    def __init__(self, bandwidth: float) -> None:
        self._bit_rate = round(1000 * bandwidth)

    def encode(self, audio: Audio, target: Path) -> float:
        wav = BytesIO()
        write_audio(wav, audio, subtype="FLOAT")
        began = perf_counter()
        settings = ("-c:a", "libopus", "-b:a", f"{self._bit_rate}", "-f", "ogg", "-")
        coded = _ffmpeg(wav.getvalue(), "-f", "wav", "-i", "-", *settings)
        seconds = perf_counter() - began
        with atomic_write(target, AudioError) as file:
            file.write(coded)
        return seconds

    def decode(self, source: Path, sample_rate: int) -> tuple[Audio, float]:
        began = perf_counter()
        form = ("-f", "wav", "-c:a", "pcm_f32le", "-ar", f"{OPUS_RATE}", "-")
        wav = _ffmpeg(source.read_bytes(), "-c:a", "libopus", "-i", "-", *form)
        audio = resample(read_audio(BytesIO(wav)), sample_rate)
        return audio, perf_counter() - began


class PcmCoder(Coder):
    """16-bit PCM in a WAV."""

    def encode(self, audio: Audio, target: Path) -> float:
        began = perf_counter()
        write_audio(target, audio)
        return perf_counter() - began

    def decode(self, source: Path, sample_rate: int) -> tuple[Audio, float]:
        began = perf_counter()
        audio = resample(read_audio(source), sample_rate)
        return audio, perf_counter() - began


def yardstick(setting: Setting) -> Coder:
    """The coder of a setting that is no codec of acomp's."""
    if setting.codec == PCM:
        return PcmCoder()
    assert setting.codec == OPUS and setting.bandwidth is not None  # parse_setting sees to it
    return OpusCoder(setting.bandwidth)


def opus_version() -> str:
    """The version of the ffmpeg that codes Opus: the first line that it prints about itself.

    Raises:
        AcompError: there is no ffmpeg with libopus.
    """
    encoders = _ffmpeg(b"", "-encoders").decode("utf-8", "replace")
    if "libopus" not in encoders:
        raise AcompError("this ffmpeg has no libopus: install one that has it, or leave opus out")
    return _ffmpeg(b"", "-version").decode("utf-8", "replace").partition("\n")[0]


def _ffmpeg(data: bytes, *arguments: str) -> bytes:
    """Run ffmpeg on `data` as its standard input; returns what it writes to its standard output.

    Raises:
        AcompError: there is no ffmpeg, or it fails.
    """
    program = shutil.which("ffmpeg")
    if program is None:
        raise AcompError("opus needs the program ffmpeg: install it, or leave opus out")
    command = [program, "-hide_banner", "-loglevel", "error", *arguments]
    result = subprocess.run(command, input=data, capture_output=True, check=False)
    if result.returncode:
        reason = result.stderr.decode("utf-8", "replace").strip().splitlines() or ["no reason"]
        raise AcompError(f"ffmpeg failed: {reason[-1]}")
    return result.stdout
