"""acomp tokenize"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from acomp.cli.codecs import check_coding, fetched
from acomp.cli.console import CODEC, FILES, RUNNING, counted, one_line, say
from acomp.cli.options import Backend, Device, Precision, Weights
from acomp.cli.progress import hours, plain_bar, progress_state
from acomp.codecs import ENCODEC
from acomp.errors import AcompError, AcompWarning
from acomp.settings import Channels, Coding, EngineName, Export, Running

if TYPE_CHECKING:
    from acomp.datasets.making import Outcomes, Share, Step


def tokenize(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Audio files, tars, Parquet, manifests; folders of them; addresses; or @LIST.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="DATASET",
            help="Folder of the dataset.",
            rich_help_panel=FILES,
        ),
    ],
    to: Annotated[
        Export | None,
        typer.Option(
            help="Write the finished dataset in this form too, into a folder in it of that name.",
            rich_help_panel=FILES,
        ),
    ] = None,
    retry: Annotated[
        bool,
        typer.Option(
            "--retry",
            help="Try again what is in failures.jsonl, and nothing else.",
            rich_help_panel=FILES,
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print a JSON object for each part.", rich_help_panel=FILES),
    ] = False,
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
    segment: Annotated[
        str | None,
        typer.Option(
            metavar="vad|SECONDS",
            help="Cut recordings: where somebody speaks, or every so many seconds.",
            rich_help_panel=CODEC,
        ),
    ] = None,
    min_duration: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="S",
            help="Leave out what is shorter.",
            rich_help_panel=CODEC,
        ),
    ] = None,
    max_duration: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="S",
            help="Cut what is longer.",
            rich_help_panel=CODEC,
        ),
    ] = None,
    weights: Weights = None,
    workers: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=1,
            max=256,
            help="Processes that work side by side, each on one thread.",
            rich_help_panel=RUNNING,
        ),
    ] = 1,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Work on a Ray cluster; auto is the one that runs here, or a new one.",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Make every Nth part only, from the Ith on: for N runs that share the work.",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    engine: Annotated[
        EngineName,
        typer.Option(
            help="What runs the networks; torch gives the same codes on every run.",
            rich_help_panel=RUNNING,
        ),
    ] = "torch",
    precision: Precision = "fp32",
    device: Device = "auto",
) -> None:
    """Encode recordings into a dataset of codes, in Parquet.

    A run that was ended, however, is taken up by the same command; the
    finished dataset is the same to the last byte. Examples:

        acomp tokenize clips/ -o clips.codes -b nano -k 6 --workers 8

        acomp tokenize clips/ -o clips.codes -b nano --shard 3/100

        acomp info clips.codes
    """
    from acomp.batch.inputs import expand
    from acomp.datasets.cutting import Cutting
    from acomp.datasets.exporting import EXPORTS
    from acomp.datasets.making import Order, tokenize
    from acomp.datasets.reading import Dataset

    share = _share(shard)
    coding = Coding(bandwidth, codebooks, channels)
    check_coding(backend, weights, coding)
    order = Order(
        output,
        tuple(expand(sources)),
        backend,
        Running(weights, engine, precision, device),
        coding,
        Cutting(_segment(segment), min_duration, max_duration),
    )
    if weights is None:
        fetched(order.codec_name)
    began = perf_counter()
    with _telling(as_json) as tell:
        found = tokenize(order, share, workers=workers, retry=retry, ray=ray, tell=tell)
    _summary(order.folder, found, perf_counter() - began, as_json)
    if to is not None and found.totals is not None:
        EXPORTS[to](Dataset(output), output / to)


def _segment(segment: str | None) -> float | str | None:
    if segment is None or segment == "vad":
        return segment
    try:
        return float(segment)
    except ValueError:
        raise typer.BadParameter(
            f"{segment} is neither vad nor a number of seconds", param_hint="--segment"
        ) from None


def _share(shard: str | None) -> Share:
    from acomp.datasets.making import Share

    if shard is None:
        return Share()
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", shard)
    index, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= index <= count:
        raise typer.BadParameter(
            f"{shard} is not I/N with I from 1 to N, such as 3/100", param_hint="--shard"
        )
    return Share(index, count)


@contextmanager
def _telling(as_json: bool) -> Iterator[Callable[[Step], None]]:
    """Tells of each part: a bar on a terminal, and with `as_json` a line for programs."""
    from rich.progress import BarColumn, TextColumn

    began, out = perf_counter(), sys.stdout  # which is another while Ray works
    seconds, failures, new_parts = 0.0, 0, 0
    with plain_bar(BarColumn(), TextColumn("{task.fields[state]}", markup=False)) as bar:
        task = bar.add_task("", total=None, state="")

        def tell(step: Step) -> None:
            nonlocal seconds, failures, new_parts
            failures += step.failures
            if step.is_new:
                seconds += step.seconds
                new_parts += 1
            left = step.parts - step.done
            total = seconds * (1 + left / new_parts) if new_parts else None
            state = progress_state(seconds, total, perf_counter() - began)
            state += f", {counted(failures, 'failure')}"
            bar.update(task, completed=step.done, total=step.parts, state=state)
            if as_json:
                print(json.dumps({"event": "part", **asdict(step)}), file=out, flush=True)

        yield tell


def _summary(folder: Path, found: Outcomes, elapsed: float, as_json: bool) -> None:
    totals = found.totals
    if as_json:
        facts = {} if totals is None else asdict(totals)
        end = {"event": "end", "finished": totals is not None, "missing": found.missing, **facts}
        print(json.dumps({**end, "elapsed": round(elapsed, 3)}))
    if totals is None:
        parts = counted(found.made.parts, "part")
        say(f"{folder}: {found.missing} of {parts} left to other runs", error=True)
        return
    if not totals.rows and not totals.failures:
        raise AcompError("there are no recordings in the sources, or none as long as is asked for")
    if totals.failures:
        from warnings import warn

        said = f"{totals.failures} of the recordings could not be coded"
        where = folder / "failures.jsonl"
        if not totals.rows:
            raise AcompError(f"none of the recordings could be coded: {where} says why")
        warn(f"{said}: {where} says why; --retry tries them again", AcompWarning, stacklevel=1)
    if not as_json:
        say(
            one_line(f"{folder}: {hours(totals.seconds)} in {counted(totals.rows, 'row')}"),
            error=True,
        )
