"""Searching the sources: every audio file is looked at, and some are held out."""

from __future__ import annotations

import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from acomp.audio import is_audio_name
from acomp.batch.processes import as_error
from acomp.batch.walk import Unusable, walk
from acomp.errors import TrainingError
from acomp.files import reason_of
from acomp.training.data.parts import part, shares_of
from acomp.training.data.reading import look
from acomp.training.data.sources import AudioFile, Collection, Found, Source, seconds_of


def scan(
    sources: Sequence[Source],
    held_out: float,
    progress: Callable[[int, int], None] | None = None,
) -> Collection:
    """Look at every file of the sources, and hold some of the audio out.

    Folders are searched with all folders in them, also linked ones; what begins with a dot is
    skipped. A list is a text file in UTF-8 with one path a line, relative to the list's folder;
    lines that begin with `#` are comments.

    A file is held out by the hash of its path below its source, so that files which come later do
    not move the others, and a copy of the folder elsewhere gives the same parts. Of two files or
    more in a source, at least one is held out and one is trained on. A source of one file gives
    its end: at least a second, or half of it where it is shorter than two. A file that several
    sources name is held out of all of them where one holds it out.

    Args:
        sources: what the user names.
        held_out: share of the files that is held out, between 0 and 1.
        progress: told the files done and those in all.

    Raises:
        TrainingError: a source does not exist or holds no audio that can be used, or the shares do
            not leave anything for the sources without.
    """
    if not sources:
        raise TrainingError("there is no audio to train on: name a folder of it")
    listings = [_list_files(source) for source in sources]
    wanted = [(listing, name) for listing in listings for name in listing.paths]
    for done, (listing, name) in enumerate(wanted, 1):
        listing.look(name)
        if progress is not None:
            progress(done, len(wanted))
    for listing in listings:
        listing.check()
    parts = part([listing.files for listing in listings], held_out)
    for source, (train, _) in zip(sources, parts, strict=True):
        if not train:
            raise TrainingError(
                f"all of {source.path} is held out, as another source names it too: "
                "leave it out, or add files to it"
            )
    shares = shares_of(sources, [seconds_of(train) for train, _ in parts])
    return Collection(
        tuple(
            Found(listing.path, share, train, held, tuple(listing.unusable))
            for listing, share, (train, held) in zip(listings, shares, parts, strict=True)
        )
    )


class _Listing:
    """The files of a source, by their names in it."""

    def __init__(self, path: Path, paths: dict[str, Path], unusable: list[Unusable]) -> None:
        self.path = path
        self.paths = paths
        self.files: dict[str, AudioFile] = {}
        self.unusable = unusable

    def look(self, name: str) -> None:
        """Put a file among the usable or the unusable ones."""
        path = self.paths[name]
        try:
            self.files[name] = look(path)
        except Exception as error:
            self.unusable.append(Unusable(path, str(as_error(error))))

    def check(self) -> None:
        """Raise TrainingError where none is usable."""
        if self.files:
            return
        if not self.unusable:
            raise TrainingError(f"there is no audio in {self.path}: name a folder of audio files")
        count, first = len(self.unusable), self.unusable[0]
        said = f"{first.path}: {first.reason}"
        if count > 1:
            said = f"none of {count} files can be used; the first is {said}"
        raise TrainingError(f"there is no audio to train on in {self.path}: {said}")


def _list_files(source: Source) -> _Listing:
    """The files of a source, in a fixed order.

    Raises:
        TrainingError: the source cannot be read.
    """
    path = source.path
    try:
        if stat.S_ISDIR(path.stat().st_mode):
            return _Listing(path, *_walk(path))
        paths = _read_list(path) if path.suffix.lower() == ".txt" else {path.name: path}
    except OSError as error:
        raise TrainingError(f"cannot read {path}: {reason_of(error)}") from error
    return _Listing(path, paths, [])


def _read_list(path: Path) -> dict[str, Path]:
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    if "\0" in text or "\ufffd" in text:
        raise TrainingError(f"{path} is no list of audio: it must be UTF-8 text, a path a line")
    lines = [line.strip() for line in text.split("\n")]
    return {line: path.parent / line for line in lines if line and not line.startswith("#")}


def _walk(top: Path) -> tuple[dict[str, Path], list[Unusable]]:
    folder = walk(top, is_audio_name)
    paths = {path.relative_to(top).as_posix(): path for path in folder.files}
    return dict(sorted(paths.items())), list(folder.unusable)
