"""Running networks with torch, and making them cheaper to run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

from acomp.engines import forks
from acomp.engines.apart import apart
from acomp.engines.base import Array, Engine, Input, Runner
from acomp.engines.together import Together, run_together
from acomp.errors import CodecError
from acomp.settings import Precision

T = TypeVar("T")

MIN_ROWS = 16
"""Rows that a matrix has at least, so that the kernels for few rows, which round otherwise, are
never at work."""

MOST_INPUTS = 352
"""Inputs that a product sums in one call. Of 384 and more MKL gives parts to several threads, in
ways that change with the number of rows; then a row's last bits would too."""
LANES = 32
"""Numbers that torch takes at once, in two registers of a CPU. What is left of a thread's share is
computed one by one, and rounds otherwise."""
SHARE = 32_768
"""Numbers that torch gives a thread at least."""


class TorchEngine(Engine):
    """Networks on any device of torch's."""

    name = "torch"

    def __init__(self, precision: Precision, device: str = "cpu") -> None:
        self.device = pick_device(device)
        self.device_asked = device
        """What was asked for: auto leaves the choice to the codec."""
        if precision == "bf16" and not _has_bf16(self.device):
            raise CodecError(f"{_called(self.device)} has no bf16; take precision fp32")
        self.precision = precision
        self._generation = forks.generation()
        self.steady = self.device.type == "cpu"

    def prepare(
        self,
        build: Callable[[], nn.Module],
        inputs: Sequence[Input],  # noqa: ARG002 - torch takes any shape
        key: str,  # noqa: ARG002 - and keeps nothing
        *,
        precise: bool = False,
    ) -> Runner:
        """As `Engine.prepare`."""
        dtype = torch.bfloat16 if self.precision == "bf16" and not precise else torch.float32
        network = build().eval()
        if (self.device.type, dtype) != ("cpu", torch.float32):
            network = deepcopy(network).to(self.device, dtype)  # others may use this one's weights
        runner = _Network(network, self.device, dtype)
        if self.device.type == "cpu":
            return runner
        return lambda *inputs: self._run(runner, *inputs)

    def run_all(self, jobs: Sequence[Callable[[], T]]) -> list[T]:
        """As `Engine.run_all`; on a GPU all at once."""
        if self.device.type == "cpu":
            return super().run_all(jobs)
        return Together().run_all(jobs)

    def _run(self, runner: Runner, *inputs: Array) -> list[Array]:
        """Run a network on a GPU: with what other jobs ask of it, where this is one of several."""
        if self._generation != forks.generation():
            raise CodecError(
                "a GPU cannot be used after a fork: start processes by spawn or forkserver, or "
                "load the codec in each"
            )
        return run_together(runner, *inputs)


class _Network:
    def __init__(self, module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self._module = module
        self._device = device
        self._dtype = dtype

    def __call__(self, *inputs: Array) -> list[Array]:
        with apart(self._device.type):
            return [_array(result) for result in _flat(self._module(*map(self._tensor, inputs)))]

    def _tensor(self, array: Array) -> Tensor:
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"])).to(self._device)
        return tensor.to(self._dtype) if tensor.is_floating_point() else tensor


def in_torch(engine: Engine, module: nn.Module, *, precise: bool = False) -> Runner:
    """A module made ready to run in torch whatever the codec's engine is.

    Args:
        engine: the codec's; where it is not torch's, the module runs on the CPU.
        module: takes inputs of any length.
        precise: whether it runs in fp32 whatever the engine's precision is.
    """
    if not isinstance(engine, TorchEngine):
        engine = TorchEngine("fp32" if precise else engine.precision)
    return engine.prepare(lambda: module, (), "", precise=precise)


def _flat(results: Any) -> Iterator[Tensor]:
    """The tensors in what a module returned: one, or a tuple of tensors and tuples."""
    if isinstance(results, Tensor):
        yield results
    else:
        for result in results:
            yield from _flat(result)


def _array(tensor: Tensor) -> Array:
    array: Array = (tensor.float() if tensor.is_floating_point() else tensor).cpu().numpy()
    return array


def pick_device(name: str) -> torch.device:
    """The device called `name`: auto, cpu, cuda or cuda:N.

    Raises:
        CodecError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise CodecError(f"acomp does not run on the device {name!r}; take auto, cpu or cuda")
    if device.type == "cuda":
        _check_gpu(device)
    return device


def _check_gpu(device: torch.device) -> None:
    if not torch.cuda.is_available():
        raise CodecError("device cuda was asked for, but torch finds no CUDA GPU here; take cpu")
    count = torch.cuda.device_count()
    if device.index is not None and device.index >= count:
        raise CodecError(
            f"there is no device {device}: the GPUs here are cuda:0 to cuda:{count - 1}"
        )


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported())


def _called(device: torch.device) -> str:
    return "this CPU" if device.type == "cpu" else f"the device {device}"


def steady_linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` on `[..., inputs]`, whose rows on a CPU depend neither on how many there are nor
    on the number of threads.
    """
    # For another engine, which has kernels of its own.
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return F.linear(x, weight, bias)
    rows = x.reshape(-1, x.shape[-1])
    count = len(rows)
    if count < MIN_ROWS:
        rows = F.pad(rows, (0, 0, 0, MIN_ROWS - count))
    (first, inputs), *others = steady_parts(rows, weight.T)
    total = F.linear(first, inputs.T, bias)
    for part, inputs in others:
        total = torch.addmm(total, part, inputs)
    return total[:count].reshape(*x.shape[:-1], -1)


def steady_parts(rows: Tensor, matrix: Tensor) -> list[tuple[Tensor, Tensor]]:
    """`rows @ matrix`, `[count, inputs]` by `[inputs, outputs]`, as products to be added up, none
    of more than `MOST_INPUTS` inputs on a CPU.
    """
    inputs = len(matrix)
    parts = -(-inputs // MOST_INPUTS) if rows.device.type == "cpu" else 1
    return list(zip(rows.tensor_split(parts, 1), matrix.tensor_split(parts), strict=True))


def steady_map(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`function(x)` of each number for itself, which on a CPU depends neither on how many numbers
    there are nor on the number of threads: each thread's share is filled up to whole `LANES`.
    """
    if x.device.type != "cpu" or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return function(x)
    count = x.numel()
    threads = max(1, min(torch.get_num_threads(), -(-count // SHARE)))
    missing = -count % (LANES * threads)
    if not missing:
        return function(x)
    return function(F.pad(x.reshape(-1), (0, missing)))[:count].reshape(x.shape)


class SteadyLinear(nn.Linear):
    """`nn.Linear`, as `steady_linear` is."""

    def forward(self, x: Tensor) -> Tensor:
        return steady_linear(x, self.weight, self.bias)
