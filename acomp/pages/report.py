"""The report of an evaluation: one page with charts, figures, and players to compare by ear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from acomp import __version__
from acomp.errors import AcompError
from acomp.evaluation.results import Results, spread
from acomp.evaluation.settings import PCM
from acomp.evaluation.summary import count_usage, left_out, summarise
from acomp.files import atomic_write
from acomp.packages import PAGES, require_packages
from acomp.pages import charts
from acomp.pages.figures import (
    NAMED,
    cells,
    chart,
    content_of_files,
    counted,
    failed,
    family,
    standing,
    unmeasured,
    usage_charts,
)
from acomp.pages.players import player
from acomp.pages.rendering import FOLDER, PLAYER, STYLE, render

FILES = 4
"""Files that get a player unless they are named."""


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
    metrics, usage = results.metrics, count_usage(results)
    summaries = summarise(results, usage)
    standings = {metric.name: standing(results, metric) for metric in metrics}
    content = render(
        FOLDER / "report.html",
        [STYLE, FOLDER / "report.css"],
        [PLAYER, FOLDER / "report.js"],
        name=results.folder.resolve().name,
        version=__version__,
        counts=counted(results, results.files),
        minutes=_minutes(results),
        legend=[
            (name, charts.GLYPHS[order % len(charts.GLYPHS)], order % charts.COLOURS + 1)
            for order, name in enumerate(families)
        ],
        charts=[found for metric in metrics if (found := chart(results, metric, families))],
        has_pcm=PCM in results.settings,
        metrics=metrics,
        rows=[cells(each, metrics, standings, len(results.files)) for each in summaries],
        has_intervals=any(found.best for found in standings.values()),
        notes=[*failed(results), *left_out(summaries), *unmeasured(results)],
        usage=list(usage_charts(usage)),
        usage_colours=charts.data_url(charts.usage_colours()),
        even_range=f"{charts.EVEN_RANGE:g}",
        range=f"{charts.RANGE:g}",
        players=[player(results, file, start, seconds) for file in chosen],
    )
    with atomic_write(page, AcompError, replace=replace) as file:
        file.write(content)


def _chosen(results: Results, files: Sequence[str], start: float) -> list[str]:
    """The files that get a player."""
    for file in files:
        if file not in results.files:
            some = ", ".join(results.files[:NAMED])
            raise AcompError(f"the results have no file {file}; they have {some}")
    if files:
        return list(dict.fromkeys(files))
    length = {row.file: row.seconds for row in results.rows}
    content = {
        file: kind for file, kind in content_of_files(results).items() if length[file] > start
    }
    return sorted(spread(content, FILES), key=results.files.index)


def _minutes(results: Results) -> str:
    seconds = sum({row.file: row.seconds for row in results.rows}.values())
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
