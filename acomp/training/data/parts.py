"""What is trained on and what is held out, and each source's share of the segments."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from acomp.errors import TrainingError
from acomp.training.data.sources import AudioFile, Source, Stretch


def part(
    sources: Sequence[dict[str, AudioFile]], held_out: float
) -> list[tuple[tuple[Stretch, ...], tuple[Stretch, ...]]]:
    """What is trained on and what is held out, of each source."""
    cuts: dict[str, int] = {}
    """Where the held-out part of a file begins, by the file's real path."""
    real = {file.path: os.path.realpath(file.path) for files in sources for file in files.values()}
    for files in sources:
        for file, cut_at in zip(files.values(), _cuts(files, held_out), strict=True):
            name = real[file.path]
            cuts[name] = min(cut_at, cuts.get(name, cut_at))
    parts = []
    for files in sources:
        ends = [(file, cuts[real[file.path]]) for file in files.values()]
        train = tuple(Stretch(file, 0, end) for file, end in ends if end > 0)
        held = tuple(Stretch(file, end, file.length) for file, end in ends if end < file.length)
        parts.append((train, held))
    return parts


def _cuts(files: dict[str, AudioFile], held_out: float) -> list[int]:
    """Where the held-out part of each file begins: its start or its end, or within the only one."""
    if len(files) == 1:
        (file,) = files.values()
        least = min(file.sample_rate, file.length // 2)
        return [file.length - max(round(held_out * file.length), least)]
    places = [_place(name) for name in files]
    first, last = min(places), max(places)
    held = [place == first or (place < held_out and place != last) for place in places]
    return [0 if out else file.length for file, out in zip(files.values(), held, strict=True)]


def _place(name: str) -> float:
    """A number from 0 to 1 that the name alone decides."""
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8]) / (1 << 64)


def shares_of(sources: Sequence[Source], seconds: Sequence[float]) -> list[float]:
    """Shares of the segments, which add up to 1."""
    given = sum(source.share or 0.0 for source in sources)
    rest = sum(s for source, s in zip(sources, seconds, strict=True) if source.share is None)
    if not rest:
        return [(source.share or 0.0) / given for source in sources]
    if given >= 1:
        raise TrainingError(
            f"the shares add up to {given:g}, which leaves nothing for the sources without: "
            "give every source a share"
        )
    return [
        source.share if source.share is not None else (1 - given) * s / rest
        for source, s in zip(sources, seconds, strict=True)
    ]
