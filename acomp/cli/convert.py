"""acomp convert"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from acomp.cli.common import (
    PIPE,
    Entropy,
    LanguageModel,
    MadeBy,
    Weights,
    same_file,
    spec_of,
    stream_or_path,
)
from acomp.errors import AcompError


def convert(
    source: Annotated[str, typer.Argument(help="File of codes; - is standard input.")],
    target: Annotated[str, typer.Argument(help="File to write; - is standard output.")],
    form: Annotated[
        Literal["nac", "txt", "npz", "dac", "ecdc"] | None,
        typer.Option("--format", help="Form of the output where its suffix does not say it."),
    ] = None,
    entropy: Entropy = "none",
    language_model: LanguageModel = None,
    backend: MadeBy = None,
    weights: Weights = None,
) -> None:
    """Convert codes from one file form to another; needs no model but for entropy coding."""
    from acomp.formats import convert as convert_codes

    if target == PIPE and form is None:
        raise typer.BadParameter("standard output needs --format")
    if same_file(source, target):
        raise AcompError(f"{source} and {target} are the same file")
    made_by = spec_of(backend, weights)
    output = stream_or_path(target, write=True)
    convert_codes(
        stream_or_path(source),
        output,
        form=form,
        codec=made_by,
        entropy=entropy,
        language_model=language_model,
    )
