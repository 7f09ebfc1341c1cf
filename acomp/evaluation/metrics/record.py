"""What a metric is: one record that says what it measures, of what, and how to show its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from math import ceil
from typing import Literal

import numpy as np

from acomp.audio import Audio, resample, to_channels

AppliesTo = Literal["speech", "any"]
Channels = Literal["together", "each", "mixed"]
Cost = Literal["fast", "slow"]
Figures = Mapping[str, float]
"""Figures by the names of their metrics."""
Compute = Callable[[Audio, Audio], "float | Figures"]

STRETCH_SECONDS = 30.0
"""Default of `Method.longest`: PESQ is made for sentences of some seconds, and the spectra of an
hour do not fit into memory."""
NOT_INSTALLED = "not installed"
"""Why a metric is left out whose package is missing; it is measured once the package is there."""


class DoesNotApply(Exception):  # noqa: N818  not an error: most metrics apply to some audio only
    """A metric says nothing about some audio; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Method:
    """How the figures of one metric, or of several that one model gives, are computed.

    Attributes:
        compute: takes the reference and the decoded audio, prepared as the other fields say, both
            of one rate, shape and place in time. It returns the figure; where several metrics share
            the method, it returns their figures by name. It raises `DoesNotApply` for audio that it
            says nothing about.
        content: `speech` where it applies to speech only.
        sample_rate: in Hz, what both sides are resampled to; None: the file's own.
        channels: `together`: one computation sees all channels. `each`: the mean of a computation
            for each channel. `mixed`: one computation of the channels mixed down to mono.
        longest: in seconds. Longer audio is measured in equal stretches, none of them longer than
            this, and the figure is the mean over those to which the method applies. None: whole.
        takes_silence: whether it applies where the reference is digital silence.
        packages: the modules that it imports beyond what acomp itself depends on.
        extra: the extra of acomp that brings them.
        cost: `fast` metrics are measured unless others are asked for.
    """

    compute: Compute
    content: AppliesTo = "any"
    sample_rate: int | None = None
    channels: Channels = "together"
    longest: float | None = STRETCH_SECONDS
    takes_silence: bool = False
    packages: tuple[str, ...] = ()
    extra: str = "eval"
    cost: Cost = "fast"

    @property
    def is_installed(self) -> bool:
        """Whether all that it imports is there."""
        return not any(find_spec(module) is None for module in self.packages)

    def figures(self, reference: Audio, decoded: Audio) -> float | Figures:
        """What `compute` returns, over all stretches and channels.

        Raises:
            DoesNotApply: the method applies to no stretch.
        """
        if self.sample_rate is not None:
            reference = resample(reference, self.sample_rate)
            decoded = resample(decoded, self.sample_rate)
        found, reason = [], DoesNotApply("no samples")
        stretches = (_stretches(side, self.longest) for side in (reference, decoded))
        for pair in zip(*stretches, strict=True):
            try:
                found.append(self._of_stretch(*pair))
            except DoesNotApply as why:
                reason = why
        if not found:
            raise reason
        return _mean(found)

    def _of_stretch(self, reference: Audio, decoded: Audio) -> float | Figures:
        if not self.takes_silence and not reference.samples.any():
            raise DoesNotApply("silence")
        if self.channels == "together":
            return self.compute(reference, decoded)
        if self.channels == "mixed":
            return self.compute(_mono(reference), _mono(decoded))
        pairs = zip(_each(reference), _each(decoded), strict=True)
        return _mean([self.compute(*pair) for pair in pairs])


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A figure that tells how near decoded audio is to its reference.

    The columns of results.csv, the tables, the charts, summary.json and the table of
    docs/evaluation.md are made of these records.

    Attributes:
        name: its column in results.csv and its key in summary.json.
        label: what charts and the report call it.
        short: its column in the table that the terminal shows: at most 6 characters, its own.
        unit: of its figures; empty where there is none.
        higher_is_better: whether the highest figure is the best one, or else the lowest.
        digits: decimal places that are worth showing.
        about: what it measures, for docs/evaluation.md: Markdown, one line.
        method: how it is computed. Metrics of one method are computed together, once.
    """

    name: str
    label: str
    short: str
    unit: str = ""
    higher_is_better: bool
    digits: int
    about: str
    method: Method = field(repr=False)

    def of(self, reference: Audio, decoded: Audio) -> float:
        """The figure of two recordings of one rate, shape and place in time, whatever they hold.

        Raises:
            DoesNotApply: the metric says nothing about them.
        """
        return self.among(self.method.figures(reference, decoded))

    def among(self, figures: float | Figures) -> float:
        """The metric's own figure among what its method returns."""
        return figures[self.name] if isinstance(figures, Mapping) else figures

    def shown(self, figure: float) -> str:
        """A figure as tables and charts show it."""
        return f"{figure:.{self.digits}f}"


def _mean(found: list[float | Figures]) -> float | Figures:
    several = [each for each in found if isinstance(each, Mapping)]
    if not several:
        return float(np.mean(np.array(found, np.float64)))
    return {name: float(np.mean([each[name] for each in several])) for name in several[0]}


def _stretches(audio: Audio, longest: float | None) -> Iterator[Audio]:
    """The audio in the fewest equal stretches of at most so many seconds."""
    count = 1 if longest is None else ceil(audio.duration / longest)
    for part in np.array_split(audio.samples, count, axis=1) if count else ():
        yield Audio(part, audio.sample_rate)


def _each(audio: Audio) -> Iterator[Audio]:
    for channel in audio.samples:
        yield Audio(channel[None], audio.sample_rate)


def _mono(audio: Audio) -> Audio:
    return Audio(to_channels(audio.samples, 1), audio.sample_rate)
