"""Checkpoints of a run: a folder each, complete or not there."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save as serialise
from torch import Tensor

from acomp.errors import TrainingError
from acomp.files import reason_of, sync

KEPT = 2
"""Checkpoints that a run keeps, the newest."""


def save(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> None:
    """Write the checkpoint of a step and forget all but the newest.

    Args:
        folder: `checkpoints` of the run.
        step: steps done.
        tensors: networks by name, each a file `NAME.safetensors`.
        state: what else goes on: optimisers, averages; `state.pt`.

    Raises:
        TrainingError: it cannot be written; those before are untouched.
    """
    target, unfinished = folder / f"{step:08d}", folder / f".{step:08d}.part"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name, network in tensors.items():
            whole = {key: value.contiguous() for key, value in network.items()}
            (unfinished / f"{name}.safetensors").write_bytes(serialise(whole))
        # By way of memory, as torch tells of a full disk in errors of its own.
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        (unfinished / "state.pt").write_bytes(buffer.getbuffer())
        for path in (*unfinished.iterdir(), unfinished):
            sync(path)
        shutil.rmtree(target, ignore_errors=True)
        unfinished.rename(target)
        for old in steps(folder)[:-KEPT]:
            shutil.rmtree(folder / f"{old:08d}")
    except OSError as error:
        remove_leftovers(folder)
        raise TrainingError(
            f"cannot write the checkpoint {target}: {reason_of(error)}; make room, {kept(folder)}"
        ) from error


def kept(folder: Path) -> str:
    """What a run that failed can go on from, in words."""
    done = steps(folder)
    return f"--resume goes on from step {done[-1]}" if done else "there is no checkpoint before it"


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left of unfinished checkpoints; none may be at work."""
    for path in folder.glob(".*.part"):
        shutil.rmtree(path, ignore_errors=True)


def steps(folder: Path) -> list[int]:
    """The steps that there are checkpoints of, ascending."""
    try:
        return sorted(int(entry.name) for entry in os.scandir(folder) if entry.name.isdigit())
    except OSError:
        return []


def load(folder: Path, step: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The networks and the state of a checkpoint.

    Raises:
        TrainingError: it cannot be read or is damaged.
    """
    path = folder / f"{step:08d}"
    try:
        networks = {file.stem: load_file(file) for file in path.glob("*.safetensors")}
        state = torch.load(path / "state.pt", weights_only=True)
    # A damaged pickle can make the unpickler raise anything at all; it can run nothing.
    except Exception as error:
        raise TrainingError(
            f"the checkpoint {path} is damaged; remove that folder and --resume goes on from the "
            "one before"
        ) from error
    return networks, state
