"""Checkpoints of a training run; each is a folder that appears complete or not at all."""

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
"""Number of checkpoints that a run keeps, the newest ones."""


def save(
    folder: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any]
) -> None:
    """Write a checkpoint, and remove all but the newest `KEPT`.

    Args:
        folder: the folder `checkpoints` of the run.
        step: number of steps done.
        tensors: the networks by name, each written as `NAME.safetensors`.
        state: everything else that resuming needs (optimisers, averages), written as `state.pt`.

    Raises:
        TrainingError: the checkpoint cannot be written; earlier ones are untouched.
    """
    target, unfinished = folder / f"{step:08d}", folder / f".{step:08d}.part"
    try:
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for name, network in tensors.items():
            whole = {key: value.contiguous() for key, value in network.items()}
            (unfinished / f"{name}.safetensors").write_bytes(serialise(whole))
        # Through memory, because torch reports a full disk with errors of its own.
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
    """A phrase for messages: from which step a failed run can be resumed."""
    done = steps(folder)
    return f"--resume goes on from step {done[-1]}" if done else "there is no checkpoint before it"


def remove_leftovers(folder: Path) -> None:
    """Remove unfinished checkpoints of killed processes; no process may be writing one."""
    for path in folder.glob(".*.part"):
        shutil.rmtree(path, ignore_errors=True)


def steps(folder: Path) -> list[int]:
    """The steps whose checkpoints exist, ascending."""
    try:
        return sorted(int(entry.name) for entry in os.scandir(folder) if entry.name.isdigit())
    except OSError:
        return []


def load(folder: Path, step: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """The networks and the state of a checkpoint.

    Raises:
        TrainingError: the checkpoint cannot be read or is damaged.
    """
    path = folder / f"{step:08d}"
    try:
        networks = {file.stem: load_file(file) for file in path.glob("*.safetensors")}
        state = torch.load(path / "state.pt", weights_only=True)
    # A damaged pickle can make the unpickler raise anything, though it cannot run code.
    except Exception as error:
        raise TrainingError(
            f"the checkpoint {path} is damaged; remove that folder and --resume goes on from the "
            "one before"
        ) from error
    return networks, state
