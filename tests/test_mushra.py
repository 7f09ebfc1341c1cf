"""Scores of a listening test: files of ratings, the screening of assessors, the statistics."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import Cli, assert_done, assert_refused, assert_wrong_usage
from scipy import stats

from acomp.errors import AcompError
from acomp.listening.ratings import COLUMNS, Rating, read_ratings
from acomp.listening.scores import Score, outcome, screen, summarise, write_scores

HEADER = ",".join(COLUMNS)
ROW = "Ada,t1,1,talk.wav,{position},{condition},{score},10.5,2025-01-01T00:00:00.000Z"


def rating(assessor: str, trial: int, condition: str, score: int) -> Rating:
    return Rating(assessor, "t1", trial, f"{trial}.wav", 1, condition, score, 10.0, "now")


def ratings_of(assessor: str, condition: str, scores: Sequence[int]) -> list[Rating]:
    """A rating of the condition for each trial."""
    return [rating(assessor, trial, condition, score) for trial, score in enumerate(scores)]


def excluded(ratings: list[Rating]) -> dict[str, str]:
    return {each.assessor: each.reason for each in screen(ratings).excluded}


def lines(*rows: tuple[str, int]) -> str:
    """A file of one assessor's ratings of one trial."""
    found = [
        ROW.format(position=position, condition=condition, score=score)
        for position, (condition, score) in enumerate(rows, 1)
    ]
    return "\n".join([HEADER, *found, ""])


GOOD = lines(("reference", 100), ("nano@6", 60))


def test_scores_worked_out_by_hand() -> None:
    """60, 70, 80, 90: mean 75, s = sqrt(500 / 3), t(0.975, 3) = 3.18245, so 3.18245 s / 2."""
    ratings = ratings_of("Ada", "nano@6", [60, 70]) + ratings_of("Ben", "nano@6", [80, 90])
    overall, first, second = summarise(ratings)
    assert overall == Score(None, "nano@6", 4, 75.0, overall.interval, 75.0, (67.5, 82.5))
    assert overall.interval == pytest.approx(3.18245 * math.sqrt(500 / 3) / 2, rel=1e-5)
    # A file has a rating of each assessor: 60 and 80, t(0.975, 1) = 12.7062, s = sqrt(200).
    assert (first.file, first.n, first.mean, first.median) == ("0.wav", 2, 70.0, 70.0)
    assert first.interval == pytest.approx(12.7062 * math.sqrt(200) / math.sqrt(2), rel=1e-5)
    assert (second.file, second.mean, second.quartiles) == ("1.wav", 80.0, (75.0, 85.0))


def test_scores_are_those_of_scipy() -> None:
    scores = np.random.default_rng(0).integers(0, 101, 37)
    found = summarise(ratings_of("Ada", "nano@6", scores.tolist()))[0]
    low, high = stats.t.interval(0.95, 36, loc=scores.mean(), scale=stats.sem(scores))
    assert found.interval is not None
    assert (found.mean - found.interval, found.mean + found.interval) == pytest.approx((low, high))
    assert found.quartiles[1] - found.quartiles[0] == pytest.approx(stats.iqr(scores))
    assert found.median == np.median(scores)


def test_a_single_rating_has_no_interval() -> None:
    for score in summarise([rating("Ada", 1, "nano@6", 64)]):
        assert (score.n, score.mean, score.interval) == (1, 64.0, None)


def test_the_best_condition_is_first() -> None:
    ratings = [
        rating("Ada", 1, "a", 20),
        rating("Ada", 1, "b", 90),
        rating("Ada", 2, "a", 80),
        rating("Ada", 2, "b", 60),
    ]
    found = [(score.file, score.condition) for score in summarise(ratings)]
    assert found == [(None, "b"), (None, "a")] + [
        (file, condition) for file in ("1.wav", "2.wav") for condition in ("b", "a")
    ]


@pytest.mark.parametrize(
    ("scores", "out"),
    [
        ([89] * 3 + [100] * 17, False),  # 15 % exactly
        ([89] * 4 + [100] * 16, True),
        ([89] * 15 + [100] * 85, False),
        ([89] * 16 + [100] * 84, True),
        ([90] * 20, False),  # 90 exactly
        ([89], True),
    ],
)
def test_the_hidden_reference_screens(scores: list[int], out: bool) -> None:
    found = excluded(ratings_of("Ada", "reference", scores))
    assert bool(found) is out
    if out:
        low = sum(score < 90 for score in scores)
        reason = f"rates the hidden reference below 90 in {low} of {len(scores)} trials"
        assert found == {"Ada": reason}


