"""The report of an evaluation: one page with charts, figures, and players to compare by ear."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acomp import __version__
from acomp.errors import AcompError
from acomp.evaluation.results import METRICS, Metric, Results, Row, spread
from acomp.evaluation.settings import PCM
from acomp.evaluation.summary import Figure, Summary, Usage, count_usage, left_out, summarise
from acomp.files import atomic_write
from acomp.packages import PAGES, require_packages
from acomp.pages import charts
from acomp.pages.charts import Point
from acomp.pages.clips import Clip, excerpt, level_matched
from acomp.pages.rendering import FOLDER, PLAYER, STYLE, render

REFERENCE = "reference"
FILES = 4
"""Files that get a player unless they are named."""
NAMED = 5
"""Of a longer list of files no more are named."""


@dataclass(frozen=True)
class Means:
    """A metric and the bit rate of each setting, all over the same files."""

    points: list[Point]
    files: list[str]
    """The files that every one of the points has."""
    partial: int
    """Files that some of the points lack, and none is over."""


def write_report(
    results: Results,
    page: Path,
    *,
    files: Sequence[str] = (),
    start: float = 0.0,
    seconds: float = 10.0,
    replace: bool = True,
) -> None:
    """Write a page that shows results and plays them; it needs nothing but itself.

    Args:
        results: what `acomp eval` left.
        page: the HTML file.
        files: those that get a player, by their names in the results; by default the first four,
            speech and other sounds in turn.
        start: where the excerpts that are played begin, in seconds.
        seconds: how long they are at most.
        replace: whether a page that exists is replaced.

    Raises:
        ExistsError: it exists and is not to be replaced.
        AcompError: a file is unknown, shorter than `start` or cannot be read, a package is missing,
            or the page cannot be written.
    """
    require_packages("the report", *PAGES)
    if not (math.isfinite(start) and start >= 0 and math.isfinite(seconds) and seconds > 0):
        raise AcompError("an excerpt starts at 0 seconds or later and is longer than 0 seconds")
    chosen = _chosen(results, files, start)
    families = [name for name in dict.fromkeys(map(family, results.settings)) if name != PCM]
    usage = count_usage(results)
    summaries = summarise(results, usage)
    content = render(
        FOLDER / "report.html",
        [STYLE, FOLDER / "report.css"],
        [PLAYER, FOLDER / "report.js"],
        name=results.folder.resolve().name,
        version=__version__,
        counts=_counts(results, results.files),
        minutes=_minutes(results),
        legend=[
            (name, charts.GLYPHS[order % len(charts.GLYPHS)], order % charts.COLOURS + 1)
            for order, name in enumerate(families)
        ],
        charts=[chart for metric in METRICS if (chart := _chart(results, metric, families))],
        has_pcm=PCM in results.settings,
        metrics=METRICS,
        rows=[_cells(each, len(results.files)) for each in summaries],
        notes=[*_failed(results), *left_out(summaries)],
        usage=list(_usage(usage)),
        usage_colours=_data_url(charts.usage_colours()),
        even_range=f"{charts.EVEN_RANGE:g}",
        range=f"{charts.RANGE:g}",
        players=[_player(results, file, start, seconds) for file in chosen],
    )
    with atomic_write(page, AcompError, replace=replace) as file:
        file.write(content)


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
        value = getattr(row, metric.name)
        if row.setting != PCM and value is not None and math.isfinite(value):
            found.setdefault(row.setting, {})[row.file] = row
    present = set().union(*found.values())
    files = [file for file in results.files if all(file in rows for rows in found.values())]
    files = [file for file in files if file in present]
    points = []
    for setting, by_file in found.items() if files else ():
        rows = [by_file[file] for file in files]
        rate = sum(8 * row.bytes for row in rows) / sum(row.seconds for row in rows) / 1000
        value = sum(getattr(row, metric.name) for row in rows) / len(rows)
        points.append(Point(setting, rate, value))
    return Means(points, files, len(present) - len(files))


def _chart(results: Results, metric: Metric, families: Sequence[str]) -> dict[str, Any] | None:
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
    over = f"Mean over {_counts(results, found.files)}." if curves else "No file has all settings."
    if found.partial:
        over += f" Left out: {_number(found.partial, 'file')} that not every setting has."
    return {"title": metric.label + unit, "better": better, "over": over, "svg": drawn}


def _cells(summary: Summary, files: int) -> list[str]:
    """The cells of a setting's row in the table, the setting's name first."""
    figures = (summary.metrics.get(metric.name) for metric in METRICS)
    use = summary.use
    return [
        summary.setting,
        str(files) if summary.files == files else f"{summary.files} of {files}",
        f"{summary.kbps:.4g}",
        "-" if summary.tokens_per_second is None else f"{summary.tokens_per_second:.0f}",
        f"{summary.encode_speed:.0f}",
        f"{summary.decode_speed:.0f}",
        *(
            _mean(figure, metric, summary.files)
            for figure, metric in zip(figures, METRICS, strict=True)
        ),
        "-" if use is None else f"{use.utilisation:.0%}",
        "-" if use is None else f"{use.perplexity:.0f}",
    ]


def _mean(figure: Figure | None, metric: Metric, files: int) -> str:
    """A mean, and how many files it is over unless that is all."""
    if figure is None:
        return "-"
    return _shown(figure.mean, metric) + ("" if figure.files == files else f" ({figure.files})")


def _shown(value: float, metric: Metric) -> str:
    return f"{value:.{metric.digits}f}"


def _failed(results: Results) -> Iterator[str]:
    """Says which files a setting has no figures for."""
    for setting in results.settings:
        missing = [file for file in results.files if results.row(setting, file) is None]
        if missing:
            more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
            yield (
                f"{setting} has no result for {_number(len(missing), 'file')}: "
                f"{', '.join(missing[:NAMED])}{more}"
            )


def _usage(usage: Mapping[str, Usage]) -> Iterator[dict[str, Any]]:
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


def _player(results: Results, file: str, start: float, seconds: float) -> dict[str, Any]:
    """What a player shows and plays: the reference and every setting that has the file."""
    rows = {setting: results.row(setting, file) for setting in results.settings}
    there = {setting: row for setting, row in rows.items() if row is not None}
    paths = {REFERENCE: results.reference(file)}
    paths |= {setting: results.decoded(setting, file) for setting in there}
    clips = level_matched({name: excerpt(path, start, seconds) for name, path in paths.items()})
    first, original = next(iter(there.values())), clips[0].audio
    if not original.length:
        raise AcompError(f"{file} is {first.seconds:.1f} s long and has nothing at {start:g} s")
    levels = {clip.id: charts.band_levels(clip.audio, clip.gain) for clip in clips}
    brightest = float(levels[REFERENCE].max())
    versions = []
    for clip in clips:
        row = there.get(clip.id)
        versions.append(
            {
                "id": clip.id,
                "facts": ["the original"] if row is None else _facts(row),
                "image": _data_url(charts.spectrogram(levels[clip.id], brightest)),
            }
        )
    return {
        "file": file,
        "facts": (
            f"{first.content}, {first.sample_rate / 1000:g} kHz, {_sound(original.channels)}, "
            f"{start:g} to {start + original.duration:.4g} s of {first.seconds:.4g} s"
        ),
        "missing": [setting for setting, row in rows.items() if row is None],
        "duration": original.duration,
        "marks": charts.frequency_marks(original.sample_rate),
        "versions": versions,
        "clips": [_clip(clip) for clip in clips],
    }


def _clip(clip: Clip) -> dict[str, Any]:
    return {"id": clip.id, "flac": clip.flac, "gain": clip.gain}


def _facts(row: Row) -> list[str]:
    """A setting's figures for one file."""
    figures = [f"{row.kbps:.4g} kbps"]
    for metric in METRICS:
        value = getattr(row, metric.name)
        if value is not None:
            figures.append(f"{metric.label} {_shown(value, metric)}")
    return figures


def _chosen(results: Results, files: Sequence[str], start: float) -> list[str]:
    """The files that get a player."""
    for file in files:
        if file not in results.files:
            some = ", ".join(results.files[:NAMED])
            raise AcompError(f"the results have no file {file}; they have {some}")
    if files:
        return list(dict.fromkeys(files))
    length = {row.file: row.seconds for row in results.rows}
    content = {file: kind for file, kind in _content(results).items() if length[file] > start}
    return sorted(spread(content, FILES), key=results.files.index)


def _content(results: Results) -> dict[str, str]:
    return {row.file: row.content for row in results.rows}


def _counts(results: Results, files: Sequence[str]) -> str:
    """How many files, and what they hold: `3 files (2 speech, 1 other)`."""
    content = _content(results)
    found = [content[file] for file in files]
    kinds = sorted(set(found), reverse=True)
    parts = kinds if len(kinds) == 1 else [f"{found.count(kind)} {kind}" for kind in kinds]
    return f"{_number(len(files), 'file')} ({', '.join(parts)})"


def _minutes(results: Results) -> str:
    seconds = sum({row.file: row.seconds for row in results.rows}.values())
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def _sound(channels: int) -> str:
    return {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")


def _number(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _data_url(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
