"""acomp eval"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from acomp.cli.codecs import fetched
from acomp.cli.console import one_line, settings as asked_of_all, show_error
from acomp.cli.options import Device, Engine, Precision
from acomp.cli.progress import count_bar
from acomp.errors import AcompError
from acomp.packages import EVALUATION, require_packages
from acomp.settings import Content, Running

if TYPE_CHECKING:
    from rich.table import Table

    from acomp.evaluation.metrics import Metric
    from acomp.evaluation.plan import Task
    from acomp.evaluation.results import Results
    from acomp.evaluation.summary import Summary

PIPE_WIDTH = 1000
"""Columns where there is no terminal: lines stay whole for the program that reads them."""


def evaluate(
    inputs: Annotated[
        list[str], typer.Argument(metavar="INPUT...", help="Audio files, or folders of them.")
    ],
    settings: Annotated[
        list[str],
        typer.Option(
            "--codec",
            "-c",
            metavar="CODEC[@KBPS][:WEIGHTS]",
            help="What to measure, as nano@6, a folder of acomp export, as onnx:FOLDER@6, or a "
            "yardstick, as opus@12. Can be repeated.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Folder of the results.")
    ],
    jobs: Annotated[
        int,
        typer.Option("--jobs", "-j", metavar="N", min=1, max=256, help="Processes side by side."),
    ] = 1,
    content: Annotated[
        Content,
        typer.Option(help="What the files hold: some metrics are for speech. auto listens."),
    ] = "auto",
    metrics: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Which figures: fast, full, or names of metrics with commas between them.",
        ),
    ] = "fast",
    noisy: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="The same files with noise: coded too, and compared with the clean ones.",
        ),
    ] = None,
    transcripts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What is said, for word_error: lines of a file's name, a tab and its words.",
        ),
    ] = None,
    engine: Engine = "auto",
    precision: Precision = "fp32",
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print summary.json.")] = False,
) -> None:
    """Measure codecs: encode files, decode them, and compare.

    What is done is kept: the same command goes on where it was interrupted,
    and another -c adds to the results. Example:

        acomp eval audio/ -c nano@3 -c nano@6 -c opus@12 -o results
    """
    from acomp.evaluation.metrics import choose

    measured = choose(metrics)
    _require_packages(measured, every=metrics != "full")
    from acomp.evaluation.plan import Conditions, find_files, plan
    from acomp.evaluation.results import write_summary
    from acomp.evaluation.run import check_folder, run, sole_use
    from acomp.evaluation.settings import parse_setting, with_noisy
    from acomp.evaluation.summary import as_dict, count_usage, summarise
    from acomp.evaluation.transcripts import read_transcripts

    asked = [parse_setting(label) for label in dict.fromkeys(settings)]
    if noisy is not None:
        asked = with_noisy(asked)
    words = None if transcripts is None else read_transcripts(transcripts)
    check_folder(output)
    failures: list[AcompError] = []

    def told(problem: AcompError) -> None:
        failures.append(problem)
        show_error(problem)

    files = find_files(inputs, output, told)
    missing = len(failures)
    with sole_use(output):
        names = tuple(metric.name for metric in measured)
        conditions = Conditions(names, content, Running(None, engine, precision, device), noisy)
        tasks = plan(files, asked, output, conditions, fetched, words)
        with _progress(len(tasks), failures) as done:
            results = run(tasks, output, jobs, done)
        summaries = summarise(results, count_usage(results))
        write_summary(results.summary, as_dict(summaries))
    if as_json:
        print(json.dumps(as_dict(summaries), indent=2))
    elif summaries and not asked_of_all.quiet:
        _show(summaries, results)
    if failures:
        codings = f"{len(failures) - missing} of {len(tasks)} codings failed"
        folders = f", and {missing} of the inputs could not be read" if missing else ""
        raise AcompError(f"{codings}{folders}, as said above")


def _require_packages(metrics: Sequence[Metric], *, every: bool) -> None:
    """See that what measuring needs is there; unless `every` metric was asked for, slow ones whose
    packages are missing are left out.
    """
    from acomp.evaluation.metrics import packages

    require_packages("eval", *EVALUATION)
    needed = [metric for metric in metrics if every or metric.method.cost == "fast"]
    for extra, modules in packages(needed).items():
        require_packages("eval", *modules, extra=extra)


@contextmanager
def _progress(
    total: int, failures: list[AcompError]
) -> Iterator[Callable[[Task, AcompError | None], None]]:
    """A bar of the codings done, on a terminal; each failure is told and kept."""
    with count_bar(total) as bar:
        told: set[str] = set()

        def done(task: Task, failure: AcompError | None) -> None:
            bar.advance(task.setting.label)
            if failure is None:
                return
            failures.append(failure)
            if str(failure) not in told:  # what ails a setting ails all its files
                show_error(failure)
            told.add(str(failure))

        yield done


def _show(summaries: Sequence[Summary], results: Results) -> None:
    from rich.console import Console

    from acomp.evaluation.settings import short_labels
    from acomp.evaluation.summary import left_out

    console = Console()
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    labels = [each.setting for each in summaries]
    names = dict(zip(labels, labels, strict=True))
    anything = console.options.update(max_width=PIPE_WIDTH)
    metrics = results.metrics

    def excess(shown: Sequence[Metric], *, facts: bool = True) -> int:
        table = _table(summaries, shown, names, facts=facts)
        return console.measure(table, options=anything).maximum - console.width

    fast = [metric for metric in metrics if metric.method.cost == "fast"]
    slow = [metric for metric in metrics if metric.method.cost != "fast"]
    if slow and excess(metrics) > 0:
        most = max(excess(fast), excess(slow, facts=False))
    else:
        fast, slow, most = metrics, [], excess(metrics)
    if most > 0:
        names = short_labels(labels, max(map(len, labels)) - most)
    console.print(_table(summaries, fast, names))
    if slow:
        console.print(_table(summaries, slow, names, facts=False))
    lines = [
        *(f"{short}: {label}" for label, short in names.items() if short != label),
        "kbps: of the coded files, all told   tok/s: codes a second   enc, dec: times real time",
        "   ".join(_better(metrics)),
        "use: share of the codebooks' entries used   perpl: their perplexity; means over codebooks",
        *left_out(summaries),
        f"Each file's figures: {results.table}   intervals of the means: {results.summary}",
    ]
    console.print(*map(one_line, lines), sep="\n", soft_wrap=True, highlight=False, markup=False)


def _better(metrics: Sequence[Metric]) -> Iterator[str]:
    for higher, word in ((True, "higher"), (False, "lower")):
        labels = [metric.label for metric in metrics if metric.higher_is_better == higher]
        if labels:
            yield f"{word} is better: {', '.join(labels)}"


def _table(
    summaries: Sequence[Summary],
    metrics: Sequence[Metric],
    shown: Mapping[str, str],
    *,
    facts: bool = True,
) -> Table:
    """A row for each setting: metrics, and with `facts` bit rate, speed and use of codebooks."""
    from rich.table import Table
    from rich.text import Text

    before = ("files", "kbps", "tok/s", "enc", "dec") if facts else ()
    after = ("use", "perpl") if facts else ()
    names = [metric.short for metric in metrics]
    table = Table("setting", *before, *names, *after, padding=(0, 0), pad_edge=False)
    for column in table.columns:
        column.no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    for each in summaries:
        figures = [_figure(each, metric) for metric in metrics]
        if facts:
            figures = [*_speeds(each), *figures, *_use(each)]
        table.add_row(Text(one_line(shown[each.setting])), *figures)
    return table


def _speeds(summary: Summary) -> list[str]:
    tokens = summary.tokens_per_second
    return [
        f"{summary.files}",
        f"{summary.kbps:.4g}",
        "-" if tokens is None else f"{tokens:.0f}",
        f"{summary.encode_speed:.0f}x",
        f"{summary.decode_speed:.0f}x",
    ]


def _use(summary: Summary) -> list[str]:
    use = summary.use
    return ["-", "-"] if use is None else [f"{use.utilisation:.0%}", f"{use.perplexity:.0f}"]


def _figure(summary: Summary, metric: Metric) -> str:
    found = summary.metrics.get(metric.name)
    return "-" if found is None else metric.shown(found.mean)
