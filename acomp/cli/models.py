"""`acomp models`: the codecs, and the cache of their weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.metadata import EntryPoint
from itertools import chain
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from acomp.backends import check_packages, resolve, third_party
from acomp.backends.weights import cache as weights
from acomp.backends.weights.catalogue import CATALOGUE, FOLDERS, Weights, lookup
from acomp.backends.weights.download import Progress
from acomp.cli.console import Command, Group, one_line, printable, say, settings, with_settings
from acomp.codecs import ALIASES, ENCODEC
from acomp.errors import CodecError, WeightsError, did_you_mean
from acomp.files import cache_folder

if TYPE_CHECKING:
    from rich.table import Table

    from acomp.codecs import CodecSpec

WIDTH = 99
"""Columns that the table of codecs takes; in fewer it moves together."""
PIPE_WIDTH = 1000
"""Columns where there is no terminal: lines stay whole for the program that reads them."""

app = typer.Typer(
    help="List the codecs; fetch and verify their weights.", cls=Group, no_args_is_help=True
)


def _weights_names(incomplete: str) -> list[str]:
    """The names that begin so, for the shell to complete."""
    every = ("all", ENCODEC, *ALIASES, *CATALOGUE, *FOLDERS)
    return [name for name in every if name.startswith(incomplete)]


Names = Annotated[list[str], typer.Argument(metavar="NAME", autocompletion=_weights_names)]
OptionalNames = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", autocompletion=_weights_names)
]


def list_models(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all that is known, files and addresses too.")
    ] = False,
) -> None:
    """List the codecs: what is fixed about each, its licence, and whether its weights are here."""
    from acomp.codecs import SPECS

    specs = list(SPECS.values())
    models = [entry for entry in CATALOGUE.values() if entry.is_language_model]
    here = {name: weights.status(name) for name in [*SPECS, *(model.name for model in models)]}
    others = list(third_party().values())
    if as_json:
        facts = [
            *({**_spec_facts(spec), **_weights_facts(here[spec.name])} for spec in specs),
            *({"kind": "language model", **_weights_facts(here[model.name])} for model in models),
            *map(_package_facts, others),
        ]
        typer.echo(json.dumps(facts, indent=2))
        return
    tables = [_codec_table(specs, here), _model_table(models, here)]
    if others:
        tables.append(_package_table(others))
    damages = [_damage(state) for state in here.values() if state.problem]
    _print(tables, [*_notes(), *damages])


def fetch(names: Names) -> None:
    """Download weights that are not here yet, and replace damaged ones.

    A NAME is one that `acomp models list` shows, or encodec or dac, or all.
    """
    wanted = _meant(names)
    missing = [_entry(name) for name in wanted if not _is_sound(name)]
    if missing and not weights.is_offline():
        say(_download_size(missing), error=True)
    for name in wanted:
        with download_bar(name) as progress:
            path = weights.fetch(name, progress)
        say(f"{name}: {path}")
    for name in wanted:
        try:
            check_packages(name)
        except CodecError as error:
            say(f"note: {error}", error=True)


def verify(names: OptionalNames = None) -> None:
    """Hash the weights that are here, or those named, and compare with what is known of them."""
    found = [weights.verify(name) for name in (_meant(names) if names else CATALOGUE)]
    if not names:
        found = [here for here in found if here.path]
    for here in found:
        typer.echo(one_line(f"{here.name}: {_verdict(here)}"))
    bad = [here.name for here in found if here.problem or not here.path]
    if bad:
        raise WeightsError(
            f"missing or damaged: {', '.join(bad)}; mend with: acomp models fetch {' '.join(bad)}"
        )


def path(names: OptionalNames = None) -> None:
    """Print the cache folder, or where the weights of NAME are: a file, or a folder of files."""
    if not names:
        typer.echo(cache_folder())
    for name in _meant(names or []):
        found = weights.find(name)
        if found is None:
            raise WeightsError(f"the weights of {name} are not here: acomp models fetch {name}")
        typer.echo(found)


def _meant(names: list[str]) -> list[str]:
    """The entries of the catalogue that names stand for, each once.

    Raises:
        WeightsError: there is no such entry.
    """
    every = [name for name in (*CATALOGUE, *FOLDERS) if name not in chain(*FOLDERS.values())]
    sets = {
        "all": every,
        ENCODEC: [resolve(ENCODEC, channels) for channels in (1, 2)],
        **{alias: [name] for alias, name in ALIASES.items()},
    }
    meant = [each for name in names for each in sets.get(name, [name])]
    for name in meant:
        if name not in CATALOGUE and name not in FOLDERS:
            known = did_you_mean(name, dict.fromkeys([*sets, *CATALOGUE, *FOLDERS]))
            raise WeightsError(f"no weights are called {name!r}{known}")
    return list(dict.fromkeys(meant))


def _is_sound(name: str) -> bool:
    here = weights.status(name)
    return here.path is not None and here.problem is None


def _download_size(missing: list[Weights]) -> str:
    """What is going to be downloaded, as one line."""
    known = sum(entry.size or 0 for entry in missing)
    unknown = [entry.name for entry in missing if entry.size is None]
    sizes = [_megabytes(known)] if known else []
    if unknown:
        sizes.append(f"{', '.join(unknown)}, of sizes that only the server knows")
    return f"to download: {'; and '.join(sizes)}"


for command_name, command, quiet in (
    ("list", list_models, False),
    ("fetch", fetch, True),
    ("verify", verify, False),
    ("path", path, False),
):
    app.command(command_name, cls=Command)(with_settings(command, quiet=quiet))


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
    bar = Progress(*columns, console=console, disable=settings.quiet or not console.is_terminal)
    task = bar.add_task(name, total=None)

    def show(done: int, total: int | None) -> None:
        if not bar.tasks[task].total and total and not console.is_terminal:
            say(f"downloading {name}: {_megabytes(total)}", error=True)
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()


def _codec_table(specs: list[CodecSpec], here: dict[str, weights.Status]) -> Table:
    table = _table(
        *("Codec", "Hz", "Channels", "Frames\nper s"),
        *("Codebooks", "kbps", "Licence", "Weights"),
    )
    for spec in specs:
        bandwidths = " ".join(f"{kbps:g}" for kbps in sorted(spec.bandwidths))
        table.add_row(
            spec.name,
            str(spec.sample_rate),
            "1 or 2" if spec.stereo_streams else str(spec.channels),
            f"{spec.frame_rate:.3g}",
            f"{'+'.join(map(str, spec.levels)) or spec.codebooks} x {spec.codebook_size}",
            bandwidths,
            _entry(spec.name).licence,
            _state(here[spec.name]),
        )
    return table


def _model_table(models: list[Weights], here: dict[str, weights.Status]) -> Table:
    table = _table("Language model", "Size", "Licence", "Weights")
    for model in models:
        state = here[model.name]
        table.add_row(model.name, _size(model, state), model.licence, _state(state))
    return table


def _package_table(others: list[EntryPoint]) -> Table:
    from rich.markup import escape  # their names are not acomp's

    table = _table("Other codec", "Package")
    for entry in others:
        table.add_row(escape(printable(entry.name)), escape(printable(_package(entry))))
    return table


def _table(*columns: str) -> Table:
    """A table that may break lists of numbers, and nothing else, where it is too wide."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=column not in ("Codebooks", "kbps"))
    return table


