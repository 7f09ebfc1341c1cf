"""Folders in the layout of Hugging Face: weights, and a `config.json` that tells their network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from acomp.errors import WeightsError
from acomp.plain import brief, read_json


def file_in(folder: Path, name: str, expected: Mapping[str, Any]) -> Path:
    """The file of weights in a folder, whose `config.json` is that of the codec `name`.

    Args:
        folder: the folder.
        name: what the codec is called.
        expected: what the `config.json` must say where it says it.

    Raises:
        WeightsError: the folder holds no such file, or says otherwise.
    """
    config = read_json(folder / "config.json", WeightsError)
    if not isinstance(config, dict):
        raise WeightsError(f"{folder / 'config.json'} is no configuration of a model")
    for key, value in expected.items():
        if key in config and config[key] != value:
            raise WeightsError(
                f"{folder} does not hold weights of {name}: in its config.json {key} is "
                f"{brief(config[key])}, not {value}"
            )
    for file in (folder / "model.safetensors", folder / "pytorch_model.bin"):
        if file.is_file():
            return file
    raise WeightsError(f"{folder} holds neither model.safetensors nor pytorch_model.bin")
