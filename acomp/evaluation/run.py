"""The evaluation itself: what there is to do, what is done already, and doing the rest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import numpy as np

from acomp import __version__
from acomp.analysis.usage import code_counts, perplexity, utilisation
from acomp.audio import Audio, is_audio_name, open_audio, read_audio, write_audio
from acomp.backends import load, resolve
from acomp.backends.weights.checkpoint import weights_size
from acomp.batch.inputs import Kind, gather
from acomp.batch.processes import as_error, each
from acomp.errors import AcompError, AudioError
from acomp.evaluation.alignment import find_delay, moved, same_channels
from acomp.evaluation.coding import Coder, NeuralCoder, opus_version, yardstick
from acomp.evaluation.content import content_of
from acomp.evaluation.metrics import measure
from acomp.evaluation.results import TABLE, Results, Row, read_rows, row_line, write_rows
from acomp.evaluation.settings import OPUS, Setting, in_text
from acomp.files import reason_of, remove_leftovers
from acomp.formats import read_codes

LOCK = ".lock"


@dataclass(frozen=True)
class Conditions:
    """What holds for all files and settings."""

    content: str = "auto"
    """speech, other, or auto: what each file sounds like."""
    engine: str = "auto"
    precision: str = "fp32"
    device: str = "auto"


@dataclass(frozen=True)
class Task:
    """One file in one setting."""

    setting: Setting
    codec: str
    """The codec's name, after the number of channels has decided what `encodec` is."""
    weights: Path | None
    file: str
    """Its name in the results."""
    path: Path
    folder: Path
    conditions: Conditions
    key: str


def find_files(
    names: Sequence[str], folder: Path, told: Callable[[AcompError], None]
) -> dict[str, Path]:
    r"""The audio files that are given or lie in given folders, by their names in the results.

    A name is the file's place below the folder that was given. Bytes of it that are not UTF-8 are
    written out, as in `caf\xe9.wav`, so that tables and pages are text wherever they are read. What
    lies in `folder`, where the results go, is left out.

    Args:
        names: files, folders, and `@LIST` of them.
        folder: where the results go.
        told: is told of folders that cannot be searched and links that lead to nothing.

    Raises:
        AcompError: an input is not there, there is no audio, or two files would share a name.
    """
    place = folder.resolve()

    def takes(path: Path) -> bool:
        return is_audio_name(path) and not path.resolve().is_relative_to(place)

    found = gather(names, Kind("audio files", takes))
    if not found.files and found.problems:
        raise found.problems[0]
    for problem in found.problems:
        told(problem)
    files: dict[str, Path] = {}
    for file in found.files:
        path, name = Path(file.name), in_text(file.inner.as_posix())
        if not path.is_file():
            raise AcompError(f"cannot read {path}: there is no such file or folder")
        if name in files and not path.samefile(files[name]):
            raise AcompError(
                f"{files[name]} and {path} would both be {name} in the results: "
                "give the folder above them instead"
            )
        files[name] = path
    return files


def plan(
    files: dict[str, Path],
    settings: Sequence[Setting],
    folder: Path,
    conditions: Conditions,
    weights_of: Callable[[str], Path | None],
) -> list[Task]:
    """Every file in every setting, setting after setting, so that a codec is loaded once.

    Args:
        files: by their names in the results.
        settings: what to measure.
        folder: where the results go.
        conditions: what holds for all of them.
        weights_of: gives the file of a codec's published weights, None where it has none.

    Raises:
        AcompError: a file cannot be read, or something that a setting needs is missing.
    """
    versions = {name: _version_of(path) for name, path in files.items()}
    channels, opus = cache(_channels), cache(opus_version)
    published, hash_of = cache(weights_of), cache(_hash_of)
    tasks = []
    for setting in settings:
        for name, path in files.items():
            codec, weights, version = setting.codec, setting.weights, ""
            if setting.codec == OPUS:
                version = opus()
            elif not setting.is_yardstick:
                codec = resolve(codec, channels(path))
                weights = weights or published(codec)
                version = hash_of(weights) if weights else ""
            facts = (versions[name], setting.label, codec, version, vars(conditions), __version__)
            key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
            tasks.append(Task(setting, codec, weights, name, path, folder, conditions, key))
    return tasks


