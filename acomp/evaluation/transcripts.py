"""What is said in recordings, for `acomp eval --transcripts`."""

from __future__ import annotations

from pathlib import Path

from acomp.errors import AcompError
from acomp.plain import brief, read_text

MAX_TRANSCRIPTS = 1 << 26
"""Bytes of a file of transcripts: some thousand hours of speech."""


def read_transcripts(path: Path) -> dict[str, str]:
    """The words of recordings by their names in the results, from lines of a name, a tab and words.

    Empty lines are passed over.

    Raises:
        AcompError: the file cannot be read, or a line is none of these.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(read_text(path, MAX_TRANSCRIPTS, AcompError).splitlines(), 1):
        if not line.strip():
            continue
        name, tab, words = line.partition("\t")
        if not tab or not name or name in found:
            what = "is there twice" if name in found else "is no name, tab and words"
            raise AcompError(f"{path}, line {number}: {brief(line)} {what}")
        found[name] = words.strip()
    return found
