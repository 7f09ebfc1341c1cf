"""Training audio: random segments of files of any rate, number of channels and length.

`scan` reads the headers of all files and parts them into audio to train on and audio that is held
out; `Segments` draws from the first, `held_out` takes fixed segments of the second. Only the
stretch that a segment needs is decoded of what libsndfile can seek in exactly; other files, MP3
among them, are decoded from their beginning each time. Of a WAV or Ogg file that was cut short,
what is there is used.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import soundfile
import torch
from torch import Tensor

from acomp.audio import Audio, AudioReader, is_audio_name, open_audio, resample, to_channels
from acomp.audio.samples import Samples, check_layout
from acomp.batch.processes import as_error
from acomp.batch.walk import Unusable, walk
from acomp.errors import AudioError, TrainingError
from acomp.files import Closing, reason_of
from acomp.quiet import quiet

SHORTEST = 0.1
"""Seconds; shorter files are left out."""
SILENT = 0.003
"""Peak (-50 dB) below which a segment counts as silent: raised to an ordinary level it is noise."""
MIX_LEVELS = (-12.0, 0.0)
"""Peak of a segment that is mixed in, in dB relative to the other's."""
TRIES = 100
"""Draws in a row that may be silent or unreadable."""
THREADS = 4
AHEAD = 4
"""Threads that make batches, and batches that wait to be trained on."""
_MARGIN = 128
"""What soxr's `HQ` filter sees to either side, in samples of the lower rate."""
_UNKNOWN_FRAMES = 1 << 62
_PIECE = 1 << 16
_NOT_SOUGHT = "MP3"
"""What libsndfile calls the form in which samples depend on where it begins to decode."""


# What the user names


@dataclass(frozen=True)
class Source:
    """Where audio comes from.

    Raises:
        TrainingError: the share is not more than 0 and at most 1.
    """

    path: Path
    """A folder, a list (.txt) or an audio file."""
    share: float | None = None
    """Share of the segments that come from it; None stands for its share of the hours."""

    def __post_init__(self) -> None:
        if self.share is not None and not 0 < self.share <= 1:
            raise TrainingError(
                f"the share of {self.path} must be more than 0 and at most 1, not {self.share:g}"
            )


def parse_source(text: str) -> Source:
    """`PATH` or `PATH=SHARE`, as in `speech=0.6`; a path that exists may hold a `=` itself.

    Raises:
        TrainingError: the share is no number, or not more than 0 and at most 1.
    """
    path, _, share = text.rpartition("=")
    if not path or os.path.lexists(text):
        return Source(Path(text))
    try:
        return Source(Path(path), float(share))
    except ValueError as error:
        raise TrainingError(
            f"the share of {path} must be a number such as 0.6, not {share!r}"
        ) from error


# What is found there


@dataclass(frozen=True)
class AudioFile:
    """What the header of a file says."""

    path: Path
    sample_rate: int
    """Hz."""
    channels: int
    frames: int
    """Samples per channel."""
    is_sought: bool = True
    """Whether libsndfile finds its place in it; else it is decoded from its beginning."""

    @property
    def seconds(self) -> float:
        return self.frames / self.sample_rate


@dataclass(frozen=True)
class Stretch:
    """Part of a file, or the whole of it."""

    file: AudioFile
    start: int
    stop: int
    """In samples per channel of the file."""

    @property
    def frames(self) -> int:
        return self.stop - self.start

    @property
    def seconds(self) -> float:
        return self.frames / self.file.sample_rate


@dataclass(frozen=True)
class Found:
    """What there is in a source."""

    path: Path
    share: float
    """Share of the segments that come from it."""
    train: tuple[Stretch, ...]
    held_out: tuple[Stretch, ...]
    unusable: tuple[Unusable, ...]

    @property
    def files(self) -> list[AudioFile]:
        """The usable files."""
        return list(dict.fromkeys(stretch.file for stretch in self.train + self.held_out))


@dataclass(frozen=True)
class Collection:
    """The audio of all sources; can be pickled."""

    sources: tuple[Found, ...]

    def summary(self) -> list[dict[str, Any]]:
        """Each source in figures, in types that JSON knows."""
        return [_summary(found) for found in self.sources]


