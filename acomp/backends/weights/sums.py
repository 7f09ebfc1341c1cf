"""SHA-256 of files: computed, recorded beside what was downloaded, and remembered.

Hashing 300 MB at every start would cost half a second, so a check that passed is marked, and the
mark holds for as long as the file keeps its size and its time of change.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from acomp.errors import WeightsError
from acomp.files import atomic_write, cache_folder
from acomp.plain import MAX_TEXT, NotPlainError, parse_json, read_small

_MARKS = "verified.json"


def file_sum(path: Path) -> str:
    """The SHA-256 of a file: 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def record_path(path: Path) -> Path:
    """Where the SHA-256 is kept that was seen when acomp downloaded the file of `path`."""
    return path.with_name(f"{path.name}.sha256")


def recorded_sum(path: Path) -> str | None:
    """The SHA-256 that was seen when acomp downloaded the file, in `sha256sum`'s form."""
    try:
        with record_path(path).open("rb") as file:
            digits = file.read(64).decode("ascii", "replace")
    except OSError:
        return None
    return digits if re.fullmatch("[0-9a-f]{64}", digits) else None


def notes(file: str) -> dict[str, Any]:
    """What is kept under a name of a file in acomp's cache: whatever JSON holds, by key."""
    try:
        kept = parse_json(read_small(cache_folder() / file, MAX_TEXT))
    except (OSError, NotPlainError):
        return {}
    return kept if isinstance(kept, dict) else {}


def note(file: str, key: str, value: object) -> None:
    """Keep a value there.

    One that cannot be written, or that another process overwrites, costs one more look.
    """
    kept = {**notes(file), key: value}
    path = cache_folder() / file
    with suppress(WeightsError, OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, WeightsError) as opened:
            opened.write(json.dumps(kept, indent=2).encode())


def _facts(facts: os.stat_result) -> dict[str, int]:
    return {"size": facts.st_size, "mtime_ns": facts.st_mtime_ns}


def marked_sum(path: Path, facts: os.stat_result) -> str | None:
    """The SHA-256 that the file had when it passed, if it has not changed since then."""
    mark = notes(_MARKS).get(str(path.absolute()))
    if not isinstance(mark, dict):
        return None
    sha256 = mark.pop("sha256", None)
    return sha256 if mark == _facts(facts) and isinstance(sha256, str) else None


def mark(path: Path, facts: os.stat_result, sha256: str) -> None:
    """Note that the file passed with this SHA-256."""
    note(_MARKS, str(path.absolute()), {**_facts(facts), "sha256": sha256})
