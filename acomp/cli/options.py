"""Options that several commands have, and what is wrong with their values."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from acomp.batch.inputs import PIPE
from acomp.cli.console import CODEC, FILES, RUNNING
from acomp.errors import AudioError
from acomp.settings import EngineName, Entropy as EntropyName, FormName, Precision as PrecisionName


def codec_names(incomplete: str) -> list[str]:
    """The codecs whose names begin so, for the shell to complete."""
    from acomp.backends import names

    return [name for name in names() if name.startswith(incomplete)]


Weights = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="File of weights, official or safetensors, instead of the published ones.",
        rich_help_panel=CODEC,
    ),
]
Device = Annotated[
    str,
    typer.Option(
        metavar="auto|cpu|cuda",
        help="What the networks run on; auto is a CUDA GPU where there is one.",
        rich_help_panel=RUNNING,
    ),
]
Engine = Annotated[
    EngineName,
    typer.Option(
        help="What runs the networks; auto is OpenVINO on a CPU, where it is installed.",
        rich_help_panel=RUNNING,
    ),
]
Precision = Annotated[
    PrecisionName,
    typer.Option(
        help="Arithmetic; bf16 is faster where the processor has it, and less exact.",
        rich_help_panel=RUNNING,
    ),
]
Backend = Annotated[
    str,
    typer.Option(
        "--backend",
        "-b",
        metavar="CODEC",
        help="Codec; `acomp models list` names them.",
        rich_help_panel=CODEC,
        autocompletion=codec_names,
    ),
]
Entropy = Annotated[
    EntropyName,
    typer.Option(help="lm: smaller files, by the codec's language model.", rich_help_panel=CODEC),
]
Form = Annotated[
    FormName | None,
    typer.Option(
        "--format",
        help="Form of the codes where no suffix says it.",
        show_default="nac",
        rich_help_panel=FILES,
    ),
]
LanguageModel = Annotated[
    Path | None,
    typer.Option(
        "--language-model",
        metavar="FILE",
        help="File of the language model, where it is not the codec's own.",
        rich_help_panel=CODEC,
    ),
]
MadeBy = Annotated[
    str | None,
    typer.Option(
        "--backend",
        "-b",
        metavar="CODEC",
        help="Codec that made the codes, for files that do not say it (.dac, .npy, .pt).",
        rich_help_panel=CODEC,
        autocompletion=codec_names,
    ),
]
Output = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Output file; - is standard output.",
        rich_help_panel=FILES,
    ),
]
OutputDir = Annotated[
    Path | None,
    typer.Option(
        "--output-dir",
        metavar="FOLDER",
        help="Folder for the outputs of several inputs.",
        rich_help_panel=FILES,
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print JSON, for programs.", rich_help_panel=FILES)
]
Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite", help="Replace outputs that exist; never an input.", rich_help_panel=FILES
    ),
]
SkipExisting = Annotated[
    bool,
    typer.Option(
        "--skip-existing",
        help="Leave outputs that exist, and do the others.",
        rich_help_panel=FILES,
    ),
]
KeepSuffix = Annotated[
    bool,
    typer.Option(
        "--keep-suffix",
        help="Keep the input's suffix in the name: a.mp3.nac.",
        rich_help_panel=FILES,
    ),
]
KeepTree = Annotated[
    bool,
    typer.Option(
        "--keep-tree",
        help="Below --output-dir, keep the folders that the inputs do not have in common.",
        rich_help_panel=FILES,
    ),
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        "-j",
        metavar="N",
        min=1,
        max=256,
        help="Processes that work side by side.",
        rich_help_panel=RUNNING,
    ),
]


@contextmanager
def usage_of(option: str) -> Iterator[None]:
    """Make what is wrong with the value of an option wrong usage.

    Raises:
        BadParameter: in the place of an AudioError.
    """
    try:
        yield
    except AudioError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def refuse_terminal(targets: Iterable[str], what: str) -> None:
    """See that nobody's terminal gets bytes.

    Raises:
        BadParameter: an output is standard output, and that is a terminal.
    """
    if PIPE in targets and sys.stdout.isatty():
        raise typer.BadParameter(
            f"the {what} would go to the terminal, as bytes: name a file with -o, or let another "
            "program read them, as in `acomp encode a.wav - | acomp decode - b.wav`"
        )
