"""Where the files of published weights are: in acomp's package or cache, or where the official
packages leave theirs.
"""

from __future__ import annotations

import os
from pathlib import Path

from acomp.backends.weights.catalogue import CATALOGUE, Weights
from acomp.files import cache_folder, expanded


def shipped(name: str) -> Path | None:
    """The file of the weights of `name` that ship with acomp; None where they are downloaded."""
    weights = CATALOGUE.get(name)
    return own_path(weights) if weights and weights.ships_with_acomp else None


def own_path(weights: Weights) -> Path:
    """Where acomp itself keeps the file."""
    if weights.ships_with_acomp:
        return Path(__file__).parents[1] / weights.file
    return cache_folder() / weights.file


def places_of(weights: Weights) -> list[Path]:
    """Places of the file, the one to prefer first."""
    paths = [own_path(weights)]
    if weights.source is not None:
        paths.append(Path(__file__).parents[3] / weights.source)  # in a clone
    elif weights.package == "encodec":
        paths.append(_torch_home() / "hub" / "checkpoints" / weights.file)
    elif weights.package == "dac":
        paths.append(Path.home() / ".cache" / "descript" / "dac" / weights.file)
    elif weights.package == "huggingface":
        paths.extend(_hugging_face_paths(weights))
    return paths


def hub_cache() -> Path:
    """Where Hugging Face's packages keep what they fetch.

    See https://huggingface.co/docs/huggingface_hub/guides/manage-cache, and for the variables
    https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables.
    """
    home = os.environ.get("HF_HOME") or _user_cache() / "huggingface"
    return expanded(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def _hugging_face_paths(weights: Weights) -> list[Path]:
    """Where Hugging Face's packages keep the file, in each revision that is here."""
    folder, file = weights.file.split("/")
    return sorted(hub_cache().glob(f"models--{folder}/snapshots/*/{file}"))


def _torch_home() -> Path:
    """Torch's folder for downloads, told without importing torch.

    See https://docs.pytorch.org/docs/stable/hub.html, "Where are my downloaded models saved?".
    """
    return expanded(os.environ.get("TORCH_HOME") or _user_cache() / "torch")


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
