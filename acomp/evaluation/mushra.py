"""Ratings of a MUSHRA listening test (ITU-R BS.1534-3): read, screened and summed up.

A rating is one assessor's score of one condition of one file, as the page that `acomp listen`
makes has it downloaded.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

import numpy as np

from acomp.errors import AcompError
from acomp.files import atomic_write, reason_of
from acomp.packages import require_packages
from acomp.plain import brief

Key = TypeVar("Key")

REFERENCE = "reference"
"""The hidden reference."""
LOW_ANCHOR = "anchor35"
MID_ANCHOR = "anchor70"
ANCHORS = {LOW_ANCHOR: 3500, MID_ANCHOR: 7000}
"""The anchors' cut-off frequencies in Hz."""

MOST_BYTES = 1 << 20
"""Far more than a test of a hundred files gives."""
MUCH = 90
"""Score that the hidden reference is due at least, and the mid-range anchor at most."""
TOLERATED = 15
"""Per cent of an assessor's trials that may miss that."""
DOUBTFUL = 25
"""Per cent of the assessors that may find an anchor good before the anchor is what is wrong."""


@dataclass(frozen=True)
class Rating:
    """One row of a file of ratings."""

    assessor: str
    test: str
    """Hash of what the page held: scores of different tests are not to be mixed."""
    trial: int
    """From 1, in the order in which this assessor met the files."""
    file: str
    position: int
    """From 1, where the signal stood in its trial."""
    condition: str
    """A setting, or `reference`, `anchor35` or `anchor70`."""
    score: int
    """0 to 100."""
    seconds: float
    """How long the assessor spent on the trial."""
    time: str
    """When the trial was done, ISO 8601."""


COLUMNS = tuple(each.name for each in fields(Rating))


@dataclass(frozen=True)
class Exclusion:
    """An assessor whose ratings do not count."""

    assessor: str
    reason: str


@dataclass(frozen=True)
class Screening:
    """What the post-screening left."""

    ratings: list[Rating]
    """Those that count."""
    excluded: list[Exclusion]
    undegraded: list[str]
    """Files whose mid-range anchor is not worse enough to judge assessors by."""


@dataclass(frozen=True)
class Score:
    """What a condition was rated in one file, or in all of them."""

    file: str | None
    """None: ratings of all files together."""
    condition: str
    n: int
    mean: float
    interval: float | None
    """The 95 % confidence interval is `mean` plus and minus this; None for a single rating."""
    median: float
    quartiles: tuple[float, float]
    """The first and the third; the interquartile range lies between them."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a listening test."""

    test: str
    assessors: list[str]
    """Those whose ratings count."""
    screening: Screening
    scores: list[Score]
    """Over all files first, then file by file; each time the best condition of all first."""


@dataclass
class _Seen:
    """What the files read so far have shown."""

    test: str | None = None
    places: dict[tuple[object, ...], str] = field(default_factory=dict)


def read_ratings(paths: Sequence[Path]) -> list[Rating]:
    """The ratings of several files, which must be whole and of one test.

    Raises:
        AcompError: a file cannot be read, is too big, is no file of ratings or has an impossible
            value; the files are of different tests; something is rated twice; or an assessor has
            not rated all that others have, or a file has no hidden reference.
    """
    seen = _Seen()
    ratings = [rating for path in paths for rating in _read(path, seen)]
    _check_whole(ratings)
    return ratings


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
        for file, found in _grouped(anchors, lambda rating: rating.file).items()
        if _more_than(DOUBTFUL, [rating.score > MUCH for rating in found])
    ]
    excluded = []
    for assessor, own in _grouped(ratings, lambda rating: rating.assessor).items():
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
        for condition, found in _grouped(ratings, lambda rating: rating.condition).items()
    ]
    overall.sort(key=lambda score: (-score.mean, score.condition))
    groups = _grouped(ratings, lambda rating: (rating.file, rating.condition))
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
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(
        ("file", "condition", "n", "mean", "ci95_low", "ci95_high", "median", "q1", "q3")
    )
    for score in scores:
        ends = ("", "")
        if score.interval is not None:
            ends = (f"{score.mean - score.interval:.6g}", f"{score.mean + score.interval:.6g}")
        middle = (f"{value:.6g}" for value in (score.median, *score.quartiles))
        name = score.file or ""
        lines.writerow((name, score.condition, score.n, f"{score.mean:.6g}", *ends, *middle))
    with atomic_write(path, AcompError, replace=replace) as file:
        file.write(text.getvalue().encode(errors="backslashreplace"))


