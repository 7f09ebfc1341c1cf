"""`tokenize`: a dataset made part by part, by any number of processes on any number of machines.

What goes into which part follows from the sources alone, and each part is a file that appears when
it is whole. So nothing coordinates the processes: each makes those of its parts that are not there,
and whichever finds all of them there writes down that the dataset is finished.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from acomp import __version__
from acomp.backends import load, resolve
from acomp.backends.base import Codec
from acomp.batch.processes import DiedError, each
from acomp.codecs import CHANNEL_COUNTS
from acomp.datasets.clusters import on_ray
from acomp.datasets.coding import Coder
from acomp.datasets.columns import columns_of
from acomp.datasets.cutting import Cutting
from acomp.datasets.description import (
    NAME,
    Description,
    Made,
    Totals,
    check_same,
    read_description,
    write_description,
)
from acomp.datasets.entries import Entry, Part, Unit
from acomp.datasets.parts import (
    Failure,
    Outcome,
    Tally,
    open_part,
    reading_part,
    tally_of,
    write_part,
)
from acomp.datasets.records import Record, records_of
from acomp.datasets.sources.cutting import units_of
from acomp.datasets.sources.places import is_remote
from acomp.datasets.summary import count, tally_if_there
from acomp.errors import AcompError
from acomp.files import atomic_write, make_folder
from acomp.packages import require_packages
from acomp.settings import Coding, Running

FAILURES = "failures.jsonl"
TRIES = 3
"""How often a part is begun whose process dies."""


@dataclass(frozen=True)
class Share:
    """Which parts one run makes: those whose number leaves `index - 1` when divided by `count`.

    Attributes:
        index: of the run, from 1.
        count: number of runs.
    """

    index: int = 1
    count: int = 1

    def takes(self, part: Part) -> bool:
        """Whether this run makes that part."""
        return part.number % self.count == self.index - 1


@dataclass(frozen=True)
class Order:
    """What is to be made; can be pickled.

    Attributes:
        folder: of the dataset.
        sources: audio files, tars, Parquet and manifests, and folders of them.
        backend: name of the codec; `encodec` is that for 24 kHz, or with two channels for 48 kHz.
        running: how it is run; published weights are named here too, once they are fetched.
        coding: what is coded.
        cutting: how recordings are cut.
    """

    folder: Path
    sources: tuple[str, ...]
    backend: str
    running: Running = field(default=Running(engine="torch"))
    coding: Coding = field(default=Coding())
    cutting: Cutting = field(default=Cutting())

    @property
    def codec_name(self) -> str:
        """The name of the one codec that all recordings are coded with."""
        channels = self.coding.channels
        return resolve(self.backend, CHANNEL_COUNTS.get(str(channels), 1))

    def load(self) -> Codec:
        """The codec."""
        running = self.running
        return load(
            self.codec_name,
            weights=running.weights,
            engine=running.engine,
            precision=running.precision,
            device=running.device,
        )


@dataclass(frozen=True)
class Step:
    """A part that was made, or found made.

    Attributes:
        part: its number.
        done: parts that are done, of those of this run.
        parts: those of this run.
        seconds: of audio in the part.
        rows: in it.
        failures: in it.
        is_new: whether it was made now.
    """

    part: int
    done: int
    parts: int
    seconds: float
    rows: int
    failures: int
    is_new: bool


@dataclass(frozen=True)
class Outcomes:
    """What a run of `tokenize` leaves.

    Attributes:
        made: how the dataset is made.
        totals: of the finished dataset; None where parts are still to be made by other runs.
        missing: number of those parts.
    """

    made: Made
    totals: Totals | None
    missing: int


def tokenize(
    order: Order,
    share: Share | None = None,
    *,
    workers: int = 1,
    retry: bool = False,
    ray: str | None = None,
    tell: Callable[[Step], None] = lambda _: None,
) -> Outcomes:
    """Make a dataset, or go on making it.

    Args:
        order: what is to be made.
        share: the parts that are made now; all by default.
        workers: processes that work side by side, on one thread each.
        retry: whether recordings that failed are tried again.
        ray: address of the Ray cluster that makes the parts, in place of processes of this
            machine; `auto` is the one that runs here, or a new one.
        tell: told of each part.

    Raises:
        AcompError: the sources cannot be used, the dataset cannot be written, or the folder holds
            another one. What was done stays, and the same call goes on.
    """
    require_packages("a dataset", "pyarrow", extra="datasets")
    units = units_of(order.sources, order.folder)
    if not units:
        raise AcompError("there are no recordings in the sources")
    parts = [Part(number, unit) for number, unit in enumerate(units)]
    with _one_thread():
        codec = order.load()
        made = _made(order, codec, units)
        _begin(order.folder, made)
        mine = [part for part in parts if (share or Share()).takes(part)]
        _work(order, made, mine, _Crew(codec, workers, ray), retry, tell)
    return _finish(order.folder, made)


@contextmanager
def _one_thread() -> Iterator[None]:
    """On how many threads networks run can show in the last bits, and so in a code here and there:
    it is one everywhere.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _made(order: Order, codec: Codec, units: Sequence[Unit]) -> Made:
    spec, coding, cutting = codec.spec, order.coding, order.cutting
    codebooks = spec.codebooks_for(coding.bandwidth, coding.codebooks)
    bits = (spec.codebook_size - 1).bit_length()
    engine = codec.engine
    return Made(
        acomp=__version__,
        codec=spec.name,
        fingerprint=codec.fingerprint,
        codec_rate=spec.sample_rate,
        hop_length=spec.hop_length,
        codebooks=codebooks,
        codebook_size=spec.codebook_size,
        bandwidth=codebooks * bits * spec.frame_rate / 1000,
        channels=str(coding.channels),
        segments=spec.segment_frames is not None,
        engine=None if engine is None else engine.name,
        precision=None if engine is None else engine.precision,
        device=_device(order.running.device),
        sources=tuple(each if is_remote(each) else str(Path(each)) for each in order.sources),
        plan=_digest(units),
        parts=len(units),
        segment=None if cutting.segment is None else str(cutting.segment),
        least_duration=cutting.least,
        most_duration=cutting.most,
        columns=columns_of(units),
    )


