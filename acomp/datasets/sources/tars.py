"""WebDataset: tars in which files with one name but for their suffixes belong together."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import tee
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from acomp.audio import is_audio_name
from acomp.datasets.entries import Entry, Unit
from acomp.datasets.sources.files import unique
from acomp.datasets.sources.places import is_remote, open_place
from acomp.errors import AcompError
from acomp.plain import MAX_TEXT, NotPlainError, parse_json

SUFFIXES = (".tar", ".tar.gz", ".tgz")
_GZIP = b"\x1f\x8b"
PIECE = 64 << 20
"""Bytes of a tar on this machine whose samples make a part. One elsewhere is read in one go, as
finding the samples that begin at a place takes reading all before."""
MAX_AUDIO = 512 << 20
"""Most bytes of audio that are taken into memory."""


@dataclass(frozen=True)
class TarUnit(Unit):
    """The samples whose first file begins in a stretch of a tar.

    Attributes:
        name: of the tar.
        size: in bytes.
        begin: of the stretch.
        end: of the stretch, which is not in it.
    """

    name: str
    size: int
    begin: int
    end: int

    def entries(self) -> Iterator[Entry]:
        with open_place(self.name) as file:
            one, other = tee(self._samples(file))
            for sample, identity in zip(one, unique(each.key for each in other), strict=True):
                yield _entry(self.name, sample, identity)

    def _samples(self, file: BinaryIO) -> Iterator[_Sample]:
        for sample in _samples_of(file, self.begin):
            if sample.begin >= self.end:
                return
            yield sample


@dataclass(frozen=True)
class _Sample:
    """The files of a sample by their suffix, without the dot; those of no use are left out."""

    key: str
    begin: int
    files: dict[str, bytes]
    problem: str | None = None


def _samples_of(file: BinaryIO, begin: int) -> Iterator[_Sample]:
    """The samples that begin at `begin` or later, and one of a problem where the tar is damaged."""
    sample = _Sample("", -1, {})
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined]  # it would grow with the tar
                if not member.isfile() or PurePosixPath(member.name).name.startswith("."):
                    continue
                key, suffix = _split(member.name)
                if key != sample.key or sample.begin < 0:
                    if sample.begin >= begin:
                        yield sample
                    sample = _Sample(key, member.offset, {})
                if sample.begin >= begin and _is_wanted(suffix):
                    sample.files[suffix] = _bytes(tar, member)
            end = tar.offset
    # A header that claims more bytes than there can be is refused by what reads them.
    except (tarfile.TarError, EOFError, ValueError, MemoryError, OverflowError) as error:
        if sample.begin >= begin or not sample.key:
            said = " ".join(str(error).split())[:100] or "a header claims more than memory holds"
            yield _damaged(sample, sample.begin, said)
        return
    if sample.begin >= begin:
        yield sample
    if end >= begin and not _is_end(file, end):
        yield _damaged(sample, end, "its end is missing")


def _damaged(sample: _Sample, begin: int, said: str) -> _Sample:
    """What stands for all that follows a damaged place."""
    after = f"after {sample.key}, " if sample.key else ""
    problem = f"{after}the tar is damaged or cut short: {said}"
    return _Sample(sample.key or "tar", max(0, begin), {}, problem)


def _is_end(file: BinaryIO, place: int) -> bool:
    """Whether a tar ends there as it should, with zeros; `tarfile` ends in silence at half a header
    or a damaged one too.
    """
    file.seek(place)
    return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _split(name: str) -> tuple[str, str]:
    """Key and suffix: what is before and behind the first dot of the file's name."""
    path = PurePosixPath(name)
    stem, _, suffix = path.name.partition(".")
    return str(path.with_name(stem)) if stem else name, suffix.lower()


def _is_wanted(suffix: str) -> bool:
    return suffix in ("json", "txt", "cls") or is_audio_name(Path(f"x.{suffix}"))


def _bytes(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    if member.size > MAX_AUDIO:
        return b""
    file = tar.extractfile(member)
    data = b"" if file is None else file.read()
    if len(data) != member.size:
        raise EOFError("unexpected end of data")
    return data


def _entry(tar: str, sample: _Sample, identity: str) -> Entry:
    files = dict(sample.files)
    audio = next((suffix for suffix in files if is_audio_name(Path(f"x.{suffix}"))), None)
    source = f"{tar}/{sample.key}" + (f".{audio}" if audio else "")
    if sample.problem is not None:
        return Entry(identity, tar, problem=f"{tar}: {sample.problem}")
    if audio is None:
        return Entry(identity, source, problem=f"{source} has no file of audio")
    if not files[audio]:
        return Entry(identity, source, problem=f"{source} is empty, or too large to be in a tar")
    try:
        return Entry(identity, source, files[audio], said=_said(files))
    except (NotPlainError, AcompError, ValueError) as error:
        return Entry(identity, source, problem=f"what {source} has beside its audio {error}")


def _said(files: dict[str, bytes]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if "json" in files:
        value = parse_json(files["json"])
        if not isinstance(value, dict):
            raise AcompError("is no JSON object")
        said |= value
    if "txt" in files:
        said["text"] = _text(files["txt"])
    if "cls" in files:
        label = _text(files["cls"])
        said["cls"] = int(label) if label.lstrip("-").isdecimal() and len(label) < 18 else label
    return said


def _text(data: bytes) -> str:
    if len(data) > MAX_TEXT:
        raise AcompError(f"is longer than {MAX_TEXT} bytes")
    return data.decode("utf-8", "replace").strip()


def units_of_tar(name: str) -> list[Unit]:
    """The samples of a tar in parts.

    Raises:
        AcompError: it cannot be read.
    """
    with open_place(name) as file:
        start, size = file.read(len(_GZIP)), file.seek(0, os.SEEK_END)
    if size == 0:
        raise AcompError(f"{name} is empty")
    if start == _GZIP:
        raise AcompError(f"{name} is compressed: unpack it first, with gunzip")
    piece = size if is_remote(name) else PIECE
    return [TarUnit(name, size, begin, begin + piece) for begin in range(0, size, piece)]