def _channels(path: Path) -> int:
    try:
        with open_audio(path) as reader:
            return reader.channels
    except AudioError:
        return 1  # what is wrong with the file is said when its turn comes


def _version_of(path: Path) -> tuple[int, int]:
    """What changes when the file does: reading thousands of files to see that would take long."""
    try:
        status = path.stat()
    except OSError as error:
        raise AcompError(f"cannot read {path}: {reason_of(error)}") from error
    return status.st_size, status.st_mtime_ns


def _hash_of(path: Path) -> str:
    """SHA-256 of a file, or of the SHA-256s of a folder's files."""
    try:
        if path.is_dir():
            files = sorted(file for file in path.iterdir() if file.is_file())
            return hashlib.sha256("".join(map(_hash_of, files)).encode()).hexdigest()
        weights_size(path)
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise AcompError(f"cannot read {path}: {reason_of(error)}") from error


def check_folder(folder: Path) -> None:
    """See that a folder for results is new, empty, or that of an earlier run.

    Raises:
        AcompError: it holds something else, or is no folder.
    """
    try:
        names = {path.name for path in folder.iterdir()} - {LOCK}
    except FileNotFoundError:
        return
    except OSError as error:
        raise AcompError(f"cannot use the folder {folder}: {reason_of(error)}") from error
    if names and TABLE not in names:
        raise AcompError(f"{folder} holds other files and no {TABLE}: name a new folder")


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Make the folder of results, and keep other runs out of it.

    Half-written files of a run that was killed are removed, at the beginning and at the end.

    Raises:
        AcompError: it cannot be made, or another run is at work in it.
    """
    from filelock import FileLock, Timeout

    _make_folder(folder)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise AcompError(f"another acomp eval is at work in {folder}") from error
    except OSError as error:
        raise AcompError(f"cannot use the folder {folder}: {reason_of(error)}") from error
    try:
        remove_leftovers(folder)
        yield
    finally:
        remove_leftovers(folder)
        lock.release()


def run(
    tasks: Sequence[Task],
    folder: Path,
    jobs: int,
    done: Callable[[Task, AcompError | None], None],
) -> Results:
    """Do what is not done yet; each row is in the table of `folder` as soon as it is known.

    Rows of other files and settings that the table has are kept.

    Args:
        tasks: what there is to do.
        folder: of the results, in sole use.
        jobs: how many processes work side by side.
        done: told of each task that is done, and of its failure.

    Raises:
        AcompError: the table cannot be read or written.
    """
    results = Results(folder)
    known = list(read_rows(results.table)) if results.table.exists() else []
    due = {(task.setting.label, task.file): task for task in tasks}
    kept = [row for row in known if _holds(row, due.get((row.setting, row.file)), results)]
    have = {(row.setting, row.file) for row in kept}
    write_rows(results.table, kept)
    rest = []
    for task in tasks:
        if (task.setting.label, task.file) in have:
            done(task, None)
        else:
            rest.append(task)
    for task, outcome in _outcomes(rest, jobs):
        if isinstance(outcome, Row):
            _append(results.table, outcome)
        done(task, outcome if isinstance(outcome, AcompError) else None)
    others = [row for row in known if (row.setting, row.file) not in due]
    settings = _positions([row.setting for row in others] + [task.setting.label for task in tasks])
    files = _positions([row.file for row in others] + [task.file for task in tasks])
    rows = read_rows(results.table)
    ordered = sorted(rows, key=lambda row: (settings[row.setting], files[row.file]))
    write_rows(results.table, ordered)
    return Results(folder, ordered)


def _holds(row: Row, task: Task | None, results: Results) -> bool:
    """Whether a row of an earlier run still stands: it is not asked for, or nothing has changed."""
    if task is None:
        return True
    left = (results.reference(row.file), results.coded(row.setting, row.file))
    there = all(path.is_file() for path in (*left, results.decoded(row.setting, row.file)))
    return there and row.key == task.key


def _append(table: Path, row: Row) -> None:
    try:
        with table.open("ab") as file:
            file.write(row_line(row))
    except OSError as error:
        raise AcompError(f"cannot write {table}: {reason_of(error)}") from error


def _positions(names: Sequence[str]) -> dict[str, int]:
    """Where each name comes first."""
    return {name: index for index, name in enumerate(dict.fromkeys(names))}


def _outcomes(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Row | AcompError]]:
    """What comes of each task: in order, or as they end where several processes work."""
    for task, outcome in each(tasks, _evaluator, jobs):
        said = str(outcome)
        is_named = str(task.path) in said or task.setting.label in said
        if isinstance(outcome, AcompError) and not is_named:
            outcome = AcompError(f"{task.path} in {task.setting.label}: {said}")
        yield task, outcome


def _evaluator() -> Callable[[Task], Row]:
    return evaluate


def evaluate(task: Task) -> Row:
    """Code one file, decode it, compare the two, and leave all three in the folder of results.

    Raises:
        AcompError: the file cannot be read or coded.
    """
    coder = _coder(task.setting, task.codec, task.weights, task.conditions)
    if isinstance(coder, AcompError):
        raise coder
    try:
        return _evaluate(task, coder, Results(task.folder))
    except Exception as failure:
        error = as_error(failure)
        if str(task.path) in str(error):
            raise error from None
        raise AcompError(f"{task.path} in {task.setting.label}: {error}") from failure


def _evaluate(task: Task, coder: Coder, results: Results) -> Row:
    audio = read_audio(task.path)
    if audio.length == 0:
        raise AcompError("it holds no samples")
    coded = results.coded(task.setting.label, task.file)
    _make_folder(coded.parent)
    encoding = coder.encode(audio, coded)
    found, decoding = coder.decode(coded, audio.sample_rate)
    reference, found = same_channels(audio, found)
    delay = find_delay(reference, found)
    found = moved(found, delay, audio.length)
    _save(results.decoded(task.setting.label, task.file), found)
    _save(results.reference(task.file), audio)
    content = task.conditions.content
    content = content_of(audio) if content == "auto" else content
    figures, left_out = measure(reference, found, content)
    codes = None if task.setting.is_yardstick else read_codes(coded)
    size = coded.stat().st_size
    counts = np.zeros((0, 1), np.int64) if codes is None else code_counts(codes)
    return Row(
        setting=task.setting.label,
        file=task.file,
        codec=task.codec,
        content=content,
        seconds=audio.duration,
        sample_rate=audio.sample_rate,
        channels=reference.channels,
        bytes=size,
        kbps=size * 8 / audio.duration / 1000,
        tokens_per_second=None if codes is None else codes.data.size / audio.duration,
        encode_speed=audio.duration / encoding,
        decode_speed=audio.duration / decoding,
        delay_ms=1000 * delay / audio.sample_rate,
        si_sdr=figures.get("si_sdr"),
        pesq=figures.get("pesq"),
        stoi=figures.get("stoi"),
        log_mel=figures.get("log_mel"),
        mr_stft=figures.get("mr_stft"),
        utilisation=tuple(map(float, utilisation(counts))),
        perplexity=tuple(map(float, perplexity(counts))),
        left_out=tuple(left_out),
        key=task.key,
    )


@lru_cache(maxsize=1)
def _coder(
    setting: Setting, codec: str, weights: Path | None, conditions: Conditions
) -> Coder | AcompError:
    """The coder of a setting, or why there is none, which is then so for all its files."""
    try:
        if setting.is_yardstick:
            return yardstick(setting)
        loaded = load(
            codec,
            weights=weights,
            engine=conditions.engine,
            precision=conditions.precision,
            device=conditions.device,
        )
        return NeuralCoder(loaded, setting.bandwidth)
    except AcompError as error:
        return AcompError(f"{setting.label}: {error}")


def _save(path: Path, audio: Audio) -> None:
    _make_folder(path.parent)
    write_audio(path, audio, subtype="PCM_24")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AcompError(f"cannot make the folder {folder}: {reason_of(error)}") from error
