"""The players of a page: versions of a file to look at and to compare by ear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acomp.errors import AcompError
from acomp.evaluation.metrics import Metric
from acomp.evaluation.results import Results
from acomp.evaluation.rows import Row
from acomp.pages import charts
from acomp.pages.clips import Clip, excerpt, level_matched

REFERENCE = "reference"


@dataclass(frozen=True)
class Sound:
    """A sound in several versions.

    Attributes:
        name: of the sound.
        content: what it is: speech or other.
        seconds: its duration.
        paths: the file of each version, the original first.
        facts: what stands below each version.
    """

    name: str
    content: str
    seconds: float
    paths: Mapping[str, Path]
    facts: Mapping[str, list[str]]


def player(results: Results, file: str, start: float, seconds: float) -> dict[str, Any]:
    """What a player shows and plays: the reference and every setting that has the file."""
    rows = {setting: results.row(setting, file) for setting in results.settings}
    there = {setting: row for setting, row in rows.items() if row is not None}
    first = next(iter(there.values()))
    sound = Sound(
        file,
        first.content,
        first.seconds,
        {REFERENCE: results.reference(file)}
        | {setting: results.decoded(setting, file) for setting in there},
        {REFERENCE: ["the original"]}
        | {setting: _facts(row, results.metrics) for setting, row in there.items()},
    )
    missing = [setting for setting, row in rows.items() if row is None]
    return {**player_of(sound, start, seconds), "missing": missing}


def player_of(sound: Sound, start: float, seconds: float) -> dict[str, Any]:
    """What a player shows and plays: at most `seconds` of a sound, from `start` on.

    Raises:
        AcompError: a file cannot be read, or the original has nothing at `start`.
    """
    clips = level_matched(
        {name: excerpt(path, start, seconds) for name, path in sound.paths.items()}
    )
    original = clips[0].audio
    if not original.length:
        raise AcompError(
            f"{sound.name} is {sound.seconds:.1f} s long and has nothing at {start:g} s"
        )
    levels = {clip.id: charts.band_levels(clip.audio, clip.gain) for clip in clips}
    brightest = float(levels[clips[0].id].max())
    return {
        "file": sound.name,
        "facts": (
            f"{sound.content}, {original.sample_rate / 1000:g} kHz, "
            f"{_sound(original.channels)}, "
            f"{start:g} to {start + original.duration:.4g} s of {sound.seconds:.4g} s"
        ),
        "missing": [],
        "duration": original.duration,
        "marks": charts.frequency_marks(original.sample_rate),
        "versions": [
            {
                "id": name,
                "facts": sound.facts[name],
                "image": charts.data_url(charts.spectrogram(found, brightest)),
            }
            for name, found in levels.items()
        ],
        "clips": [_clip(clip) for clip in clips],
    }


def _clip(clip: Clip) -> dict[str, Any]:
    return {"id": clip.id, "flac": clip.flac, "gain": clip.gain}


def _facts(row: Row, metrics: Sequence[Metric]) -> list[str]:
    """A setting's figures for one file."""
    figures = (
        f"{metric.label} {metric.shown(row.metrics[metric.name])}"
        for metric in metrics
        if metric.name in row.metrics
    )
    return [f"{row.kbps:.4g} kbps", *figures]


def _sound(channels: int) -> str:
    return {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")
