"""Pictures for pages: charts as SVG that take the page's fonts and colours, spectrograms as PNG.

Colours of the SVG are those of style.css (`--line`, `--series-1` ... `--series-8` and the text's),
so that a chart is as legible in dark mode as in light.
"""

from __future__ import annotations

import base64
import html
import io
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from acomp.analysis.usage import perplexity, utilisation
from acomp.audio import Audio
from acomp.drawing import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GLYPHS = ("●", "■", "▲", "◆", "▼", "✚", "✖", "★")
"""The markers as text, for a legend."""
COLOURS = 8
"""How many `--series-N` style.css has."""

WIDTH = 360
"""Of a chart, in units of its SVG: on a phone they are about the screen's pixels."""
TEXT, LINE = "#010203", "#040506"
"""Stand for colours of the page until the SVG is written."""

COLUMNS, ROWS = 480, 112
"""Pixels of a spectrogram."""
LOWEST, HIGHEST = 60.0, 20_000.0
"""Frequencies in Hz that a spectrogram shows, as far as the sample rate allows."""
RANGE = 80.0
"""dB from the darkest to the brightest colour of a spectrogram."""
WINDOW = 0.043
"""Seconds of the spectrogram's windows, about."""

EVEN_RANGE = 32.0
"""Usage is coloured from this many times less than an even share to this many times more."""


@dataclass(frozen=True)
class Point:
    """A setting in a rate-distortion chart.

    Attributes:
        setting: as the user wrote it.
        kbps: bit rate of its coded files.
        value: mean of a metric.
    """

    setting: str
    kbps: float
    value: float


def rate_distortion(
    curves: Mapping[str, Sequence[Point]], families: Sequence[str], label: str, alt: str
) -> str:
    """A metric over the bit rate, a line for each codec family, as SVG.

    Args:
        curves: the points of each family.
        families: all families of the page; a family's place in it is its marker and colour.
        label: of the vertical axis.
        alt: what the chart shows, for those who cannot see it.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    titles: dict[str, str] = {}
    with _figure(240) as figure:
        axes = figure.add_subplot()
        for family, points in curves.items():
            order = families.index(family)
            line = sorted(points, key=lambda point: point.kbps)
            rates, values = [each.kbps for each in line], [each.value for each in line]
            axes.plot(rates, values, color=_series(order), linewidth=1.8)
            for each in line:
                name = f"point-{len(titles)}"
                titles[name] = f"{each.setting}: {each.kbps:.2f} kbps, {each.value:.4g}"
                marker = MARKERS[order % len(MARKERS)]
                axes.plot(each.kbps, each.value, marker, color=_series(order), ms=6.5, gid=name)
        rates = [point.kbps for points in curves.values() for point in points]
        axes.set_xscale("log")
        axes.set_xlim(min(rates) / 1.25, max(rates) * 1.25)
        axes.xaxis.set_major_locator(FixedLocator(_ticks(*axes.get_xlim())))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda rate, _: f"{rate:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(y=0.1)
        axes.set_xlabel("bit rate, kbps")
        axes.set_ylabel(label)
        _plain(axes)
        axes.grid(True, color=LINE, linewidth=0.7)
        return _svg(figure, alt, titles)


def codebook_usage(counts: NDArray[np.int64], alt: str) -> str:
    """How evenly the entries of each codebook are used, as SVG.

    A row for each codebook: its entries from the most used to the least, coloured by their share of
    the codes (`usage_colours`), grey where they were never used; then utilisation and perplexity
    as bars.

    Args:
        counts: of each entry: `[codebooks, size]`.
        alt: what the chart shows, for those who cannot see it.
    """
    from matplotlib import colormaps
    from matplotlib.colors import LogNorm
    from matplotlib.ticker import MaxNLocator

    books, size = counts.shape
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    even = np.sort(counts, axis=1)[:, ::-1] / total * size
    with _figure(62 + 14 * books) as figure:
        usage, used, hard = figure.subplots(1, 3, sharey=True, width_ratios=(5, 2, 2))
        usage.axvspan(0, size, color=LINE, alpha=0.4, linewidth=0, zorder=-1)
        usage.imshow(
            np.ma.masked_equal(even, 0),
            cmap=colormaps["viridis"],
            norm=LogNorm(1 / EVEN_RANGE, EVEN_RANGE, clip=True),
            aspect="auto",
            interpolation="nearest",
            extent=(0, size, books + 0.5, 0.5),
        )
        usage.set_xticks([0, size // 2, size])
        usage.set_xlabel("entries, by use")
        usage.set_ylabel("codebook")
        usage.yaxis.set_major_locator(MaxNLocator(12, integer=True, min_n_ticks=1))
        shares = 100 * utilisation(counts)
        _bars(used, "used, %", shares, 100, [f"{share:.0f}" for share in shares])
        found = perplexity(counts)
        _bars(hard, "perplexity", found, size, [f"{each:.0f}" for each in found])
        for axes in (usage, used, hard):
            _plain(axes)
            axes.tick_params(length=0)
        usage.spines["bottom"].set_visible(False)
        return _svg(figure, alt, {})


def usage_colours() -> bytes:
    """The colours of `codebook_usage` from rare to frequent, as PNG one pixel high."""
    return _png(np.arange(256, dtype=np.uint8)[None], "viridis")


def _bars(
    axes: Axes, label: str, values: NDArray[np.float64], most: float, texts: list[str]
) -> None:
    axes.barh(np.arange(1, len(values) + 1), values, height=0.8, color=_series(0), alpha=0.35)
    for row, text in enumerate(texts, 1):
        axes.text(0.04 * most, row, text, va="center_baseline", fontsize=10)
    axes.set_xlim(0, most)
    axes.set_xticks([])
    axes.set_xlabel(label)


def band_levels(audio: Audio, gain: float = 1.0) -> NDArray[np.float64]:
    """Levels in dB of bands of equal width on a logarithmic scale, the highest band first.

    Returns:
        `[ROWS, COLUMNS]`, the mean power density over the channels in Hann windows of about
        `WINDOW`.
    """
    size = 1 << round(np.log2(WINDOW * audio.sample_rate))
    centres = (np.arange(COLUMNS) + 0.5) * audio.length / COLUMNS
    padded = np.pad(audio.samples, ((0, 0), (size // 2, size)))
    frames = padded[:, centres.astype(int)[:, None] + np.arange(size)]
    power = (np.abs(np.fft.rfft(gain * frames * np.hanning(size))) ** 2).mean(axis=0)
    # A band's power is a difference of the power summed up to its edges, which also serves bands
    # that are narrower than the transform's.
    summed = np.cumsum(np.pad(power, ((0, 0), (1, 0))), axis=1)
    edges = np.geomspace(LOWEST, _top(audio.sample_rate), ROWS + 1) * size / audio.sample_rate + 0.5
    below = np.stack([np.interp(edges, np.arange(summed.shape[1]), row) for row in summed])
    density = np.maximum(np.diff(below, axis=1), 0) / np.diff(edges)
    levels: NDArray[np.float64] = 10 * np.log10(density.T[::-1] + 1e-12)
    return levels


def spectrogram(levels: NDArray[np.float64], brightest: float) -> bytes:
    """A PNG of `band_levels`, in colours from `brightest` dB down by `RANGE`."""
    shade = np.clip((levels - brightest) / RANGE + 1, 0, 1)
    return _png(np.round(255 * shade).astype(np.uint8), "magma")


def data_url(png: bytes) -> str:
    """A picture as the address of an `<img>`, which holds it."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def frequency_marks(sample_rate: int) -> list[tuple[str, float]]:
    """Labels of a spectrogram's frequencies, and their distances from its top, from 0 to 1."""
    top = _top(sample_rate)
    marks = {"100": 100.0, "1k": 1000.0, "10k": 10_000.0}
    span = np.log(top / LOWEST)
    return [(text, float(np.log(top / hz) / span)) for text, hz in marks.items() if hz < 0.75 * top]