@pytest.mark.parametrize(
    ("scores", "out"),
    [
        ([91] * 3 + [40] * 17, False),
        ([91] * 4 + [40] * 16, True),
        ([90] * 20, False),
    ],
)
def test_the_mid_range_anchor_screens(scores: list[int], out: bool) -> None:
    """Three others find the anchor bad, so that 25 % at most find it good in any trial."""
    ratings = ratings_of("Ada", "anchor70", scores)
    for other in ("Ben", "Cy", "Di"):
        ratings += ratings_of(other, "anchor70", [30] * 20)
    found = excluded(ratings)
    assert list(found) == (["Ada"] if out else [])
    if out:
        assert found["Ada"] == "rates the 7 kHz anchor above 90 in 4 of 20 trials"


def test_an_anchor_that_does_not_degrade_judges_nobody() -> None:
    """2 of 7 assessors are more than 25 %, 1 of 4 are not."""
    seven = [rating(f"a{each}", 1, "anchor70", 95 if each < 2 else 30) for each in range(7)]
    assert screen(seven).undegraded == ["1.wav"]
    assert excluded(seven) == {}
    ninety = [replace(each, score=min(each.score, 90)) for each in seven]
    assert screen(ninety).undegraded == []
    four = [rating(f"a{each}", 1, "anchor70", 95 if each < 1 else 30) for each in range(4)]
    assert screen(four).undegraded == []
    assert list(excluded(four)) == ["a0"]


def test_trials_with_such_an_anchor_are_not_counted_at_all() -> None:
    """Seven trials of which one misses are 14.3 %; without one that is no trial they are 16.7 %."""
    ratings = []
    for assessor in ("Ada", "Ben", "Cy", "Di"):
        first = 95 if assessor == "Ada" else 30
        ratings += ratings_of(assessor, "anchor70", [first, 30, 30, 30, 30, 30, 95])
    found = screen(ratings)
    assert found.undegraded == ["6.wav"]
    assert [each.assessor for each in found.excluded] == ["Ada"]
    assert found.excluded[0].reason.endswith("in 1 of 6 trials")


def test_the_low_anchor_screens_nobody() -> None:
    ratings = ratings_of("Ada", "anchor35", [100] * 6) + ratings_of("Ben", "anchor35", [10] * 6)
    assert excluded(ratings) == {}


def test_the_excluded_do_not_count() -> None:
    ratings = [
        rating("Ada", 1, "reference", 100),
        rating("Ada", 1, "nano@6", 40),
        rating("Ben", 1, "reference", 20),
        rating("Ben", 1, "nano@6", 80),
    ]
    found = outcome(ratings)
    assert found.assessors == ["Ada"]
    assert [(score.n, score.mean) for score in found.scores if score.condition == "nano@6"] == [
        (1, 40.0),
        (1, 40.0),
    ]


def test_all_may_be_excluded() -> None:
    found = outcome([rating("Ben", 1, "reference", 20)])
    assert (found.assessors, found.scores) == ([], [])


