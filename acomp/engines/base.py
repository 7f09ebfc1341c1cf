"""What an engine is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import local
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from numpy.typing import NDArray

from acomp.settings import EngineName, Precision

if TYPE_CHECKING:
    from torch import nn

Array = NDArray[Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Input:
    """An input of a network, in float32.

    Attributes:
        shape: of an example, which the network may be converted by.
        free: axes whose length may differ from the example's.
    """

    shape: tuple[int, ...]
    free: tuple[int, ...] = ()


class Runner(Protocol):
    """A network that is ready to run."""

    def __call__(self, *inputs: Array) -> list[Array]:
        """What the network's `forward` returns for these inputs, as one list."""
        ...


class _Preparation(local):
    seconds = 0.0


preparation = _Preparation()
"""Seconds that this thread has spent so far on compiling networks, or on reading compiled ones: a
first run's, which say nothing about the speed of the next."""


@contextmanager
def preparing() -> Iterator[None]:
    """Count the time of the body as preparation."""
    began = perf_counter()
    try:
        yield
    finally:
        preparation.seconds += perf_counter() - began


class Engine(ABC):
    """Runs networks.

    Attributes:
        name: torch or openvino.
        precision: fp32 or bf16.
        steady: whether a result is the same to the last bit however a stream is cut: so it is with
            torch on the CPU, for the networks that are written for it.
    """

    name: EngineName
    precision: Precision
    steady: bool

    def __repr__(self) -> str:
        return f"<engine {self.name}, {self.precision}>"

    @abstractmethod
    def prepare(
        self,
        build: Callable[[], nn.Module],
        inputs: Sequence[Input],
        key: str,
        *,
        precise: bool = False,
    ) -> Runner:
        """Make a network ready to run. The first axis of what it takes and returns is a batch.

        Args:
            build: gives the network; its `forward` takes tensors and returns one or several.
            inputs: what `forward` takes.
            key: names the network and its weights: another network has another key.
            precise: run it in fp32 whatever the engine's precision is.
        """

    def run_all(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """What each of several jobs, which use this engine's networks, returns.

        On a CPU a job at a time, so that no rounding depends on who else is in a batch.
        """
        return [job() for job in jobs]
