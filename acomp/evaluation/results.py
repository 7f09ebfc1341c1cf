"""The folder that `acomp eval` leaves: what was coded, what came back, and the figures.

    results.csv                      a row for each setting and file
    summary.json                     the figures of each setting over its files
    reference/FILE.flac              the audio that was coded
    coded/SETTING/FILE.nac           what it became: .nac, or a yardstick's own form
    decoded/SETTING/FILE.flac        what came back, at the reference's rate and length

The FLACs have 24 bits, for listening; figures are of the samples before that rounding. FILE is the
file's place below the folder it was found in, suffix and all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from acomp.errors import AcompError
from acomp.evaluation.metrics import METRICS, Metric, fast
from acomp.evaluation.rows import Row, read_rows
from acomp.evaluation.settings import NOISY, PCM
from acomp.evaluation.yardsticks import YARDSTICKS
from acomp.files import atomic_write

TABLE = "results.csv"
SUMMARY = "summary.json"


@dataclass(frozen=True)
class Results:
    """A folder of results.

    Attributes:
        folder: where they lie.
        rows: what was measured, in the order of the settings, and of the files in each.
    """

    folder: Path
    rows: Sequence[Row] = ()

    @cached_property
    def settings(self) -> list[str]:
        """The settings, in the order in which they were asked for."""
        return list(dict.fromkeys(row.setting for row in self.rows))

    @cached_property
    def files(self) -> list[str]:
        """The names of the files, in order."""
        return list(dict.fromkeys(row.file for row in self.rows))

    @cached_property
    def metrics(self) -> list[Metric]:
        """The metrics that some row has a figure of, or a reason for having none."""
        seen = {name for row in self.rows for name in (*row.metrics, *row.left_out)}
        return [metric for name, metric in METRICS.items() if name in seen]

    @property
    def unmeasured(self) -> list[Metric]:
        """The fast metrics, which are measured by default, that these results lack."""
        return [metric for metric in fast() if metric not in self.metrics]

    def row(self, setting: str, file: str) -> Row | None:
        """The row of a file in a setting; None where it failed."""
        return self._by_name.get((setting, file))

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], Row]:
        return {(row.setting, row.file): row for row in self.rows}

    def reference(self, file: str) -> Path:
        """The audio that was coded: 24-bit FLAC."""
        return _inside(self.folder / "reference", f"{file}.flac")

    def decoded(self, setting: str, file: str) -> Path:
        """What came back: 24-bit FLAC of the reference's rate, length and place in time."""
        return _inside(self.folder / "decoded" / folder_name(setting), f"{file}.flac")

    def coded(self, setting: str, file: str) -> Path:
        """What it became: .nac, or for a yardstick a file of its own form."""
        name = PCM if setting == NOISY else setting.partition("@")[0]
        suffix = YARDSTICKS[name].suffix if name in YARDSTICKS else ".nac"
        return _inside(self.folder / "coded" / folder_name(setting), f"{file}{suffix}")

    @property
    def table(self) -> Path:
        """results.csv."""
        return self.folder / TABLE

    @property
    def summary(self) -> Path:
        """summary.json."""
        return self.folder / SUMMARY


def open_results(folder: Path) -> Results:
    """Read a folder of results.

    Raises:
        AcompError: it is none, or its table is damaged.
    """
    table = folder / TABLE
    if not table.is_file():
        raise AcompError(f"{folder} holds no {TABLE}: make it with `acomp eval ... -o {folder}`")
    results = Results(folder, read_rows(table))
    if not results.rows:
        raise AcompError(f"{table} has no rows: run `acomp eval ... -o {folder}` again")
    return results


def spread(content: Mapping[str, str], most: int) -> list[str]:
    """Up to `most` of the files whose content is given: the first, speech and other in turn."""
    speech = [file for file, kind in content.items() if kind == "speech"]
    other = [file for file, kind in content.items() if kind != "speech"]
    turns = chain.from_iterable(zip_longest(speech, other))
    return [file for file in turns if file is not None][:most]


def write_summary(path: Path, summary: dict[str, Any]) -> None:
    """Write a summary as JSON.

    Raises:
        AcompError: it cannot be written.
    """
    with atomic_write(path, AcompError) as file:
        file.write(json.dumps(summary, indent=2).encode() + b"\n")


def folder_name(setting: str) -> str:
    """A name for the folder of a setting: its own where that can be one."""
    safe = re.sub(r"[^A-Za-z0-9.@-]", "_", setting)[:80]
    if safe == setting and not setting.startswith("."):
        return setting
    return f"_{safe}_{hashlib.sha256(setting.encode()).hexdigest()[:8]}"


def _inside(folder: Path, name: str) -> Path:
    """The file `name` below `folder`.

    Raises:
        AcompError: the name, which a table may have from anywhere, leads out of the folder.
    """
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise AcompError(f"{name} is no name of a file in {folder}")
    return folder / name
