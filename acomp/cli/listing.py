"""`acomp models list`: what is fixed about each codec, and whether its weights are here."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Annotated

import typer

from acomp.backends import third_party
from acomp.backends.weights.cache import Status, remedy, status
from acomp.backends.weights.catalogue import CATALOGUE, Weights, lookup
from acomp.backends.weights.places import own_path
from acomp.cli.console import one_line, printable
from acomp.cli.progress import megabytes
from acomp.codecs import ALIASES, BY_CHANNELS, SPECS, CodecSpec

if TYPE_CHECKING:
    from rich.table import Table

WIDTH = 99
"""Columns that the table of codecs takes; in fewer it moves together."""
PIPE_WIDTH = 1000
"""Columns where there is no terminal: lines stay whole for the program that reads them."""


def list_models(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all that is known, files and addresses too.")
    ] = False,
) -> None:
    """List the codecs: what is fixed about each, its licence, and whether its weights are here."""
    specs = list(SPECS.values())
    models = [entry for entry in CATALOGUE.values() if entry.is_language_model]
    here = {name: status(name) for name in [*SPECS, *(model.name for model in models)]}
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
    _print(tables, [*_notes(), *_elsewhere(here.values()), *damages])


def _codec_table(specs: list[CodecSpec], here: dict[str, Status]) -> Table:
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
            lookup(spec.name).licence,
            _state(here[spec.name]),
        )
    return table


def _model_table(models: list[Weights], here: dict[str, Status]) -> Table:
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
    aliases += [
        f"{name} is {codecs[1]} for mono, {codecs[2]} for stereo"
        for name, codecs in BY_CHANNELS.items()
    ]
    pages = {entry.page for entry in CATALOGUE.values() if entry.licence.endswith("(code)")}
    return [
        "Channels: 1 or 2, stereo as 2 streams; 1, stereo is mixed down; 2, coded jointly.",
        "kbps: the bandwidths of one stream, which -k takes.",
        f"Names: {'; '.join(aliases)}.",
        *(
            f"(code): the licence of the code; for the weights see {page}."
            for page in sorted(pages)
        ),
    ]


def _elsewhere(here: Iterable[Status]) -> list[str]:
    """Where the weights are that other programs have fetched."""
    return [
        one_line(f"{state.name}: fetched by another program: {state.path}")
        for state in here
        if state.path not in (None, own_path(lookup(state.name))) and state.problem is None
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


def _weights_facts(here: Status) -> dict[str, object]:
    """What the catalogue says of weights and what is here of them, file by file if in a folder."""
    entry = lookup(here.name)
    files = [_weights_facts(status(part)) for part in entry.parts]
    path = str(here.path) if here.path else None
    return {**asdict(entry), "path": path, "problem": here.problem, "files": files}


def _package_facts(entry: EntryPoint) -> dict[str, object]:
    return {
        "kind": "codec of another package",
        "name": entry.name,
        "distribution": _package(entry),
        "entry_point": entry.value,
    }


def _package(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist else entry.module


def _size(entry: Weights, here: Status) -> str:
    size = here.path.stat().st_size if here.path else entry.size
    return "not known" if size is None else megabytes(size)


def _state(here: Status) -> str:
    if here.problem:
        return "damaged"
    return "here" if here.path else "not here"


def _damage(here: Status) -> str:
    return one_line(f"{here.name}: {verdict(here)}; mend with: {remedy([here.name])}")


def verdict(here: Status) -> str:
    """What is to be said of weights that were looked at, as one line."""
    if here.path is None:
        return "not here"
    if here.problem:
        return f"damaged: {here.problem}: {here.path}"
    if parts := lookup(here.name).parts:
        return f"good: {len(parts)} files: {here.path}"
    if not here.vouched:
        return f"unknown: nothing is known to hold it against: sha256 {here.sha256}: {here.path}"
    return f"good: sha256 {here.sha256}: {here.path}"
