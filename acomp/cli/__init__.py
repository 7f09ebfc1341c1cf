"""The command line. Each command parses, calls the library and prints; the work is elsewhere."""

from __future__ import annotations

import os
import signal
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from acomp import __version__
from acomp.cli import (
    bench,
    codebooks,
    convert,
    decode,
    demo,
    doctor,
    encode,
    evaluate,
    info,
    listen,
    models,
    report,
    train,
)
from acomp.cli.common import show_error
from acomp.errors import AcompError
from acomp.files import reason_of

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
app.command()(bench.bench)
app.command("eval")(evaluate.evaluate)
app.command()(report.report)
app.command()(listen.listen)
app.command()(train.train)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    del version
    del debug  # `show_error` looks for it, and `main` takes it behind a command too


def main() -> None:
    """Run the command line; every failure a user can cause ends in one line and exit code 1."""
    _prepare_streams()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        try:
            app([argument for argument in sys.argv[1:] if argument != "--debug"])
        finally:
            sys.stdout.flush()  # here, where a failure can still be told
    except AcompError as error:
        show_error(error)
        sys.exit(1)
    except OSError as error:
        # Nothing is left to flush the rest of the output to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # a reader that has left needs no message
            name = error.filename or "standard output"
            show_error(AcompError(f"cannot use {name}: {reason_of(error)}"))
        sys.exit(1)


def _terminate(number: int, _: object) -> None:
    """End by an exception, so that what is half written is taken away."""
    sys.exit(128 + number)


def _prepare_streams() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be text
