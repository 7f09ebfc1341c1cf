"""A listening test as one page: MUSHRA, ITU-R BS.1534-3."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from acomp.audio import Audio
from acomp.errors import AcompError
from acomp.evaluation.results import Results, spread
from acomp.evaluation.settings import PCM
from acomp.files import atomic_write
from acomp.listening.anchors import anchor, can_be_anchored
from acomp.listening.ratings import ANCHORS, REFERENCE
from acomp.packages import PAGES, require_packages
from acomp.pages.clips import excerpt, level_matched
from acomp.pages.rendering import PLAYER, STYLE, render

MOST_SETTINGS = 9
"""With the hidden reference and two anchors these are the 12 signals that a trial may have."""
MOST_SECONDS = 12
DEFAULT_FILES = 6
FOLDER = Path(__file__).parent


def write_listening_test(
    results: Results,
    page: Path,
    *,
    files: Sequence[str] = (),
    settings: Sequence[str] = (),
    start: float = 0.0,
    seconds: float = 10.0,
    replace: bool = True,
) -> None:
    """Write a page that has assessors rate each file in each setting, in a trial for each file.

    Args:
        results: what `acomp eval` left.
        page: the HTML file.
        files: default six, as many of speech as of other content where there are enough.
        settings: at most 9; default all but `pcm`.
        start: where in the files the excerpts begin, in seconds.
        seconds: length of the excerpts, at most 12.
        replace: whether a page that exists is replaced.

    Raises:
        ExistsError: it exists and is not to be replaced.
        AcompError: a file or setting is not in the results, or one failed in another; more settings
            or seconds than the recommendation allows; audio cannot be read or is too short; the
            page cannot be written; packages are missing.
    """
    require_packages("a listening test", *PAGES)
    if not 0 < seconds <= MOST_SECONDS:
        raise AcompError(f"an excerpt lasts up to {MOST_SECONDS} s (BS.1534-3), not {seconds:g} s")
    if not 0 <= start < math.inf:
        raise AcompError(f"excerpts cannot start at {start:g} s")
    conditions = _settings(results, settings)
    chosen = _files(results, files, conditions)
    notes: list[str] = []
    trials = [_trial(results, file, conditions, start, seconds, notes) for file in chosen]
    test = hashlib.sha256(json.dumps(trials).encode()).hexdigest()[:16]
    data = {"test": test, "trials": trials}
    html = render(
        FOLDER / "listen.html",
        [STYLE, FOLDER / "listen.css"],
        [PLAYER, FOLDER / "listen.js"],
        data=data,
        notes=notes,
    )
    with atomic_write(page, AcompError, replace=replace) as file_:
        file_.write(html)


def _settings(results: Results, asked: Sequence[str]) -> list[str]:
    """The settings to rate."""
    chosen = list(dict.fromkeys(asked))
    for setting in chosen:
        if setting not in results.settings:
            known = ", ".join(results.settings)
            raise AcompError(f"the results have no setting {setting}; they have {known}")
    if not chosen:
        chosen = [setting for setting in results.settings if setting != PCM]
    if not chosen:
        raise AcompError(f"the results have no setting but {PCM}: evaluate a codec first")
    if len(chosen) > MOST_SETTINGS:
        raise AcompError(
            f"{len(chosen)} settings are too many for a trial, which has at most {MOST_SETTINGS} "
            "beside its reference and anchors (BS.1534-3): choose with --setting"
        )
    for setting in chosen:
        if setting in (REFERENCE, *ANCHORS):
            raise AcompError(f"a setting cannot be called {setting}: a signal of each trial is")
    return chosen


def _files(results: Results, asked: Sequence[str], settings: Sequence[str]) -> list[str]:
    """The files to rate the settings by."""
    chosen = list(dict.fromkeys(asked))
    for file in chosen:
        if file not in results.files:
            raise AcompError(f"the results have no file {file}")
        for setting in settings:
            if results.row(setting, file) is None:
                raise AcompError(f"the results have no {file} in the setting {setting}")
    return chosen or _spread(results, settings)


def _spread(results: Results, settings: Sequence[str]) -> list[str]:
    """The first files that came through all settings, of speech and of other content in turn."""
    rows = [results.row(settings[0], file) for file in results.files]
    whole = [
        row for row in rows if row and all(results.row(setting, row.file) for setting in settings)
    ]
    chosen = spread({row.file: row.content for row in whole}, DEFAULT_FILES)
    if not chosen:
        raise AcompError(f"no file came through all of {', '.join(settings)}: use --setting")
    return chosen


def _trial(
    results: Results,
    file: str,
    settings: Sequence[str],
    start: float,
    seconds: float,
    notes: list[str],
) -> dict[str, Any]:
    """What the page holds of a file, the reference first; adds to the notes for the assessor."""
    reference = excerpt(results.reference(file), start, seconds)
    if not reference.length:
        raise AcompError(f"{file} has no audio after {start:g} s: use --start or --file")
    versions = {REFERENCE: reference}
    for setting in settings:
        versions[setting] = excerpt(results.decoded(setting, file), start, seconds)
    for name, cutoff in ANCHORS.items():
        if can_be_anchored(reference.sample_rate, cutoff):
            versions[name] = anchor(reference, cutoff)
        else:
            notes.append(_missing(file, reference, cutoff))
    clips = [
        {"condition": clip.id, "gain": round(clip.gain, 6), "flac": clip.flac}
        for clip in level_matched(versions)
    ]
    return {"file": file, "clips": clips}


def _missing(file: str, reference: Audio, cutoff: int) -> str:
    return (
        f"{file} has no anchor of {cutoff / 1000:g} kHz: at its rate of {reference.sample_rate} Hz "
        f"it reaches {reference.sample_rate / 2000:g} kHz, and a low-pass filter would take next "
        "to nothing away."
    )
