"""Scores of a MUSHRA listening test (ITU-R BS.1534-3): assessors screened, ratings summed up."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from acomp.errors import AcompError
from acomp.files import atomic_write
from acomp.listening.ratings import MID_ANCHOR, REFERENCE, Rating, grouped
from acomp.packages import require_packages
from acomp.tables import csv_lines

MUCH = 90
"""Score that the hidden reference must get at least, and the mid-range anchor at most."""
TOLERATED = 15
"""Per cent of an assessor's trials that may miss that."""
DOUBTFUL = 25
"""Per cent of the assessors that may find an anchor good before the anchor is what is wrong."""


@dataclass(frozen=True)
class Exclusion:
    """An assessor whose ratings do not count.

    Attributes:
        assessor: the name they gave.
        reason: words that follow `ASSESSOR, who `.
    """

    assessor: str
    reason: str


@dataclass(frozen=True)
class Screening:
    """What the post-screening left.

    Attributes:
        ratings: those that count.
        excluded: assessors whose ratings do not count.
        undegraded: files whose mid-range anchor sounds too good to judge assessors by.
    """

    ratings: list[Rating]
    excluded: list[Exclusion]
    undegraded: list[str]


@dataclass(frozen=True)
class Score:
    """The ratings of a condition in one file, or in all of them, summed up.

    Attributes:
        file: its name; None for the ratings of all files together.
        condition: a setting, the hidden reference, or an anchor.
        n: number of ratings.
        mean: of the ratings, 0 to 100.
        interval: the 95 % confidence interval is `mean` plus and minus this; None for a single
            rating.
        median: of the ratings.
        quartiles: the first and the third; the interquartile range lies between them.
    """

    file: str | None
    condition: str
    n: int
    mean: float
    interval: float | None
    median: float
    quartiles: tuple[float, float]


@dataclass(frozen=True)
class Outcome:
    """The outcome of a listening test.

    Attributes:
        test: hash of what its page held.
        assessors: those whose ratings count.
        screening: who was excluded, and why.
        scores: over all files first, then file by file; each time the best condition of all first.
    """

    test: str
    assessors: list[str]
    screening: Screening
    scores: list[Score]

    def as_dict(self) -> dict[str, object]:
        """The outcome as plain values, for JSON."""
        return {
            "test": self.test,
            "assessors": self.assessors,
            "excluded": [asdict(each) for each in self.screening.excluded],
            "undegraded": self.screening.undegraded,
            "scores": [asdict(score) for score in self.scores],
        }


def outcome(ratings: Sequence[Rating]) -> Outcome:
    """Screen the assessors and sum up the ratings of those that remain.

    Raises:
        AcompError: scipy is missing.
    """
    require_packages("scoring", "scipy")
    screening = screen(ratings)
    kept = list(dict.fromkeys(rating.assessor for rating in screening.ratings))
    return Outcome(ratings[0].test, kept, screening, summarise(screening.ratings))


def screen(ratings: Sequence[Rating]) -> Screening:
    """Post-screening of assessors, ITU-R BS.1534-3, 4.1.2.

    Excluded is who rates the hidden reference below 90 in more than 15 % of the trials, or the
    mid-range anchor above 90 in more than 15 %. Where more than 25 % of all assessors rate the
    mid-range anchor of a file above 90, that anchor is no degradation: such a file, and one without
    that anchor, is no trial for the second rule.
    """
    anchors = [rating for rating in ratings if rating.condition == MID_ANCHOR]
    undegraded = [
        file
        for file, found in grouped(anchors, lambda rating: rating.file).items()
        if _more_than(DOUBTFUL, [rating.score > MUCH for rating in found])
    ]
    excluded = []
    for assessor, own in grouped(ratings, lambda rating: rating.assessor).items():
        if reasons := list(_reasons(own, undegraded)):
            excluded.append(Exclusion(assessor, "; ".join(reasons)))
    out = {each.assessor for each in excluded}
    kept = [rating for rating in ratings if rating.assessor not in out]
    return Screening(kept, excluded, undegraded)


def summarise(ratings: Sequence[Rating]) -> list[Score]:
    """Scores of each condition over all files, the best mean first, then of each file.

    The unit is the rating: for a file there is one of each assessor, and for all files the ratings
    of all assessors and files are pooled, as ITU-R BS.1534-3 does. The intervals over all files
    therefore tell of these files, and not how far other ones would differ. The interval is that of
    Student's t with n - 1 degrees of freedom; it may reach beyond 0 and 100. Quartiles are
    interpolated linearly between ratings.
    """
    overall = [
        _score(None, condition, found)
        for condition, found in grouped(ratings, lambda rating: rating.condition).items()
    ]
    overall.sort(key=lambda score: (-score.mean, score.condition))
    groups = grouped(ratings, lambda rating: (rating.file, rating.condition))
    return overall + [
        _score(file, score.condition, groups[file, score.condition])
        for file in sorted({rating.file for rating in ratings})
        for score in overall
        if (file, score.condition) in groups
    ]


def write_scores(path: Path, scores: Iterable[Score], *, replace: bool = True) -> None:
    """Write scores as CSV; `file` is empty in those over all files, an interval in single ratings.

    Raises:
        ExistsError: the file exists and is not to be replaced.
        AcompError: it cannot be written.
    """
    names = ("file", "condition", "n", "mean", "ci95_low", "ci95_high", "median", "q1", "q3")
    with atomic_write(path, AcompError, replace=replace) as file:
        file.write(csv_lines([names, *map(_cells, scores)]))


def _cells(score: Score) -> list[object]:
    ends = ["", ""]
    if score.interval is not None:
        ends = [f"{score.mean - score.interval:.6g}", f"{score.mean + score.interval:.6g}"]
    middle = [f"{value:.6g}" for value in (score.median, *score.quartiles)]
    return [score.file or "", score.condition, score.n, f"{score.mean:.6g}", *ends, *middle]


def _reasons(own: Sequence[Rating], undegraded: Sequence[str]) -> Iterator[str]:
    """Why the assessor with these ratings is excluded; nothing where there is no reason."""
    low = [rating.score < MUCH for rating in own if rating.condition == REFERENCE]
    if _more_than(TOLERATED, low):
        yield f"rates the hidden reference below {MUCH} in {sum(low)} of {len(low)} trials"
    judged = [rating for rating in own if rating.file not in undegraded]
    high = [rating.score > MUCH for rating in judged if rating.condition == MID_ANCHOR]
    if _more_than(TOLERATED, high):
        yield f"rates the 7 kHz anchor above {MUCH} in {sum(high)} of {len(high)} trials"


def _more_than(percentage: int, hits: Sequence[bool]) -> bool:
    """In whole numbers, so that the limit itself is exact."""
    return 100 * sum(hits) > percentage * len(hits)


def _score(file: str | None, condition: str, ratings: Sequence[Rating]) -> Score:
    values = np.array([rating.score for rating in ratings], np.float64)
    first, median, third = (float(value) for value in np.percentile(values, (25, 50, 75)))
    mean = float(values.mean())
    return Score(file, condition, len(values), mean, _interval(values), median, (first, third))


def _interval(values: np.ndarray) -> float | None:
    """Half the width of the 95 % confidence interval of the mean."""
    from scipy.stats import t

    if len(values) < 2:
        return None
    return float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
