"""Pictures of codebooks, as PNG or SVG: what is used of them, and how their entries lie."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acomp.analysis.panels import (
    Subject,
    draw_colour_bar,
    draw_distances,
    draw_entries,
    draw_entropy,
    draw_projection,
)
from acomp.analysis.usage import Usage
from acomp.drawing import rendered
from acomp.errors import AcompError
from acomp.files import atomic_write
from acomp.packages import require_packages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMS = {".png": "png", ".svg": "svg"}


# Inches.
WIDTH = 16.0
LEFT, RIGHT, BOTTOM = 0.8, 0.35, 0.1
SUMMARY_TOP, SUMMARY_HEIGHT = 1.6, 2.4
SUMMARY_GAP = 1.25
BELOW_SUMMARY = 1.25
"""From the summary's axes down to the projections'."""
MOST_COLUMNS = 8
LARGEST_SIDE = 4.0
BESIDE, BELOW = 0.45, 0.75
"""What the labels take between projections."""
COLOUR_BAR = 1.0
"""What the colour bar and its labels take."""


def check_plot(path: Path) -> None:
    """Raise AcompError unless a plot can be drawn into a file of this name."""
    if path.suffix.lower() not in FORMS:
        raise AcompError(f"{path}: plots go to .png or .svg")
    require_packages("--plot", "matplotlib")


def plot_codebooks(
    path: Path,
    codec: str,
    fingerprint: str | None,
    codebooks: NDArray[np.float32],
    usage: Usage | None = None,
    *,
    replace: bool = True,
) -> None:
    """Draw a codec's codebooks `[codebooks, size, dimension]`; the same bytes for the same input.

    At the top, where usage is known, entries used, perplexity and entropy of each codebook, and
    the distances from its entries to their nearest neighbours; below, each codebook's entries on
    their first two principal components, coloured by how often they are used.

    Raises:
        ExistsError: the file exists and is not to be replaced.
        AcompError: another suffix than .png and .svg, no matplotlib, codebooks that hold values
            that are not finite, or the file cannot be written.
    """
    check_plot(path)
    if not np.isfinite(codebooks).all():
        raise AcompError(f"the codebooks of {codec} hold values that are not finite numbers")
    subject = Subject(codec, fingerprint, codebooks.astype(np.float64), usage)
    form = FORMS[path.suffix.lower()]
    content = rendered(lambda: _draw(subject), form, {"Title": subject.title})
    with atomic_write(path, AcompError, replace=replace) as file:
        file.write(content)


def _draw(subject: Subject) -> Figure:
    from matplotlib.figure import Figure

    rows = ceil(len(subject.books) / MOST_COLUMNS)
    columns = ceil(len(subject.books) / rows)
    width = WIDTH - LEFT - RIGHT - (COLOUR_BAR if subject.levels else 0)
    side = min((width + BESIDE) / columns - BESIDE, LARGEST_SIDE)
    grid_top = SUMMARY_TOP + SUMMARY_HEIGHT + BELOW_SUMMARY
    height = grid_top + rows * (side + BELOW) + BOTTOM
    figure = Figure(figsize=(WIDTH, height), facecolor="white")

    def axes(left: float, top: float, width: float, tall: float) -> Axes:
        """Axes at a place in inches from the left and the top."""
        place = (left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height)
        return figure.add_axes(place)

    def write(text: str, top: float, **style: Any) -> None:
        figure.text(LEFT / WIDTH, 1 - top / height, text, va="center", **style)

    write(subject.title, 0.4, fontsize=15, fontweight="bold")
    write(subject.subtitle, 0.75, fontsize=10.5)
    _draw_summary(subject, axes)
    write(
        "Entries on the first two principal components (PC) of their codebook, with the share "
        "of the variance that each holds; what lies farther out is drawn at the edge",
        grid_top - 0.45,
        fontsize=11,
    )
    points = None
    for number in range(len(subject.books)):
        row, column = divmod(number, columns)
        left, top = LEFT + column * (side + BESIDE), grid_top + row * (side + BELOW)
        points = draw_projection(subject, axes(left, top, side, side), number) or points
    if points is not None:
        left = LEFT + columns * (side + BESIDE)
        bar = axes(left, grid_top, 0.15, min(rows * (side + BELOW), 4.0) - BELOW)
        draw_colour_bar(figure, bar, points)
    return figure


def _draw_summary(subject: Subject, axes: Callable[[float, float, float, float], Axes]) -> None:
    panels = [draw_distances]
    if subject.usage is not None:
        panels = [draw_entries, draw_entropy, draw_distances]
    pitch = (WIDTH - LEFT - RIGHT + SUMMARY_GAP) / len(panels)
    for place, draw in enumerate(panels):
        left = LEFT + place * pitch
        draw(subject, axes(left, SUMMARY_TOP, pitch - SUMMARY_GAP, SUMMARY_HEIGHT))
