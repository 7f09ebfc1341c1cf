"""Pictures of a run: how its losses and validation metrics go with the steps, a panel for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from acomp.drawing import BLUE, COLOURS, GREY, SKY, VERMILION, rendered
from acomp.errors import TrainingError
from acomp.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[int, float]]
"""Steps, which ascend, and values, which need not be finite."""
Metrics = Mapping[str, Points]

VALIDATION = "validation"
"""Name of the figure that decides which weights are best; less is better."""

# Inches.
WIDTH = 12.0
LEFT, RIGHT, BOTTOM = 0.75, 0.25, 0.5
TOP = 1.2
"""Down to the first panels' axes, titles of the picture and of the panels included."""
HEIGHT = 1.9
"""Of a panel's axes."""
BESIDE, BELOW = 0.7, 0.75
"""What labels take between panels."""
LABELS = 0.55
"""What the names of lines take on a panel's right."""
LINE_HEIGHT = 0.15
"""Of these names."""
COLUMNS = 3

FEW = 40
"""Up to so many points are marked each."""
WINDOWS = 40
"""A smoothed line is a moving median over one such part of the points."""
FAR = 10.0
"""An axis is logarithmic where the greatest value is at least so many times the median."""
NEAR = 100.0
"""Or where the median is so many times the 5 % quantile."""
BURST = 100.0
"""The like of `FAR` where values are not all positive."""
LIGHTEST = 0.3
"""Of the colour map: what is lighter is no line on white."""


def is_validation(name: str) -> bool:
    """Whether a figure is of validation: `validation`, or `METRIC@KBPS`; if not, of training."""
    return name == VALIDATION or "@" in name


