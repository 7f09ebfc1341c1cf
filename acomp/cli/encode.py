"""acomp encode"""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import typer

from acomp.cli.common import (
    PIPE,
    Backend,
    Device,
    Engine,
    Entropy,
    LanguageModel,
    Output,
    OutputDir,
    Precision,
    Weights,
    codec_loader,
    for_each,
    jobs,
    progress_bar,
    same_file,
    stream_or_path,
    usage_of,
)
from acomp.errors import WeightsError


def encode(
    inputs: Annotated[
        list[str] | None, typer.Argument(help="Audio files or folders; - is standard input.")
    ] = None,
    output: Output = None,
    output_dir: OutputDir = None,
    backend: Backend = "encodec",
    bandwidth: Annotated[
        float | None,
        typer.Option("--bandwidth", "-k", help="Bandwidth in kbps, of each coded stream."),
    ] = None,
    codebooks: Annotated[
        int | None, typer.Option(help="Number of codebooks, instead of a bandwidth.")
    ] = None,
    channels: Annotated[
        Literal["auto", "mono", "stereo"],
        typer.Option(help="What to code; auto keeps what the codec can keep."),
    ] = "auto",
    form: Annotated[
        Literal["nac", "txt", "npz", "dac", "ecdc"] | None,
        typer.Option("--format", help="Form of the codes where no suffix says it."),
    ] = None,
    raw: Annotated[
        str | None,
        typer.Option(
            metavar="RATE:CHANNELS:FORMAT",
            help="The input is PCM without a header, for example 44100:2:s16le.",
        ),
    ] = None,
    entropy: Entropy = "none",
    language_model: LanguageModel = None,
    weights: Weights = None,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    device: Device = "cpu",
    output_file: Annotated[
        str | None,
        typer.Option(
            "--output-file", "--output_file", help="Write the decoded codes here, to listen to."
        ),
    ] = None,
    input_file: Annotated[
        str | None, typer.Option("--input-file", "--input_file", help="One audio file.")
    ] = None,
    embedding_file: Annotated[
        str | None,
        typer.Option(
            "--embedding-file", "--embedding_file", help="Output, as text whatever its name."
        ),
    ] = None,
) -> None:
    """Encode audio into codes.

    Without -o the codes go beside the input, as .nac. Examples:

        acomp encode speech.wav -b nano -k 6

        acomp encode music.flac -o music.txt -k 12

        acomp encode speech.wav -b nano -k 6 --entropy lm

        acomp encode clips/ --output-dir codes/ -b nano

        arecord -f S16_LE -r 24000 | acomp encode - - -b nano | acomp decode - - | aplay
    """
    from acomp.audio import is_audio_name, parse_pcm
    from acomp.pipeline import encode_file

    if input_file is not None:
        inputs = [input_file, *(inputs or [])]
    if embedding_file is not None:
        if output is not None:
            raise typer.BadParameter("give --output or --embedding-file, not both")
        output, form = embedding_file, form or "txt"
    with usage_of("--raw"):
        pcm = None if raw is None else parse_pcm(raw)
    is_input = partial(is_audio_name, raw=pcm is not None)
    work = jobs(inputs or [], output, output_dir, f".{form or 'nac'}", is_input)
    if output_file is not None:
        if len(work) != 1:
            raise typer.BadParameter("--output-file goes with one input")
        if output_file == work[0].target or same_file(work[0].source, output_file):
            raise typer.BadParameter("--output-file needs a name of its own")
    codec_for = codec_loader(backend, weights, device, engine, precision)

    def encode_one(source: str, target: str) -> str:
        with progress_bar(source, target) as progress:
            try:
                result = encode_file(
                    codec_for,
                    stream_or_path(source),
                    stream_or_path(target, write=True),
                    bandwidth=bandwidth,
                    codebooks=codebooks,
                    channels=channels,
                    form=form or ("nac" if target == PIPE else None),
                    entropy=entropy,
                    language_model=language_model,
                    raw=pcm,
                    check=output_file,
                    live=target == PIPE,
                    progress=progress,
                )
            except WeightsError as error:
                if weights is not None or backend == "nano" or language_model is not None:
                    raise
                raise WeightsError(f"{error}; or take -b nano, which is built in") from error
        info = result.info
        speed = result.audio_seconds / max(result.codec_seconds, 1e-9)
        return (
            f"{source} -> {target}: {info.codec}, {info.bandwidth:.3g} kbps, "
            f"{result.audio_seconds:.2f} s at {speed:.1f} times real time"
        )

    for_each(work, encode_one)