def _top(sample_rate: int) -> float:
    return max(2 * LOWEST, min(HIGHEST, sample_rate / 2))


def _png(shades: NDArray[np.uint8], colours: str) -> bytes:
    from matplotlib import colormaps
    from PIL import Image

    palette = colormaps[colours](np.arange(256), bytes=True)[:, :3]
    image = Image.fromarray(shades, "L")
    image.putpalette(np.ascontiguousarray(palette).tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _series(order: int) -> str:
    """Stands for the colour of the family in that place."""
    return f"#0707{order % COLOURS + 1:02x}"


def _ticks(least: float, most: float) -> list[float]:
    """Ticks of a logarithmic axis: kbps that codecs have (1.5, 3, 6 ...), none touching another."""
    octaves = np.log2(most / least)
    steps = 0.75 * 2.0 ** np.arange(-20, 30, 1 if octaves < 8 else 2)
    if octaves < 3:
        steps = np.union1d(steps, steps * 4 / 3)
    return [float(step) for step in steps if least <= step <= most]


def _plain(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.set_axisbelow(True)
    axes.tick_params(length=3, color=LINE)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(LINE)


@contextmanager
def _figure(height: float) -> Iterator[Figure]:
    """A figure `WIDTH` wide and `height` high; what is drawn in the body has its look."""
    look = style(
        {
            "svg.fonttype": "none",
            "font.size": 11,
            "text.color": TEXT,
            "axes.labelcolor": TEXT,
            "axes.edgecolor": LINE,
            "xtick.labelcolor": TEXT,
            "ytick.labelcolor": TEXT,
        }
    )
    with look:
        from matplotlib.figure import Figure

        yield Figure((WIDTH / 72, height / 72), layout="constrained")


def _svg(figure: Figure, alt: str, titles: Mapping[str, str]) -> str:
    """The figure as an element of HTML; `titles` are shown over the parts with those names."""
    file = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(TEXT, "currentColor").replace(LINE, "var(--line)")
    text = re.sub(r"<defs>\s*<style.*?</defs>", "", text, count=1, flags=re.DOTALL)  # is for all
    text = re.sub(r"#0707(\d\d)", lambda found: f"var(--series-{int(found[1])})", text)
    for name, title in titles.items():
        text = text.replace(f'<g id="{name}">', f"<g><title>{html.escape(title)}</title>")
    # Names must be other ones in each chart of a page, or charts would take parts of one another.
    mark = f"{zlib.crc32(text.encode()):08x}"
    text = re.sub(r'(id="|url\(#|href="#)', rf"\g<1>c{mark}-", text)
    size = " ".join(re.search(r'viewBox="[^"]*"', text).group().split())  # type: ignore[union-attr]
    start = f'<svg {size} role="img" aria-label="{html.escape(alt)}"'
    start += ' xmlns:xlink="http://www.w3.org/1999/xlink">'
    return start + text[text.index(">") + 1 :]
