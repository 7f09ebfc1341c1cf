"""Tables as CSV: read within bounds, and written a line at a time.

A line is made whole before it is appended to a file (`files.append`), so that a run which is killed
leaves whole lines and at most the beginning of one more.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from acomp.errors import AcompError
from acomp.plain import read_text

if TYPE_CHECKING:
    from _csv import Reader


def csv_lines(rows: Iterable[Iterable[object]]) -> bytes:
    """Lines of CSV in UTF-8; floats are written so that they are read back the same."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode(errors="backslashreplace")


def read_csv(path: Path, most: int, error: type[AcompError], *, appended: bool = False) -> Reader:
    """The lines of a table, each a list of cells; a line that is no CSV raises `csv.Error`.

    Args:
        path: of the table.
        most: bytes that it may have.
        error: what is raised.
        appended: whether lines are appended to it: a last one without its end is then passed over.

    Raises:
        AcompError: as `error`, it cannot be read, is too long, or is not text in UTF-8.
    """
    text = read_text(path, most, error)
    if appended:
        text = text[: text.rfind("\n") + 1]
    return csv.reader(io.StringIO(text, newline=""), strict=True)
