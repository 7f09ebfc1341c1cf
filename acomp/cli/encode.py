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
    from acomp.batch.inputs import Kind
    from acomp.batch.outputs import Job, Names
    from acomp.pipeline import Result
    from acomp.pipeline.jobs import Latents


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
    latents: Annotated[
        bool,
        typer.Option(
            "--latents",
            help="Encode latents, .npy files, or write those of audio to an output .npy.",
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

        acomp encode --latents speech.wav speech.npy -b nano

        acomp encode --latents speech.npy speech.nac -b nano -k 6
    """
    from acomp.audio import parse_pcm
    from acomp.batch.inputs import gather
    from acomp.batch.outputs import Outputs, plan, split_output
    from acomp.formats import Writing
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
    way = _way(names, output) if latents else None
    options = {
        "--raw": raw,
        "--recover": recover,
        "--channels": channels != "auto",
        "--output-file": output_file,
        "--bandwidth": bandwidth,
        "--codebooks": codebooks,
        "--format": form,
        "--entropy": entropy != "none",
    }
    _check_options(way, [name for name, value in options.items() if value not in (None, False)])
    kind, kinds = _kinds(way, raw=raw is not None)
    read = [path for path in (weights, language_model) if path is not None]
    with usage():
        if output is None and output_dir is None:
            names, output = split_output(names, kinds)
        found = gather(names, kind)
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
        way,
    )
    line = _line if way != "written" else _line_of_latents
    run_all(found, work, existing, encoding.start, line, jobs)


def _way(names: list[str], output: str | None) -> Latents:
    """What becomes of latents: they are written where the one output is a `.npy` of something else,
    and read otherwise.

    Raises:
        BadParameter: they would be read from standard input.
    """
    from acomp.pipeline.latents import is_latents_name

    first, *more = names or [""]
    target = output or (more[0] if len(more) == 1 else "")
    if is_latents_name(Path(target)) and not is_latents_name(Path(first)):
        return "written"
    if PIPE in names[:1]:
        raise typer.BadParameter("latents are read from a file, not from standard input")
    return "read"


_NOT_WITH: dict[Latents | None, tuple[str, ...]] = {
    None: (),
    "read": ("--raw", "--recover", "--channels", "--output-file"),
    "written": ("--bandwidth", "--codebooks", "--format", "--entropy", "--output-file"),
}
"""Options that say something of audio where there is none, or of codes."""


def _check_options(way: Latents | None, given: list[str]) -> None:
    for name in given:
        if name in _NOT_WITH[way]:
            raise typer.BadParameter(
                f"{name} does not go with latents that are {way}: leave it out"
            )


def _kinds(way: Latents | None, *, raw: bool) -> tuple[Kind, Names]:
    """The files that are read, as folders are searched for them, and the names of both sides."""
    from acomp.audio import is_audio_name
    from acomp.batch.inputs import Kind
    from acomp.batch.outputs import Names
    from acomp.formats import CODES_FORMS, is_codes_name
    from acomp.pipeline.latents import SUFFIX, is_latents_name

    audio = Kind("audio files", partial(is_audio_name, raw=raw))
    if way == "written":
        return audio, Names(audio.takes, is_latents_name, f"a file of latents: {SUFFIX}")
    kind = audio if way is None else Kind("files of latents", is_latents_name)
    return kind, Names(kind.takes, is_codes_name, CODES_FORMS)


def _line_of_latents(job: Job, result: Result) -> str:
    seconds = result.audio_seconds
    return f"{job.source} -> {job.target}: latents of {result.info.codec}, {seconds:.2f} s"


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
