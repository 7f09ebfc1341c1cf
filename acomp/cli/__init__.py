"""The command line. Each command parses, calls the library and prints; the work is elsewhere."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from acomp.cli import codebooks, convert, decode, demo, doctor, encode, info, models
from acomp.errors import AcompError

app = typer.Typer(
    name="acomp",
    help="Audio to the discrete codes of neural codecs and back.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(encode.encode)
app.command()(decode.decode)
app.command()(info.info)
app.command()(convert.convert)
app.command()(codebooks.codebooks)
app.add_typer(models.app, name="models")
app.command()(doctor.doctor)
app.command()(demo.demo)


@app.callback()
def options(
    debug: Annotated[bool, typer.Option(help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True)
    ] = False,
) -> None:
    del debug  # `main` looks for it, because errors end there
    if version:
        from acomp import __version__

        print(__version__)
        raise typer.Exit


def main() -> None:
    """Run the command line; every failure a user can cause ends in one line and exit code 1."""
    try:
        app()
    except AcompError as error:
        if "--debug" in sys.argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output has left: nothing to say, and nothing left to flush it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
