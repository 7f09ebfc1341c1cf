"""Sources of training audio as the user names them, and what was found in them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acomp.batch.walk import Unusable
from acomp.errors import TrainingError


@dataclass(frozen=True)
class Source:
    """Where audio comes from.

    Attributes:
        path: a folder, a list (.txt) or an audio file.
        share: share of the segments that come from it; None is its share of the hours.

    Raises:
        TrainingError: the share is not more than 0 and at most 1.
    """

    path: Path
    share: float | None = None

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share <= 1:
            raise TrainingError(
                f"the share of {self.path} must be more than 0 and at most 1, not {self.share:g}"
            )


def parse_source(text: str) -> Source:
    """`PATH` or `PATH=SHARE`, as in `speech=0.6`; a path that exists may hold a `=` itself.

    Raises:
        TrainingError: the share is no number, or not more than 0 and at most 1.
    """
    path, _, share = text.rpartition("=")
    if not path or os.path.lexists(text):
        return Source(Path(text))
    try:
        return Source(Path(path), float(share))
    except ValueError as error:
        raise TrainingError(
            f"the share of {path} must be a number such as 0.6, not {share!r}"
        ) from error


@dataclass(frozen=True)
class AudioFile:
    """What the header of an audio file says.

    Attributes:
        path: the file.
        sample_rate: in Hz.
        channels: number of channels.
        length: samples per channel.
        is_sought: whether libsndfile can seek in it; otherwise it is decoded from its beginning.
    """

    path: Path
    sample_rate: int
    channels: int
    length: int
    is_sought: bool = True

    @property
    def seconds(self) -> float:
        return self.length / self.sample_rate


@dataclass(frozen=True)
class Stretch:
    """Part of a file, or the whole of it.

    Attributes:
        file: the file.
        start: the first sample.
        stop: the sample after the last one.
    """

    file: AudioFile
    start: int
    stop: int

    @property
    def length(self) -> int:
        """Samples per channel."""
        return self.stop - self.start

    @property
    def seconds(self) -> float:
        return self.length / self.file.sample_rate


@dataclass(frozen=True)
class Found:
    """What there is in a source.

    Attributes:
        path: the source.
        share: share of the segments that come from it.
        train: what is trained on.
        held_out: what is validated on.
        unusable: files that cannot be used, with the reasons.
    """

    path: Path
    share: float
    train: tuple[Stretch, ...]
    held_out: tuple[Stretch, ...]
    unusable: tuple[Unusable, ...]

    @property
    def files(self) -> list[AudioFile]:
        """The usable files."""
        return list(dict.fromkeys(stretch.file for stretch in self.train + self.held_out))


@dataclass(frozen=True)
class Collection:
    """The audio of all sources; can be pickled.

    Attributes:
        sources: what is coded.
        noise: what is put behind it.
    """

    sources: tuple[Found, ...]
    noise: tuple[Found, ...] = ()

    def summary(self) -> list[dict[str, Any]]:
        """Each source in figures, in types that JSON knows."""
        return [_summary(found) for found in (*self.sources, *self.noise)]


def _summary(found: Found) -> dict[str, Any]:
    files = found.files
    return {
        "source": str(found.path),
        "share": found.share,
        "files": len(files),
        "hours": seconds_of(found.train + found.held_out) / 3600,
        "held_out_files": len(found.held_out),
        "held_out_hours": seconds_of(found.held_out) / 3600,
        "sample_rates": dict(Counter(str(file.sample_rate) for file in files).most_common()),
        "channels": dict(Counter(str(file.channels) for file in files).most_common()),
        "unusable": [[str(each.path), each.reason] for each in found.unusable],
    }


def seconds_of(stretches: Sequence[Stretch]) -> float:
    return sum(stretch.seconds for stretch in stretches)