def _grouped(ratings: Iterable[Rating], key: Callable[[Rating], Key]) -> dict[Key, list[Rating]]:
    groups: dict[Key, list[Rating]] = {}
    for rating in ratings:
        groups.setdefault(key(rating), []).append(rating)
    return groups


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


def _read(path: Path, seen: _Seen) -> Iterator[Rating]:
    lines = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    empty = True
    try:
        if tuple(next(lines, ())) != COLUMNS:
            raise ValueError("it is no file of ratings from a page of `acomp listen`")
        for cells in lines:
            rating = _rating(cells)
            _check(rating, seen, f"{path}, line {lines.line_num}")
            empty = False
            yield rating
    except (ValueError, csv.Error) as error:
        raise AcompError(f"{path}, line {max(1, lines.line_num)}: {error}") from error
    if empty:
        raise AcompError(f"{path} has no ratings")


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise AcompError(f"cannot read {path}: {reason_of(error)}") from error
    if len(data) > MOST_BYTES:
        raise AcompError(f"{path} has more than {MOST_BYTES} bytes, too many for ratings")
    try:
        return data.decode("utf-8-sig")  # a spreadsheet that saves it may add a mark
    except UnicodeDecodeError as error:
        raise AcompError(f"{path} is not text in UTF-8") from error


def _rating(cells: list[str]) -> Rating:
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells, where {len(COLUMNS)} are due")
    row = dict(zip(COLUMNS, cells, strict=True))
    for name in ("assessor", "test", "file", "condition"):
        if not row[name]:
            raise ValueError(f"{name} is empty")
    score = _whole(row, "score")
    if score > 100:
        raise ValueError(f"score is {score}; 0 to 100 can be")
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", row["seconds"]):
        raise ValueError(f"seconds is {brief(row['seconds'])}, which is no duration")
    return Rating(
        assessor=row["assessor"],
        test=row["test"],
        trial=_whole(row, "trial"),
        file=row["file"],
        position=_whole(row, "position"),
        condition=row["condition"],
        score=score,
        seconds=float(row["seconds"]),
        time=row["time"],
    )


def _whole(row: dict[str, str], name: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", row[name]):
        raise ValueError(f"{name} is {brief(row[name])}, which is no whole number")
    return int(row[name])


def _check(rating: Rating, seen: _Seen, place: str) -> None:
    seen.test = seen.test or rating.test
    if rating.test != seen.test:
        tests = brief(rating.test), brief(seen.test)
        raise ValueError("it is of the test {}, and what came before of {}".format(*tests))
    # A trial is a file: each of them tells of a rating that was given before.
    for key in (
        (rating.assessor, "trial", rating.trial, rating.condition),
        (rating.assessor, "file", rating.file, rating.condition),
    ):
        if key in seen.places:
            raise ValueError(
                f"{brief(rating.assessor)} rated {brief(rating.condition)} of this trial before, "
                f"in {seen.places[key]}"
            )
        seen.places[key] = place


def _check_whole(ratings: Sequence[Rating]) -> None:
    due = {(rating.file, rating.condition) for rating in ratings}
    for file in sorted({rating.file for rating in ratings}):
        if (file, REFERENCE) not in due:
            raise AcompError(
                f"nobody rated the hidden reference of {brief(file)}: ratings are missing"
            )
    for assessor, own in _grouped(ratings, lambda rating: rating.assessor).items():
        if missing := due - {(rating.file, rating.condition) for rating in own}:
            file, condition = min(missing)
            raise AcompError(
                f"{brief(assessor)} did not rate {brief(condition)} of {brief(file)}, which others "
                "did: "
                "ratings are missing"
            )
