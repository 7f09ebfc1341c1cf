"""Long recordings in pieces: of a fixed length, or where somebody speaks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from acomp.audio import Audio
from acomp.audio.samples import Samples
from acomp.audio.speech import speech_in
from acomp.errors import AcompError
from acomp.packages import require_packages

WINDOW = 120.0
"""Seconds in which speech is looked for at a time; what is said at their end waits for more."""
MAX_SPEECH = 30.0
"""Seconds that stretches of speech are joined to, unless something else is asked for."""
_SHORTEST = 0.1
_LONGEST = 1e6


@dataclass(frozen=True)
class Cutting:
    """How recordings are cut.

    Attributes:
        segment: `vad` for stretches of speech, or seconds; None leaves recordings whole.
        least: seconds of the shortest recording or piece that is coded.
        most: seconds of the longest; longer ones are cut. Neighbouring stretches of speech are
            joined up to it.

    Raises:
        AcompError: there are no such pieces, or what hears speech is not installed.
    """

    segment: float | str | None = None
    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        seconds = self.segment if isinstance(self.segment, float) else None
        for name, value, low in (
            ("a segment", seconds, _SHORTEST),
            ("the longest recording", self.most, _SHORTEST),
            ("the shortest recording", self.least, 0),
        ):
            if value is not None and not low <= value <= _LONGEST:
                raise AcompError(f"{name} is of {value:g} s: give {low:g} to {_LONGEST:g} s")
        if self.least is not None and self.least > (self.length or float("inf")):
            raise AcompError("no piece would be as long as the shortest that is coded")
        if self.segment == "vad":
            require_packages("cutting where somebody speaks", "silero_vad")

    @property
    def cuts(self) -> bool:
        """Whether recordings are looked at piece by piece."""
        return self.segment is not None or self.most is not None

    @property
    def length(self) -> float | None:
        """Seconds of the longest piece."""
        if self.segment == "vad":
            return self.most or MAX_SPEECH
        given = [each for each in (self.segment, self.most) if isinstance(each, float)]
        return min(given) if given else None

    def takes(self, seconds: float) -> bool:
        """Whether a recording or a piece is long enough."""
        return self.least is None or seconds >= self.least

    def pieces(self, blocks: Iterator[Samples], rate: int) -> Iterator[tuple[int, Audio]]:
        """The pieces of a recording, each with its first sample."""
        assert self.length is not None
        found = _speech if self.segment == "vad" else _equal
        for begin, samples in found(blocks, rate, max(1, round(self.length * rate))):
            if self.takes(samples.shape[1] / rate):
                yield begin, Audio(samples, rate)


def _equal(blocks: Iterator[Samples], rate: int, most: int) -> Iterator[tuple[int, Samples]]:
    del rate
    begin = 0
    for samples in _windows(blocks, most):
        yield begin, samples
        begin += samples.shape[1]


def _windows(blocks: Iterator[Samples], size: int) -> Iterator[Samples]:
    """The samples, `size` at a time."""
    waiting: list[Samples] = []
    there = 0
    for block in blocks:
        rest = block
        while there + rest.shape[1] >= size:
            taken = size - there
            yield np.concatenate([*waiting, rest[:, :taken]], axis=1)
            waiting, there, rest = [], 0, rest[:, taken:]
        waiting.append(rest)
        there += rest.shape[1]
    if there:
        yield np.concatenate(waiting, axis=1)


def _speech(blocks: Iterator[Samples], rate: int, most: int) -> Iterator[tuple[int, Samples]]:
    """Stretches of speech of at most `most` samples; longer ones are cut."""
    window = max(round(WINDOW * rate), 2 * most)
    kept: Samples | None = None
    position = 0
    for fresh in _windows(blocks, window):
        samples = fresh if kept is None else np.concatenate([kept, fresh], axis=1)
        is_last = fresh.shape[1] < window
        joined = list(_joined(_heard(samples, rate), most))
        # What is said at the end may go on: it is heard again, with what follows.
        end = samples.shape[1]
        if joined and not is_last:
            end = joined.pop()[0]
        for begin, stop in joined:
            yield position + begin, samples[:, begin:stop]
        kept = samples[:, end:]
        position += end
    if kept is not None and kept.shape[1]:
        for begin, stop in _joined(_heard(kept, rate), most):
            yield position + begin, kept[:, begin:stop]


def _heard(samples: Samples, rate: int) -> list[tuple[int, int]]:
    return [
        (round(begin * rate), min(round(end * rate), samples.shape[1]))
        for begin, end in speech_in(Audio(samples, rate))
    ]


def _joined(found: list[tuple[int, int]], most: int) -> Iterator[tuple[int, int]]:
    """Neighbouring stretches as one, where that is no longer than `most`; longer ones in pieces."""
    held: tuple[int, int] | None = None
    for begin, end in found:
        if held is not None and end - held[0] <= most:
            held = held[0], end
            continue
        if held is not None:
            yield held
        while end - begin > most:
            yield begin, begin + most
            begin += most
        held = begin, end
    if held is not None:
        yield held
