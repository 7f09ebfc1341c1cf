"""`acomp models`: the codecs, and the cache of their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from acomp.backends import check_packages
from acomp.backends.weights import cache as weights
from acomp.backends.weights.catalogue import CATALOGUE, Weights, lookup
from acomp.cli.batches import guard
from acomp.cli.console import Command, Group, one_line, say, with_settings
from acomp.cli.listing import list_models, verdict
from acomp.cli.options import Overwrite
from acomp.cli.progress import download_bar, megabytes
from acomp.codecs import ALIASES, BY_CHANNELS
from acomp.errors import CodecError, WeightsError, did_you_mean
from acomp.files import cache_folder

Target = Literal["official", "huggingface", "acomp"]

app = typer.Typer(
    help="List the codecs; fetch, verify and convert their weights.",
    cls=Group,
    no_args_is_help=True,
)


def _weights_names(incomplete: str) -> list[str]:
    """The names that begin so, for the shell to complete."""
    every = ("all", *BY_CHANNELS, *ALIASES, *CATALOGUE)
    return [name for name in every if name.startswith(incomplete)]


Names = Annotated[list[str], typer.Argument(metavar="NAME", autocompletion=_weights_names)]
OptionalNames = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", autocompletion=_weights_names)
]


def fetch(names: Names) -> None:
    """Download weights that are not here yet, and replace damaged ones.

    A NAME is one that `acomp models list` shows, or encodec or dac, or all.
    """
    wanted = _meant(names)
    missing = [lookup(name) for name in wanted if not _is_sound(name)]
    missing = [entry for entry in missing if not (entry.source or weights.offline_by(entry))]
    if missing:
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
    files = [name for name, entry in CATALOGUE.items() if not entry.parts]
    found = [weights.verify(name) for name in (_meant(names) if names else files)]
    if not names:
        found = [here for here in found if here.path]
    for here in found:
        typer.echo(one_line(f"{here.name}: {verdict(here)}"))
    bad = [here.name for here in found if here.problem or not here.path]
    if bad:
        raise WeightsError(
            f"missing or damaged: {', '.join(bad)}; mend with: {weights.remedy(bad)}"
        )


def path(names: OptionalNames = None) -> None:
    """Print the cache folder, or where the weights of NAME are: a file, or a folder of files."""
    if not names:
        typer.echo(cache_folder())
    for name in _meant(names or []):
        found = weights.find(name)
        if found is None:
            raise WeightsError(f"the weights of {name} are not here: {weights.remedy([name])}")
        typer.echo(found)


def convert(
    source: Annotated[
        Path, typer.Argument(metavar="PATH", help="File or folder of weights, in any layout.")
    ],
    target: Annotated[
        Path, typer.Option("-o", "--output", metavar="OUT", help="File or folder to write.")
    ],
    to: Annotated[Target, typer.Option("--to", help="The program that is to take them.")],
    overwrite: Overwrite = False,
) -> None:
    """Write weights, your own above all, as another program takes them.

    official: a file for encodec or descript-audio-codec, a folder for snac; huggingface: a folder
    for transformers; acomp: safetensors.
    """
    from acomp.backends.converting import convert as carry

    guard(str(target), overwrite, str(source))
    written = carry(source, target, to, replace=overwrite)
    say(f"{target}: {written}")


def _meant(names: list[str]) -> list[str]:
    """The entries of the catalogue that names stand for, each once.

    Raises:
        WeightsError: there is no such entry.
    """
    # What lies in acomp's source alone cannot be fetched.
    every = [name for name, entry in CATALOGUE.items() if not (entry.is_part or entry.source)]
    sets = {
        "all": every,
        **{name: list(codecs.values()) for name, codecs in BY_CHANNELS.items()},
        **{alias: [name] for alias, name in ALIASES.items()},
    }
    meant = [each for name in names for each in sets.get(name, [name])]
    for name in meant:
        if name not in CATALOGUE:
            known = did_you_mean(name, dict.fromkeys([*sets, *CATALOGUE]))
            raise WeightsError(f"no weights are called {name!r}{known}")
    return list(dict.fromkeys(meant))


def _is_sound(name: str) -> bool:
    here = weights.status(name)
    return here.path is not None and here.problem is None


def _download_size(missing: list[Weights]) -> str:
    """What is going to be downloaded, as one line."""
    known = sum(entry.size or 0 for entry in missing)
    unknown = [entry.name for entry in missing if entry.size is None]
    sizes = [megabytes(known)] if known else []
    if unknown:
        sizes.append(f"{', '.join(unknown)}, of sizes that only the server knows")
    return f"to download: {'; and '.join(sizes)}"


for command_name, command, quiet in (
    ("list", list_models, False),
    ("fetch", fetch, True),
    ("verify", verify, False),
    ("path", path, False),
    ("convert", convert, True),
):
    app.command(command_name, cls=Command)(with_settings(command, quiet=quiet))
