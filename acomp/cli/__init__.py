"""The command line. Each command parses, calls the library and prints; the work is elsewhere."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from acomp import __version__
from acomp.batch.processes import as_error
from acomp.cli import (
    bench,
    codebooks,
    convert,
    decode,
    demo,
    doctor,
    editing,
    encode,
    evaluate,
    export,
    info,
    listen,
    models,
    pack,
    report,
    tokenize,
    train,
)
from acomp.cli.console import (
    RUNNING,
    Command,
    Debug,
    Group,
    Quiet,
    only_our_warnings,
    settings,
    show_error,
    with_settings,
)
from acomp.errors import AcompError
from acomp.files import reason_of
from acomp.signals import ENDING_SIGNALS, say_at_once

# The groups of commands in the help page.
CODING = "Audio and codes"
SETTING_UP = "What is here"
STUDYING = "Measure, listen, train"

app = typer.Typer(
    name="acomp",
    help="Audio to the discrete codes of neural codecs and back.",
    cls=Group,
    no_args_is_help=True,
    context_settings={
        "help_option_names": ["-h", "--help"],
        # Options may be written with underscores too, as the acomp notebook does: --input_file.
        "token_normalize_func": lambda name: name.replace("_", "-"),
    },
    pretty_exceptions_enable=False,
)
for name, command, panel, quiet in (
    ("encode", encode.encode, CODING, True),
    ("decode", decode.decode, CODING, True),
    ("info", info.info, CODING, False),
    ("convert", convert.convert, CODING, True),
    ("cut", editing.cut, CODING, True),
    ("join", editing.join, CODING, True),
    ("thin", editing.thin, CODING, True),
    ("tokenize", tokenize.tokenize, CODING, True),
    ("pack", pack.pack, CODING, True),
    ("export", export.export, CODING, False),
    ("demo", demo.demo, CODING, False),
    ("models", models.app, SETTING_UP, True),
    ("doctor", doctor.doctor, SETTING_UP, False),
    ("eval", evaluate.evaluate, STUDYING, True),
    ("report", report.report, STUDYING, True),
    ("listen", listen.listen, STUDYING, True),
    ("bench", bench.bench, STUDYING, True),
    ("codebooks", codebooks.codebooks, STUDYING, True),
    ("train", train.train, STUDYING, True),
):
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name, rich_help_panel=panel)
    else:
        shared = with_settings(command, quiet=quiet)
        app.command(name, cls=Command, rich_help_panel=panel)(shared)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    quiet: Quiet = False,
    debug: Debug = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the version.",
            is_eager=True,
            callback=_print_version,
            rich_help_panel=RUNNING,
        ),
    ] = False,
) -> None:
    del version
    settings.quiet, settings.debug = quiet, debug


def main() -> None:
    """Run the command line; every failure a user can cause ends in one line and exit code 1."""
    _prepare_streams()
    try:
        try:
            with _ended_by_signals(), only_our_warnings():
                app()
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
    except Exception as error:
        show_error(as_error(error))
        sys.exit(1)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Have signals that ask for an end raise an exception, as long as a command runs."""
    before = {number: signal.getsignal(number) for number in ENDING_SIGNALS}
    try:
        for number, handler in before.items():
            if handler != signal.SIG_IGN:  # as nohup has it
                signal.signal(number, _terminate)
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # which only Python's own code has set
                signal.signal(number, handler)


def _terminate(number: int, _: object) -> None:
    """End by an exception, so that what is half written is taken away."""
    for each in ENDING_SIGNALS:
        signal.signal(each, signal.SIG_IGN)  # a second one would end the tidying up
    say_at_once(f"ended by {signal.Signals(number).name}")
    sys.exit(128 + number)


def _prepare_streams() -> None:
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name need not be text
