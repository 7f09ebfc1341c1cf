"""Ratings of a listening test: read from the CSVs that its page has downloaded, and checked.

A rating is one assessor's score of one condition of one file.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TypeVar

from acomp.errors import AcompError
from acomp.files import reason_of
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
    for assessor, own in grouped(ratings, lambda rating: rating.assessor).items():
        if missing := due - {(rating.file, rating.condition) for rating in own}:
            file, condition = min(missing)
            raise AcompError(
                f"{brief(assessor)} did not rate {brief(condition)} of {brief(file)}, which others "
                "did: "
                "ratings are missing"
            )