def _summary(found: Found) -> dict[str, Any]:
    files = found.files
    return {
        "source": str(found.path),
        "share": found.share,
        "files": len(files),
        "hours": _seconds(found.train + found.held_out) / 3600,
        "held_out_files": len(found.held_out),
        "held_out_hours": _seconds(found.held_out) / 3600,
        "sample_rates": dict(Counter(str(file.sample_rate) for file in files).most_common()),
        "channels": dict(Counter(str(file.channels) for file in files).most_common()),
        "unusable": [[str(each.path), each.reason] for each in found.unusable],
    }


def _seconds(stretches: Sequence[Stretch]) -> float:
    return sum(stretch.seconds for stretch in stretches)


# Searching


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
    due = [(listing, name) for listing in listings for name in listing.paths]
    for done, (listing, name) in enumerate(due, 1):
        listing.look(name)
        if progress is not None:
            progress(done, len(due))
    for listing in listings:
        listing.check()
    parts = _part([listing.files for listing in listings], held_out)
    for source, (train, _) in zip(sources, parts, strict=True):
        if not train:
            raise TrainingError(
                f"all of {source.path} is held out, as another source names it too: "
                "leave it out, or add files to it"
            )
    shares = _shares(sources, [_seconds(train) for train, _ in parts])
    return Collection(
        tuple(
            Found(listing.path, share, train, held, tuple(listing.unusable))
            for listing, share, (train, held) in zip(listings, shares, parts, strict=True)
        )
    )


