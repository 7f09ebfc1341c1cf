"""acomp codebooks"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Annotated

import typer

from acomp.batch.inputs import stream_or_path
from acomp.cli.batches import Failures, guard
from acomp.cli.console import say
from acomp.cli.options import Device, Overwrite, Weights, codec_names
from acomp.codecs import ENCODEC


def codebooks(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILES",
            help="Files or folders of codes, or @LIST of them, for how often entries are used; "
            "- is standard input.",
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            "--backend",
            "-b",
            metavar="CODEC",
            autocompletion=codec_names,
            help="Codec; `acomp models list` names them.",
            show_default="that of the files, or encodec",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="A .npy, .npz or .safetensors file."),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Draw usage, distances and a projection into a .png or .svg file."
        ),
    ] = None,
    overwrite: Overwrite = False,
    weights: Weights = None,
    device: Device = "auto",
    channels: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=2, help="Which of `encodec`: 1 is 24 kHz, 2 is 48 kHz."
        ),
    ] = 1,
    latent: Annotated[
        bool,
        typer.Option("--latent", help="Project to the width of the latents (DAC, SNAC, Mimi)."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print statistics of each codebook as JSON.")
    ] = False,
) -> None:
    """Write a codec's codebooks (codebooks x size x dimension) for analysis, or draw them.

    Files of codes tell how often each entry is used. Examples:

        acomp codebooks -b nano -o nano.npy

        acomp codebooks codes/ --plot nano.png
    """
    from acomp.analysis.codebooks import codebook_report, save_codebooks
    from acomp.analysis.plots import check_plot, plot_codebooks
    from acomp.analysis.usage import count_codes
    from acomp.backends.base import Codec
    from acomp.batch.inputs import Kind, gather
    from acomp.cli.codecs import load_fetched
    from acomp.formats import is_codes_name

    if inputs and plot is None and not as_json:
        raise typer.BadParameter("files of codes are counted for --plot or --json: give one")
    if output is None and plot is None and not as_json:
        raise typer.BadParameter("give --output, --plot, or --json for statistics")
    if plot is not None:
        check_plot(plot)

    @cache
    def load(name: str) -> Codec:
        return load_fetched(name, channels, weights, device)

    if backend is not None:
        load(backend)  # what is wrong with it is not the fault of the first file
    found = gather(inputs or [], Kind("files of codes", is_codes_name))
    names = [file.name for file in found.files]
    for path in (output, plot):
        if path is not None:
            guard(path, overwrite, *names, weights)
    failures = Failures(found)
    usage = None
    if inputs:
        sources = map(stream_or_path, names)
        usage = count_codes(sources, lambda info: load(backend or info.codec), failures.add)
    codec = load(backend or (usage.codec if usage else ENCODEC))
    books = codec.latent_codebooks() if latent else codec.codebooks()
    shape = " x ".join(str(size) for size in books.shape)
    done = []
    if output is not None:
        save_codebooks(output, books, replace=overwrite)
        done.append(f"{output}: {shape} (codebooks x size x dimension) of {codec.spec.name}")
    if plot is not None:
        plot_codebooks(plot, codec.spec.name, codec.fingerprint, books, usage, replace=overwrite)
        counted = f", {usage.frames} frames of {usage.files} file(s)" if usage else ""
        done.append(f"{plot}: {shape} of {codec.spec.name}{counted}")
    if as_json:
        print(json.dumps(codebook_report(codec, books, usage), indent=1))
    else:
        for line in done:
            say(line)
    failures.check()
