"""Yardsticks that are made for speech: Speex and Codec 2, which code audio mixed down to mono."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from acomp.audio import Audio, AudioWriter, read_audio, resample, to_channels
from acomp.evaluation.yardsticks.programs import ProgramCoder, find_program, run
from acomp.evaluation.yardsticks.record import Choices, Yardstick

_SPEEX_RATE = 16_000
"""Hz of its wide band."""
_CODEC2_RATE = 8_000
_CODEC2_FRAME = 320
"""Samples of the longest frame of its modes; the others have half as many."""
_CODEC2_MODES = {
    3.2: "3200", 2.4: "2400", 1.6: "1600", 1.4: "1400", 1.3: "1300", 1.2: "1200", 0.7: "700C"
}  # fmt: skip
_CODEC2_LATE = {0.7: 240}
"""Samples by which modes are late, by the envelopes of speech; the others are by 160, a frame."""


class _SpeexCoder(ProgramCoder):
    suffix = ".spx"

    def __init__(self, kbps: float) -> None:
        self._bit_rate = f"{round(1000 * kbps)}"

    def prepare(self, audio: Audio) -> Audio:
        return _mono(audio, _SPEEX_RATE)

    def encoding(self, source: Path, target: Path) -> Sequence[str]:
        program = find_program("speexenc", "speex", "speex")
        return [program, "--wideband", "--bitrate", self._bit_rate, f"{source}", f"{target}"]

    def decoding(self, source: Path, target: Path) -> Sequence[str]:
        return [find_program("speexdec", "speex", "speex"), f"{source}", f"{target}"]


class _Codec2Coder(ProgramCoder):
    """Its programs read and write samples without a header, and leave out what fills no frame."""

    suffix = ".c2"

    def __init__(self, kbps: float) -> None:
        self._mode = _CODEC2_MODES[kbps]
        self.late = _CODEC2_LATE.get(kbps, 160)

    def prepare(self, audio: Audio) -> Audio:
        mono = _mono(audio, _CODEC2_RATE)
        rest = self.late + -(mono.length + self.late) % _CODEC2_FRAME
        return Audio(np.pad(mono.samples, ((0, 0), (0, rest))), mono.sample_rate)

    def write(self, path: Path, audio: Audio) -> None:
        with AudioWriter(path, audio.sample_rate, audio.channels, raw="s16le") as writer:
            writer.write(audio.samples)

    def read(self, path: Path) -> Audio:
        return read_audio(path, raw=f"{_CODEC2_RATE}:1:s16le")

    def encoding(self, source: Path, target: Path) -> Sequence[str]:
        program = find_program("c2enc", "codec2", "codec2")
        return [program, self._mode, f"{source}", f"{target}"]

    def decoding(self, source: Path, target: Path) -> Sequence[str]:
        program = find_program("c2dec", "codec2", "codec2")
        return [program, self._mode, f"{source}", f"{target}"]


def _mono(audio: Audio, rate: int) -> Audio:
    return resample(Audio(to_channels(audio.samples, 1), audio.sample_rate), rate)


def _version_of_speex() -> str:
    find_program("speexdec", "speex", "speex")
    return run([find_program("speexenc", "speex", "speex"), "--version"]).partition("\n")[0]


def _version_of_codec2() -> str:
    """Nothing: its programs do not tell their version."""
    for program in ("c2enc", "c2dec"):
        find_program(program, "codec2", "codec2")
    return ""


YARDSTICKS = (
    Yardstick(
        name="speex",
        label="Speex",
        suffix=_SpeexCoder.suffix,
        choices=Choices(4, 42),
        usual=8,
        about="`speexenc` (Debian's package speex), wide band at 16 kHz, mono, in Ogg, at the "
        "highest of its bit rates that is no higher",
        coder=_SpeexCoder,
        version=_version_of_speex,
    ),
    Yardstick(
        name="codec2",
        label="Codec 2",
        suffix=_Codec2Coder.suffix,
        choices=Choices(min(_CODEC2_MODES), max(_CODEC2_MODES), tuple(_CODEC2_MODES)),
        usual=3.2,
        about="`c2enc` (Debian's package codec2), 8 kHz mono",
        coder=_Codec2Coder,
        version=_version_of_codec2,
    ),
)
