"""What there is to do in an evaluation: every file in every setting."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from acomp import __version__
from acomp.audio import is_audio_name, open_audio
from acomp.backends import resolve
from acomp.backends.weights.checkpoint import weights_size
from acomp.batch.inputs import Kind, gather
from acomp.errors import AcompError, AudioError
from acomp.evaluation.settings import Setting, in_text
from acomp.evaluation.yardsticks import YARDSTICKS
from acomp.files import reason_of
from acomp.settings import Content, Running


@dataclass(frozen=True)
class Conditions:
    """What holds for all files and settings.

    Attributes:
        metrics: the names of the metrics to measure.
        content: speech, other, or auto: what each file sounds like.
        running: how codecs are run; instead of its weights, each setting's own are taken.
        noisy: folder of noisy versions of the files, under the same names.
    """

    metrics: tuple[str, ...]
    content: Content = "auto"
    running: Running = field(default_factory=Running)
    noisy: Path | None = None

    @property
    def of_figures(self) -> dict[str, str]:
        """What the figures depend on, which other metrics are no part of."""
        running = self.running
        return {
            "content": self.content,
            "engine": running.engine,
            "precision": running.precision,
            "device": running.device,
        }


@dataclass(frozen=True)
class Task:
    """One file in one setting.

    Attributes:
        setting: what to measure.
        codec: its name, after the number of channels has decided what `encodec` is.
        weights: file of the codec's weights; None where it has none.
        file: its name in the results.
        path: where it lies.
        heard: what is coded: the file, or its noisy version.
        folder: of the results.
        conditions: what holds for all tasks.
        key: hash of all that the figures depend on.
        transcript: the words that it holds, empty where they are not known; None where recognition
            is held against what is heard in the original.
    """

    setting: Setting
    codec: str
    weights: Path | None
    file: str
    path: Path
    heard: Path
    folder: Path
    conditions: Conditions
    key: str
    transcript: str | None = None


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
    transcripts: Mapping[str, str] | None = None,
) -> list[Task]:
    """Every file in every setting, setting after setting, so that a codec is loaded once.

    Args:
        files: by their names in the results.
        settings: what to measure.
        folder: where the results go.
        conditions: what holds for all of them.
        weights_of: gives the file of a codec's published weights, None where it has none.
        transcripts: the words of the files, by their names in the results.

    Raises:
        AcompError: a file cannot be read, or something that a setting needs is missing.
    """
    versions = {name: _version_of(path) for name, path in files.items()}
    channels, of_program = cache(_channels), cache(lambda name: YARDSTICKS[name].version())
    published, hash_of = cache(weights_of), cache(_hash_of)
    tasks = []
    for setting in settings:
        for name, path in files.items():
            codec, weights, version = setting.codec, setting.weights, ""
            if setting.is_yardstick:
                version = of_program(codec)
            else:
                codec = resolve(codec, channels(path))
                weights = weights or published(codec)
                version = hash_of(weights) if weights else ""
            heard = path if not setting.is_noisy else _noisy_version(name, conditions)
            words = None if transcripts is None else transcripts.get(name, "")
            facts = (
                *(versions[name], _version_of(heard) if heard != path else None),
                setting.label,
                codec,
                version,
                conditions.of_figures,
                __version__,
                *(() if words is None else (words,)),
            )
            key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
            where = (name, path, heard, folder)
            tasks.append(Task(setting, codec, weights, *where, conditions, key, words))
    return tasks


def _noisy_version(name: str, conditions: Conditions) -> Path:
    assert conditions.noisy is not None  # or no setting would code it
    path = conditions.noisy / name
    if not path.is_file():
        raise AcompError(
            f"there is no {name} in {conditions.noisy}: --noisy takes a folder of the same files "
            "with noise"
        )
    return path


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
