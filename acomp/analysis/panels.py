"""The panels of a picture of codebooks, each drawn into axes of matplotlib's."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor, log2, log10
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acomp.analysis.codebooks import nearest_distances, projection
from acomp.analysis.usage import Usage, entropy, perplexity
from acomp.drawing import BLUE, COLOURS, GREY, LIGHTEST, ORANGE, SKY, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.figure import Figure

SAME = 1e-6
"""Share of the largest norm: entries that are nearer to each other differ by rounding only."""
FEW = 10
"""Codes for each entry, below which an entry may well be unused by chance."""


@dataclass(frozen=True)
class Subject:
    """What a picture is of.

    Attributes:
        codec: its name.
        fingerprint: of its weights, where there is one.
        books: its codebooks, `[codebooks, size, dimension]`.
        usage: how often its entries are chosen; None where that is not known.
    """

    codec: str
    fingerprint: str | None
    books: NDArray[np.float64]
    usage: Usage | None

    @property
    def title(self) -> str:
        """What it is, for the top of the picture."""
        count, size, dimension = self.books.shape
        weights = f", weights {self.fingerprint}" if self.fingerprint else ""
        shape = f"{count} x {size} x {dimension} (codebooks x size x dimension)"
        return f"Codebooks of {self.codec}{weights}: {shape}"

    @property
    def subtitle(self) -> str:
        """How much was counted."""
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


def draw_entries(subject: Subject, panel: Axes) -> None:
    """How many entries are used, and how many equally frequent ones that is worth."""
    assert subject.usage is not None
    size = subject.books.shape[1]
    counts = subject.usage.counts[: subject.levels]
    numbers = range(1, subject.levels + 1)
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
    _shade_unknown(subject, panel)
    _finish_summary(subject, panel, "Entries used, and perplexity")


def draw_entropy(subject: Subject, panel: Axes) -> None:
    """The entropy of the codes of each codebook, and what there could be."""
    assert subject.usage is not None
    most = log2(subject.books.shape[1])
    bits = entropy(subject.usage.counts[: subject.levels])
    panel.bar(range(1, subject.levels + 1), bits, color=ORANGE, label="entropy of the codes")
    panel.axhline(most, color="black", linestyle="--", label=f"{most:.4g} bits possible")
    panel.set_ylim(0, 1.04 * most)
    panel.set_ylabel("bits per code")
    possible = most * subject.levels
    _shade_unknown(subject, panel)
    _finish_summary(subject, panel, f"Entropy: {bits.sum():.1f} of {possible:.4g} bits in all")


def draw_distances(subject: Subject, panel: Axes) -> None:
    """How far the entries of each codebook are from their nearest neighbours."""
    from matplotlib.ticker import LogLocator, NullFormatter

    nearest = [nearest_distances(book) for book in subject.books]
    every = np.concatenate(nearest)
    apart = every[every > SAME * np.linalg.norm(subject.books, axis=2).max()]
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
    _finish_summary(subject, panel, "Distance from an entry to its nearest neighbour")


def _shade_unknown(subject: Subject, panel: Axes) -> None:
    """Mark the codebooks of which there are no codes."""
    count = len(subject.books)
    if subject.levels < count:
        panel.axvspan(subject.levels + 0.5, count + 0.5, color="#EEEEEE", linewidth=0)
        middle = (subject.levels + 1 + count) / 2
        height = panel.get_ylim()[1] / 2
        panel.text(
            middle, height, "no codes", ha="center", va="center", rotation=90, color="#555555"
        )


def _finish_summary(subject: Subject, panel: Axes, title: str) -> None:
    from matplotlib.ticker import MaxNLocator

    count = len(subject.books)
    panel.set_title(title, pad=24)
    panel.set_xlabel("codebook")
    panel.set_xlim(0.4, count + 0.6)
    panel.xaxis.set_major_locator(MaxNLocator(16, integer=True, min_n_ticks=1))
    panel.grid(axis="y", color="#E4E4E4")
    panel.legend(
        loc="lower left", bbox_to_anchor=(0, 0.99), ncols=3, borderpad=0, borderaxespad=0.3
    )


def draw_projection(subject: Subject, panel: Axes, number: int) -> PathCollection | None:
    """One codebook's entries; gives the coloured ones, where there are any."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm

    points, share = projection(subject.books[number])
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
    if subject.usage is None or number >= subject.levels:
        known = "" if subject.usage is None else ", no codes"
        panel.set_title(f"codebook {number + 1}{known}", fontsize=8.5, pad=4)
        panel.scatter(points[:, 0], points[:, 1], color=GREY, linewidths=0, **style)
        return None
    counts = subject.usage.counts[number]
    used = np.count_nonzero(counts)
    panel.set_title(f"codebook {number + 1}, {used} used", fontsize=8.5, pad=4)
    unused = points[counts == 0]
    panel.scatter(unused[:, 0], unused[:, 1], color=VERMILION, marker="x", linewidths=0.6, **style)
    order = np.argsort(counts, kind="stable")[np.count_nonzero(counts == 0) :]  # most on top
    return panel.scatter(
        points[order, 0],
        points[order, 1],
        c=counts[order],
        cmap=ListedColormap(colormaps[COLOURS](np.linspace(LIGHTEST, 1, 256))),
        norm=LogNorm(*_decades(subject)),
        linewidths=0,
        **style,
    )


def _decades(subject: Subject) -> tuple[float, float]:
    """Powers of ten, least and most, that the counts lie between."""
    assert subject.usage is not None
    used = np.log10(subject.usage.counts[subject.usage.counts > 0])
    least = np.floor(used.min())
    return 10.0**least, 10.0 ** max(np.ceil(used.max()), least + 1)


def draw_colour_bar(figure: Figure, bar: Axes, points: PathCollection) -> None:
    """What the colours and the crosses of projections mean."""
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
