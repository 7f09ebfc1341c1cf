"""acomp convert"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from acomp.cli.common import PIPE, same_file, stream_or_path
from acomp.errors import AcompError


def convert(
    source: Annotated[str, typer.Argument(help="File of codes; - is standard input.")],
    target: Annotated[str, typer.Argument(help="File to write; - is standard output.")],
    form: Annotated[
        Literal["nac", "txt", "npz"] | None,
        typer.Option("--format", help="Form of the output where its suffix does not say it."),
    ] = None,
) -> None:
    """Convert codes from one file form to another; needs no model."""
    from acomp.formats import convert as convert_codes

    if target == PIPE and form is None:
        raise typer.BadParameter("standard output needs --format")
    if same_file(source, target):
        raise AcompError(f"{source} and {target} are the same file")
    convert_codes(stream_or_path(source), stream_or_path(target, write=True), form=form)
