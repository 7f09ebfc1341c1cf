"""What commands say on the terminal: settings of each run, names made harmless, warnings."""

from __future__ import annotations

import logging
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any, TextIO, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from acomp.errors import AcompError, AcompWarning

# The groups of options in the help pages.
FILES = "Input and output"
CODEC = "Codec"
RUNNING = "Running"

T = TypeVar("T")


@dataclass
class Settings:
    """The options that every command has; there is one set of them, as there is one terminal.

    Attributes:
        quiet: say nothing but errors and warnings, and show no bars.
        debug: show tracebacks, and the warnings of other packages.
    """

    quiet: bool = False
    debug: bool = False


settings = Settings()

Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Say nothing but errors.", rich_help_panel=RUNNING),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=RUNNING),
]


def with_settings(command: Callable[..., T], *, quiet: bool = True) -> Callable[..., T]:
    """`command` with the option --debug, and --quiet where there is something to be quiet about."""

    @wraps(command)
    def run(**options: Any) -> T:
        settings.debug |= options.pop("debug")
        settings.quiet |= options.pop("quiet", False)
        return command(**options)

    # Typer reads a command's options from its signature.
    more = {"quiet": Quiet, "debug": Debug} if quiet else {"debug": Debug}
    kinds = {**get_type_hints(command, include_extras=True), **more}
    own = [each.replace(annotation=kinds[name]) for name, each in _parameters(command).items()]
    added = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in more.items()
    ]
    run.__signature__ = signature(command).replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = kinds
    return run


def _parameters(command: Callable[..., Any]) -> dict[str, Parameter]:
    return dict(signature(command).parameters)


class Command(TyperCommand):
    """A command whose help page shows no types of Python."""

    def get_params(self, ctx: Any) -> list[Any]:
        return sorted(map(_plain, super().get_params(ctx)), key=_place)


class Group(TyperGroup):
    """A group of commands; as `Command`. A name that does not exist is told with the one that is
    near it, where one is.
    """

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self.suggest_commands = False  # typer's own way: several, some of them far off
        if args and args[0] not in self.commands:
            near = get_close_matches(args[0], self.commands, n=1, cutoff=0.7)
            if near:
                ctx.fail(f"No such command '{args[0]}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def get_params(self, ctx: Any) -> list[Any]:
        params = [_plain(param) for param in super().get_params(ctx)]
        for param in params:
            param.rich_help_panel = RUNNING
        return params


def _plain(param: Any) -> Any:
    """A parameter that is shown by its name alone: a flag takes no value, and an argument's
    metavar says what it is.
    """
    if getattr(param, "is_flag", False):
        param.metavar = ""
        if param.name == "help":
            param.rich_help_panel = RUNNING
    elif param.param_type_name == "argument":
        param.display_type_rich = lambda **_: None
    return param


def _place(param: Any) -> int:
    """Where a parameter comes in the help page: groups in one order, whatever the signature's."""
    if param.param_type_name == "argument":
        return 0
    groups = [None, FILES, CODEC, RUNNING]
    return 1 + groups.index(param.rich_help_panel)


def say(text: str, *, error: bool = False) -> None:
    """A line about what was done, on standard error or output; nothing with --quiet."""
    if not settings.quiet:
        print(one_line(text), file=sys.stderr if error else sys.stdout)


def show_error(error: AcompError) -> None:
    """One line on stderr; with --debug the traceback before it."""
    if settings.debug:
        traceback.print_exception(error)
    print(one_line(f"error: {error}"), file=sys.stderr)


def shows_bars() -> bool:
    """Whether somebody looks at standard error who wants to see how far things are."""
    return sys.stderr.isatty() and not settings.quiet


# C0 and C1 controls, DEL, what turns the direction of text, line and paragraph separators, and half
# characters, which stand for the bytes of a name that is not UTF-8.
_COMMANDS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""`text` with what a terminal would take as a command written out, as in `\x1b[2J`."""
    return _COMMANDS.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    if "\udc80" <= found[0] <= "\udcff":  # a byte of a name that is not UTF-8
        return f"\\x{ord(found[0]) - 0xDC00:02x}"
    return found[0].encode("unicode_escape", "backslashreplace").decode()


def counted(number: int, noun: str) -> str:
    """Such as `1 channel` and `2 channels`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def one_line(text: str) -> str:
    """`text` with a space for each line break, which the name of a file may hold; `printable`."""
    return printable(" ".join(text.splitlines()))


@contextmanager
def only_our_warnings() -> Iterator[None]:
    """Show acomp's own warnings as a line each, and those of other packages with --debug alone."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,  # noqa: ARG001 - where Python would print it
        line: str | None = None,
    ) -> None:
        if issubclass(category, AcompWarning):
            print(one_line(f"warning: {message}"), file=sys.stderr)
        elif settings.debug:
            print(
                warnings.formatwarning(message, category, filename, lineno, line),
                file=sys.stderr,
                end="",
            )

    with warnings.catch_warnings():
        warnings.showwarning = show
        # What other packages log, and nobody handles, Python prints too.
        printer = logging.lastResort
        if printer is not None:
            printer.addFilter(_is_wanted)
        try:
            yield
        finally:
            if printer is not None:
                printer.removeFilter(_is_wanted)


def _is_wanted(_: logging.LogRecord) -> bool:
    return settings.debug
