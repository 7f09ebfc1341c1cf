"""Sources to units: each is recognised by what it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from acomp.audio import is_audio_name
from acomp.batch.inputs import Kind, gather
from acomp.datasets.entries import Unit
from acomp.datasets.sources.files import units_of_files
from acomp.datasets.sources.manifests import is_manifest_name, units_of_manifest
from acomp.datasets.sources.places import is_remote, list_remote
from acomp.datasets.sources.tables import units_of_table
from acomp.datasets.sources.tars import SUFFIXES, units_of_tar
from acomp.errors import AcompError


def units_of(names: Iterable[str], output: Path | None = None) -> list[Unit]:
    """What sources hold, in parts: audio files of all sources first, and then each other source.

    Args:
        names: of the sources.
        output: folder of the dataset, which is no source where it lies in one.

    Raises:
        AcompError: a source cannot be read, or holds nothing that can be used.
    """
    audio: list[tuple[str, str]] = []
    others: list[str] = []
    for name in names:
        found = list_remote(name) if is_remote(name) else _list_local(name, output)
        bundles = [each for each in found if _is_bundle(each)]
        files = [each for each in found if not _is_bundle(each)]
        if found != [name]:  # a folder: what lies beside audio belongs to that
            files = [each for each in files if is_audio_name(Path(each))]
            bundles = [] if files else bundles
        if not files and not bundles:
            raise AcompError(f"there is no audio in {name}, nor tars, Parquet or manifests")
        audio += [(_inner(name, file), file) for file in files]
        others += bundles
    units = units_of_files(audio)
    for name in others:
        units += _units_of_bundle(name)
    return units


def _list_local(name: str, output: Path | None) -> Sequence[str]:
    """The file of that name, or what the folder of that name holds."""
    path = Path(name)
    if not path.is_dir():
        if not path.exists():
            raise AcompError(f"cannot read {name}: there is no such file")
        return [name]
    found = gather([name], Kind("audio files", _is_useful))
    if found.problems:
        raise found.problems[0]
    apart = None if output is None else _below(path, output)
    return [
        file.name
        for file in found.files
        if apart is None or not Path(file.name).is_relative_to(apart)
    ]


def _below(folder: Path, other: Path) -> Path | None:
    """`other` as a path that begins with `folder`; None if it does not lie in that."""
    whole, inner = folder.resolve(), other.resolve()
    return folder / inner.relative_to(whole) if inner.is_relative_to(whole) else None


def _is_useful(file: Path) -> bool:
    return is_audio_name(file) or _is_bundle(str(file))


def _inner(name: str, file: str) -> str:
    """The path of a file below what was named, or its name."""
    path = PurePosixPath(file)
    return path.name if file == name else str(path.relative_to(PurePosixPath(name)))


def _is_bundle(name: str) -> bool:
    return name.lower().endswith((*SUFFIXES, ".parquet")) or is_manifest_name(name)


def _units_of_bundle(name: str) -> list[Unit]:
    if name.lower().endswith(SUFFIXES):
        return units_of_tar(name)
    if name.lower().endswith(".parquet"):
        return units_of_table(name)
    return units_of_manifest(name)
