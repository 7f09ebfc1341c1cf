"""Several jobs at once on one device: what they ask of the same network is run as one batch.

Each job runs in a thread of its own, as it would alone. When every job waits for a network, the
network and shape that most of them wait for is run, on all their inputs side by side. So clips of
different lengths fill a GPU with no padding that could change their codes: their whole blocks have
the same shape, and only the odd ends run alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Condition, local
from typing import TypeVar

import numpy as np

from acomp.engines.base import Array, Runner

T = TypeVar("T")
Key = tuple[object, ...]

MOST = 32
"""Jobs at once: bounds memory."""


class _Request:
    """Inputs that wait for a network; afterwards what came out, or why nothing did."""

    def __init__(self, network: Runner, inputs: tuple[Array, ...]) -> None:
        self.network = network
        self.inputs = inputs
        self.outputs: list[Array] | None = None
        self.error: Exception | None = None

    @property
    def key(self) -> Key:
        """Requests of one key can be run as one batch, along the first axis."""
        return (id(self.network), *((array.shape[1:], array.dtype) for array in self.inputs))


_thread = local()
"""`together` is where the job meets others that runs in this thread."""


def run_together(network: Runner, *inputs: Array) -> list[Array]:
    """`network(*inputs)`: as one batch with what others ask of it, in a thread that is a job's."""
    together: Together | None = getattr(_thread, "together", None)
    return network(*inputs) if together is None else together.run(network, *inputs)


class Together:
    """Where jobs meet. Networks that should be shared are called through `run_together`."""

    def __init__(self) -> None:
        self._changed = Condition()
        self._active = 0
        self._waiting: list[_Request] = []

    def run_all(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """What each job returns, in order; the first error that a job raised is raised."""
        if not jobs:
            return []
        remaining = iter(enumerate(jobs))
        results: dict[int, T] = {}

        def work() -> None:
            _thread.together = self
            try:
                while True:
                    with self._changed:
                        index, job = next(remaining, (None, None))
                    if index is None or job is None:
                        return
                    results[index] = job()
            finally:
                with self._changed:
                    self._active -= 1
                    self._serve_if_all_wait()

        workers = min(MOST, len(jobs))
        self._active = workers
        with ThreadPoolExecutor(workers) as pool:
            for future in [pool.submit(work) for _ in range(workers)]:
                future.result()
        return [results[index] for index in range(len(jobs))]

    def run(self, network: Runner, *inputs: Array) -> list[Array]:
        """`network(*inputs)`, called by a job; the batch is along the first axis."""
        request = _Request(network, inputs)
        with self._changed:
            self._waiting.append(request)
            self._serve_if_all_wait()
            while request.outputs is None and request.error is None:
                self._changed.wait()
        if request.error is not None:
            raise request.error
        assert request.outputs is not None
        return request.outputs

    def _serve_if_all_wait(self) -> None:
        if not self._waiting or len(self._waiting) < self._active:
            return
        groups: dict[Key, list[_Request]] = defaultdict(list)
        for request in self._waiting:
            groups[request.key].append(request)
        group = max(groups.values(), key=len)
        self._waiting = [request for request in self._waiting if request not in group]
        try:
            _run_as_batch(group)
        except Exception as error:  # whatever a device raises belongs to the jobs that asked
            for request in group:
                request.error = error
        self._changed.notify_all()


def _run_as_batch(group: list[_Request]) -> None:
    columns = zip(*(request.inputs for request in group), strict=True)
    outputs = group[0].network(*(np.concatenate(column) for column in columns))
    ends = np.cumsum([len(request.inputs[0]) for request in group])[:-1]
    parts = [np.split(output, ends) for output in outputs]
    for index, request in enumerate(group):
        request.outputs = [part[index] for part in parts]
