"""acomp decode"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from acomp.cli.batches import policy, run_all, usage, what_was_done
from acomp.cli.codecs import spec_of
from acomp.cli.console import FILES, one_line
from acomp.cli.options import (
    Device,
    Engine,
    Jobs,
    KeepSuffix,
    KeepTree,
    LanguageModel,
    MadeBy,
    Output,
    OutputDir,
    Overwrite,
    Precision,
    SkipExisting,
    Weights,
    refuse_terminal,
    usage_of,
)
from acomp.errors import AcompError
from acomp.settings import Running, Subtype

if TYPE_CHECKING:
    from acomp.batch.outputs import Existing, Job
    from acomp.pipeline import Result
    from acomp.pipeline.jobs import Decoding


Bits = Literal["16", "24", "float"]
_SUBTYPES: dict[Bits, Subtype] = {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}


def decode(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="Files of codes, folders, or @LIST of them; - is standard input.",
        ),
    ] = None,
    output: Output = None,
    output_dir: OutputDir = None,
    overwrite: Overwrite = False,
    skip_existing: SkipExisting = False,
    keep_suffix: KeepSuffix = False,
    keep_tree: KeepTree = False,
    jobs: Jobs = 1,
    backend: MadeBy = None,
    language_model: LanguageModel = None,
    weights: Weights = None,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    device: Device = "auto",
    identity: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="ID",
            help="Decode the row of that id; the input is a dataset.",
            rich_help_panel=FILES,
        ),
    ] = None,
    start: Annotated[
        float,
        typer.Option(min=0, metavar="S", help="Seconds to leave out.", rich_help_panel=FILES),
    ] = 0.0,
    duration: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="S",
            help="Seconds to decode.",
            show_default="all",
            rich_help_panel=FILES,
        ),
    ] = None,
    recover: Annotated[
        bool,
        typer.Option(
            "--recover", help="Decode what is whole of a damaged file.", rich_help_panel=FILES
        ),
    ] = False,
    sample_rate: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="HZ",
            help="Rate of the output.",
            show_default="the original's",
            rich_help_panel=FILES,
        ),
    ] = None,
    bits: Annotated[
        Bits | None,
        typer.Option(
            help="Bits of a sample: 24 for .wav and .flac, float for .wav.",
            show_default="16",
            rich_help_panel=FILES,
        ),
    ] = None,
    raw: Annotated[
        str | None,
        typer.Option(
            metavar="FORMAT",
            help="Write PCM without a header, for example s16le.",
            rich_help_panel=FILES,
        ),
    ] = None,
    embedding_file: Annotated[str | None, typer.Option("--embedding-file", hidden=True)] = None,
    output_file: Annotated[str | None, typer.Option("--output-file", hidden=True)] = None,
) -> None:
    """Decode codes into audio.

    Without an output the audio goes beside the codes, as .wav. Examples:

        acomp decode speech.nac speech.flac

        acomp decode hour.nac -o minute.wav --start 3000 --duration 60

        acomp decode clips.codes --id a.wav -o a.wav
    """
    from acomp.audio import AUDIO_FORMS, is_writable_name, parse_format
    from acomp.batch.inputs import Kind, gather
    from acomp.batch.outputs import Names, Outputs, plan, split_output
    from acomp.datasets.description import is_dataset
    from acomp.formats import Reading, is_codes_name
    from acomp.pipeline import Sound, Span
    from acomp.pipeline.jobs import Decoding

    names = [*([] if embedding_file is None else [embedding_file]), *(inputs or [])]
    if output_file is not None:
        if output is not None:
            raise typer.BadParameter("give --output or --output-file, not both")
        output = output_file
    if bits is not None and raw is not None:
        raise typer.BadParameter("give --bits or --raw, not both: a raw format says its bits")
    with usage_of("--raw"):
        if raw is not None:
            parse_format(raw)
    existing = policy(overwrite, skip_existing)
    is_codes = partial(is_codes_name, bare=backend is not None)
    read = [path for path in (weights, language_model) if path is not None]
    decoding = Decoding(
        Running(weights, engine, precision, device),
        Span(start, duration),
        Reading(recover, language_model, spec_of(backend, weights)),
        Sound(sample_rate, raw, None if bits is None else _SUBTYPES[bits], overwrite),
    )
    if identity is not None:
        _decode_row(names, identity, output, existing, decoding)
        return
    for name in names:
        if is_dataset(Path(name)):
            raise AcompError(f"{name} is a dataset: name one row of it with --id")
    with usage():
        if output is None and output_dir is None:
            is_sound = partial(is_writable_name, raw=raw is not None)
            names, output = split_output(names, Names(is_codes, is_sound, AUDIO_FORMS))
        found = gather(names, Kind("files of codes", is_codes))
        suffix = ".wav" if raw is None else ".raw"
        layout = (existing, keep_suffix, keep_tree, "a file of codes")
        work = plan(found, Outputs(suffix, output, output_dir, *layout), read)
    refuse_terminal((job.target for job in work), "sound")
    run_all(found, work, existing, decoding.start, _line, jobs)


def _decode_row(
    names: list[str], identity: str, output: str | None, existing: Existing, decoding: Decoding
) -> None:
    """Decode one row of a dataset, by way of a file of its codes."""
    from acomp.batch.inputs import Input, Inputs
    from acomp.batch.outputs import Outputs, plan
    from acomp.datasets.reading import Dataset
    from acomp.formats import write_codes

    if len(names) != 1 or output is None:
        raise typer.BadParameter("--id goes with one dataset and with -o")
    row = Dataset(names[0]).by_id(identity)
    with TemporaryDirectory() as folder:
        path = Path(folder, "row.nac")
        write_codes(path, row.codes)
        found = Inputs([Input(str(path), path)])
        work = plan(found, Outputs(".wav", output, existing=existing))
        refuse_terminal([output], "sound")
        shown = f"{names[0]} {identity}"
        run_all(
            found,
            work,
            existing,
            decoding.start,
            lambda job, result: _line(replace(job, source=shown), result),
        )


def _line(job: Job, result: Result) -> str:
    for loss in result.damage:
        print(one_line(f"warning: {job.source}: {loss}"), file=sys.stderr)
    return what_was_done(job, result)
