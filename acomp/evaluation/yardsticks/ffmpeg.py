"""Yardsticks that ffmpeg codes: Opus, MP3 and AAC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from acomp.audio import Audio, resample, write_audio
from acomp.errors import AcompError
from acomp.evaluation.yardsticks.programs import ProgramCoder, find_program, run
from acomp.evaluation.yardsticks.record import Choices, Yardstick

_AAC_DELAY = 1024
"""Samples that ffmpeg's AAC encoder puts before the audio, which ADTS has no place to tell."""
_RATES = ((48, 48_000), (32, 32_000), (20, 24_000), (0, 16_000))
"""kbps of a channel, and the highest rate in Hz at which MP3 and AAC code audio with so few."""


class _FfmpegCoder(ProgramCoder):
    """A coder of ffmpeg's.

    Attributes:
        form: what ffmpeg calls the form of the coded file.
        encoder: its name and settings.
        decoder: what to decode with; nothing for ffmpeg's own.
    """

    form: str
    encoder: tuple[str, ...]
    decoder: tuple[str, ...] = ()

    def __init__(self, kbps: float) -> None:
        self._kbps = kbps

    def encoding(self, source: Path, target: Path) -> Sequence[str]:
        rate = ("-b:a", f"{round(1000 * self._kbps)}")
        coded = ("-c:a", *self.encoder, *rate, "-f", self.form, f"{target}")
        return [*_ffmpeg(), "-f", "wav", "-i", f"{source}", *coded]

    def decoding(self, source: Path, target: Path) -> Sequence[str]:
        coded = (*self.decoder, "-i", f"{source}")
        return [*_ffmpeg(), *coded, "-c:a", "pcm_f32le", "-f", "wav", f"{target}"]


class _OpusCoder(_FfmpegCoder):
    suffix = ".opus"
    form = "ogg"
    encoder = ("libopus",)
    decoder = ("-c:a", "libopus")

    def prepare(self, audio: Audio) -> Audio:
        return audio

    def write(self, path: Path, audio: Audio) -> None:
        write_audio(path, audio, subtype="FLOAT")


class _LowRateCoder(_FfmpegCoder):
    """MP3 and AAC of few bits, which need a lower sample rate than the audio may have."""

    def prepare(self, audio: Audio) -> Audio:
        each = self._kbps / audio.channels
        most = next(rate for least, rate in _RATES if each >= least)
        rates = sorted(rate for _, rate in _RATES if rate <= most)
        return resample(audio, next((rate for rate in rates if rate >= audio.sample_rate), most))


class _Mp3Coder(_LowRateCoder):
    suffix = ".mp3"
    form = "mp3"
    encoder = ("libmp3lame", "-id3v2_version", "0")


class _AacCoder(_LowRateCoder):
    suffix = ".aac"
    form = "adts"
    encoder = ("aac",)
    late = _AAC_DELAY


def _ffmpeg() -> list[str]:
    program = find_program("ffmpeg", "ffmpeg", "this yardstick")
    return [program, "-hide_banner", "-loglevel", "error", "-y"]


def _version(yardstick: str, encoder: str) -> str:
    """The first line that ffmpeg prints about itself.

    Raises:
        AcompError: there is no ffmpeg with the encoder.
    """
    program = find_program("ffmpeg", "ffmpeg", yardstick)
    encoders = run([program, "-hide_banner", "-loglevel", "error", "-encoders"])
    if encoder not in encoders.split():
        raise AcompError(
            f"this ffmpeg has no {encoder}: install one that has it, or leave {yardstick} out"
        )
    return run([program, "-version"]).partition("\n")[0]


def _versions(yardstick: str, encoder: str) -> Callable[[], str]:
    return partial(_version, yardstick, encoder)


YARDSTICKS = (
    Yardstick(
        name="opus",
        label="Opus",
        suffix=_OpusCoder.suffix,
        choices=Choices(6, 510),
        usual=12,
        about="ffmpeg's libopus, in Ogg",
        coder=_OpusCoder,
        version=_versions("opus", "libopus"),
    ),
    Yardstick(
        name="mp3",
        label="MP3",
        suffix=_Mp3Coder.suffix,
        choices=Choices(8, 320),
        usual=16,
        about="ffmpeg's libmp3lame, without tags; at 16 kHz below 20 kbps a channel, at 24 kHz "
        "below 32, at 32 kHz below 48",
        coder=_Mp3Coder,
        version=_versions("mp3", "libmp3lame"),
    ),
    Yardstick(
        name="aac",
        label="AAC",
        suffix=_AacCoder.suffix,
        choices=Choices(8, 512),
        usual=16,
        about="ffmpeg's own AAC-LC, in ADTS; at the rates of MP3",
        coder=_AacCoder,
        version=_versions("aac", "aac"),
    ),
)
