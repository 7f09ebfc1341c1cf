"""`acomp models`: the weights catalogue and its cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated

import typer

from acomp.backends import weights
from acomp.backends.catalogue import CATALOGUE, FOLDERS, Weights, lookup
from acomp.backends.download import Progress
from acomp.errors import WeightsError
from acomp.files import cache_folder

app = typer.Typer(help="List, fetch and verify the weights of the codecs.", no_args_is_help=True)


@app.command("list")
def list_models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the weights: size, licence, what is known of the SHA-256, and where the file is."""
    entries = [(entry, weights.status(name)) for name, entry in CATALOGUE.items()]
    if as_json:
        typer.echo(json.dumps([_as_dict(*entry) for entry in entries], indent=2))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("Name", "Size", "Licence", "SHA-256")
    table.add_column("File", overflow="fold")
    for entry, here in entries:
        row = (entry.name, _size(entry, here), entry.licence, _sum(entry), _place(here))
        table.add_row(*map(Text, row))
    Console().print(table)


@app.command()
def fetch(names: Annotated[list[str], typer.Argument(metavar="NAME...")]) -> None:
    """Download weights that are not here yet, and replace damaged ones."""
    for name in names:
        if name not in FOLDERS:
            lookup(name)
    for name in names:
        with download_bar(name) as progress:
            path = weights.fetch(name, progress)
        typer.echo(f"{name}: {path}")


@app.command()
def verify(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...")] = None,
) -> None:
    """Hash the weights that are here, or those named, and compare with what is known of them."""
    found = [weights.verify(name) for name in names or CATALOGUE]
    if not names:
        found = [here for here in found if here.path]
    for here in found:
        typer.echo(f"{here.name}: {_verdict(here)}")
    bad = [here.name for here in found if here.problem or not here.path]
    if bad:
        raise WeightsError(
            f"missing or damaged: {', '.join(bad)}; mend with: acomp models fetch {' '.join(bad)}"
        )


@app.command()
def path(name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None) -> None:
    """Print the cache folder, or the weights file of NAME."""
    if name is None:
        typer.echo(cache_folder())
        return
    found = weights.find(name)
    if found is None:
        raise WeightsError(f"the weights of {name} are not here: acomp models fetch {name}")
    typer.echo(found)


@contextmanager
def download_bar(name: str) -> Iterator[Progress]:
    """A progress bar for `weights.fetch`: on a terminal, and only once there is progress."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, disable=not console.is_terminal)
    task = bar.add_task(name, total=None)

    def show(done: int, total: int | None) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()


def _as_dict(entry: Weights, here: weights.Status) -> dict[str, object]:
    place = str(here.path) if here.path else None
    return {**asdict(entry), "path": place, "problem": here.problem}


def _size(entry: Weights, here: weights.Status) -> str:
    size = here.path.stat().st_size if here.path else entry.size
    return "not known" if size is None else f"{size / 1e6:.1f} MB"


def _sum(entry: Weights) -> str:
    if entry.sha256 is None:
        return "not known"
    return "known" if len(entry.sha256) == 64 else f"begins {entry.sha256}"


def _place(here: weights.Status) -> str:
    place = str(here.path) if here.path else "not here"
    return f"{place} (damaged: {here.problem})" if here.problem else place


def _verdict(here: weights.Status) -> str:
    if here.path is None:
        return "not here"
    if here.problem:
        return f"damaged: {here.problem}: {here.path}"
    return f"good: sha256 {here.sha256}: {here.path}"
