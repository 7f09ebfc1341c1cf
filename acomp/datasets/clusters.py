"""Parts made on a Ray cluster: Ray decides which machine makes which, and makes anew what was lost
with one.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from acomp.batch.processes import DiedError, as_error
from acomp.datasets.entries import Part
from acomp.datasets.parts import Tally
from acomp.errors import AcompError
from acomp.packages import require_packages

Start = Callable[[], Callable[[Part], Tally]]

WAITING = 256
"""Parts that Ray is given beyond those that it has room for: by them a cluster that grows with its
work sees how much there is."""
TRIES = 5
"""How often Ray begins a part anew whose process or machine is lost."""

PATIENCE = 10.0
"""Seconds that a cluster has to answer."""
_HOST = re.compile(r"([^/:]+):([0-9]{1,5})")
_makers: dict[str, Callable[[Part], Tally]] = {}
"""What makes parts in this process of Ray's, by what it makes: the codec is loaded once."""


def on_ray(
    parts: Sequence[Part], start: Start, key: str, address: str, *, gpu: bool
) -> Generator[tuple[Part, Tally | AcompError], None, None]:
    """Make parts on a cluster, and yield each with what it holds or its error.

    Args:
        parts: the parts.
        start: gives the function that makes one; called once in every process of Ray's.
        key: what `start` stands for, as text.
        address: of the cluster; `auto` is the one that runs here, or else a new one.
        gpu: whether each process has a GPU, and not just a core.

    Raises:
        AcompError: Ray is not installed, or there is no such cluster.
    """
    require_packages("--ray", "ray", extra="ray")
    import ray

    with _cluster(address):
        make = ray.remote(num_cpus=1, num_gpus=int(gpu), max_retries=TRIES)(_make)
        shared = ray.put(start)
        waiting: dict[Any, Part] = {}
        left = iter(parts)
        while True:
            room = int(ray.cluster_resources().get("CPU", 1)) + WAITING
            while len(waiting) < room and (part := next(left, None)) is not None:
                waiting[make.remote(shared, key, part)] = part
            if not waiting:
                return
            done, _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(done[0]), _outcome(done[0])


@contextmanager
def _cluster(address: str) -> Iterator[None]:
    import ray

    try:
        if found := _HOST.fullmatch(address):  # Ray itself waits for minutes
            socket.create_connection((found[1], int(found[2])), PATIENCE).close()
        ray.init(
            address=None if address == "auto" else address,
            log_to_driver=False,
            logging_level="ERROR",
        )
    except Exception as error:  # Ray has errors of many kinds
        said = " ".join(str(error).split())[:200]
        raise AcompError(f"there is no Ray cluster at {address}: {said}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _make(start: Start, key: str, part: Part) -> Tally | AcompError:
    """Make a part, in a process of Ray's."""
    try:
        if key not in _makers:
            import torch

            torch.set_num_threads(1)  # as everywhere, so that codes are the same
            _makers[key] = start()
        return _makers[key](part)
    except Exception as error:
        return AcompError(str(as_error(error)))


def _outcome(reference: Any) -> Tally | AcompError:
    import ray

    try:
        found: Tally | AcompError = ray.get(reference)
    except ray.exceptions.RayError as error:
        said = " ".join(str(error).split())[:200]
        found = DiedError(f"a process of Ray's has died again and again: {said}")
    return found
