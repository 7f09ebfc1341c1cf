"""acomp codebooks"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from acomp.cli.common import Backend, Device, Weights


def codebooks(
    backend: Backend = "encodec",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A .npy, .npz or .safetensors file.")
    ] = None,
    weights: Weights = None,
    device: Device = "cpu",
    channels: Annotated[
        int, typer.Option(min=1, max=2, help="Which of `encodec`: 1 is 24 kHz, 2 is 48 kHz.")
    ] = 1,
    latent: Annotated[
        bool, typer.Option(help="Project to the width of the latents (DAC, nano).")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print statistics of each codebook as JSON.")
    ] = False,
) -> None:
    """Write a codec's codebooks (codebooks x size x dimension) for analysis."""
    from acomp.analysis import codebook_statistics, save_codebooks
    from acomp.cli.common import codec_loader

    if output is None and not as_json:
        raise typer.BadParameter("give --output, or --json for statistics")
    codec = codec_loader(backend, weights, device)(channels)
    books = codec.latent_codebooks() if latent else codec.codebooks()
    if output is not None:
        save_codebooks(output, books)
    if as_json:
        facts = {
            "codec": codec.spec.name,
            "fingerprint": codec.fingerprint,
            "shape": list(books.shape),
            "codebooks": codebook_statistics(books),
        }
        print(json.dumps(facts, indent=1))
    elif output is not None:
        shape = " x ".join(str(size) for size in books.shape)
        print(f"{output}: {shape} (codebooks x size x dimension) of {codec.spec.name}")
