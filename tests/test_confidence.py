"""Intervals of means over files, and which differences chance may have made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from results_folder import make_results

from acomp.evaluation.confidence import interval, may_be_chance
from acomp.evaluation.metrics import METRICS
from acomp.evaluation.results import Results
from acomp.evaluation.summary import as_dict, summarise
from acomp.pages.figures import Standing, cells, standing

FILES = 12


@pytest.mark.parametrize("count", [5, 30, 3000])
def test_an_interval_is_that_of_scipys_bootstrap(count: int) -> None:
    from scipy.stats import bootstrap

    values = np.random.default_rng(1).gamma(2, size=count)
    found = interval(values.tolist())
    assert found is not None and found == interval(values.tolist())
    drawn = bootstrap((values,), np.mean, n_resamples=5000, method="percentile", batch=500)
    width = drawn.confidence_interval.high - drawn.confidence_interval.low
    assert found == pytest.approx(tuple(drawn.confidence_interval), abs=0.07 * width)


def test_an_interval_holds_the_true_mean_19_times_in_20() -> None:
    random = np.random.default_rng(2)
    intervals = [interval(random.normal(3, 2, 40).tolist()) for _ in range(200)]
    held = sum(found is not None and found[0] <= 3 <= found[1] for found in intervals)
    assert 180 <= held <= 197


def test_few_files_have_no_interval_and_equal_ones_none_but_the_mean() -> None:
    assert interval([1.0, 2.0, 3.0, 4.0]) is None
    assert interval([]) is None
    assert interval([2.5] * 5) == (2.5, 2.5)


def test_a_small_difference_in_every_file_is_no_chance() -> None:
    """It is the differences that are drawn: files differ from each other by far more."""
    first = np.random.default_rng(3).normal(0, 10, 20)
    better = first + np.random.default_rng(4).uniform(0.1, 0.3, 20)
    other = first + np.random.default_rng(5).normal(0, 1, 20)
    assert not may_be_chance(first.tolist(), better.tolist())
    assert may_be_chance(first.tolist(), other.tolist())
    assert may_be_chance(first.tolist(), first.tolist())


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Twelve files: nano@6 and opus@12 are level in PESQ, nano@1.5 is behind them."""
    base, rows = make_results(tmp_path), []
    random = np.random.default_rng(6)
    for row in base.rows:
        if row.file != base.files[0]:
            continue
        for at in range(FILES):
            figure = {"nano@1.5": 2.0, "nano@6": 3.0, "opus@12": 3.01, "pcm": 4.6}[row.setting]
            metrics = {**row.metrics, "pesq": figure + random.normal(0, 0.2)}
            rows.append(replace(row, file=f"{at}.wav", metrics=metrics))
    return Results(tmp_path, rows)


def test_the_report_tells_the_best_and_what_is_level_with_it(results: Results) -> None:
    pesq = METRICS["pesq"]
    found = standing(results, pesq)
    assert {found.best} | found.level == {"nano@6", "opus@12"}
    summaries = summarise(results, {setting: {} for setting in results.settings})
    column = [cells(each, [pesq], {"pesq": found}, FILES)[6] for each in summaries]
    assert [cell.is_best for cell in column].count(True) == 1
    assert ["≈" in cell.text for cell in column].count(True) == 1
    for summary, cell in zip(summaries, column, strict=True):
        ends = summary.metrics["pesq"].interval
        assert ends is not None and cell.below == f"{ends[0]:.2f} to {ends[1]:.2f}"
        assert ends[0] < summary.metrics["pesq"].mean < ends[1]
    assert not column[-1].is_best and summaries[-1].setting == "pcm"
    assert "interval" in str(as_dict(summaries))


def test_nothing_is_the_best_of_a_few_files_or_of_one_setting(results: Results) -> None:
    few = Results(results.folder, [row for row in results.rows if row.file < "2"])
    assert len(few.files) == 4
    assert standing(few, METRICS["pesq"]) == Standing()
    alone = [row for row in results.rows if row.setting in ("nano@6", "pcm")]
    assert standing(Results(results.folder, alone), METRICS["pesq"]) == Standing()
