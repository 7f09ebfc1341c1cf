"""Ratings of a listening test: read from the CSVs that its page has downloaded, and checked.

A rating is one assessor's score of one condition of one file.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from acomp.errors import AcompError
from acomp.plain import brief
from acomp.tables import read_csv

Key = TypeVar("Key")

REFERENCE = "reference"
"""The hidden reference."""
LOW_ANCHOR = "anchor35"
MID_ANCHOR = "anchor70"
ANCHORS = {LOW_ANCHOR: 3500, MID_ANCHOR: 7000}
"""The anchors' cut-off frequencies in Hz."""

MOST_BYTES = 1 << 20
"""Of a file of ratings: far more than a test of a hundred files gives."""


@dataclass(frozen=True)
class Rating:
    """One assessor's rating of one condition of one file: a line of a file of ratings.

    Attributes:
        assessor: the name they gave.
        test: hash of what the page held; scores of different tests are not to be mixed.
        trial: number of the trial, from 1, in the order in which this assessor met the files.
        file: its name in the results.
        position: where the signal stood in its trial, from 1.
        condition: a setting, or `reference`, `anchor35` or `anchor70`.
        score: 0 to 100.
        seconds: how long the assessor spent on the trial.
        time: when the trial was done, as in ISO 8601.
    """

    assessor: str
    test: str
    trial: int
    file: str
    position: int
    condition: str
    score: int
    seconds: float
    time: str


COLUMNS = tuple(each.name for each in fields(Rating))


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


def grouped(ratings: Iterable[Rating], key: Callable[[Rating], Key]) -> dict[Key, list[Rating]]:
    """The ratings by what `key` makes of them, in their order."""
    groups: dict[Key, list[Rating]] = {}
    for rating in ratings:
        groups.setdefault(key(rating), []).append(rating)
    return groups


def _read(path: Path, seen: _Seen) -> Iterator[Rating]:
    lines = read_csv(path, MOST_BYTES, AcompError)
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


def _rating(cells: list[str]) -> Rating:
    if len(cells) != len(COLUMNS):
        raise ValueError(f"{len(cells)} cells, where there are {len(COLUMNS)} columns")
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
    expected = {(rating.file, rating.condition) for rating in ratings}
    for file in sorted({rating.file for rating in ratings}):
        if (file, REFERENCE) not in expected:
            raise AcompError(
                f"nobody rated the hidden reference of {brief(file)}: ratings are missing"
            )
    for assessor, own in grouped(ratings, lambda rating: rating.assessor).items():
        if missing := expected - {(rating.file, rating.condition) for rating in own}:
            file, condition = min(missing)
            raise AcompError(
                f"{brief(assessor)} did not rate {brief(condition)} of {brief(file)}, which others "
                "did: "
                "ratings are missing"
            )
