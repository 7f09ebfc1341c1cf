"""The devices of a training run, and the processes on them."""

from __future__ import annotations

import gc
import logging
import os
import re
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import torch
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from acomp.errors import TrainingError
from acomp.training.config import Config
from acomp.training.fabric import Fabric
from acomp.training.interruption import (
    handing_on,
)

T = TypeVar("T")


def make_fabric(config: Config) -> Fabric:
    """Lightning Fabric for the devices of a run.

    Raises:
        TrainingError: the machine does not have so many devices.
    """
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)  # it logs the settings
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    there = torch.cuda.device_count() if device == "cuda" else os.cpu_count() or 1
    if config.devices > there:
        raise TrainingError(f"there are {there} devices of kind {device}, not {config.devices}")
    return Fabric(
        accelerator=device,
        devices=config.devices,
        # CUDA demands processes that are spawned, not forked.
        strategy="ddp_spawn" if config.devices > 1 else "auto",
    )


def launch(fabric: Fabric, work: Callable[[Fabric], T]) -> T:
    """Run `work` in each process, and return the result of the first process."""
    if fabric.world_size == 1:
        return work(fabric)
    # It logs every process that it ends because another one failed.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    with handing_on() as killed:
        try:
            outcome: T = fabric.launch(partial(_in_process, work=work))
        except (ProcessRaisedException, ProcessExitedException) as error:
            if killed():
                raise KeyboardInterrupt from error
            # An error of a process arrives as the text of its traceback.
            said = re.findall(r"^acomp\.[\w.]+: (.+)$", str(error), re.MULTILINE)
            if not said:
                raise
            raise TrainingError(said[-1]) from error
    return outcome


def _in_process(fabric: Fabric, work: Callable[[Fabric], T]) -> T:
    """Run `work` in one of several processes, and close the connection to the others."""
    outcome = work(fabric)
    # Threads of the connection may still wait for the interpreter's lock, to let go of tensors. The
    # interpreter's end under them aborts the process, so they are joined before it: here, as the
    # destructor of DistributedDataParallel would join them without letting go of the lock.
    gc.collect()
    torch.distributed.destroy_process_group()
    return outcome
