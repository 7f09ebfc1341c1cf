"""The figures of a report: charts over the bit rate, the table, and the notes below it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acomp.evaluation.confidence import LEAST_FILES, may_be_chance
from acomp.evaluation.metrics import Metric
from acomp.evaluation.results import Results
from acomp.evaluation.rows import Row
from acomp.evaluation.settings import PCM
from acomp.evaluation.summary import Counts, Summary
from acomp.pages import charts
from acomp.pages.charts import Point

NAMED = 5
"""Of a longer list of files no more are named."""


@dataclass(frozen=True)
class Means:
    """A metric and the bit rate of each setting, all over the same files.

    Attributes:
        points: one for each setting.
        files: those that every one of the points has.
        partial: how many files some of the points lack, and none is over.
    """

    points: list[Point]
    files: list[str]
    partial: int


def family(setting: str) -> str:
    """What settings have in common that differ in nothing but their bandwidth."""
    codec, colon, weights = setting.partition(":")
    return codec.partition("@")[0] + colon + weights


def means(results: Results, metric: Metric) -> Means:
    """A metric's mean and the bit rate of each setting over the files that all of them have.

    Settings without a single value have no point, and neither has `pcm`, the yardstick whose bit
    rate is far from all others. A bit rate is that of all bits in all seconds.
    """
    found: dict[str, dict[str, Row]] = {}
    for row in results.rows:
        value = row.metrics.get(metric.name)
        if row.setting != PCM and value is not None and math.isfinite(value):
            found.setdefault(row.setting, {})[row.file] = row
    present = set().union(*found.values())
    files = [file for file in results.files if all(file in rows for rows in found.values())]
    files = [file for file in files if file in present]
    points = []
    for setting, by_file in found.items() if files else ():
        rows = [by_file[file] for file in files]
        rate = sum(8 * row.bytes for row in rows) / sum(row.seconds for row in rows) / 1000
        value = sum(row.metrics[metric.name] for row in rows) / len(rows)
        points.append(Point(setting, rate, value))
    return Means(points, files, len(present) - len(files))


def chart(results: Results, metric: Metric, families: Sequence[str]) -> dict[str, Any] | None:
    """A metric's chart with what it shows in words; None where nothing has a value."""
    found = means(results, metric)
    if not found.points and not found.partial:
        return None
    curves: dict[str, list[Point]] = {}
    for point in found.points:
        curves.setdefault(family(point.setting), []).append(point)
    better = "Higher is better" if metric.higher_is_better else "Lower is better"
    unit = f", {metric.unit}" if metric.unit else ""
    said = f"{metric.label} over the bit rate of {', '.join(curves)}"
    drawn = charts.rate_distortion(curves, families, metric.label + unit, said) if curves else ""
    over = f"Mean over {counted(results, found.files)}." if curves else "No file has all settings."
    if found.partial:
        over += f" Left out: {number(found.partial, 'file')} that not every setting has."
    return {"title": metric.label + unit, "better": better, "over": over, "svg": drawn}


@dataclass(frozen=True)
class Cell:
    """A cell of the table.

    Attributes:
        text: what stands in it.
        below: in small letters below that: the interval of a mean.
        is_best: whether it is the best of its column.
    """

    text: str
    below: str = ""
    is_best: bool = False


@dataclass(frozen=True)
class Standing:
    """The best setting by a metric, over the files that all settings have, `pcm` left out.

    Attributes:
        best: its name; empty where there are too few files to tell, or nothing to compare.
        level: those whose difference from it chance may have made.
    """

    best: str = ""
    level: frozenset[str] = frozenset()


def standing(results: Results, metric: Metric) -> Standing:
    """Which setting is the best by a metric, and which are level with it."""
    found = means(results, metric)
    if len(found.files) < LEAST_FILES or len(found.points) < 2:
        return Standing()
    best_of = max if metric.higher_is_better else min
    best = best_of(found.points, key=lambda point: point.value).setting
    figures = {
        point.setting: _by_file(results, metric, point.setting, found.files)
        for point in found.points
    }
    level = {
        setting
        for setting, each in figures.items()
        if setting != best and may_be_chance(figures[best], each)
    }
    return Standing(best, frozenset(level))


