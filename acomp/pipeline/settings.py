"""What is coded, what is decoded, how the audio is written, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from os import PathLike
from typing import BinaryIO

from acomp.audio import PcmFormat
from acomp.codes import CodesInfo
from acomp.errors import AudioError

Source = str | PathLike[str] | BinaryIO
Target = str | PathLike[str] | BinaryIO
Progress = Callable[[float, float | None], None]
"""Called with the seconds of audio done and, where it is known, their total."""
MAX_SECONDS = 1e9
"""Where a stretch can begin and how long it can be; no file of codes is half as long."""


@dataclass(frozen=True)
class Result:
    """What was done."""

    info: CodesInfo
    audio_seconds: float
    codec_seconds: float
    """Time that coding took, to the bytes of codes or from them; reading and writing sound, and
    waiting for the other end of a pipe, are left out."""
    damage: tuple[str, ...] = ()
    """What was passed over in a damaged file."""
    preparing_seconds: float = 0.0
    """Time that compiling networks took, which `codec_seconds` leaves out: a first run's."""


@dataclass(frozen=True)
class Coding:
    """What is coded of the audio, and in how many codes."""

    bandwidth: float | None = None
    """In kbps, of one stream."""
    codebooks: int | None = None
    """Instead of a bandwidth."""
    channels: str = "auto"
    """auto, mono, stereo or each."""


@dataclass(frozen=True)
class Span:
    """What is decoded of the codes.

    Raises:
        AudioError: no audio lasts so long.
    """

    start: float = 0.0
    """Seconds to leave out at the beginning."""
    duration: float | None = None
    """Seconds to decode; None is all."""

    def __post_init__(self) -> None:
        for option, seconds in (("start", self.start), ("duration", self.duration)):
            if seconds is not None and not (isfinite(seconds) and 0 <= seconds <= MAX_SECONDS):
                raise AudioError(f"{option} is {seconds:g} s, which no audio lasts")


@dataclass(frozen=True)
class Sound:
    """How decoded audio is written."""

    sample_rate: int | None = None
    """In Hz; None is that of the encoded audio, or where the target's form does not have that the
    next one that it has."""
    raw: PcmFormat | None = None
    """PCM of this format with no header, whatever the target."""
    replace: bool = True
    """Whether a file that exists is replaced."""
    subtype: str | None = None
    """Of the samples, as `AudioWriter` has it: PCM_16, PCM_24 or FLOAT."""
