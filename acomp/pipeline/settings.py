"""What is coded, what is decoded, how the audio is written, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite
from os import PathLike
from typing import BinaryIO

from acomp.codes import CodesInfo
from acomp.errors import AudioError
from acomp.settings import Subtype

Source = str | PathLike[str] | BinaryIO
Target = str | PathLike[str] | BinaryIO
Progress = Callable[[float, float | None], None]
"""Called with the seconds of audio done and, where it is known, their total."""
MAX_SECONDS = 1e9
"""Where a stretch can begin and how long it can be; no file of codes is half as long."""


@dataclass(frozen=True)
class Recording:
    """How the audio that is encoded is read.

    Attributes:
        raw: what the source holds, where it is PCM without a header: RATE:CHANNELS:FORMAT.
        recover: whether to take what can be read of damaged audio; warnings say what is lost.
    """

    raw: str | None = None
    recover: bool = False


@dataclass(frozen=True)
class Span:
    """The stretch of the audio that is decoded.

    Attributes:
        start: seconds to leave out at the beginning.
        duration: seconds to decode; None is all.

    Raises:
        AudioError: no audio lasts so long.
    """

    start: float = 0.0
    duration: float | None = None

    def __post_init__(self) -> None:
        for option, seconds in (("start", self.start), ("duration", self.duration)):
            if seconds is not None and not (isfinite(seconds) and 0 <= seconds <= MAX_SECONDS):
                raise AudioError(f"{option} is {seconds:g} s, which no audio lasts")


@dataclass(frozen=True)
class Sound:
    """How decoded audio is written.

    Attributes:
        sample_rate: in Hz; None is that of the encoded audio, or the next higher one that the
            target's form has.
        raw: PCM of this format without a header, whatever the target.
        subtype: how samples are stored; None is 16 bits, or what the form always has.
        replace: whether a file that exists is replaced.
    """

    sample_rate: int | None = None
    raw: str | None = None
    subtype: Subtype | None = None
    replace: bool = True


@dataclass(frozen=True)
class Result:
    """What was done.

    Attributes:
        info: of the codes.
        audio_seconds: of the audio that was encoded or decoded.
        codec_seconds: time that coding took, to the bytes of codes or from them; reading and
            writing sound, and waiting for the other end of a pipe, are left out.
        damage: what was passed over in a damaged file, one line each.
        preparing_seconds: time that compiling networks took, which is only a first run's and which
            `codec_seconds` leaves out.
    """

    info: CodesInfo
    audio_seconds: float
    codec_seconds: float
    damage: tuple[str, ...] = ()
    preparing_seconds: float = 0.0