def test_ratings_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(GOOD.replace("talk.wav", '"a, ""b""\nc.wav"'), "utf-8-sig", newline="\r\n")
    first, second = read_ratings([path])
    assert (first.file, first.condition, first.score) == ('a, "b"\r\nc.wav', "reference", 100)
    assert (second.position, second.condition, second.seconds) == (2, "nano@6", 10.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: it is no file of ratings"),
        ("a,b\n1,2\n", "line 1: it is no file of ratings"),
        (HEADER + "\n", "has no ratings"),
        (GOOD + "Ada,t1\n", "line 4: 2 cells, where there are 9 columns"),
        (GOOD.replace(",60,", ",101,"), "line 3: score is 101"),
        (GOOD.replace(",60,", ",-1,"), "line 3: score is '-1'"),
        (GOOD.replace(",60,", ",nan,"), "line 3: score is 'nan'"),
        (GOOD.replace(",60,", ",6\u0660,"), "line 3: score is"),
        (GOOD.replace(",60,", ",,"), "line 3: score is ''"),
        (GOOD.replace("10.5", "inf"), "line 2: seconds is 'inf'"),
        (GOOD.replace("t1,1,", "t1,x,"), "line 2: trial is 'x'"),
        (GOOD.replace("Ada", "", 1), "line 2: assessor is empty"),
        (GOOD.replace("t1", "t2", 1), "line 3: it is of the test 't1'"),
        (
            GOOD + GOOD.splitlines()[1] + "\n",
            "line 4: 'Ada' rated 'reference' of this trial before",
        ),
        (
            GOOD + GOOD.splitlines()[2].replace("t1,1,", "t1,2,") + "\n",
            "line 4: 'Ada' rated 'nano@6' of this trial before",
        ),
        (lines(("nano@6", 60)), "nobody rated the hidden reference of 'talk.wav'"),
        (GOOD.replace("talk.wav", '"talk'), "line "),
    ],
)
def test_bad_files(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(AcompError) as caught:
        read_ratings([path])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text_or_too_big(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(AcompError, match="not text in UTF-8"):
        read_ratings([path])
    path.write_bytes(b"a" * (2 << 20))
    with pytest.raises(AcompError, match="is longer than the 1048576 bytes"):
        read_ratings([path])
    with pytest.raises(AcompError, match="no such file"):
        read_ratings([tmp_path / "b.csv"])


def test_files_must_fit_together(tmp_path: Path) -> None:
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    one.write_text(GOOD, "utf-8")
    with pytest.raises(AcompError, match=r"one\.csv, line 2: 'Ada' rated .* in .*one\.csv, line 2"):
        read_ratings([one, one])
    other.write_text(GOOD.replace("t1", "t2").replace("Ada", "Ben"), "utf-8")
    with pytest.raises(AcompError, match=r"other\.csv, line 2: it is of the test 't2'"):
        read_ratings([one, other])
    other.write_text(lines(("reference", 100)).replace("Ada", "Ben"), "utf-8")
    with pytest.raises(AcompError, match=r"'?Ben'? did not rate '?nano@6'? of '?talk\.wav"):
        read_ratings([one, other])


def test_scores_are_written(tmp_path: Path) -> None:
    write_scores(
        tmp_path / "s.csv",
        [
            Score(None, "nano@6", 4, 75.0, 20.5, 75.0, (67.5, 82.5)),
            Score("a,b.wav", "nano@6", 1, 60.0, None, 60.0, (60.0, 60.0)),
        ],
    )
    with (tmp_path / "s.csv").open(newline="") as file:
        whole, single = csv.DictReader(file)
    assert (whole["file"], whole["ci95_low"], whole["ci95_high"]) == ("", "54.5", "95.5")
    assert (whole["q1"], whole["q3"], whole["median"]) == ("67.5", "82.5", "75")
    assert (single["file"], single["n"], single["mean"]) == ("a,b.wav", "1", "60")
    assert (single["ci95_low"], single["ci95_high"]) == ("", "")


def test_the_command(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD, "utf-8")
    spoilt = GOOD.replace("Ada", "[red]Ben").replace(",100,", ",10,")
    (tmp_path / "b.csv").write_text(spoilt, "utf-8")
    run = cli("listen", "--score", "a.csv", "b.csv", "-o", "scores.csv")
    assert_done(run)
    assert "excluded: [red]Ben, who rates the hidden reference below 90 in 1 of 1 trials" in run.out
    assert "1 assessor," in run.out
    assert "nano@6" in (tmp_path / "scores.csv").read_text()
    report = json.loads(cli("listen", "--score", "--json", "a.csv", "b.csv").out)
    assert report["assessors"] == ["Ada"]
    assert report["excluded"][0]["assessor"] == "[red]Ben"
    assert report["scores"][0] == {
        "file": None,
        "condition": "reference",
        "n": 1,
        "mean": 100.0,
        "interval": None,
        "median": 100.0,
        "quartiles": [100.0, 100.0],
    }


def test_the_command_refuses(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(GOOD.replace(",60,", ",600,"), "utf-8")
    assert_refused(cli("listen", "--score", "a.csv"), "a.csv, line 3: score is 600")
    assert_wrong_usage(cli("listen", "--score", "a.csv", "--file", "x"), "--score")
    assert_wrong_usage(cli("listen", "a.csv", "b.csv"), "one folder")
    assert_wrong_usage(cli("listen", ".", "--json"), "--score")
