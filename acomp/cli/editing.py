"""acomp cut, join and thin"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acomp.batch.inputs import PIPE, Kind, expand, gather, stream_or_path
from acomp.cli.batches import guard
from acomp.cli.codecs import spec_of
from acomp.cli.console import CODEC, FILES, counted, say
from acomp.cli.options import (
    Entropy,
    Form,
    LanguageModel,
    MadeBy,
    Output,
    Overwrite,
    Weights,
    refuse_terminal,
)
from acomp.settings import FormName

if TYPE_CHECKING:
    from acomp.formats.editing import Edited

Codes = Annotated[str, typer.Argument(metavar="IN", help="File of codes; - is standard input.")]
Start = Annotated[
    float, typer.Option(min=0, metavar="S", help="Seconds to leave out.", rich_help_panel=FILES)
]
Duration = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="S",
        help="Seconds to take.",
        show_default="all that follow",
        rich_help_panel=FILES,
    ),
]


def cut(
    source: Codes,
    start: Start = 0.0,
    duration: Duration = None,
    output: Output = None,
    form: Form = None,
    overwrite: Overwrite = False,
    entropy: Entropy = "none",
    language_model: LanguageModel = None,
    backend: MadeBy = None,
    weights: Weights = None,
) -> None:
    """Cut a stretch out of a file of codes; needs no model.

    Both ends are rounded to a place where the codes can be cut, and the line on
    standard error says which. Without -o the output is beside the input, as
    speech-cut.nac. As in:

        acomp cut speech.nac --start 1 --duration 0.5 -o word.nac
    """
    from acomp.formats import Reading, Writing
    from acomp.formats.editing import cutting

    target = _target(source, output, "cut")
    form = _form(target, form)
    guard(target, overwrite, source, weights, language_model)
    done = cutting(
        stream_or_path(source),
        stream_or_path(target, write=True),
        start,
        duration,
        Reading(language_model=language_model, codec=spec_of(backend, weights)),
        Writing(form, entropy, language_model, replace=overwrite),
    )
    _tell(source, target, done, f"from {done.start:.3f} s on")


def join(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="IN", help="Files of codes, folders, or @LIST of them; - is standard input."
        ),
    ],
    output: Output = None,
    form: Form = None,
    overwrite: Overwrite = False,
    entropy: Entropy = "none",
    language_model: LanguageModel = None,
    backend: MadeBy = None,
    weights: Weights = None,
) -> None:
    """Join files of codes, one after the other; needs no model.

    They must be of one codec, its weights, bit rate and channels. As in:

        acomp join intro.nac talk.nac -o whole.nac
    """
    from acomp.formats import Reading, Writing
    from acomp.formats.editing import joining

    if output is None:
        raise typer.BadParameter("name the output: -o FILE")
    form = _form(output, form)
    names = [file for name in expand(inputs) for file in _files(name, bare=backend is not None)]
    guard(output, overwrite, *names, weights, language_model)
    done = joining(
        [stream_or_path(name) for name in names],
        stream_or_path(output, write=True),
        Reading(language_model=language_model, codec=spec_of(backend, weights)),
        Writing(form, entropy, language_model, replace=overwrite),
    )
    _tell(counted(len(names), "file"), output, done)


def thin(
    source: Codes,
    codebooks: Annotated[
        int,
        typer.Option(
            "--codebooks", metavar="N", min=1, help="Codebooks to keep.", rich_help_panel=CODEC
        ),
    ],
    output: Output = None,
    form: Form = None,
    overwrite: Overwrite = False,
    entropy: Entropy = "none",
    language_model: LanguageModel = None,
    backend: MadeBy = None,
    weights: Weights = None,
) -> None:
    """Keep the first codebooks of a file of codes: a lower bit rate; needs no model.

    The codes are those that encoding with so few gives. nano's are not, and are
    refused. Without -o the output is beside the input, as music-thin.nac. As in:

        acomp thin music.nac --codebooks 4 -o small.nac
    """
    from acomp.formats import Reading, Writing
    from acomp.formats.editing import thinning

    target = _target(source, output, "thin")
    form = _form(target, form)
    guard(target, overwrite, source, weights, language_model)
    done = thinning(
        stream_or_path(source),
        stream_or_path(target, write=True),
        codebooks,
        Reading(language_model=language_model, codec=spec_of(backend, weights)),
        Writing(form, entropy, language_model, replace=overwrite),
    )
    _tell(source, target, done, f"{done.info.bandwidth:.4g} kbps")


def _files(name: str, *, bare: bool) -> list[str]:
    """A file, or those of codes in a folder; one that is named twice is joined twice.

    Raises:
        AcompError: there are none.
    """
    from acomp.formats import is_codes_name

    found = gather([name], Kind("files of codes", partial(is_codes_name, bare=bare)))
    if found.problems:
        raise found.problems[0]
    return [file.name for file in found.files]


def _target(source: str, output: str | None, what: str) -> str:
    """The output: as named, or beside the input; that of standard input is standard output."""
    from acomp.formats.registry import form_by_suffix

    if output is not None or source == PIPE:
        return output or PIPE
    path = Path(source)
    suffix = path.suffix if form_by_suffix(path.suffix) else ".nac"
    return str(path.with_name(f"{path.stem}-{what}{suffix}"))


def _form(target: str, form: FormName | None) -> FormName | None:
    """The form to write; `.nac` on standard output, where none is named.

    Raises:
        BadParameter: the output is a terminal, and that form is bytes.
    """
    if target == PIPE and form is None:
        form = "nac"
    if form != "txt":
        refuse_terminal([target], "codes")
    return form


def _tell(source: str, target: str, done: Edited, more: str = "") -> None:
    line = f"{source} -> {target}: {done.info.codec}, {done.duration:.2f} s"
    say(f"{line}, {more}" if more else line, error=True)