def probe(file: AudioFile) -> str | None:
    """Decode a second at the beginning, the middle and the end; returns what is wrong, if any."""
    span = min(file.frames, file.sample_rate)
    last = file.frames - span
    try:
        for start in (0, last // 2, last):
            _decode(file, start, start + span)
    except AudioError as error:
        return str(error)
    return None


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


def look(path: Path) -> AudioFile:
    """What the header says.

    Raises:
        AudioError: the file cannot be used; the message says why and leaves out the name.
    """
    _check_file(path)
    try:
        with _opened(path) as sound:
            check_layout("it", sound.samplerate, sound.channels)
            layout = (sound.samplerate, sound.channels, sound.frames)
            is_sought = sound.format != _NOT_SOUGHT
    except soundfile.LibsndfileError:
        is_sought = False
    if not is_sought:
        with _streamed(path) as reader:
            frames = reader.length or sum(block.shape[1] for block in reader.blocks(_PIECE))
            layout = (reader.sample_rate, reader.channels, frames)
    file = AudioFile(path, *layout, is_sought)
    if file.frames >= _UNKNOWN_FRAMES:
        raise AudioError("its header does not say how long it is; write it anew")
    if file.frames <= 0:
        raise AudioError("it holds no samples")
    if file.seconds < SHORTEST:
        raise AudioError(f"it is shorter than {SHORTEST} s")
    return file


def _part(
    sources: Sequence[dict[str, AudioFile]], held_out: float
) -> list[tuple[tuple[Stretch, ...], tuple[Stretch, ...]]]:
    """What is trained on and what is held out, of each source."""
    cuts: dict[str, int] = {}
    """Where the held-out part of a file begins, by the file's real path."""
    real = {file.path: os.path.realpath(file.path) for files in sources for file in files.values()}
    for files in sources:
        for file, cut_at in zip(files.values(), _cuts(files, held_out), strict=True):
            name = real[file.path]
            cuts[name] = min(cut_at, cuts.get(name, cut_at))
    parts = []
    for files in sources:
        ends = [(file, cuts[real[file.path]]) for file in files.values()]
        train = tuple(Stretch(file, 0, end) for file, end in ends if end > 0)
        held = tuple(Stretch(file, end, file.frames) for file, end in ends if end < file.frames)
        parts.append((train, held))
    return parts


def _cuts(files: dict[str, AudioFile], held_out: float) -> list[int]:
    """Where the held-out part of each file begins: its start or its end, or within the only one."""
    if len(files) == 1:
        (file,) = files.values()
        least = min(file.sample_rate, file.frames // 2)
        return [file.frames - max(round(held_out * file.frames), least)]
    places = [_place(name) for name in files]
    first, last = min(places), max(places)
    held = [place == first or (place < held_out and place != last) for place in places]
    return [0 if out else file.frames for file, out in zip(files.values(), held, strict=True)]


def _place(name: str) -> float:
    """A number from 0 to 1 that the name alone decides."""
    digest = hashlib.sha256(os.fsencode(name)).digest()
    return int.from_bytes(digest[:8]) / (1 << 64)


def _shares(sources: Sequence[Source], seconds: Sequence[float]) -> list[float]:
    """Shares of the segments, which add up to 1."""
    given = sum(source.share or 0.0 for source in sources)
    rest = sum(s for source, s in zip(sources, seconds, strict=True) if source.share is None)
    if not rest:
        return [(source.share or 0.0) / given for source in sources]
    if given >= 1:
        raise TrainingError(
            f"the shares add up to {given:g}, which leaves nothing for the sources without: "
            "give every source a share"
        )
    return [
        source.share if source.share is not None else (1 - given) * s / rest
        for source, s in zip(sources, seconds, strict=True)
    ]


# Reading


def _check_file(path: Path) -> None:
    """See whether a path is that of a file with something in it.

    Raises:
        AudioError: it is not; the message leaves out the name.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise AudioError(reason_of(error)) from error
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
        raise AudioError("it is no file")
    if not status.st_size:
        raise AudioError("it is empty")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file as soundfile opens it.

    Raises:
        AudioError: it cannot be opened; the message leaves out the name.
        soundfile.LibsndfileError: it cannot be decoded by libsndfile.
    """
    try:
        # Not by its name, which libsndfile would take for a sign of what is in the file.
        with (
            path.open("rb", buffering=0) as file,
            soundfile.SoundFile(file.fileno(), closefd=False) as sound,
        ):
            yield sound
    except OSError as error:
        raise AudioError(reason_of(error)) from error


@contextmanager
def _streamed(path: Path) -> Iterator[AudioReader]:
    """A file that is decoded from its beginning.

    Raises:
        AudioError: it cannot be read, or is damaged; the message leaves out the name.
    """
    try:
        with quiet(), open_audio(path) as reader:
            yield reader
    except AudioError as error:
        text = str(error).removeprefix(f"cannot read {path}: ")
        raise AudioError(text.replace(str(path), "it")) from error


def _decode(file: AudioFile, start: int, stop: int) -> Samples:
    """Samples `[channels, stop - start]` of a file.

    Raises:
        AudioError: they are damaged or not there; the message leaves out the name.
    """
    _check_file(file.path)
    return (_sought if file.is_sought else _passed)(file, start, stop)


def _passed(file: AudioFile, start: int, stop: int) -> Samples:
    """Samples behind those that are decoded and dropped.

    What a container says of its length may be some milliseconds too much: those become silence.
    """
    parts, position = [], 0
    with _streamed(file.path) as reader:
        if (reader.sample_rate, reader.channels) != (file.sample_rate, file.channels):
            raise AudioError("it has changed since its header was read")
        for block in reader.blocks(_PIECE):
            parts.append(block[:, max(0, start - position) : stop - position])
            position += block.shape[1]
            if position >= stop:
                break
    missing = min(stop - position, stop - start)
    samples = np.concatenate(parts, axis=1) if parts else np.zeros((file.channels, 0), np.float32)
    return np.pad(samples, ((0, 0), (0, max(0, missing))))


def _sought(file: AudioFile, start: int, stop: int) -> Samples:
    try:
        with _opened(file.path) as sound:
            if (sound.samplerate, sound.channels) != (file.sample_rate, file.channels):
                raise AudioError("it has changed since its header was read")
            sound.seek(start)
            block = sound.read(stop - start, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        reason = " ".join(error.error_string.split()).removeprefix("Error : ").rstrip(".")
        raise AudioError(f"libsndfile cannot read it ({reason}); convert or replace it") from error
    if len(block) < stop - start:
        end = (start + len(block)) / file.sample_rate
        raise AudioError(f"it should last {file.seconds:.1f} s, and ends before {end + 0.05:.1f} s")
    if not np.isfinite(block).all():
        raise AudioError("it has samples that are not finite numbers")
    return np.ascontiguousarray(block.T)


def cut(stretch: Stretch, start: int, sample_rate: int, channels: int, length: int) -> Samples:
    """A segment `[channels, length]` at `sample_rate` Hz that begins at a sample of the file.

    It is a part of what resampling the whole stretch, with silence around it, would give. One
    channel is the mean of all; stereo is one channel twice, or the first two of more (front left
    and right).

    Raises:
        AudioError: the file is damaged; the message leaves out the name.
    """
    rate = stretch.file.sample_rate
    margin = _margin(rate, sample_rate)
    first, last = start - margin, start + _needed(rate, sample_rate, length) + margin
    begin, end = max(first, stretch.start), min(last, stretch.stop)
    samples = _decode(stretch.file, begin, end)
    if samples.shape[0] > channels > 1:
        samples = samples[:channels]
    samples = np.pad(to_channels(samples, channels), ((0, 0), (begin - first, last - end)))
    skipped = margin * sample_rate // rate
    return resample(Audio(samples, rate), sample_rate).samples[:, skipped : skipped + length]


def _needed(rate: int, sample_rate: int, length: int) -> int:
    """Samples of a file that `length` samples at `sample_rate` are made of."""
    return -(-length * rate // sample_rate)


def _margin(rate: int, sample_rate: int) -> int:
    """Samples to read on either side so that the resampler sees what it would see in the whole.

    A multiple of what makes whole samples at both rates: the segment begins on a sample.
    """
    if rate == sample_rate:
        return 0
    unit = rate // math.gcd(rate, sample_rate)
    return unit * math.ceil(_MARGIN * max(1.0, rate / sample_rate) / unit)


# Drawing


class Segments:
    """Random segments of the training audio.

    A source is drawn by its share, a file by its length, the place in it uniformly; after a
    file that ends before the segment does, another one follows: padding with silence would teach
    silence. Silent draws are drawn again, up to
    `TRIES` times, and so are draws of damaged files.

    Args:
        collection: of which the part to train on is drawn from.
        sample_rate: of the segments, in Hz.
        channels: of the segments: 1 or 2.
        length: of the segments, in samples.
        gain: peak levels in dB relative to full scale: each segment is brought to one between the
            two; None leaves levels as they are.
        mix: probability that another segment is mixed in, its peak at a level drawn from
            `MIX_LEVELS`; the sum is brought back to the peak of the first, or to the one that
            `gain` asks for.
        seed: of all draws.
    """

    def __init__(
        self,
        collection: Collection,
        sample_rate: int,
        channels: int,
        length: int,
        *,
        gain: tuple[float, float] | None = (-24.0, 0.0),
        mix: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.sample_rate = sample_rate
        self.channels = channels
        self.length = length
        self.damaged: dict[Path, str] = {}
        """Files in which a stretch could not be read, and why the first could not."""
        self._gain = gain
        self._mix = mix
        self._seed = seed
        self._stretches: list[Stretch] = []
        weights: list[float] = []
        for found in collection.sources:
            scale = found.share / _seconds(found.train)
            self._stretches += found.train
            weights += [scale * stretch.seconds for stretch in found.train]
        ends = np.cumsum(weights)
        self._ends = ends / ends[-1]

    def batch(self, step: int, rank: int, size: int) -> Tensor:
        """`[size, channels, length]`: a function of the seed, the step and the process alone.

        Raises:
            TrainingError: no audio could be read any more.
        """
        random = np.random.default_rng([self._seed, step, rank])
        return torch.from_numpy(np.stack([self._segment(random) for _ in range(size)]))

    def _segment(self, random: np.random.Generator) -> Samples:
        segment = self._draw(random)
        if random.random() < self._mix:
            peak = _peak(segment)
            other = _levelled(self._draw(random), peak * _ratio(random.uniform(*MIX_LEVELS)))
            segment = _levelled(segment + other, peak)
        if self._gain is not None:
            segment = _levelled(segment, _ratio(random.uniform(*self._gain)))
        return segment

    def _draw(self, random: np.random.Generator) -> Samples:
        """A segment; after a recording that ends too early come others."""
        parts, missing = [], self.length
        while missing:
            parts.append(self._part(random, missing))
            missing -= parts[-1].shape[1]
        return np.concatenate(parts, axis=1)

    def _part(self, random: np.random.Generator, most: int) -> Samples:
        """Up to so many samples that are not silent; where there are only such, silent ones."""
        silent = None
        for _ in range(TRIES):
            stretch = self._stretches[np.searchsorted(self._ends, random.random(), side="right")]
            rate = stretch.file.sample_rate
            length = min(most, stretch.frames * self.sample_rate // rate)
            spare = max(0, stretch.frames - _needed(rate, self.sample_rate, length))
            start = stretch.start + int(random.integers(spare, endpoint=True))
            try:
                part = cut(stretch, start, self.sample_rate, self.channels, length)
            except AudioError as error:
                self.damaged.setdefault(stretch.file.path, str(error))
                continue
            if _peak(part) >= SILENT:
                return part
            silent = part
        if silent is None:
            path, reason = next(iter(self.damaged.items()))
            raise TrainingError(
                f"{TRIES} draws in a row met audio that cannot be read; the first was {path}: "
                f"{reason}"
            )
        return silent


def held_out(
    collection: Collection, sample_rate: int, channels: int, length: int, limit: int
) -> Tensor:
    """Fixed segments `[n, channels, length]` of the held-out audio, at most `limit` of them.

    They do not overlap, and none is silent; levels are as they are. Sources take turns by their
    shares, so that the first few are as mixed as all of them.

    Raises:
        TrainingError: there is none.
    """
    sources = collection.sources
    queues = {
        index: _fixed(found.held_out, sample_rate, channels, length, limit)
        for index, found in enumerate(sources)
        if found.held_out
    }
    taken = [0] * len(sources)
    segments: list[Samples] = []
    while queues and len(segments) < limit:
        due = max(queues, key=lambda i: sources[i].share * (len(segments) + 1) - taken[i])
        segment = next(queues[due], None)
        if segment is None:
            del queues[due]
        else:
            segments.append(segment)
            taken[due] += 1
    if not segments:
        raise TrainingError("all held-out audio is silent or damaged: add files")
    return torch.from_numpy(np.stack(segments))


def _fixed(
    stretches: Sequence[Stretch], sample_rate: int, channels: int, length: int, limit: int
) -> Iterator[Samples]:
    """Segments side by side, in a random order that is always the same."""
    needed = [_needed(stretch.file.sample_rate, sample_rate, length) for stretch in stretches]
    counts = [max(1, each.frames // n) for each, n in zip(stretches, needed, strict=True)]
    ends = np.cumsum(counts)
    for number in np.random.default_rng(0).permutation(ends[-1])[: limit * TRIES]:
        index = int(np.searchsorted(ends, number, side="right"))
        stretch = stretches[index]
        start = stretch.start + int(number - ends[index] + counts[index]) * needed[index]
        try:
            segment = cut(stretch, start, sample_rate, channels, length)
        except AudioError:
            continue  # `probe` tells of it
        if _peak(segment) >= SILENT:
            yield segment


def _peak(segment: Samples) -> float:
    return float(np.abs(segment).max())


def _levelled(segment: Samples, peak: float) -> Samples:
    """`segment` with another peak, or as it is where it is silent."""
    present = _peak(segment)
    return segment if present < SILENT else segment * np.float32(peak / present)


def _ratio(level: float) -> float:
    """Amplitude of a level in dB."""
    return float(10 ** (level / 20))


class Prefetch(Closing):
    """The batches of some steps in their order, made by threads while others are trained on.

    A context manager and an iterator. What goes wrong in a thread is raised where its batch is due.

    Args:
        segments: what is drawn from.
        steps: to give batches for.
        rank: number of the process.
        size: of a batch.
    """

    def __init__(self, segments: Segments, steps: range, rank: int, size: int) -> None:
        self._segments = segments
        self._steps = iter(steps)
        self._rank = rank
        self._size = size
        self._pool = ThreadPoolExecutor(THREADS, "segments")
        self._pending: deque[Future[Tensor]] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Tensor:
        # One more than wait while it is trained on.
        for step in islice(self._steps, AHEAD + 1 - len(self._pending)):
            batch = self._pool.submit(self._segments.batch, step, self._rank, self._size)
            self._pending.append(batch)
        if not self._pending:
            raise StopIteration
        return self._pending.popleft().result()

    def close(self) -> None:
        """Drop the batches that wait; ends the iteration."""
        self._pool.shutdown(cancel_futures=True)
        self._pending.clear()
        self._steps = iter(())
