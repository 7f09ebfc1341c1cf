"""The audio of entries, from files, addresses and bytes; one that several entries are parts of is
read on from where the last ended.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np

from acomp.audio import AudioReader, open_audio
from acomp.audio.samples import Samples
from acomp.backends.base import BLOCK_SECONDS
from acomp.datasets.entries import Entry
from acomp.datasets.sources.places import is_remote, open_place
from acomp.errors import AudioError
from acomp.files import Closing

_PIECE = 1 << 20


@dataclass(frozen=True)
class Stretch:
    """The audio of an entry.

    Attributes:
        sample_rate: in Hz.
        channels: number of channels.
        length: samples per channel; None where that is not known beforehand.
        blocks: the samples, to be read once and before the next entry's.
        sha256: of all bytes of the file, in hexadecimal digits.
    """

    sample_rate: int
    channels: int
    length: int | None
    blocks: Iterator[Samples]
    sha256: str


class Sounds(Closing):
    """The audio of entries, one after the other."""

    def __init__(self) -> None:
        self._open: _Open | None = None

    def close(self) -> None:
        """Close the file that was read last."""
        if self._open is not None:
            self._open.close()
        self._open = None

    def of(self, entry: Entry) -> Stretch:
        """The audio of an entry.

        Raises:
            AcompError: it cannot be read, or the entry begins after its end.
        """
        held = self._open
        if held is None or held.audio != entry.audio or not held.is_before(entry.start):
            self.close()
            held = self._open = _Open(entry)
        rate = held.reader.sample_rate
        begin = round(entry.start * rate)
        end = None if entry.duration is None else begin + round(entry.duration * rate)
        length = held.reader.length
        if length is not None:
            if begin and begin >= length:
                raise AudioError(f"{entry.source} ends before {entry.start:g} s")
            length = (length if end is None else min(end, length)) - begin
        channels = entry.channels or tuple(range(held.reader.channels))
        if max(channels) >= held.reader.channels:
            raise AudioError(f"{entry.source} has no channel {max(channels)}, counted from 0")
        blocks = held.samples(begin, end)
        if entry.channels is not None:
            blocks = (block[list(channels)] for block in blocks)
        return Stretch(rate, len(channels), length, blocks, held.sha256)


class _Open(Closing):
    """A file that is read from its beginning to its end."""

    def __init__(self, entry: Entry) -> None:
        self.audio = entry.audio
        with ExitStack() as resources:
            path = _local(entry.audio, resources)
            self.sha256 = _sha256(path)
            source = path if isinstance(path, Path) else BytesIO(path)
            self.reader: AudioReader = resources.enter_context(open_audio(source))
            self._resources = resources.pop_all()
        self._blocks = self.reader.blocks(BLOCK_SECONDS * self.reader.sample_rate)
        self._rest = np.zeros((self.reader.channels, 0), np.float32)
        self._position = 0
        """The sample that `_rest` begins with."""

    def close(self) -> None:
        self._resources.close()

    def is_before(self, seconds: float) -> bool:
        """Whether that place is still to come."""
        return round(seconds * self.reader.sample_rate) >= self._position

    def samples(self, begin: int, end: int | None) -> Iterator[Samples]:
        """The samples from `begin` to `end`, or to the last."""
        while end is None or self._position < end:
            if not self._rest.shape[1]:
                fresh = next(self._blocks, None)
                if fresh is None:
                    return
                self._rest = fresh
            wanted = max(0, begin - self._position)
            stop = self._rest.shape[1] if end is None else max(0, end - self._position)
            found = self._rest[:, wanted:stop]
            self._position += min(stop, self._rest.shape[1])
            self._rest = self._rest[:, stop:]
            if found.shape[1]:
                yield found


def _local(audio: str | bytes, resources: ExitStack) -> Path | bytes:
    """The audio as bytes or as a file on this machine."""
    if isinstance(audio, bytes):
        return audio
    if not is_remote(audio):
        return Path(audio)
    copy = resources.enter_context(NamedTemporaryFile())  # noqa: SIM115
    with open_place(audio) as file:
        shutil.copyfileobj(file, copy)
    copy.flush()
    return Path(copy.name)


def _sha256(audio: Path | bytes) -> str:
    if isinstance(audio, bytes):
        return hashlib.sha256(audio).hexdigest()
    digest = hashlib.sha256()
    with open_place(str(audio)) as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()
