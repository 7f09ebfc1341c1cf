"""acomp encode"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acomp.batch.inputs import PIPE
from acomp.cli.batches import guard, policy, run_all, usage, what_was_done
from acomp.cli.codecs import check_coding
from acomp.cli.console import CODEC, FILES
from acomp.cli.options import (
    Backend,
    Device,
    Engine,
    Entropy,
    Form,
    Jobs,
    KeepSuffix,
    KeepTree,
    LanguageModel,
    Output,
    OutputDir,
    Overwrite,
    Precision,
    SkipExisting,
    Weights,
    refuse_terminal,
    usage_of,
)
from acomp.codecs import ENCODEC
from acomp.settings import Channels, Coding, Running

if TYPE_CHECKING:
    from acomp.batch.outputs import Job
    from acomp.pipeline import Result


def encode(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Audio files, folders, or @LIST of them; - is standard input.",
        ),
    ] = None,
    output: Output = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    keep_suffix: KeepSuffix = False,
    keep_tree: KeepTree = False,
    jobs: Jobs = 1,
    backend: Backend = ENCODEC,
    bandwidth: Annotated[
        float | None,
        typer.Option(
            "--bandwidth",
            "-k",
            metavar="KBPS",
            help="Bandwidth of each coded stream.",
            show_default="6, or the codec's highest: nine codebooks of dac",
            rich_help_panel=CODEC,
        ),
    ] = None,
    codebooks: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Number of codebooks, instead of a bandwidth.",
            rich_help_panel=CODEC,
        ),
    ] = None,
    channels: Annotated[
        Channels,
        typer.Option(
            help="What to code; auto keeps what the codec can keep, each codes any number alone.",
            rich_help_panel=CODEC,
        ),
    ] = "auto",
    form: Form = None,
    raw: Annotated[
        str | None,
        typer.Option(
            metavar="RATE:CHANNELS:FORMAT",
            help="The input is PCM without a header, for example 44100:2:s16le.",
            rich_help_panel=FILES,
        ),
    ] = None,
    recover: Annotated[
        bool,
        typer.Option(
            "--recover",
            help="Take what can be read of damaged audio, and say what is lost.",
            rich_help_panel=FILES,
        ),
    ] = False,
    entropy: Entropy = "none",
    language_model: LanguageModel = None,
    weights: Weights = None,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    device: Device = "auto",
    output_file: Annotated[
        str | None,
        typer.Option(
            "--output-file",
            metavar="FILE",
            help="Write the decoded codes here, to listen to.",
            rich_help_panel=FILES,
        ),
    ] = None,
    input_file: Annotated[str | None, typer.Option("--input-file", hidden=True)] = None,
    embedding_file: Annotated[str | None, typer.Option("--embedding-file", hidden=True)] = None,
) -> None:
    """Encode audio into codes.

    Without an output the codes go beside the input, as .nac. -b encodec is 24
    kHz for mono and 48 kHz for stereo. Examples:

        acomp encode speech.wav -b nano -k 6

        acomp encode music.flac music.txt -k 12

        acomp encode speech.wav -b nano -k 6 --entropy lm

        acomp encode clips/ --output-dir codes/ -b nano --jobs 4 --skip-existing

        arecord -f S16_LE -r 24000 | acomp encode - live.nac -b nano
    """
    from acomp.audio import is_audio_name, parse_pcm
    from acomp.batch.inputs import Kind, gather
    from acomp.batch.outputs import Names, Outputs, plan, split_output
    from acomp.formats import CODES_FORMS, Writing, is_codes_name
    from acomp.pipeline import Recording
    from acomp.pipeline.jobs import Encoding

    names = [*([] if input_file is None else [input_file]), *(inputs or [])]
    if embedding_file is not None:
        if output is not None:
            raise typer.BadParameter("give --output or --embedding-file, not both")
        output, form = embedding_file, form or "txt"
    with usage_of("--raw"):
        if raw is not None:
            parse_pcm(raw)
    coding = Coding(bandwidth, codebooks, channels)
    check_coding(backend, weights, coding)  # before any file is looked for
    existing = policy(overwrite, skip_existing)
    is_audio = partial(is_audio_name, raw=raw is not None)
    read = [path for path in (weights, language_model) if path is not None]
    with usage():
        if output is None and output_dir is None:
            names, output = split_output(names, Names(is_audio, is_codes_name, CODES_FORMS))
        found = gather(names, Kind("audio files", is_audio))
        suffix, layout = f".{form or 'nac'}", (existing, keep_suffix, keep_tree, "an audio file")
        work = plan(found, Outputs(suffix, output, output_dir, *layout), read)
    if output_file is not None:
        if len(work) != 1:
            raise typer.BadParameter("--output-file goes with one input")
        if Path(output_file) == Path(work[0].target):
            raise typer.BadParameter("--output-file needs a name of its own")
        guard(output_file, overwrite, work[0].source, *read)
    if form != "txt":
        refuse_terminal((job.target for job in work), "codes")
    encoding = Encoding(
        backend,
        Running(weights, engine, precision, device),
        coding,
        Writing(form, entropy, language_model, replace=overwrite),
        Recording(raw, recover),
        output_file,
    )
    run_all(found, work, existing, encoding.start, _line, jobs)


def _line(job: Job, result: Result) -> str:
    return f"{what_was_done(job, result)}{_size(job, result)}"


def _size(job: Job, result: Result) -> str:
    """The bytes of the codes and what they come to, where they are in a file."""
    path = Path(job.target)
    if job.target == PIPE or not path.is_file() or not result.audio_seconds:
        return ""
    info, size = result.info, path.stat().st_size
    pcm = result.audio_seconds * info.source_rate * info.channels * 2
    return (
        f", {size} bytes ({size * 8 / result.audio_seconds / 1000:.3g} kbps in all, "
        f"{pcm / size:.0f} times smaller than 16-bit PCM)"
    )
