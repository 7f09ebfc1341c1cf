"""acomp convert"""

from __future__ import annotations

from typing import Annotated

import typer

from acomp.batch.inputs import PIPE, stream_or_path
from acomp.cli.batches import guard
from acomp.cli.codecs import spec_of
from acomp.cli.console import FILES
from acomp.cli.options import Entropy, LanguageModel, MadeBy, Overwrite, Weights, refuse_terminal
from acomp.settings import FormName


def convert(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="File of codes; - is standard input.")
    ],
    target: Annotated[
        str, typer.Argument(metavar="OUT", help="File to write; - is standard output.")
    ],
    form: Annotated[
        FormName | None,
        typer.Option(
            "--format",
            help="Form of the output where its suffix does not say it.",
            rich_help_panel=FILES,
        ),
    ] = None,
    overwrite: Overwrite = False,
    entropy: Entropy = "none",
    language_model: LanguageModel = None,
    backend: MadeBy = None,
    weights: Weights = None,
) -> None:
    """Convert codes from one file form to another; needs no model but for entropy coding."""
    from acomp.formats import Reading, Writing, converting

    if target == PIPE and form is None:
        raise typer.BadParameter("standard output needs --format")
    if form != "txt":
        refuse_terminal([target], "codes")
    guard(target, overwrite, source, weights, language_model)
    converting(
        stream_or_path(source),
        stream_or_path(target, write=True),
        Reading(language_model=language_model, codec=spec_of(backend, weights)),
        Writing(form, entropy, language_model, replace=overwrite),
    )
