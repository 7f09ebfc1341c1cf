"""acomp export"""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from acomp.cli.batches import guard
from acomp.cli.console import CODEC, FILES, say
from acomp.cli.options import Overwrite, Weights, codec_names

if TYPE_CHECKING:
    from acomp.backends.base import Codec


def export(
    codec: Annotated[
        str,
        typer.Argument(
            metavar="CODEC",
            help="nano, EnCodec, DAC, SNAC, Mimi or custom.",
            autocompletion=codec_names,
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FOLDER", rich_help_panel=FILES, help="Is made."),
    ],
    overwrite: Overwrite = False,
    weights: Weights = None,
    bandwidth: Annotated[
        list[float] | None,
        typer.Option(
            "--bandwidth",
            "-k",
            metavar="KBPS",
            help="What the encoder encodes with, once or several times: it then gives the codes of "
            "all at once. The decoder takes every bandwidth.",
            show_default="6",
            rich_help_panel=CODEC,
        ),
    ] = None,
    streaming: Annotated[
        bool,
        typer.Option(
            "--streaming",
            help="Networks for streams, whose state is inputs and outputs.",
            rich_help_panel=CODEC,
        ),
    ] = False,
    bits: Annotated[
        Literal["16", "8"] | None,
        typer.Option(
            "--bits",
            help="Make the folder smaller: weights as float16, or as whole numbers of 8 bits with "
            "a scale for each row.",
            show_default="as acomp keeps them: float32, but for nano",
            rich_help_panel=CODEC,
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Compare with acomp's own codes and samples, on speech and music."
        ),
    ] = False,
) -> None:
    """Write a codec as ONNX networks, which run without acomp and torch, in browsers too.

    Its decoder takes codes of every bandwidth. Examples:

        acomp export nano -o nano-onnx --check

        acomp export nano -o nano-live --streaming -k 1.5 -k 6

        acomp export snac-24khz -o snac-small --bits 8
    """
    from acomp.backends import resolve
    from acomp.backends.families import published_shape
    from acomp.cli.codecs import load_fetched
    from acomp.codecs import PUBLISHED
    from acomp.packages import require_packages

    require_packages("acomp export", "onnx", "onnxruntime", extra="export")
    from acomp.export.bits import BITS
    from acomp.export.folder import FILES as NAMES, check as check_form, export as write

    name = resolve(codec, 1)
    if name in PUBLISHED:  # before weights are fetched, which take minutes
        check_form(name, published_shape(name), streaming=streaming)
    for file in NAMES:
        guard(output / file, overwrite, weights)
    loaded = load_fetched(codec, 1, weights, "cpu")
    asked: list[float | None] = [*bandwidth] if bandwidth else [None]
    counts = sorted({loaded.spec.codebooks_for(each, None) for each in asked})
    sizes = write(
        loaded,
        weights,
        output,
        codebooks=counts,
        streaming=streaming,
        bits=BITS.get(bits or ""),
    )
    known, size = ", ".join(map(str, counts)), sum(sizes.values()) / 1e6
    say(f"{output}: {loaded.spec.name}, {known} codebooks, {size:.1f} MB")
    if check:
        for codebooks in counts:
            _check(loaded, output, codebooks)


def _check(codec: Codec, folder: Path, codebooks: int) -> None:
    from acomp.audio import read_audio, to_channels
    from acomp.audio.resampling import resample
    from acomp.export.checking import compare
    from acomp.export.running import Exported

    exported = Exported(folder)
    for sample in ("speech", "music"):
        with as_file(files("acomp") / "samples" / f"{sample}.flac") as path:
            audio = read_audio(path)
        samples = to_channels(resample(audio, codec.spec.sample_rate).samples, codec.spec.channels)
        say(f"{sample}: {compare(codec, exported, samples, codebooks)}")
