"""Random segments to train on, and fixed ones to validate on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from acomp.audio.samples import Samples
from acomp.errors import AudioError, TrainingError
from acomp.training.data.reading import cut, samples_needed
from acomp.training.data.sources import Collection, Stretch, seconds_of

SILENT = 0.003
"""Peak (-50 dB) below which a segment counts as silent: raised to an ordinary level it is noise."""
MIX_LEVELS = (-12.0, 0.0)
"""Peak of a segment that is mixed in, in dB relative to the other's."""
TRIES = 100
"""Draws in a row that may be silent or unreadable."""


class Segments:
    """Random segments of the training audio.

    A source is drawn by its share, a file by its length, the place in it uniformly; after a
    file that ends before the segment does, another one follows: padding with silence would teach
    silence. Silent draws are drawn again, up to
    `TRIES` times, and so are draws of damaged files.

    Args:
        collection: of which the part to train on is drawn from.
        sample_rate: of the segments, in Hz.
        channels: of the segments: 1 or 2.
        length: of the segments, in samples.
        gain: peak levels in dB relative to full scale: each segment is brought to one between the
            two; None leaves levels as they are.
        mix: probability that another segment is mixed in, its peak at a level drawn from
            `MIX_LEVELS`; the sum is brought back to the peak of the first, or to the one that
            `gain` asks for.
        seed: of all draws.
    """

    def __init__(
        self,
        collection: Collection,
        sample_rate: int,
        channels: int,
        length: int,
        *,
        gain: tuple[float, float] | None = (-24.0, 0.0),
        mix: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self.length = length
        self.damaged: dict[Path, str] = {}
        """Files in which a stretch could not be read, and why the first could not."""
        self._gain = gain
        self._mix = mix
        self._seed = seed
        self._stretches: list[Stretch] = []
        weights: list[float] = []
        for found in collection.sources:
            scale = found.share / seconds_of(found.train)
            self._stretches += found.train
            weights += [scale * stretch.seconds for stretch in found.train]
        ends = np.cumsum(weights)
        self._ends = ends / ends[-1]

    def batch(self, step: int, rank: int, size: int) -> Tensor:
        """`[size, channels, length]`: a function of the seed, the step and the process alone.

        Raises:
            TrainingError: no audio could be read any more.
        """
        random = np.random.default_rng([self._seed, step, rank])
        return torch.from_numpy(np.stack([self._segment(random) for _ in range(size)]))

    def _segment(self, random: np.random.Generator) -> Samples:
        segment = self._draw(random)
        if random.random() < self._mix:
            peak = _peak(segment)
            other = _levelled(self._draw(random), peak * _ratio(random.uniform(*MIX_LEVELS)))
            segment = _levelled(segment + other, peak)
        if self._gain is not None:
            segment = _levelled(segment, _ratio(random.uniform(*self._gain)))
        return segment

    def _draw(self, random: np.random.Generator) -> Samples:
        """A segment; after a recording that ends too early come others."""
        parts, missing = [], self.length
        while missing:
            parts.append(self._part(random, missing))
            missing -= parts[-1].shape[1]
        return np.concatenate(parts, axis=1)

    def _part(self, random: np.random.Generator, most: int) -> Samples:
        """Up to so many samples that are not silent; where there are only such, silent ones."""
        silent = None
        for _ in range(TRIES):
            stretch = self._stretches[np.searchsorted(self._ends, random.random(), side="right")]
            rate = stretch.file.sample_rate
            length = min(most, stretch.length * self.sample_rate // rate)
            spare = max(0, stretch.length - samples_needed(rate, self.sample_rate, length))
            start = stretch.start + int(random.integers(spare, endpoint=True))
            try:
                part = cut(stretch, start, self.sample_rate, self.channels, length)
            except AudioError as error:
                self.damaged.setdefault(stretch.file.path, str(error))
                continue
            if _peak(part) >= SILENT:
                return part
            silent = part
        if silent is None:
            path, reason = next(iter(self.damaged.items()))
            raise TrainingError(
                f"{TRIES} draws in a row met audio that cannot be read; the first was {path}: "
                f"{reason}"
            )
        return silent


def held_out(
    collection: Collection, sample_rate: int, channels: int, length: int, limit: int
) -> Tensor:
    """Fixed segments `[n, channels, length]` of the held-out audio, at most `limit` of them.

    They do not overlap, and none is silent; levels are as they are. Sources take turns by their
    shares, so that the first few are as mixed as all of them.

    Raises:
        TrainingError: there is none.
    """
    sources = collection.sources
    queues = {
        index: _fixed(found.held_out, sample_rate, channels, length, limit)
        for index, found in enumerate(sources)
        if found.held_out
    }
    taken = [0] * len(sources)
    segments: list[Samples] = []
    while queues and len(segments) < limit:
        chosen = max(queues, key=lambda i: sources[i].share * (len(segments) + 1) - taken[i])
        segment = next(queues[chosen], None)
        if segment is None:
            del queues[chosen]
        else:
            segments.append(segment)
            taken[chosen] += 1
    if not segments:
        raise TrainingError("all held-out audio is silent or damaged: add files")
    return torch.from_numpy(np.stack(segments))


def _fixed(
    stretches: Sequence[Stretch], sample_rate: int, channels: int, length: int, limit: int
) -> Iterator[Samples]:
    """Segments side by side, in a random order that is always the same."""
    needed = [samples_needed(each.file.sample_rate, sample_rate, length) for each in stretches]
    counts = [max(1, each.length // n) for each, n in zip(stretches, needed, strict=True)]
    ends = np.cumsum(counts)
    for number in np.random.default_rng(0).permutation(ends[-1])[: limit * TRIES]:
        index = int(np.searchsorted(ends, number, side="right"))
        stretch = stretches[index]
        start = stretch.start + int(number - ends[index] + counts[index]) * needed[index]
        try:
            segment = cut(stretch, start, sample_rate, channels, length)
        except AudioError:
            continue  # `probe` tells of it
        if _peak(segment) >= SILENT:
            yield segment


def _peak(segment: Samples) -> float:
    return float(np.abs(segment).max())


def _levelled(segment: Samples, peak: float) -> Samples:
    """`segment` with another peak, or as it is where it is silent."""
    present = _peak(segment)
    return segment if present < SILENT else segment * np.float32(peak / present)


def _ratio(level: float) -> float:
    """Amplitude of a level in dB."""
    return float(10 ** (level / 20))