def _notes() -> list[str]:
    """What the table is too narrow to say."""
    aliases = [f"{alias} is {name}" for alias, name in ALIASES.items()]
    pages = {entry.page for entry in CATALOGUE.values() if entry.licence.endswith("(code)")}
    return [
        "Channels: 1 or 2, stereo as 2 streams; 1, stereo is mixed down; 2, coded jointly.",
        "kbps: the bandwidths of one stream, which -k takes.",
        f"Names: {'; '.join(aliases)}; {ENCODEC} is encodec-24khz for mono, -48khz for stereo.",
        *(
            f"(code): the licence of the code; for the weights see {page}."
            for page in sorted(pages)
        ),
    ]


def _print(tables: list[Table], lines: list[str]) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    for table in tables:
        if console.width < WIDTH:
            table.padding = 0
        console.print(table, "")
    console.print(*lines, sep="\n", soft_wrap=True, highlight=False, markup=False)


def _spec_facts(spec: CodecSpec) -> dict[str, object]:
    return {"kind": "codec", **asdict(spec), "frame_rate": spec.frame_rate}


def _weights_facts(here: weights.Status) -> dict[str, object]:
    """What the catalogue says of weights and what is here of them, file by file if in a folder."""
    files = [_weights_facts(weights.status(part)) for part in FOLDERS.get(here.name, ())]
    path = str(here.path) if here.path else None
    return {**asdict(_entry(here.name)), "path": path, "problem": here.problem, "files": files}


def _package_facts(entry: EntryPoint) -> dict[str, object]:
    return {
        "kind": "codec of another package",
        "name": entry.name,
        "distribution": _package(entry),
        "entry_point": entry.value,
    }


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.module


def _entry(name: str) -> Weights:
    """The catalogue's entry of a codec; the files of a folder as one, in what they share."""
    if name not in FOLDERS:
        return lookup(name)
    parts = [lookup(part) for part in FOLDERS[name]]
    sizes = [part.size for part in parts if part.size is not None]
    return replace(
        parts[0],
        name=name,
        file=str(PurePath(parts[0].file).parent),
        url=None,
        size=sum(sizes) if len(sizes) == len(parts) else None,
        sha256=None,
    )


def _size(entry: Weights, here: weights.Status) -> str:
    size = here.path.stat().st_size if here.path else entry.size
    return "not known" if size is None else _megabytes(size)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _state(here: weights.Status) -> str:
    if here.problem:
        return "damaged"
    return "here" if here.path else "not here"


def _damage(here: weights.Status) -> str:
    return one_line(f"{here.name}: {_verdict(here)}; mend with: acomp models fetch {here.name}")


def _verdict(here: weights.Status) -> str:
    if here.path is None:
        return "not here"
    if here.problem:
        return f"damaged: {here.problem}: {here.path}"
    if here.name in FOLDERS:
        return f"good: {len(FOLDERS[here.name])} files: {here.path}"
    if not here.vouched:
        return f"unknown: nothing is known to hold it against: sha256 {here.sha256}: {here.path}"
    return f"good: sha256 {here.sha256}: {here.path}"
