"""What sources give: recordings, each with what its source says of it, in parts that depend on
nothing but the sources.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

Value = str | int | float | bool | None
"""What a column that a source fills can hold."""

FEWEST, MOST, PARTS = 16, 2048, 64
"""A part has so many recordings at least and at most, and a source is cut into this number of
parts if these allow it: small ones begin to be shared between processes, and large ones lose
little when a process dies."""


@dataclass(frozen=True)
class Entry:
    """A recording as a source names it.

    Attributes:
        id: of the row, unique in its part.
        source: name of the recording, as the column `source` and messages have it.
        audio: name or address of the file, or its bytes.
        start: where the recording begins in the audio, in seconds.
        duration: in seconds; None is all that follows.
        channels: those of the audio's channels that are meant, from 0; None is all.
        said: what the source says of it: any value of JSON by its name.
        problem: why it cannot be used; None if nothing is known to be wrong.
    """

    id: str
    source: str
    audio: str | bytes = b""
    start: float = 0.0
    duration: float | None = None
    channels: tuple[int, ...] | None = None
    said: Mapping[str, object] = field(default_factory=dict)
    problem: str | None = None


def row_id(own: object, otherwise: str) -> str:
    """The id of a row: what its source calls it, if that is a name or a number, or `otherwise`."""
    return str(own) if isinstance(own, str | int) and own != "" else otherwise


class Unit(ABC):
    """A stretch of a source; can be pickled, and gives the same entries each time.

    Attributes:
        name: of the file that it is a stretch of; empty where entries are files.
    """

    name: str

    @abstractmethod
    def entries(self) -> Iterator[Entry]:
        """Its entries, in order.

        Raises:
            AcompError: the source cannot be read, or is not what it was when the unit was cut.
        """


@dataclass(frozen=True)
class Part:
    """A unit with its place in the dataset.

    Attributes:
        number: of the part, from 0.
        unit: what is in it.
    """

    number: int
    unit: Unit

    @property
    def name(self) -> str:
        """Name of its file."""
        return part_name(self.number)


def part_name(number: int) -> str:
    """The name of the file of a part."""
    return f"part-{number:05}.parquet"


def entries_per_part(count: int) -> int:
    """How many of a source's `count` recordings go into a part: a multiple of `FEWEST`."""
    wanted = -(-count // PARTS)
    return min(MOST, max(1, -(-wanted // FEWEST)) * FEWEST)
