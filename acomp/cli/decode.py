"""acomp decode"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from acomp.cli.common import (
    Device,
    Engine,
    LanguageModel,
    MadeBy,
    Output,
    OutputDir,
    Precision,
    Weights,
    for_each,
    jobs,
    progress_bar,
    spec_of,
    stream_or_path,
    usage_of,
)
from acomp.cli.console import one_line


def decode(
    inputs: Annotated[
        list[str] | None, typer.Argument(help="Files or folders of codes; - is standard input.")
    ] = None,
    output: Output = None,
    output_dir: OutputDir = None,
    backend: MadeBy = None,
    language_model: LanguageModel = None,
    weights: Weights = None,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    device: Device = "cpu",
    start: Annotated[float, typer.Option(min=0, help="Seconds to leave out.")] = 0.0,
    duration: Annotated[float | None, typer.Option(min=0, help="Seconds to decode.")] = None,
    recover: Annotated[bool, typer.Option(help="Decode what is whole of a damaged file.")] = False,
    sample_rate: Annotated[
        int | None,
        typer.Option(min=1, help="Rate of the output in Hz, instead of the original's."),
    ] = None,
    raw: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="Write PCM without a header, for example s16le."),
    ] = None,
    embedding_file: Annotated[
        str | None, typer.Option("--embedding-file", "--embedding_file", help="One file of codes.")
    ] = None,
    output_file: Annotated[
        str | None, typer.Option("--output-file", "--output_file", help="The same as -o.")
    ] = None,
) -> None:
    """Decode codes into audio.

    Without -o the audio goes beside the codes, as .wav. Examples:

        acomp decode speech.nac -o speech.flac

        acomp decode hour.nac -o minute.wav --start 3000 --duration 60
    """
    from acomp.audio import parse_format
    from acomp.backends.base import Codec
    from acomp.cli.common import codec_loader
    from acomp.codes import CodesInfo
    from acomp.formats import is_codes_name
    from acomp.pipeline import decode_file

    if embedding_file is not None:
        inputs = [embedding_file, *(inputs or [])]
    if output_file is not None:
        if output is not None:
            raise typer.BadParameter("give --output or --output-file, not both")
        output = output_file
    with usage_of("--raw"):
        form = None if raw is None else parse_format(raw)
    suffix = ".wav" if raw is None else ".raw"
    work = jobs(inputs or [], output, output_dir, suffix, is_codes_name)
    made_by = spec_of(backend, weights)
    loaders = {}

    def codec_for(info: CodesInfo) -> Codec:
        if info.codec not in loaders:
            loaders[info.codec] = codec_loader(info.codec, weights, device, engine, precision)
        return loaders[info.codec](info.channels)

    def decode_one(source: str, target: str) -> str:
        with progress_bar(source, target) as progress:
            result = decode_file(
                codec_for,
                stream_or_path(source),
                stream_or_path(target, write=True),
                start=start,
                duration=duration,
                recover=recover,
                sample_rate=sample_rate,
                raw=form,
                codec=made_by,
                language_model=language_model,
                progress=progress,
            )
        for loss in result.damage:
            print(one_line(f"warning: {source}: {loss}"), file=sys.stderr)
        speed = result.audio_seconds / max(result.codec_seconds, 1e-9)
        return (
            f"{source} -> {target}: {result.info.codec}, {result.audio_seconds:.2f} s "
            f"at {speed:.1f} times real time"
        )

    for_each(work, decode_one)
