"""The machine that a benchmark runs on, and the fastest that it multiplies matrices."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import torch

from acomp.backends.families import families
from acomp.engines import pick_engine
from acomp.errors import CodecError
from acomp.settings import EngineName, Precision

PEAK_SIZES = (1024, 1536, 2048)
PEAK_RUNS = 8
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Machine:
    """What the figures are measured on, and with.

    Attributes:
        cpu: model of the processor.
        cores: cores that this process may use.
        torch_threads: threads that torch takes.
        memory_gb: memory in 10^9 bytes; None where the system does not tell.
        versions: by package; None for what is not installed.
        engine: what runs acomp's networks: torch or openvino.
        peak_gflops: 10^9 operations a second of the fastest product of matrices in torch, by
            precision: those that can be had.
        notes: what cannot be measured here, and what might mislead.
    """

    cpu: str
    cores: int
    torch_threads: int
    memory_gb: float | None
    versions: dict[str, str | None]
    engine: EngineName
    peak_gflops: dict[Precision, float]
    notes: list[str]


def survey(engine: EngineName) -> Machine:
    """Look at the machine, and measure its matrix peak.

    Args:
        engine: acomp's: auto, torch or openvino.

    Raises:
        CodecError: there is no such engine here.
    """
    chosen = pick_engine(engine).name
    notes = []
    if find_spec("openvino") is None:
        notes.append(f"OpenVINO is not installed: acomp runs on {chosen}")
    if "OMP_NUM_THREADS" in os.environ:
        notes.append("OMP_NUM_THREADS is set: it binds torch, and OpenVINO does not heed it")
    precisions: list[Precision] = ["fp32"]
    try:
        pick_engine(chosen, "bf16")
        precisions.append("bf16")
    except CodecError as error:
        notes.append(f"no figures in bf16: {error}")
    memory = memory_of("MemTotal")
    return Machine(
        cpu=_cpu(),
        cores=_cores(),
        torch_threads=torch.get_num_threads(),
        memory_gb=None if memory is None else memory / 1e9,
        versions={"python": platform.python_version(), **_versions()},
        engine=chosen,
        peak_gflops={precision: _matrix_peak(DTYPES[precision]) for precision in precisions},
        notes=notes,
    )


def memory_of(kind: str) -> int | None:
    """Bytes of MemTotal or of MemAvailable (see proc(5)); None where the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(rf"^{kind}:\s*(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _matrix_peak(dtype: torch.dtype) -> float:
    """10^9 operations a second of the fastest product of matrices.

    A convolution is one too, and torch has it from another library, which is the faster one on some
    processors.
    """
    best = 0.0
    for size in PEAK_SIZES:
        channels = size // 4
        square = torch.rand(size, size).to(dtype)
        signal = torch.rand(1, channels, size).to(dtype)
        kernel = torch.rand(channels, channels, 3).to(dtype)
        operations = {
            2 * size**3: partial(torch.matmul, square, square),
            2 * kernel.numel() * (size - 2): partial(torch.conv1d, signal, kernel),
        }
        for count, product in operations.items():
            best = max(best, count / min(_seconds(product) for _ in range(PEAK_RUNS)) / 1e9)
    return best


def _seconds(product: partial[torch.Tensor]) -> float:
    began = perf_counter()
    product()
    return perf_counter() - began


def _cpu() -> str:
    """The model of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    named = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _versions() -> dict[str, str | None]:
    """Of acomp, of what runs its networks and of what is timed beside it."""
    official = [family.official for family in families() if family.official is not None]
    used = [family.package for family in families() if family.package is not None]
    packages = [*(each.package for each in official), *used]
    names = ["acomp", "torch", "openvino", *(package.distribution for package in packages)]
    return {name: _version(name) for name in dict.fromkeys(names)}


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
