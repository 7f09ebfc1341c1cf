"""acomp report"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acomp.cli.batches import guard
from acomp.cli.console import say
from acomp.cli.options import Overwrite


def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Results of `acomp eval`.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The page.",
            show_default="FOLDER/report.html",
        ),
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            metavar="NAME",
            help="A file to listen to, as results.csv names it. Can be repeated. "
            "By default four, speech and other sounds in turn.",
        ),
    ] = None,
    start: Annotated[
        float,
        typer.Option(min=0, metavar="S", help="Where the excerpts to listen to begin, in seconds."),
    ] = 0,
    seconds: Annotated[
        float, typer.Option(min=0.1, metavar="S", help="How long the excerpts are at most.")
    ] = 10,
    overwrite: Overwrite = False,
) -> None:
    """Make a page of results, to look at and to listen to: one HTML file that needs no network."""
    from acomp.evaluation.results import open_results
    from acomp.pages.report import write_report

    page = output or folder / "report.html"
    guard(page, overwrite)
    write_report(
        open_results(folder),
        page,
        files=files or (),
        start=start,
        seconds=seconds,
        replace=overwrite,
    )
    say(f"{page}: {page.stat().st_size / 1e6:.1f} MB")
