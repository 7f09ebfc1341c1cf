"""Twins: published weights in the layout of `transformers`, found in Hugging Face's cache.

Nobody publishes the SHA-256 of such a file, but the cache names a large file by it. A twin is taken
once the codec's network has taken its weights; then its revision and its SHA-256 are written down,
and hold from then on, whatever `main` comes to stand for.
"""

from __future__ import annotations

import re
from pathlib import Path

from acomp.backends.weights.catalogue import Weights
from acomp.backends.weights.layouts.files import WHOLE, find
from acomp.backends.weights.places import hub_cache
from acomp.backends.weights.sums import file_sum, note, notes
from acomp.codecs import PUBLISHED
from acomp.errors import AcompError, WeightsError

_NOTES = "twins.json"
"""In acomp's cache: by the weights' name the revision and the SHA-256 that were taken."""


def file_of(weights: Weights) -> Path | None:
    """The file of the twin that is here: of the revision that was taken, or else of `main`."""
    if weights.twin is None:
        return None
    repository = hub_cache() / f"models--{weights.twin.replace('/', '--')}"
    revision, _ = _taken(weights.name)
    try:
        kept = repository / "snapshots" / revision if revision else repository
        files = find(kept if kept.is_dir() else repository).files
    except (WeightsError, OSError):  # a folder that is not there, empty, or somebody else's
        return None
    return files[0] if len(files) == 1 and files[0].name in WHOLE else None


def sums_of(weights: Weights, file: Path) -> list[str]:
    """What the SHA-256 of a twin's file must be: as it was taken, and as the cache says."""
    blob = file.resolve().name
    _, taken = _taken(weights.name)
    return [digits for digits in (taken, blob) if re.fullmatch("[0-9a-f]{64}", digits)]


def refusal(weights: Weights) -> str | None:
    """Why a twin that is here is not taken; None where none is here, or it is taken.

    To be taken it must load, the first time; then what it is is noted.
    """
    file = file_of(weights)
    if file is None or _taken(weights.name) != ("", ""):
        return None
    from acomp.backends.families import family_of
    from acomp.engines import pick_engine

    codec, family = PUBLISHED[weights.name], family_of(weights.name)
    engine = pick_engine("torch", device="cpu")
    try:
        family.load(codec.spec, family.shape_of(codec), file.parent, engine)
    except AcompError as error:
        return str(error)
    note(_NOTES, weights.name, {"revision": file.parent.name, "sha256": file_sum(file)})
    return None


def _taken(name: str) -> tuple[str, str]:
    """Revision and SHA-256 of the twin that was taken; empty where none was."""
    match notes(_NOTES).get(name):
        case {"revision": str(revision), "sha256": str(sha256)}:
            return (revision, sha256) if re.fullmatch("[0-9a-f]{7,64}", revision) else ("", "")
    return "", ""