def _digest(units: Sequence[Unit]) -> str:
    digest = hashlib.sha256()
    for unit in units:
        digest.update(repr(unit).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return name.partition(":")[0]


def _begin(folder: Path, made: Made) -> None:
    """Write down what the dataset will be, or see that the one that was begun is the same."""
    if is_remote(str(folder).replace(":/", "://", 1)):  # a path has one slash for two
        raise AcompError(
            f"a dataset is made in a folder, not at {folder}: copy it there when it is finished"
        )
    make_folder(folder, AcompError)
    if (folder / NAME).exists():
        check_same(folder, read_description(folder).made, made)
    elif any(not path.name.startswith(".") for path in folder.iterdir()):
        raise AcompError(f"{folder} holds other files: name an empty or a new folder with -o")
    else:
        write_description(folder, Description(made))


@dataclass(frozen=True)
class _Crew:
    """Who makes the parts: this process with its codec, several, or a Ray cluster."""

    codec: Codec
    workers: int
    ray: str | None

    def each(
        self, order: Order, made: Made, parts: Sequence[Part]
    ) -> Generator[tuple[Part, Tally | AcompError], None, None]:
        """Make the parts, and yield each with what it holds or its error."""
        if self.ray is not None:
            # A process of Ray's need not begin in this one's folder.
            order = replace(order, folder=order.folder.absolute())
            start = partial(_maker, order, made)
            yield from on_ray(parts, start, self.ray, gpu=made.device == "cuda")
            return
        alone = self.workers == 1 or len(parts) < 2
        start = partial(_maker, order, made, self.codec if alone else None)
        yield from each(parts, start, self.workers, threads=1)


def _work(
    order: Order,
    made: Made,
    parts: Sequence[Part],
    crew: _Crew,
    retry: bool,
    tell: Callable[[Step], None],
) -> None:
    """Make the parts that are not there; with `retry`, those that have failures too."""
    done = 0

    def show(part: Part, tally: Tally, *, is_new: bool) -> None:
        nonlocal done
        done += 1
        size = sum(tally.rows), len(tally.failures)
        tell(Step(part.number, done, len(parts), tally.seconds, *size, is_new))

    missing: list[Part] = []
    for part in parts:
        there = tally_if_there(order.folder / part.name, made)
        if there is None or (retry and there.failures):
            missing.append(part)
        else:
            show(part, there, is_new=False)
    for tries in range(TRIES):
        died: list[Part] = []
        with closing(crew.each(order, made, missing)) as found:
            for part, tally in found:
                if isinstance(tally, DiedError) and tries < TRIES - 1:
                    died.append(part)
                elif isinstance(tally, AcompError):
                    raise tally
                else:
                    show(part, tally, is_new=True)
        if not died:
            return
        missing = died


def _maker(order: Order, made: Made, codec: Codec | None = None) -> Callable[[Part], Tally]:
    """A function that makes a part, on one thread."""
    ours = codec or order.load()
    coder = Coder(ours, order.coding, order.cutting, made.columns)

    def make(part: Part) -> Tally:
        if ours.fingerprint != made.fingerprint:
            raise AcompError(
                f"the weights of {made.codec} have changed since the dataset was begun"
            )
        path = order.folder / part.name
        return write_part(path, _outcomes(part, path, made, coder), made)

    return make


def _outcomes(part: Part, path: Path, made: Made, coder: Coder) -> Iterator[Outcome]:
    """What becomes of the entries of a part; of one that is there, only failures are tried again.

    Raises:
        FormatError: the part that is there is damaged.
    """
    if not path.exists():
        return coder.outcomes(part.unit.entries())
    with open_part(path, made) as file, reading_part(path):
        tally = tally_of(file, path)
        rows = records_of(file.read(use_threads=False), made)
    return _merged(part.unit.entries(), tally, rows, coder)


def _merged(
    entries: Iterator[Entry], tally: Tally, rows: Sequence[Record], coder: Coder
) -> Iterator[Outcome]:
    failed = (entry for number, entry in enumerate(entries) if number in tally.failures)
    again, begin = coder.outcomes(failed), 0
    for number, size in enumerate(tally.rows):
        if number in tally.failures:
            yield next(again)
        else:
            yield rows[begin : begin + size]
            begin += size


def _finish(folder: Path, made: Made) -> Outcomes:
    """Write down what the dataset holds, and what has failed, if all parts are there."""
    found = count(folder, made)
    if found.missing:
        return Outcomes(made, None, found.missing)
    _write_failures(folder / FAILURES, found.failures)
    write_description(folder, Description(made, found.totals))
    return Outcomes(made, found.totals, 0)


def _write_failures(path: Path, failures: Sequence[Failure]) -> None:
    """One JSON object a line; no file where nothing has failed."""
    if not failures:
        path.unlink(missing_ok=True)
        return
    with atomic_write(path, AcompError) as file:
        for failure in failures:
            file.write(json.dumps(asdict(failure)).encode() + b"\n")