def _by_file(results: Results, metric: Metric, setting: str, files: Sequence[str]) -> list[float]:
    rows = [results.row(setting, file) for file in files]
    return [row.metrics[metric.name] for row in rows if row is not None]


def cells(
    summary: Summary, metrics: Sequence[Metric], standings: Mapping[str, Standing], files: int
) -> list[Cell]:
    """The cells of a setting's row in the table, the setting's name first.

    Args:
        summary: of the setting.
        metrics: those that have a column.
        standings: by the names of the metrics.
        files: how many there are.
    """
    use = summary.use
    before = [
        summary.setting,
        str(files) if summary.files == files else f"{summary.files} of {files}",
        f"{summary.kbps:.4g}",
        "-" if summary.tokens_per_second is None else f"{summary.tokens_per_second:.0f}",
        f"{summary.encode_speed:.0f}",
        f"{summary.decode_speed:.0f}",
    ]
    after = [
        "-" if use is None else f"{use.utilisation:.0%}",
        "-" if use is None else f"{use.perplexity:.0f}",
    ]
    figures = [_mean(summary, metric, standings[metric.name]) for metric in metrics]
    return [*map(Cell, before), *figures, *map(Cell, after)]


def _mean(summary: Summary, metric: Metric, standing: Standing) -> Cell:
    """A mean, its interval, and how many files it is over unless that is all."""
    figure = summary.metrics.get(metric.name)
    if figure is None:
        return Cell("-")
    text = metric.shown(figure.mean)
    text += "" if figure.files == summary.files else f" ({figure.files})"
    text += " ≈" if summary.setting in standing.level else ""
    below = "" if figure.interval is None else " to ".join(map(metric.shown, figure.interval))
    return Cell(text, below, summary.setting == standing.best)


def failed(results: Results) -> Iterator[str]:
    """Says which files a setting has no figures for."""
    for setting in results.settings:
        missing = [file for file in results.files if results.row(setting, file) is None]
        if missing:
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            yield (
                f"{setting} has no result for {number(len(missing), 'file')}: "
                f"{', '.join(missing[:NAMED])}{more}"
            )


def unmeasured(results: Results) -> Iterator[str]:
    """Says which of the usual metrics the results lack, as those of an older acomp may."""
    if results.unmeasured:
        yield f"Not measured: {', '.join(metric.label for metric in results.unmeasured)}"


def usage_charts(usage: Mapping[str, Counts]) -> Iterator[dict[str, Any]]:
    """The use of the codebooks of each setting, and of each codec that it stands for."""
    for setting, of_codecs in usage.items():
        for codec, counts in of_codecs.items():
            title = setting if len(of_codecs) == 1 else f"{setting}, {codec}"
            frames = int(counts[0].sum())
            yield {
                "title": title,
                "over": f"{frames:,} codes of each codebook, {counts.shape[1]} entries",
                "svg": charts.codebook_usage(counts, f"Use of the codebooks of {title}"),
            }


def content_of_files(results: Results) -> dict[str, str]:
    """Speech or other, by the names of the files."""
    return {row.file: row.content for row in results.rows}


def counted(results: Results, files: Sequence[str]) -> str:
    """How many files, and what they hold: `3 files (2 speech, 1 other)`."""
    content = content_of_files(results)
    found = [content[file] for file in files]
    kinds = sorted(set(found), reverse=True)
    parts = kinds if len(kinds) == 1 else [f"{found.count(kind)} {kind}" for kind in kinds]
    return f"{number(len(files), 'file')} ({', '.join(parts)})"


def number(count: int, thing: str) -> str:
    """`1 file`, `2 files`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
