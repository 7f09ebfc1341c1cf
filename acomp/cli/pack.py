"""acomp pack"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from acomp.cli.batches import guard
from acomp.cli.console import CODEC, FILES, counted, one_line, say
from acomp.cli.options import Overwrite
from acomp.cli.progress import count_bar
from acomp.errors import AcompError
from acomp.settings import PackForm, TokenLayout


def pack(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT", help="Datasets of acomp tokenize, files of codes, folders, or @LIST."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="NAME",
            help="The files, without .bin and .json or .idx.",
            rich_help_panel=FILES,
        ),
    ],
    form: Annotated[
        PackForm,
        typer.Option(
            "--format",
            help="flat: NAME.bin and NAME.json; megatron: NAME.bin and NAME.idx.",
            rich_help_panel=FILES,
        ),
    ] = "flat",
    overwrite: Overwrite = False,
    layout: Annotated[
        TokenLayout, typer.Option(help="Order of the codes.", rich_help_panel=CODEC)
    ] = "flat",
    offset: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="TOKEN",
            help="Token of the first entry of the first codebook.",
            show_default="0; 128266 of orpheus",
            rich_help_panel=CODEC,
        ),
    ] = None,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared",
            help="The same tokens for every codebook, instead of one range after the other.",
            rich_help_panel=CODEC,
        ),
    ] = False,
    bos: Annotated[
        int | None,
        typer.Option(metavar="TOKEN", help="Before each recording.", rich_help_panel=CODEC),
    ] = None,
    eos: Annotated[
        int | None,
        typer.Option(metavar="TOKEN", help="After each recording.", rich_help_panel=CODEC),
    ] = None,
    pad: Annotated[
        int | None,
        typer.Option(
            metavar="TOKEN", help="Where a delayed codebook has no code.", rich_help_panel=CODEC
        ),
    ] = None,
    delays: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            help="Frames by which each codebook is later, of --layout delayed.",
            show_default="0,1,2 and so on",
            rich_help_panel=CODEC,
        ),
    ] = None,
) -> None:
    """Write a dataset of codes as one stream of tokens, to train a language model on.

    Recordings follow each other in the order of the dataset, or of the names
    of files. As in:

        acomp pack clips.codes -o train --offset 32000 --eos 31999
    """
    from acomp.datasets.packing import Numbering, files_of, pack, recordings

    given = (offset, shared, bos, eos, pad, _delays(delays, layout))
    paths = list(_paths(inputs))
    inner = [file for path in paths if path.is_dir() for file in path.iterdir()]
    for file in files_of(output, form):
        guard(file, overwrite, *paths, *inner)
    with count_bar() as bar:
        packed = pack(
            recordings(paths),
            output,
            Numbering(layout, *given),
            form,
            replace=overwrite,
            done=bar.advance,
        )
    left_out = f", {counted(packed.empty, 'empty one')} left out" if packed.empty else ""
    say(
        one_line(
            f"{output}.bin: {counted(packed.tokens, 'token')} of {packed.dtype}, "
            f"{counted(packed.documents, 'recording')}{left_out}"
        )
    )


def _paths(inputs: list[str]) -> list[Path]:
    """Datasets and files of codes, in the order given; those of a folder by their names."""
    from acomp.batch.inputs import Kind, expand, gather
    from acomp.datasets.description import is_dataset
    from acomp.formats import is_codes_name

    paths: list[Path] = []
    for name in expand(inputs):
        if is_dataset(Path(name)):
            paths.append(Path(name))
            continue
        found = gather([name], Kind("files of codes", is_codes_name))
        if found.problems:
            raise found.problems[0]
        paths += sorted(Path(file.name) for file in found.files)
    return paths


def _delays(text: str | None, layout: str) -> tuple[int, ...] | None:
    if text is None:
        return None
    if layout != "delayed":
        raise typer.BadParameter("they are for --layout delayed", param_hint="--delays")
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise AcompError(f"--delays takes numbers such as 0,1,2,3, not {text!r}") from error
