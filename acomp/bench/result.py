"""What a benchmark comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self


@dataclass(frozen=True)
class Timing:
    """One side in one direction.

    Attributes:
        seconds: what each round took.
        times_real_time: speed of the median round.
        ratio: the official package's time over this side's, median over the rounds; None where
            the official package was not run.
        ratio_range: the lowest and the highest of the rounds' ratios.
        of_peak: fraction of the machine's matrix peak in this precision that the median round
            reached; None where the operations cannot be counted.
    """

    seconds: list[float]
    times_real_time: float
    ratio: float | None
    ratio_range: tuple[float, float] | None
    of_peak: float | None


@dataclass(frozen=True)
class Direction:
    """Encoding or decoding.

    Attributes:
        gflop: 10^9 floating-point operations of the network for a second of audio; None where
            they cannot be counted, as torch does not run the network.
        official: the official package; None where it was not run.
        fp32: acomp in fp32.
        bf16: acomp in bf16; None where the machine or the codec has no bf16.
    """

    gflop: float | None
    official: Timing | None
    fp32: Timing
    bf16: Timing | None


@dataclass(frozen=True)
class Loading:
    """One side from the start of a process to its first codes, of 1 s of audio; medians.

    Attributes:
        seconds: by the clock on the wall.
        cpu_seconds: of all threads together.
        mib: memory at the peak in 2^20 bytes, with what is mapped of files; None where the system
            does not tell.
    """

    seconds: float
    cpu_seconds: float
    mib: float | None

    @classmethod
    def of(cls, starts: Sequence[tuple[float, float, float | None]]) -> Self:
        """The medians of several starts, of which each tells the three."""
        seconds, cpu_seconds, memory = zip(*starts, strict=True)
        known = [mib for mib in memory if mib is not None]
        return cls(median(seconds), median(cpu_seconds), median(known) if known else None)


@dataclass(frozen=True)
class Agreement:
    """acomp in one precision against the official package.

    Attributes:
        codes: fraction of the codes that are equal.
        samples: largest difference of the samples decoded from the same codes, as a fraction of
            the largest sample; None where the official package never gives the same samples twice.
    """

    codes: float
    samples: float | None


@dataclass(frozen=True)
class Row:
    """The figures of one case.

    Attributes:
        codec: its name.
        seconds: duration of the audio.
        channels: channels of the audio.
        bandwidth: in kbps.
        weights: `published`, or `random`: drawn with a seed, in the published architecture.
        rounds: number of rounds.
        encode: figures of encoding.
        decode: figures of decoding.
        agreement: by precision; empty where the official package was not run.
        loading: by side, `acomp` in fp32, and `official` where that package is here.
        notes: what was not run, and why.
    """

    codec: str
    seconds: int
    channels: int
    bandwidth: float
    weights: str
    rounds: int
    encode: Direction
    decode: Direction
    agreement: dict[str, Agreement]
    loading: dict[str, Loading]
    notes: list[str]
