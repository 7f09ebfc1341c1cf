"""`dataset.json`: what the codes of a dataset are of, and how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from acomp.codes import CodesInfo
from acomp.errors import AcompError, FormatError
from acomp.files import atomic_write
from acomp.plain import brief, read_json
from acomp.scalars import whole_number

NAME = "dataset.json"
FORMAT = "acomp-dataset"
VERSION = 1
MAX_PARTS = 10_000_000
LAYOUT = (
    "a row for each recording; codes is [streams * codebooks][frames], the codebooks of the first "
    "stream first; start and duration in seconds, sample_rate in Hz and channels of the audio that "
    "was coded; sha256 of the bytes of its file"
)


@dataclass(frozen=True)
class Made:
    """How a dataset is made: what must be the same for all its parts.

    Attributes:
        acomp: version of acomp.
        codec: name of the codec.
        fingerprint: of its weights; None for a codec that has none.
        codec_rate: sample rate of the codec in Hz.
        hop_length: samples per frame, at that rate.
        codebooks: number of codebooks used.
        codebook_size: number of entries of a codebook.
        bandwidth: of one stream, in kbps.
        channels: what is coded of the audio's channels.
        segments: whether codes have segments with a scale each.
        engine: what ran the networks; None for a codec that has its own.
        precision: their arithmetic.
        device: cpu or cuda.
        sources: as they were named.
        plan: SHA-256 of what the sources were found to hold.
        parts: number of parts.
        segment: how long recordings were cut: `vad` or seconds; None where they were not.
        least_duration: seconds of the shortest recording or piece that is coded.
        most_duration: seconds of the longest, to which longer ones were cut.
        columns: those that the sources fill, with their types.
    """

    acomp: str
    codec: str
    fingerprint: str | None
    codec_rate: int
    hop_length: int
    codebooks: int
    codebook_size: int
    bandwidth: float
    channels: str
    segments: bool
    engine: str | None
    precision: str | None
    device: str
    sources: tuple[str, ...]
    plan: str
    parts: int
    segment: str | None = None
    least_duration: float | None = None
    most_duration: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def info(self, channels: int, streams: int, source_rate: int) -> CodesInfo:
        """What a row's codes are of.

        Raises:
            FormatError: no codes could be of that.
        """
        return CodesInfo(
            codec=self.codec,
            sample_rate=self.codec_rate,
            channels=channels,
            streams=streams,
            codebooks=self.codebooks,
            codebook_size=self.codebook_size,
            hop_length=self.hop_length,
            source_rate=source_rate,
            fingerprint=self.fingerprint,
        )


@dataclass(frozen=True)
class Totals:
    """What a finished dataset holds.

    Attributes:
        rows: number of rows.
        seconds: of audio, each row's counted.
        frames: of codes.
        failures: number of recordings that could not be coded.
    """

    rows: int = 0
    seconds: float = 0.0
    frames: int = 0
    failures: int = 0


@dataclass(frozen=True)
class Description:
    """The content of `dataset.json`.

    Attributes:
        made: how the dataset is made.
        totals: what it holds; None until it is finished.
    """

    made: Made
    totals: Totals | None = None


_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("acomp", "codec", "channels", "device", "plan"), (str,)),
    **dict.fromkeys(("fingerprint", "engine", "precision"), (str, type(None))),
    **dict.fromkeys(("codec_rate", "hop_length", "codebooks", "codebook_size", "parts"), (int,)),
    **{"bandwidth": (int, float), "segments": (bool,), "sources": (list,), "columns": (dict,)},
    **dict.fromkeys(("rows", "frames", "failures"), (int,)),
    "seconds": (int, float),
    "segment": (str, type(None)),
    **dict.fromkeys(("least_duration", "most_duration"), (int, float, type(None))),
}


def write_description(folder: Path, description: Description) -> None:
    """Write `dataset.json`.

    Raises:
        AcompError: it cannot be written.
    """
    finished = {"finished": description.totals is not None}
    totals = {} if description.totals is None else asdict(description.totals)
    head = {"format": FORMAT, "version": VERSION, "layout": LAYOUT}
    text = json.dumps({**head, **asdict(description.made), **finished, **totals}, indent=1)
    with atomic_write(folder / NAME, AcompError) as file:
        file.write(text.encode() + b"\n")


def is_dataset(folder: Path) -> bool:
    """Whether a folder says of itself that it is a dataset."""
    return (folder / NAME).is_file()


def read_description(folder: Path) -> Description:
    """Read `dataset.json`.

    Raises:
        FormatError: the folder is no dataset of acomp's, or of a later version.
    """
    path = folder / NAME
    if not is_dataset(folder):
        raise FormatError(f"{folder} is no dataset: it has no {NAME}; acomp tokenize makes them")
    found = read_json(path, FormatError)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise FormatError(f"{path} does not describe a dataset of acomp's")
    if found.get("version") != VERSION:
        raise FormatError(
            f"{path} is of version {brief(found.get('version'))}, and this acomp reads {VERSION}: "
            "a later acomp reads it"
        )
    made = Made(**{each.name: _value(path, found, each.name) for each in fields(Made)})
    if not all(kind in ("text", "whole", "number", "truth") for kind in made.columns.values()):
        raise FormatError(f"{path}: columns has types that no column can have")
    made = replace(made, sources=tuple(map(str, made.sources)))
    try:
        for name in ("parts", "codebooks"):
            whole_number(getattr(made, name), name, FormatError)
        if not 1 <= made.parts <= MAX_PARTS:
            raise FormatError(f"parts is {made.parts}, not a whole number from 1 to {MAX_PARTS}")
        made.info(1, 1, made.codec_rate)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from error
    if not found.get("finished"):
        return Description(made)
    totals = {each.name: _value(path, found, each.name) for each in fields(Totals)}
    return Description(made, Totals(**totals))


def _value(path: Path, found: Mapping[str, Any], name: str) -> Any:
    value = found.get(name)
    if not isinstance(value, _TYPES[name]):
        raise FormatError(f"{path}: {name} is {brief(value)}, which it cannot be")
    return value


_ABOUT_SOURCES = {
    "plan": "its sources held other recordings when it was begun",
    "parts": "its sources held other recordings when it was begun",
    "columns": "its sources had other columns when it was begun",
}
_OPTIONS = {"least_duration": "--min-duration", "most_duration": "--max-duration"}
"""What a user calls what has another name in `dataset.json`."""


def check_same(folder: Path, begun: Made, wanted: Made) -> None:
    """See that a dataset that was begun is the one that is wanted.

    Raises:
        AcompError: it is not; the message names the first difference.
    """
    for each in fields(Made):
        had, has = getattr(begun, each.name), getattr(wanted, each.name)
        if had == has:
            continue
        if each.name in _ABOUT_SOURCES:
            said = _ABOUT_SOURCES[each.name]
        else:
            name = _OPTIONS.get(each.name, each.name)
            said = f"it was begun with {name} {_said(had)}, and this is {_said(has)}"
        raise AcompError(f"{folder} is another dataset: {said}; name another folder with -o")


def _said(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else "none" if value is None else str(value)
