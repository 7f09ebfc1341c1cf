"""acomp bench"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from acomp.cli.console import counted, shows_bars
from acomp.cli.options import Engine
from acomp.codecs import PUBLISHED

if TYPE_CHECKING:
    from rich.table import Table

    from acomp.bench import Direction, Machine, Row, Timing

CASES = [
    f"{name}:{seconds}" for name, codec in PUBLISHED.items() for seconds in codec.bench_seconds
]
"""What is timed where the user names nothing."""


def bench(
    cases: Annotated[
        list[str],
        typer.Argument(metavar="[CODEC:SECONDS]...", help="Codecs, and how much audio for each."),
    ] = CASES,
    rounds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=1,
            max=100,
            help="Rounds of each case; else 5, or 3 where it lasts a minute.",
        ),
    ] = None,
    engine: Engine = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time acomp and the official packages in turn, on the same weights and audio."""
    from acomp.bench import parse_case, run, survey

    parsed = [parse_case(case) for case in cases]
    with _status() as progress:
        progress("measuring the matrix peak")
        machine = survey(engine)
        rows = list(run(parsed, rounds, machine, progress))
    if as_json:
        report = {"machine": asdict(machine), "rows": [asdict(row) for row in rows]}
        print(json.dumps(report, indent=2))
    else:
        _show(machine, rows)


@contextmanager
def _status() -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done: on a terminal, and gone at the end."""
    from rich.console import Console

    console = Console(stderr=True)
    if not shows_bars():
        yield lambda _: None
        return
    with console.status("") as status:
        yield status.update


def _show(machine: Machine, rows: list[Row]) -> None:
    from rich.console import Console

    console = Console()
    console.print(_speeds(rows), _peaks(machine, rows), _loading(rows), _settings(rows))
    lines = [*_facts(machine), *machine.notes, *(note for row in rows for note in row.notes)]
    if any(row.weights == "random" for row in rows):
        lines.append(
            "random weights: of the published architecture, as the published ones are not here "
            "(acomp models fetch NAME); speed does not depend on their values"
        )
    console.print(*lines, sep="\n", soft_wrap=True, highlight=False, markup=False)


def _speeds(rows: list[Row]) -> Table:
    columns = ("", "", "official", "acomp fp32", "ratio", "acomp bf16", "ratio")
    table = _table("Times real time, and ratio to the official package", *columns)
    for name, direction, figures in _directions(rows):
        official, fp32, bf16 = figures.official, figures.fp32, figures.bf16
        cells = (_speed(official), _speed(fp32), _ratio(fp32), _speed(bf16), _ratio(bf16))
        table.add_row(name, direction, *cells, end_section=direction == "decode")
    return table


def _peaks(machine: Machine, rows: list[Row]) -> Table:
    peaks = ", ".join(f"{peak:.0f} {name}" for name, peak in machine.peak_gflops.items())
    title = f"GFLOP for a second of audio, and share of the matrix peak ({peaks} GFLOP/s)"
    table = _table(title, "", "", "GFLOP", "official", "acomp fp32", "acomp bf16")
    for name, direction, figures in _directions(rows):
        sides = (figures.official, figures.fp32, figures.bf16)
        gflop = "-" if figures.gflop is None else f"{figures.gflop:.3g}"
        cells = (gflop, *map(_share, sides))
        table.add_row(name, direction, *cells, end_section=direction == "decode")
    return table


def _loading(rows: list[Row]) -> Table:
    title = "From a new process to the first codes, of 1 s of audio, and memory at the peak"
    table = _table(title, "", "", "seconds", "CPU seconds", "MiB")
    for name, sides in {row.codec: row.loading for row in rows}.items():
        for side, taken in sides.items():
            mib = "-" if taken.mib is None else f"{taken.mib:.0f}"
            figures = f"{taken.seconds:.2f}", f"{taken.cpu_seconds:.2f}", mib
            table.add_row(name, side, *figures, end_section=side == "acomp")
            name = ""
    return table


def _settings(rows: list[Row]) -> Table:
    title = "acomp fp32 beside the official package: equal codes, and difference of the samples"
    table = _table(title, "", "weights", "kbps", "rounds", "codes", "samples")
    for row in rows:
        cells = (row.weights, f"{row.bandwidth:.3g}", f"{row.rounds}")
        table.add_row(_name(row), *cells, *_agreement(row))
    return table


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(*columns, title=title, padding=(0, 0), pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    table.columns[0].no_wrap = True
    return table


def _name(row: Row) -> str:
    return f"{row.codec}:{row.seconds}"


def _directions(rows: list[Row]) -> Iterator[tuple[str, str, Direction]]:
    """The two lines of each row: its name, which the second need not repeat, and the figures."""
    for row in rows:
        yield _name(row), "encode", row.encode
        yield "", "decode", row.decode


def _speed(timing: Timing | None) -> str:
    if timing is None:
        return "-"
    speed = timing.times_real_time
    return f"{speed:.0f}x" if speed >= 100 else f"{speed:.3g}x"


def _ratio(timing: Timing | None) -> str:
    return "-" if timing is None or timing.ratio is None else f"{timing.ratio:.2f}"


def _share(timing: Timing | None) -> str:
    return "-" if timing is None or timing.of_peak is None else f"{timing.of_peak:.1%}"


def _facts(machine: Machine) -> list[str]:
    memory = "" if machine.memory_gb is None else f", {machine.memory_gb:.0f} GB"
    versions = (f"{name} {version or 'not here'}" for name, version in machine.versions.items())
    return [
        f"{machine.cpu}, {counted(machine.cores, 'core')}{memory}, torch with "
        f"{counted(machine.torch_threads, 'thread')}, acomp on {machine.engine}",
        ", ".join(versions),
    ]


def _agreement(row: Row) -> tuple[str, str]:
    # Not of bf16: that random weights' codes are near each other says nothing about its sound.
    agreement = row.agreement.get("fp32")
    if agreement is None:
        return "-", "-"
    samples = "-" if agreement.samples is None else f"{agreement.samples:.0e}"
    return f"{agreement.codes:.4%}", samples
