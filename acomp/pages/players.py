"""The players of a report: versions of a file to look at and to compare by ear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from acomp.errors import AcompError
from acomp.evaluation.metrics import Metric
from acomp.evaluation.results import Results
from acomp.evaluation.rows import Row
from acomp.pages import charts
from acomp.pages.clips import Clip, excerpt, level_matched

REFERENCE = "reference"


def player(results: Results, file: str, start: float, seconds: float) -> dict[str, Any]:
    """What a player shows and plays: the reference and every setting that has the file."""
    rows = {setting: results.row(setting, file) for setting in results.settings}
    there = {setting: row for setting, row in rows.items() if row is not None}
    paths = {REFERENCE: results.reference(file)}
    paths |= {setting: results.decoded(setting, file) for setting in there}
    clips = level_matched({name: excerpt(path, start, seconds) for name, path in paths.items()})
    first, original = next(iter(there.values())), clips[0].audio
    if not original.length:
        raise AcompError(f"{file} is {first.seconds:.1f} s long and has nothing at {start:g} s")
    levels = {clip.id: charts.band_levels(clip.audio, clip.gain) for clip in clips}
    brightest = float(levels[REFERENCE].max())
    versions = []
    for clip in clips:
        row = there.get(clip.id)
        versions.append(
            {
                "id": clip.id,
                "facts": ["the original"] if row is None else _facts(row, results.metrics),
                "image": charts.data_url(charts.spectrogram(levels[clip.id], brightest)),
            }
        )
    return {
        "file": file,
        "facts": (
            f"{first.content}, {first.sample_rate / 1000:g} kHz, {_sound(original.channels)}, "
            f"{start:g} to {start + original.duration:.4g} s of {first.seconds:.4g} s"
        ),
        "missing": [setting for setting, row in rows.items() if row is None],
        "duration": original.duration,
        "marks": charts.frequency_marks(original.sample_rate),
        "versions": versions,
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
