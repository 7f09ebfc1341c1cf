"""What a dataset holds, finished or not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from acomp.datasets.description import Made, Totals, read_description
from acomp.datasets.entries import part_name
from acomp.datasets.parts import Failure, Tally, open_part, tally_of
from acomp.packages import require_packages


@dataclass(frozen=True)
class Count:
    """What the parts that are there hold.

    Attributes:
        totals: of all of them.
        missing: number of parts that are not there.
        failures: in their order.
        codes: number of codes.
        bytes: of their files.
    """

    totals: Totals
    missing: int
    failures: tuple[Failure, ...]
    codes: int
    bytes: int


def count(folder: Path, made: Made) -> Count:
    """Count what the parts of a dataset hold, by their metadata.

    Raises:
        FormatError: a part is damaged.
    """
    paths = (folder / part_name(number) for number in range(made.parts))
    found = [(path, tally) for path in paths if (tally := tally_if_there(path, made)) is not None]
    tallies = [tally for _, tally in found]
    failures = [failure for tally in tallies for failure in tally.failures.values()]
    totals = Totals(
        rows=sum(sum(tally.rows) for tally in tallies),
        seconds=sum(tally.seconds for tally in tallies),
        frames=sum(tally.frames for tally in tallies),
        failures=len(failures),
    )
    return Count(
        totals,
        made.parts - len(found),
        tuple(failures),
        sum(tally.codes for tally in tallies),
        sum(path.stat().st_size for path, _ in found),
    )


def tally_if_there(path: Path, made: Made) -> Tally | None:
    """What a part holds; None if it is not there.

    Raises:
        FormatError: it is damaged.
    """
    if not path.exists():
        return None
    with open_part(path, made) as file:
        return tally_of(file, path)


def summarise(folder: Path) -> dict[str, Any]:
    """What `acomp info` says of a dataset.

    Raises:
        FormatError: it is no dataset, or is damaged.
        AcompError: pyarrow is not installed.
    """
    require_packages("a dataset", "pyarrow", extra="datasets")
    made = read_description(folder).made
    found = count(folder, made)
    bare = found.codes * (made.codebook_size - 1).bit_length() / 8
    return {
        **{"file": str(folder), "form": "dataset", **asdict(made), **asdict(found.totals)},
        **{"finished": not found.missing, "missing": found.missing, "bytes": found.bytes},
        "ratio": found.bytes / bare if bare else None,
    }
