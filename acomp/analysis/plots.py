"""Pictures of codebooks, as PNG or SVG: what is used of them, and how their entries lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, floor, log2, log10
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acomp.analysis.codebooks import nearest_distances, projection
from acomp.analysis.usage import Usage, entropy, perplexity
from acomp.drawing import BLUE, COLOURS, GREY, LIGHTEST, ORANGE, SKY, VERMILION, rendered
from acomp.errors import AcompError
from acomp.files import atomic_write
from acomp.packages import require_packages

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
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

SAME = 1e-6
"""Share of the largest norm: entries that are nearer to each other differ by rounding only."""
FEW = 10
"""Codes for each entry, below which an entry may well be unused by chance."""


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
    picture = _Picture(codec, fingerprint, codebooks.astype(np.float64), usage)
    content = rendered(picture.draw, FORMS[path.suffix.lower()], {"Title": picture.title})
    with atomic_write(path, AcompError, replace=replace) as file:
        file.write(content)


@dataclass(frozen=True)
class _Picture:
    codec: str
    fingerprint: str | None
    books: NDArray[np.float64]
    usage: Usage | None

    @property
    def title(self) -> str:
        count, size, dimension = self.books.shape
        weights = f", weights {self.fingerprint}" if self.fingerprint else ""
        shape = f"{count} x {size} x {dimension} (codebooks x size x dimension)"
        return f"Codebooks of {self.codec}{weights}: {shape}"

    @property
    def subtitle(self) -> str:
        if self.usage is None:
            return (
                "How often entries are used is not known without files of codes: "
                "acomp codebooks FILES... --plot PICTURE"
            )
        files = "1 file" if self.usage.files == 1 else f"{self.usage.files:,} files"
        text = f"Usage in {files} of codes, {self.usage.frames:,} frames"
        codes = self.usage.counts.sum(axis=1)
        least = int(codes[codes > 0].min())
        size = self.books.shape[1]
        if least < FEW * size:
            text += f". Only {least:,} codes for {size:,} entries: some are unused by chance"
        return text

    @property
    def levels(self) -> int:
        """Codebooks of which there are codes; files of a low bandwidth have the first ones."""
        return 0 if self.usage is None else int(self.usage.counts.any(axis=1).sum())

    def draw(self) -> Figure:
        from matplotlib.figure import Figure

        rows = ceil(len(self.books) / MOST_COLUMNS)
        columns = ceil(len(self.books) / rows)
        width = WIDTH - LEFT - RIGHT - (COLOUR_BAR if self.levels else 0)
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

        write(self.title, 0.4, fontsize=15, fontweight="bold")
        write(self.subtitle, 0.75, fontsize=10.5)
        self._summary(axes)
        write(
            "Entries on the first two principal components (PC) of their codebook, with the share "
            "of the variance that each holds; what lies farther out is drawn at the edge",
            grid_top - 0.45,
            fontsize=11,
        )
        points = None
        for number in range(len(self.books)):
            row, column = divmod(number, columns)
            left, top = LEFT + column * (side + BESIDE), grid_top + row * (side + BELOW)
            points = self._projection(axes(left, top, side, side), number) or points
        if points is not None:
            left = LEFT + columns * (side + BESIDE)
            bar = axes(left, grid_top, 0.15, min(rows * (side + BELOW), 4.0) - BELOW)
            self._colour_bar(figure, bar, points)
        return figure

    def _summary(self, axes: Callable[[float, float, float, float], Axes]) -> None:
        panels = [self._distances]
        if self.usage is not None:
            panels = [self._entries, self._entropy, self._distances]
        pitch = (WIDTH - LEFT - RIGHT + SUMMARY_GAP) / len(panels)
        for place, draw in enumerate(panels):
            left = LEFT + place * pitch
            draw(axes(left, SUMMARY_TOP, pitch - SUMMARY_GAP, SUMMARY_HEIGHT))

    def _entries(self, panel: Axes) -> None:
        """How many entries are used, and how many equally frequent ones that is worth."""
        assert self.usage is not None
        size = self.books.shape[1]
        counts = self.usage.counts[: self.levels]
        numbers = range(1, self.levels + 1)
        panel.bar(numbers, (counts > 0).sum(axis=1), color=SKY, label="entries used")
        panel.bar(numbers, perplexity(counts), 0.45, color=BLUE, label="perplexity")
        panel.axhline(size, color="black", linestyle="--", label=f"codebook size {size}")
        panel.set_ylim(0, 1.04 * size)
        panel.set_ylabel("entries")
        share = panel.secondary_yaxis(
            "right",
            functions=(lambda x: np.multiply(x, 100 / size), lambda x: np.multiply(x, size / 100)),
        )
        share.set_ylabel("utilisation in % of the size")
        self._shade_unknown(panel)
        self._finish_summary(panel, "Entries used, and perplexity")

    def _entropy(self, panel: Axes) -> None:
        assert self.usage is not None
        most = log2(self.books.shape[1])
        bits = entropy(self.usage.counts[: self.levels])
        panel.bar(range(1, self.levels + 1), bits, color=ORANGE, label="entropy of the codes")
        panel.axhline(most, color="black", linestyle="--", label=f"{most:.4g} bits possible")
        panel.set_ylim(0, 1.04 * most)
        panel.set_ylabel("bits per code")
        possible = most * self.levels
        self._shade_unknown(panel)
        self._finish_summary(panel, f"Entropy: {bits.sum():.1f} of {possible:.4g} bits in all")

    def _distances(self, panel: Axes) -> None:
        from matplotlib.ticker import LogLocator, NullFormatter

        nearest = [nearest_distances(book) for book in self.books]
        every = np.concatenate(nearest)
        apart = every[every > SAME * np.linalg.norm(self.books, axis=2).max()]
        bottom = 0.8 * apart.min() if apart.size else 0.0
        if bottom:
            panel.set_yscale("log")
            panel.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter(NullFormatter())
        numbers = range(1, len(nearest) + 1)
        drawn = panel.boxplot(
            [np.maximum(distances, bottom) for distances in nearest],
            positions=numbers,
            whis=(5, 95),
            showfliers=False,
            manage_ticks=False,
            patch_artist=True,
            boxprops={"facecolor": SKY},
            medianprops={"color": "black"},
        )
        drawn["boxes"][0].set_label("quartiles, 5 and 95 %")
        least = [max(distances.min(), bottom) for distances in nearest]
        label = "least (bottom edge: 0)"
        panel.plot(numbers, least, "v", color=VERMILION, markersize=4, clip_on=False, label=label)
        panel.set_ylim(bottom=bottom)
        panel.set_ylabel("Euclidean distance")
        self._finish_summary(panel, "Distance from an entry to its nearest neighbour")

    def _shade_unknown(self, panel: Axes) -> None:
        """Mark the codebooks of which there are no codes."""
        count = len(self.books)
        if self.levels < count:
            panel.axvspan(self.levels + 0.5, count + 0.5, color="#EEEEEE", linewidth=0)
            middle = (self.levels + 1 + count) / 2
            height = panel.get_ylim()[1] / 2
            panel.text(
                middle, height, "no codes", ha="center", va="center", rotation=90, color="#555555"
            )

    def _finish_summary(self, panel: Axes, title: str) -> None:
        from matplotlib.ticker import MaxNLocator

        count = len(self.books)
        panel.set_title(title, pad=24)
        panel.set_xlabel("codebook")
        panel.set_xlim(0.4, count + 0.6)
        panel.xaxis.set_major_locator(MaxNLocator(16, integer=True, min_n_ticks=1))
        panel.grid(axis="y", color="#E4E4E4")
        panel.legend(
            loc="lower left", bbox_to_anchor=(0, 0.99), ncols=3, borderpad=0, borderaxespad=0.3
        )

    def _projection(self, panel: Axes, number: int) -> PathCollection | None:
        """One codebook's entries; gives the coloured ones, where there are any."""
        from matplotlib import colormaps
        from matplotlib.colors import ListedColormap, LogNorm

        points, share = projection(self.books[number])
        # A few entries far out, as dead ones often are, would leave the others no room.
        extent = np.abs(points).max(axis=1)
        edge = min(extent.max(), 1.25 * np.quantile(extent, 0.98)) or extent.max() or 1.0
        points = points.clip(-edge, edge)
        panel.set_gid(f"codebook-{number + 1}")
        panel.set_xlabel(f"PC 1 ({100 * share[0]:.1f} %)", fontsize=7.5, labelpad=2)
        panel.set_ylabel(f"PC 2 ({100 * share[1]:.1f} %)", fontsize=7.5, labelpad=3)
        panel.set(xlim=(-1.06 * edge, 1.06 * edge), ylim=(-1.06 * edge, 1.06 * edge))
        tick = _round_below(float(edge))
        panel.set(xticks=(-tick, 0, tick), yticks=(-tick, 0, tick))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.tick_params(labelsize=6.5, length=2, pad=2)
        panel.tick_params(axis="y", labelleft=False)  # the same as those of the x-axis
        panel.spines[:].set_visible(True)
        # As an image within an SVG: tens of thousands of points make it slow to show.
        style: dict[str, Any] = {
            "s": float(np.clip(4000 / len(points), 4, 40)),
            "rasterized": True,
            "clip_on": False,
        }
        if self.usage is None or number >= self.levels:
            known = "" if self.usage is None else ", no codes"
            panel.set_title(f"codebook {number + 1}{known}", fontsize=8.5, pad=4)
            panel.scatter(points[:, 0], points[:, 1], color=GREY, linewidths=0, **style)
            return None
        counts = self.usage.counts[number]
        used = np.count_nonzero(counts)
        panel.set_title(f"codebook {number + 1}, {used} used", fontsize=8.5, pad=4)
        unused = points[counts == 0]
        panel.scatter(
            unused[:, 0], unused[:, 1], color=VERMILION, marker="x", linewidths=0.6, **style
        )
        order = np.argsort(counts, kind="stable")[np.count_nonzero(counts == 0) :]  # most on top
        return panel.scatter(
            points[order, 0],
            points[order, 1],
            c=counts[order],
            cmap=ListedColormap(colormaps[COLOURS](np.linspace(LIGHTEST, 1, 256))),
            norm=LogNorm(*self._decades()),
            linewidths=0,
            **style,
        )

    def _decades(self) -> tuple[float, float]:
        """Powers of ten, least and most, that the counts lie between."""
        assert self.usage is not None
        used = np.log10(self.usage.counts[self.usage.counts > 0])
        least = np.floor(used.min())
        return 10.0**least, 10.0 ** max(np.ceil(used.max()), least + 1)

    def _colour_bar(self, figure: Figure, bar: Axes, points: PathCollection) -> None:
        from matplotlib.lines import Line2D
        from matplotlib.ticker import NullFormatter

        drawn = figure.colorbar(points, bar, format="{x:g}")
        bar.set_title("times chosen", fontsize=8.5, pad=10)
        drawn.ax.yaxis.set_minor_formatter(NullFormatter())
        never = Line2D([], [], color=VERMILION, marker="x", linestyle="", markersize=4)
        bar.legend(
            [never],
            ["never"],
            loc="upper left",
            bbox_to_anchor=(0, -0.02),
            bbox_transform=bar.transAxes,
            handlelength=0.9,
            handletextpad=0.4,
            borderpad=0,
            borderaxespad=0,
        )


def _round_below(value: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above a positive value."""
    # A logarithm may be rounded up to the next whole number, hence the 0.5.
    power = 10.0 ** floor(log10(value))
    return max(step * power for step in (0.5, 1, 2, 5) if step * power <= value)
