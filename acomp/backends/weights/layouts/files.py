"""Where the weights in a folder are: in one file or several, in the folders of other programs."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from acomp.errors import WeightsError
from acomp.plain import NotPlainError, brief, check, read_json, read_small, read_text

WHOLE = ("model.safetensors", "pytorch_model.bin")
INDEX = ".index.json"
"""Ends the name of a file that tells which tensors are in which shard."""
WEIGHT_FILES = (*WHOLE, *(f"{name}{INDEX}" for name in WHOLE))
"""Names under which weights in a folder are found."""
MAX_INDEX = 1 << 21
"""Most characters of such a file."""
TRAINED = ("", "dac", "best/dac", "latest/dac")
"""Where, in a folder of DAC's training, `weights.pth` may be; the first is taken."""
AUDIOCRAFT = "compression_state_dict.bin"
"""What AudioCraft's folders call the weights of a codec."""


@dataclass(frozen=True)
class Found:
    """The files of some weights.

    Attributes:
        files: those that hold tensors, one or more shards.
        config: `config.json` of the folder; None where there is none, or one file was given.
        shards: the file that each tensor is in, by its name; None where there are no shards.
    """

    files: tuple[Path, ...]
    config: Path | None = None
    shards: dict[str, str] | None = None


def find(path: Path) -> Found:
    """The files of the weights at a path: a file, a folder, or the index of shards.

    Raises:
        WeightsError: there are none, or not all.
    """
    if path.name.endswith(INDEX):
        return _sharded(path)
    if not path.is_dir():
        return Found((path,), config_of(path))
    folder = snapshot(path)
    for name in WHOLE:
        if (folder / name).is_file():
            return Found((folder / name,), _config_in(folder))
        if (folder / f"{name}{INDEX}").is_file():
            return _sharded(folder / f"{name}{INDEX}")
    other = _other_file(folder)
    if other is None:
        raise WeightsError(_nothing_in(folder))
    return Found((other,))


def snapshot(folder: Path) -> Path:
    """The folder itself, or of a repository in Hugging Face's cache the revision that its `main`
    stands for.

    Raises:
        WeightsError: that revision is not there.
    """
    if not folder.name.startswith("models--") or not (folder / "snapshots").is_dir():
        return folder
    try:
        revision = read_small(folder / "refs" / "main", 64).decode("ascii", "replace").strip()
    except (OSError, NotPlainError) as error:
        raise WeightsError(
            f"{folder} does not say which revision is its main: name a folder in its snapshots"
        ) from error
    found = folder / "snapshots" / revision
    if not re.fullmatch("[0-9a-f]{7,64}", revision) or not found.is_dir():
        raise WeightsError(f"{folder} lacks its main revision: download it again")
    return found


def config_of(path: Path) -> Path | None:
    """The `config.json` of the weights at a path: of a folder, or beside a file that is named as
    Hugging Face names them; None where it is a file alone.

    Raises:
        WeightsError: as `snapshot`.
    """
    if path.is_dir():
        return snapshot(path) / "config.json"
    return _config_in(path.parent) if path.name in WHOLE else None


def _config_in(folder: Path) -> Path | None:
    config = folder / "config.json"
    return config if config.is_file() else None


def _other_file(folder: Path) -> Path | None:
    """The file of a folder of DAC's training, or of AudioCraft's."""
    places = [*(folder / place / "weights.pth" for place in TRAINED), folder / AUDIOCRAFT]
    return next((place for place in places if place.is_file()), None)


def _nothing_in(folder: Path) -> str:
    """Why a folder has no weights."""
    names = " nor ".join(WHOLE)
    for name in WHOLE:
        if (folder / name).is_symlink():
            return f"{folder} lacks what its {name} links to: download it again"
    if any((folder / place / "package.pth").is_file() for place in TRAINED):
        return (
            f"{folder} is a folder of DAC's training without weights.pth: package.pth is a "
            "program, which acomp does not run"
        )
    if (folder / "config.json").is_file():
        return f"{folder} looks like a folder of Hugging Face but holds neither {names}"
    return f"cannot read the weights {folder}: the folder holds neither {names}"


def _sharded(index: Path) -> Found:
    """The shards that an index names.

    Raises:
        WeightsError: it is no index, or a shard is missing.
    """
    folder = index.parent
    shards = _weight_map(index)
    names = sorted(set(shards.values()))
    for name in names:
        if not (folder / name).is_file():
            raise WeightsError(
                f"{folder} lacks the shard {name} of its {len(names)}: download it again"
            )
    return Found(tuple(folder / name for name in names), _config_in(folder), shards)


def _weight_map(index: Path) -> dict[str, str]:
    try:
        value = json.loads(read_text(index, MAX_INDEX, WeightsError))
        check(value)
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{index} is no index of shards") from error
    shards = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(shards, dict) or not shards:
        raise WeightsError(f"{index} is no index of shards: it has no weight_map")
    for name in shards.values():
        if not isinstance(name, str) or not re.fullmatch(r"[\w-][\w.-]{0,250}", name):
            raise WeightsError(f"{index} is no index of shards: it names the file {brief(name)}")
    return shards


def read_config(path: Path) -> dict[str, object]:
    """The contents of a `config.json`.

    Raises:
        WeightsError: it cannot be read, or is no dictionary.
    """
    config = read_json(path, WeightsError)
    if not isinstance(config, dict):
        raise WeightsError(f"{path} is no configuration of a model")
    return config