def plot_losses(metrics: Metrics, path: Path) -> None:
    """Draw the figures of training as PNG: as recorded in light, their moving medians in dark.

    Values that are not finite are marked at the top edge. Where there are no figures of training
    there is no picture.

    Raises:
        TrainingError: the file cannot be written.
    """
    panels = {
        name: {"": _Line.of(points, window=len(points) // WINDOWS | 1)}
        for name, points in metrics.items()
        if not is_validation(name)
    }
    if panels:
        _save(_Picture("Training", panels, _best(metrics)), path)


def plot_metrics(metrics: Metrics, path: Path) -> None:
    """Draw the metrics of validation as PNG: a panel for each, a line for each bandwidth.

    The step whose `validation` is least is marked in each panel. Values that are not finite are
    marked at the top edge. Where there are no such metrics there is no picture.

    Raises:
        TrainingError: the file cannot be written.
    """
    panels: dict[str, dict[str, _Line]] = {}
    for name, points in metrics.items():
        if is_validation(name):
            metric, _, kbps = name.partition("@")
            panels.setdefault(metric, {})[f"{kbps} kbps" if kbps else ""] = _Line.of(points)
    if panels:
        _save(_Picture("Validation", panels, _best(metrics)), path)


@dataclass(frozen=True)
class _Line:
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    """Not finite ones are NaN."""
    window: int
    """Points, an odd number, that the moving median is over; 1 for none."""

    @classmethod
    def of(cls, points: Points, window: int = 1) -> _Line:
        values = np.array([value for _, value in points], np.float64)
        return cls(
            np.array([step for step, _ in points], np.int64),
            np.where(np.isfinite(values), values, np.nan),
            window,
        )

    @property
    def unknown(self) -> NDArray[np.int64]:
        """Steps whose values are not finite."""
        return self.steps[np.isnan(self.values)]

    def smoothed(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Moving median of the finite values, at some of the steps; NaN where theirs is not known.

        A median follows the trend past single values far out, as norms of gradients have them.
        Windows are cut short at the ends.
        """
        last = len(self.steps) - 1
        at = np.append(np.arange(0, last, max(1, self.window // 8)), last)
        around = np.pad(self.values, self.window // 2, constant_values=np.nan)
        windows = np.lib.stride_tricks.sliding_window_view(around, self.window)
        known = np.isfinite(self.values[at])
        medians = np.full(len(at), np.nan)
        medians[known] = np.nanmedian(windows[at[known]], axis=1)
        return self.steps[at], medians


def _best(metrics: Metrics) -> tuple[int, float] | None:
    """Step and value of the least `validation`, the first if several are."""
    finite = [point for point in metrics.get(VALIDATION, ()) if np.isfinite(point[1])]
    return min(finite, key=lambda point: point[1]) if finite else None


def _save(picture: _Picture, path: Path) -> None:
    metadata = {"Title": picture.title, "Description": picture.subtitle}
    content = rendered(picture.draw, "png", metadata)
    with atomic_write(path, TrainingError) as file:
        file.write(content)


@dataclass(frozen=True)
class _Picture:
    title: str
    panels: Mapping[str, Mapping[str, _Line]]
    """Lines by their labels, in panels by their names."""
    best: tuple[int, float] | None

    @cached_property
    def lines(self) -> list[_Line]:
        return [line for lines in self.panels.values() for line in lines.values()]

    @cached_property
    def span(self) -> tuple[float, float]:
        """What all panels show of the steps."""
        steps = np.concatenate([line.steps for line in self.lines])
        marked = steps[0] if self.best is None else self.best[0]
        least, most = min(steps.min(), marked), max(steps.max(), marked)
        margin = 0.02 * (most - least) or 0.5
        return least - margin, most + margin

    @property
    def subtitle(self) -> str:
        parts = []
        window = max(line.window for line in self.lines)
        if window > 1:
            parts.append(f"light: as recorded, dark: median over {window} points")
        if self.best is not None:
            step, value = self.best
            parts.append(f"dashed: best validation, {value:.4g} at step {step:,}")
        unknown = np.concatenate([line.unknown for line in self.lines])
        if unknown.size:
            parts.append(f"crosses: not finite, first at step {unknown.min():,}")
        return "; ".join(parts)

    def draw(self) -> Figure:
        from matplotlib.figure import Figure

        columns = min(COLUMNS, len(self.panels))
        rows = ceil(len(self.panels) / columns)
        height = TOP + rows * (HEIGHT + BELOW) - BELOW + BOTTOM
        figure = Figure(figsize=(WIDTH, height), facecolor="white")
        figure.text(LEFT / WIDTH, 1 - 0.35 / height, self.title, fontsize=15, fontweight="bold")
        figure.text(LEFT / WIDTH, 1 - 0.7 / height, self.subtitle, fontsize=10)
        labels = LABELS if any("" not in lines for lines in self.panels.values()) else 0.0
        pitch = (WIDTH - LEFT - RIGHT + BESIDE) / columns
        for number, (name, lines) in enumerate(self.panels.items()):
            row, column = divmod(number, columns)
            place = (
                (LEFT + column * pitch) / WIDTH,
                1 - (TOP + row * (HEIGHT + BELOW) + HEIGHT) / height,
                (pitch - BESIDE - labels) / WIDTH,
                HEIGHT / height,
            )
            panel = figure.add_axes(place)
            self._panel(panel, name, lines)
            if number + columns >= len(self.panels):
                panel.set_xlabel("step")
        return figure

    def _panel(self, panel: Axes, name: str, lines: Mapping[str, _Line]) -> None:
        from matplotlib.ticker import MaxNLocator

        panel.set_title(name)
        panel.set_xlim(*self.span)
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=(1, 2, 2.5, 5, 10)))
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.grid(axis="y", color="#E4E4E4")
        if self.best is not None:
            panel.axvline(self.best[0], color=GREY, linestyle="--", linewidth=1)
        for line, colour in zip(lines.values(), _colours(len(lines)), strict=True):
            _draw_line(panel, line, colour)
        if name == VALIDATION and self.best is not None:
            panel.plot(*self.best, "*", color=VERMILION, markersize=11, clip_on=False)
        _set_scale(panel, np.concatenate([line.values for line in lines.values()]))
        _cross(panel, np.concatenate([line.unknown for line in lines.values()]))
        _label(panel, lines)


def _draw_line(panel: Axes, line: _Line, colour: str) -> None:
    marker = "o" if len(line.steps) <= FEW else ""
    if line.window == 1:
        panel.plot(line.steps, line.values, marker=marker, markersize=3.5, color=colour)
        return
    panel.plot(line.steps, line.values, color=SKY, linewidth=0.7)
    panel.plot(*line.smoothed(), color=colour, linewidth=1.6)


def _colours(count: int) -> list[str]:
    """From light to dark, as bandwidths ascend."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if count == 1:
        return [BLUE]
    return [to_hex(colour) for colour in colormaps[COLOURS](np.linspace(LIGHTEST, 1, count))]


def _set_scale(panel: Axes, values: NDArray[np.float64]) -> None:
    """Make the vertical axis logarithmic where a linear one would press most values flat."""
    from matplotlib.ticker import AsinhLocator, LogLocator, MaxNLocator, NullFormatter

    known = values[np.isfinite(values)]
    if not known.size:
        panel.set_yticks([])
        return
    sizes = np.abs(known)
    middle, most = float(np.median(sizes)), float(sizes.max())
    if known.min() > 0 and (most > FAR * middle or middle > NEAR * np.quantile(known, 0.05)):
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if most < 100 * known.min() else (1,))
        )
        panel.yaxis.set_minor_formatter(NullFormatter())
    elif known.min() <= 0 and most > BURST * middle > 0:
        panel.set_yscale("asinh", linear_width=middle)  # logarithmic on both sides of zero
        panel.yaxis.set_major_locator(AsinhLocator(middle, numticks=7))
    else:
        panel.yaxis.set_major_locator(MaxNLocator(6, steps=(1, 2, 5, 10)))
    panel.yaxis.set_major_formatter("{x:g}")


def _cross(panel: Axes, steps: NDArray[np.int64]) -> None:
    """Mark steps at the top edge."""
    edge = panel.get_xaxis_transform()
    top = np.ones(len(steps))
    panel.plot(steps, top, "x", color=VERMILION, markersize=5, clip_on=False, transform=edge)


def _label(panel: Axes, lines: Mapping[str, _Line]) -> None:
    """Name each line on the right of its last value; the names of lines that meet move apart."""
    panel.get_ylim()  # makes the scale that of all that was drawn
    ends = []
    for (label, line), colour in zip(lines.items(), _colours(len(lines)), strict=True):
        known = np.flatnonzero(np.isfinite(line.values))
        if label and known.size:
            value = panel.transData.transform((line.steps[known[-1]], line.values[known[-1]]))
            ends.append((float(panel.transAxes.inverted().transform(value)[1]), label, colour))
    ends.sort(key=lambda end: round(end[0], 2))  # lines that meet keep their order
    heights = _apart([height for height, _, _ in ends], LINE_HEIGHT / HEIGHT)
    for height, (_, label, colour) in zip(heights, ends, strict=True):
        place = (1.02, height)
        panel.annotate(label, place, xycoords="axes fraction", va="center", color=colour)


def _apart(heights: Sequence[float], least: float) -> list[float]:
    """Ascending heights, moved so that neighbours are at least so far apart, and not above 1."""
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + least) if moved else height)
    top = 1.0
    for place in reversed(range(len(moved))):
        moved[place] = min(moved[place], top)
        top = moved[place] - least
    return moved
