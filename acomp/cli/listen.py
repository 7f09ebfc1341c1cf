"""acomp listen"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acomp.cli.batches import guard
from acomp.cli.console import counted, one_line, printable, say
from acomp.cli.options import Overwrite

if TYPE_CHECKING:
    from rich.table import Table

    from acomp.listening.scores import Outcome, Score

PAGE = "listen.html"


def listen(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER | CSV...",
            help="Folder of results that `acomp eval` left; with --score, files of ratings.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help=f"The page, else FOLDER/{PAGE}; with --score, a CSV.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            metavar="NAME",
            help="A file to rate; else the first 6, speech and other in turn.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--setting", metavar="SETTING", help="A setting to rate, at most 9; else all but pcm."
        ),
    ] = None,
    start: Annotated[
        float, typer.Option(metavar="S", help="Where the excerpts begin, in seconds.")
    ] = 0.0,
    seconds: Annotated[
        float, typer.Option(metavar="S", help="Length of the excerpts, at most 12.")
    ] = 10.0,
    score: Annotated[
        bool, typer.Option("--score", help="Screen assessors and sum up what they rated.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --score: print the scores as JSON.")
    ] = False,
) -> None:
    """Make a blind listening test (MUSHRA, ITU-R BS.1534-3) of results, or score its ratings."""
    from acomp.evaluation.results import open_results

    if score:
        if files or settings or (start, seconds) != (0.0, 10.0):
            raise typer.BadParameter("--score takes files of ratings, and of these --json and -o")
        if output is not None:
            guard(output, overwrite, *paths)
        _score(paths, output, as_json, overwrite)
        return
    if as_json:
        raise typer.BadParameter("--json goes with --score")
    if len(paths) != 1:
        raise typer.BadParameter("give one folder of results, or --score and files of ratings")
    from acomp.listening.page import write_listening_test

    page = output or paths[0] / PAGE
    guard(page, overwrite)
    write_listening_test(
        open_results(paths[0]),
        page,
        files=files or (),
        settings=settings or (),
        start=start,
        seconds=seconds,
        replace=overwrite,
    )
    size = page.stat().st_size / 1e6 if page.is_file() else 0
    say(f"{page}: a listening test of {size:.1f} MB; open it in a browser")


def _score(paths: Sequence[Path], output: Path | None, as_json: bool, overwrite: bool) -> None:
    from acomp.listening.ratings import read_ratings
    from acomp.listening.scores import outcome, write_scores

    found = outcome(read_ratings(paths))
    if output is not None:
        write_scores(output, found.scores, replace=overwrite)
    if as_json:
        print(json.dumps(found.as_dict(), indent=2))
    else:
        _show(found)


def _show(found: Outcome) -> None:
    from rich.console import Console

    console = Console()
    overall = [score for score in found.scores if score.file is None]
    each = [score for score in found.scores if score.file is not None]
    if overall:
        console.print(_table("All files", overall), _table("Each file", each))
    console.print(*_facts(found), sep="\n", soft_wrap=True, highlight=False, markup=False)


def _table(title: str, scores: Sequence[Score]) -> Table:
    from rich.table import Table
    from rich.text import Text

    columns = ("file", "condition", "n", "mean", "95 % CI", "median", "quartiles")
    table = Table(*columns, title=title)
    for column in table.columns[2:]:
        column.justify = "right"
    before = ""
    for score in scores:
        file = score.file or "all"
        if before not in ("", file):
            table.add_section()
        names = (file if file != before else "", score.condition)
        table.add_row(*(Text(printable(name)) for name in names), *_cells(score))
        before = file
    return table


def _cells(score: Score) -> Iterator[str]:
    yield str(score.n)
    yield f"{score.mean:.1f}"
    yield "-" if score.interval is None else f"± {score.interval:.1f}"
    yield f"{score.median:.1f}"
    yield "{:.1f} - {:.1f}".format(*score.quartiles)


def _facts(found: Outcome) -> Iterator[str]:
    count = len(found.assessors)
    assessors = counted(count, "assessor")
    yield f"{assessors}, each rating pooled; CI: Student's t, none for a single rating"
    for each in found.screening.excluded:
        yield one_line(f"excluded: {each.assessor}, who {each.reason}")
    for file in found.screening.undegraded:
        yield one_line(f"{file}: too many rate its 7 kHz anchor high for it to judge assessors by")
