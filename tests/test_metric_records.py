"""A metric is one record: what comes of adding one, and of tables that have others."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, Cli, assert_done, assert_refused, make
from results_folder import make_results

from acomp.audio import Audio
from acomp.errors import AcompError, AcompWarning
from acomp.evaluation.metrics import METRICS, DoesNotApply, Method, Metric, choose, fast, measure
from acomp.evaluation.results import Results, open_results
from acomp.evaluation.rows import FACTS, columns, read_rows, write_rows
from acomp.evaluation.summary import count_usage, left_out, summarise
from acomp.pages.report import write_report

SAMPLES = Path(str(files("acomp") / "samples"))
DOCS = ROOT / "docs" / "evaluation.md"


def peak_ratio(reference: Audio, decoded: Audio) -> float:
    """The whole of what someone writes to add a metric: this function and the record below."""
    return float(np.abs(decoded.samples).max() / np.abs(reference.samples).max())


PEAK = Metric(
    name="peak_ratio",
    label="Peak <ratio>",
    short="peak",
    unit="x",
    higher_is_better=False,
    digits=4,
    about="the decoded audio's peak over the reference's",
    method=Method(compute=peak_ratio),
)


def metric(name: str, method: Method) -> Metric:
    return replace(PEAK, name=name, method=method)


@contextmanager
def added(*metrics: Metric) -> Iterator[None]:
    before = dict(METRICS)
    METRICS.update({metric.name: metric for metric in metrics})
    try:
        yield
    finally:
        METRICS.clear()
        METRICS.update(before)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def edit(folder: Path, change: dict[str, str] | None, drop: tuple[str, ...] = ()) -> None:
    """Leave columns of results.csv out, and add others to each row."""
    rows = table(folder)
    rows = [{name: row[name] for name in row if name not in drop} | (change or {}) for row in rows]
    with (folder / "results.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


# Adding one


def test_a_record_is_all_that_a_new_metric_takes(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav")
    with added(PEAK):
        run = cli("eval", "a.wav", "-c", "nano@6", "-c", "pcm", "-o", "results")
        assert_done(run)
        assert_done(cli("report", "results"))
    assert re.search(r"┃\s*peak┃", run.out)
    lower = [each.label for each in (*fast(), PEAK) if not each.higher_is_better]
    assert f"lower is better: {', '.join(lower)}" in " ".join(run.out.split())
    figures = [float(row["peak_ratio"]) for row in table(tmp_path / "results")]
    assert figures[1] == pytest.approx(1, abs=1e-4) and figures[0] != figures[1]
    summary = json.loads((tmp_path / "results" / "summary.json").read_text())
    means = [each["metrics"]["peak_ratio"]["mean"] for each in summary["settings"]]
    assert means == pytest.approx(figures, rel=1e-5)
    page = (tmp_path / "results" / "report.html").read_text()
    assert "<h3>Peak &lt;ratio&gt;, x</h3>" in page
    assert 'aria-label="Peak &lt;ratio&gt; over the bit rate of nano"' in page
    assert f"<span>Peak &lt;ratio&gt; {figures[0]:.4f}</span>" in page
    assert f"<td>{figures[0]:.4f}</td>" in page


def test_a_method_of_several_metrics_is_computed_once() -> None:
    calls = []

    def both(reference: Audio, _: Audio) -> dict[str, float]:
        calls.append(reference.channels)
        return {"first": float(reference.samples[0, 0]), "second": float("nan")}

    method = Method(compute=both, channels="each")
    pair = [metric(name, method) for name in ("first", "second")]
    audio = Audio(np.array([[0.25, 0.5], [0.75, 1]], np.float32), 8000)
    assert measure(audio, audio, "other", [*pair, metric("third", Method(compute=peak_ratio))]) == (
        {"first": 0.5, "third": 1.0},
        {"second": "it has no finite value"},
    )
    assert calls == [1, 1]
    assert pair[0].of(audio, audio) == 0.5


def test_a_method_gets_what_it_asks_for() -> None:
    seen: list[tuple[int, int, float]] = []

    def note(reference: Audio, decoded: Audio) -> float:
        assert reference.samples.shape == decoded.samples.shape
        seen.append((reference.sample_rate, reference.channels, reference.duration))
        if reference.samples.mean() < 0.2:
            raise DoesNotApply("too low")
        return float(reference.samples.mean())

    samples = np.stack([np.linspace(0, 0.5, 70_000), np.linspace(0, 1, 70_000)])
    audio = Audio(samples.astype(np.float32), 10_000)

    def found(method: Method) -> float:
        seen.clear()
        return metric("note", method).of(audio, audio)

    assert found(Method(compute=note)) == pytest.approx(0.375, rel=1e-4)
    assert seen == [(10_000, 2, 7)]
    assert found(Method(compute=note, channels="mixed", sample_rate=8000)) > 0.37
    assert seen == [(8000, 1, 7)]
    # Of three stretches the first has a mean of 1/8 and is left out, the others 3/8 and 5/8.
    halves = found(Method(compute=note, longest=2.5))
    assert len(seen) == 3 and halves == pytest.approx((0.375 + 0.625) / 2, rel=1e-3)
    assert found(Method(compute=note, channels="each")) == pytest.approx(0.375, rel=1e-4)
    assert seen == [(10_000, 1, 7)] * 2
    silence = Audio(np.zeros_like(audio.samples), 10_000)
    with pytest.raises(DoesNotApply, match="silence"):
        metric("note", Method(compute=note)).of(silence, silence)
    with pytest.raises(DoesNotApply, match="too low"):
        metric("note", Method(compute=note, takes_silence=True)).of(silence, silence)


def test_every_record_fits_its_places() -> None:
    shorts = {metric.short for metric in METRICS.values()}
    assert len(shorts) == len(METRICS)
    assert not {*METRICS} & {*FACTS, "fast", "full"}
    for name, each in METRICS.items():
        assert re.fullmatch("[a-z][a-z0-9_]*", name) and name == each.name
        assert len(each.short) <= 6, f"{name}: {each.short!r} is longer than 6 characters"
        assert "\n" not in each.about and "|" not in each.about


def expected_table() -> list[str]:
    """The table of metrics in docs/evaluation.md."""
    lines = [
        "| column | unit | better | what it is | computed | package | cost |",
        "|---|---|---|---|---|---|---|",
    ]
    channels = {"together": "all channels together", "each": "each channel", "mixed": "as mono"}
    for each in METRICS.values():
        method = each.method
        computed = [
            *(["speech only"] if method.content == "speech" else []),
            *([f"at {method.sample_rate / 1000:g} kHz"] if method.sample_rate else []),
            channels[method.channels],
            "whole file" if method.longest is None else f"stretches of {method.longest:g} s",
        ]
        cells = [
            f"`{each.name}`",
            each.unit,
            "higher" if each.higher_is_better else "lower",
            each.about,
            ", ".join(computed),
            ", ".join(f"`{module}`" for module in method.packages),
            method.cost,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return [re.sub(" +", " ", line) for line in lines]


def test_the_documentation_has_every_record() -> None:
    found = [line for line in DOCS.read_text().splitlines() if line.startswith("|")]
    start = found.index(expected_table()[0])
    expected = "\n".join(expected_table())
    assert "\n".join(found[start : start + len(METRICS) + 2]) == expected, expected


def test_any_reason_to_leave_a_metric_out_comes_back(tmp_path: Path) -> None:
    def refuse(*_: Audio) -> float:
        raise DoesNotApply('too short; or\ntoo loud, "both"')

    audio = Audio(np.ones((1, 10), np.float32), 8000)
    figures, reasons = measure(audio, audio, "other", [metric("one", Method(compute=refuse))])
    assert (figures, reasons) == ({}, {"one": 'too short, or too loud, "both"'})
    results = make_results(tmp_path)
    row = replace(results.rows[0], left_out={**reasons, "two": "short"})
    write_rows(results.table, [row])
    assert read_rows(results.table)[0].left_out == row.left_out


# Choosing


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("fast", [each.name for each in fast()]),
        ("full", [*METRICS, "slow"]),
        ("stoi, pesq", ["pesq", "stoi"]),
    ],
)
def test_metrics_are_chosen_by_name_or_cost(asked: str, expected: list[str]) -> None:
    slow = metric("slow", Method(compute=peak_ratio, cost="slow"))
    with added(slow):
        assert [each.name for each in choose(asked)] == expected


def test_a_metric_that_there_is_not(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav")
    run = cli("eval", "a.wav", "-c", "pcm", "-o", "results", "--metrics", "si_sdr,pesk")
    assert_refused(run, "there is no metric 'pesk'; did you mean pesq?")
    assert not (tmp_path / "results").exists()
    with pytest.raises(
        AcompError, match=f"there is no metric ''; there are fast, full, {', '.join(METRICS)}"
    ):
        choose("")


def test_another_metric_is_added_to_what_is_there(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav")
    command = ("eval", "a.wav", "-c", "nano@6", "-o", "results", "--metrics")
    run = cli(*command, "si_sdr")
    assert_done(run)
    assert "mel" not in run.out and "lower is better" not in run.out
    (first,) = table(tmp_path / "results")
    assert (first["log_mel"], first["left_out"]) == ("", "")
    assert_done(cli(*command, "log_mel,pesq"))
    (second,) = table(tmp_path / "results")
    assert second["si_sdr"] == first["si_sdr"] and second["log_mel"]
    assert second["left_out"] == "pesq: not speech"
    coded = Results(tmp_path / "results").coded("nano@6", "a.wav")
    age = coded.stat().st_mtime_ns
    assert_done(cli(*command, "pesq"))
    assert table(tmp_path / "results") == [second]
    assert coded.stat().st_mtime_ns == age


def test_what_is_not_installed_is_left_out_until_it_is(cli: Cli, tmp_path: Path) -> None:
    method = Method(compute=peak_ratio, cost="slow", packages=("not_there",), extra="some")
    command = ("eval", make(tmp_path / "a.wav"), "-c", "pcm", "-o", "results", "--metrics")
    with added(metric("peak", method)):
        refused = cli(*command, "peak")
        assert_refused(refused, 'eval needs not_there: pip install "acomp[some]"')
        assert_done(cli(*command, "full"))
        (row,) = table(tmp_path / "results")
        assert (row["peak"], row["left_out"].split("; ")[-1]) == ("", "peak: not installed")
    with added(metric("peak", replace(method, packages=()))):
        assert_done(cli(*command, "full"))
    (row,) = table(tmp_path / "results")
    assert float(row["peak"]) == pytest.approx(1, abs=1e-4)
    assert "not installed" not in row["left_out"]


@pytest.mark.parametrize(("width", "tables"), [(80, 2), (300, 1)])
def test_many_metrics_fit_a_terminal(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    width: int,
    tables: int,
) -> None:
    """The slow ones have a table of their own where one of all would be too wide."""
    import rich.console

    from acomp.cli.evaluate import _show

    monkeypatch.setattr(
        "rich.console.Console",
        partial(rich.console.Console, width=width, force_terminal=True, no_color=True),
    )
    results = make_results(tmp_path)
    _show(summarise(results, count_usage(results)), results)
    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in capsys.readouterr().out.splitlines()]
    drawn = [line for line in lines if line.startswith(("┃", "│", "┏"))]
    assert all(len(line) <= width for line in drawn)
    heads = [line.replace("┃", " ").split() for line in drawn if line.startswith("┃")]
    assert len(heads) == tables
    assert {metric.short for metric in METRICS.values()} <= {*heads[0], *heads[-1]}
    assert len([line for line in drawn if "nano@6" in line]) == tables


# Tables of other versions


def test_a_table_without_a_metric_is_read(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    dropped = ("mr_stft", "pesq")
    edit(tmp_path, None, drop=dropped)
    found = open_results(tmp_path)
    for row, before in zip(found.rows, results.rows, strict=True):
        expected = {name: each for name, each in before.metrics.items() if name not in dropped}
        assert row.metrics == pytest.approx(expected)
    write_report(found, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<li>Not measured: MR-STFT distance</li>" in page
    assert "<h3>STOI</h3>" in page and "<h3>MR-STFT distance</h3>" not in page


def test_rows_without_a_metric_are_told_where_others_have_it(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    rows = [
        replace(row, metrics={**row.metrics, "si_sdr": 1.0}) if row.setting == "nano@6" else row
        for row in results.rows
    ]
    rows = [
        replace(row, metrics={"log_mel": 0.5}, left_out={}) if row.setting == "pcm" else row
        for row in rows
    ]
    write_rows(results.table, rows)
    found = open_results(tmp_path)
    summaries = summarise(found, count_usage(found))
    assert [*summaries[-1].metrics] == ["log_mel"]
    assert "SI-SDR left out of 2 of 2 files: not measured (pcm)" in list(left_out(summaries))
    write_report(found, tmp_path / "report.html")
    cells = re.search(r'scope="row">pcm</th>(.*?)</tr>', (tmp_path / "report.html").read_text())
    assert cells is not None
    shown = ["0.500" if name == "log_mel" else "-" for name in METRICS]
    assert re.findall(r"<td>(.*?)</td>", cells[1])[5 : 5 + len(shown)] == shown


def test_columns_of_a_newer_acomp_are_told_and_kept(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav")
    command = ("eval", "a.wav", "-c", "pcm", "-o", "results")
    assert_done(cli(*command))
    reasons = "pesq: not speech; stoi: not speech; visqol_8: not music"
    change = {"visqol_9": "4.5", "note": "a, b", "left_out": reasons}
    edit(tmp_path / "results", change)
    with pytest.warns(AcompWarning, match="does not know and does not show: 'visqol_9', 'note'"):
        (row,) = read_rows(tmp_path / "results" / "results.csv")
    assert row.unknown == {"visqol_9": "4.5", "note": "a, b"}
    run = cli("report", "results")
    assert_done(run)
    assert run.err.count("warning: ") == run.err.count("\n") == 1
    assert "visqol_8 left out of 1 of 1 files: not music" in (
        tmp_path / "results" / "report.html"
    ).read_text().replace("\n", "")
    assert_done(cli(*command, "-c", "nano@6"))
    first, second = table(tmp_path / "results")
    assert {name: first[name] for name in change} == change
    assert (second["visqol_9"], second["note"]) == ("", "")


@pytest.mark.parametrize("drop", ["key", "setting", "perplexity"])
def test_a_table_without_its_facts_is_none(tmp_path: Path, drop: str) -> None:
    make_results(tmp_path)
    edit(tmp_path, None, drop=(drop,))
    with pytest.raises(AcompError, match="other columns than a table of `acomp eval`"):
        open_results(tmp_path)


def test_a_table_of_two_or_too_many_like_columns_is_none(tmp_path: Path) -> None:
    for names in ([*columns(), "pesq"], [*columns(), *(f"m{n}" for n in range(200))]):
        (tmp_path / "results.csv").write_text(",".join(names) + "\n")
        with pytest.raises(AcompError, match="other columns"):
            open_results(tmp_path)


def test_the_later_of_two_rows_counts(tmp_path: Path) -> None:
    results = make_results(tmp_path)
    row = results.rows[0]
    write_rows(results.table, [*results.rows, replace(row, bytes=row.bytes + 1)])
    rows = open_results(tmp_path).rows
    assert len(rows) == len(results.rows)
    assert rows[0].bytes == row.bytes + 1
