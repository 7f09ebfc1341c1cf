"""Running networks with OpenVINO on the CPU.

A network is converted from torch and compiled once, and the result is kept in the cache folder,
so that the next run needs neither the conversion nor torch. An entry is named by a hash of all that
it depends on (the network and its weights, the shapes, the precision, acomp's own code, OpenVINO,
the CPU) and begins with a hash of its name and contents: one that is stale is never found, and one
that is damaged, or another one's, is made anew.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from acomp.engines import forks
from acomp.engines.base import Array, Engine, Input, Runner, preparing
from acomp.engines.once import once
from acomp.errors import AcompError, AcompWarning, CodecError
from acomp.files import atomic_write, cache_folder
from acomp.quiet import quiet
from acomp.settings import Precision

if TYPE_CHECKING:
    from torch import nn


def _import_openvino() -> Any:
    """OpenVINO without its telemetry, which would report each import and conversion to its maker.

    OpenVINO does without where the package for that is missing, so it is missing for the moment.

    Raises:
        CodecError: it is installed, but broken.
    """
    installed = sys.modules.get("openvino_telemetry")
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        reason = " ".join(str(error).split())
        raise CodecError(
            f"the package openvino does not load ({reason}); mend it, or take the engine torch"
        ) from error
    finally:
        del sys.modules["openvino_telemetry"]
        if installed is not None:
            sys.modules["openvino_telemetry"] = installed


openvino = _import_openvino()

KEEP_SECONDS = 30 * 24 * 3600
"""How long a compiled network is kept that no run uses."""
MAX_SIZE = 2 << 30
"""Bytes that no compiled network exceeds: 2 GiB."""
HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVinoEngine(Engine):
    """Networks on the CPU, through OpenVINO."""

    name = "openvino"
    steady = False

    def __init__(self, precision: Precision) -> None:
        if precision == "bf16" and "BF16" not in _capabilities():
            raise CodecError("this CPU has no bf16; take precision fp32")
        self.precision = precision

    def prepare(
        self,
        build: Callable[[], nn.Module],
        inputs: Sequence[Input],
        key: str,
        *,
        precise: bool = False,
    ) -> Runner:
        """As `Engine.prepare`; the network is compiled when it first runs."""
        precision = "fp32" if precise else self.precision
        return _Network(partial(_compiled, build, tuple(inputs), key, precision))


class _Network:
    """A network that is compiled, or found compiled, when it is first needed.

    A request of OpenVINO's serves one caller at a time. So each caller takes one that is idle, or a
    new one, and there are as many as there were callers at a time. After a fork, which leaves the
    threads behind that they rely on, all of it is made anew.
    """

    def __init__(self, compiled: Callable[[], Any]) -> None:
        # What a parent process made is kept, as taking it down would wait for its threads.
        self._compiled = once(lambda generation: compiled())  # noqa: ARG005
        self._idle: dict[int, list[Any]] = defaultdict(list)
        """Requests by the generation of processes that made them."""

    def __call__(self, *inputs: Array) -> list[Array]:
        generation = forks.generation()
        idle = self._idle[generation]
        try:
            request = idle.pop()
        except IndexError:
            request = self._compiled(generation).create_infer_request()
        contiguous = [np.ascontiguousarray(array) for array in inputs]
        # Outputs are copied: OpenVINO writes the next ones over them.
        results = request.infer(contiguous, share_inputs=True, share_outputs=False)
        outputs = [results[index] for index in range(len(results))]
        idle.append(request)
        return outputs


@preparing()
def _compiled(
    build: Callable[[], nn.Module], inputs: tuple[Input, ...], key: str, precision: str
) -> Any:
    """The compiled network, from the cache or into it."""
    settings = {"INFERENCE_PRECISION_HINT": HINTS[precision], "PERFORMANCE_HINT": "LATENCY"}
    entry = _entry(key, inputs, settings)
    blob = _read(entry)
    if blob is not None:
        try:
            return _core().import_model(BytesIO(blob), "CPU", settings)
        except RuntimeError:
            pass  # whole, but not to this OpenVINO's liking: made anew below
    compiled = _core().compile_model(_convert(build, inputs), "CPU", settings)
    _write(entry, compiled.export_model().getvalue())
    return compiled


def _convert(build: Callable[[], nn.Module], inputs: tuple[Input, ...]) -> Any:
    import torch

    from acomp.engines.apart import apart_to_load

    shapes = [
        openvino.PartialShape(
            [-1 if axis in described.free else size for axis, size in enumerate(described.shape)]
        )
        for described in inputs
    ]
    with _converting, apart_to_load(), torch.no_grad(), quiet():  # of tracing
        examples = tuple(torch.zeros(each.shape, dtype=torch.float32) for each in inputs)
        return openvino.convert_model(build(), example_input=examples, input=shapes)


_converting = forks.SafeLock()
"""Networks may share modules, which one thread at a time traces."""


def _core() -> Any:
    return _core_of(forks.generation())


@once
def _core_of(generation: int) -> Any:  # noqa: ARG001 - a fork needs one of its own
    return openvino.Core()


@cache
def _capabilities() -> tuple[str, ...]:
    return tuple(_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@cache
def _surroundings() -> list[object]:
    """What every compiled network depends on: the software and the machine."""
    digest = hashlib.sha256()
    for file in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(file.read_bytes())
    cpu = _core().get_property("CPU", "FULL_DEVICE_NAME")
    return [digest.hexdigest(), openvino.get_version(), cpu, *_capabilities()]


def _entry(key: str, inputs: tuple[Input, ...], settings: dict[str, str]) -> Path:
    shapes = [[described.shape, described.free] for described in inputs]
    content = json.dumps([key, shapes, settings, _surroundings()])
    name = hashlib.sha256(content.encode()).hexdigest()[:32]
    return cache_folder() / "compiled" / f"{name}.openvino"


def _read(entry: Path) -> bytes | None:
    """What was stored, if it is there and whole."""
    try:
        if entry.stat().st_size > MAX_SIZE:
            return None
        content = entry.read_bytes()
        with suppress(OSError):
            entry.touch()  # so that it counts as used
    except OSError:
        return None
    digest, blob = content[:32], content[32:]
    return blob if _digest(entry, blob) == digest else None


def _digest(entry: Path, blob: bytes) -> bytes:
    digest = hashlib.sha256(entry.name.encode())
    digest.update(blob)
    return digest.digest()


def _write(entry: Path, blob: bytes) -> None:
    """Store a compiled network; where that is not possible, say so and go on."""
    try:
        entry.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(entry, AcompError) as file:
            file.write(_digest(entry, blob))
            file.write(blob)
        _forget_unused(entry.parent)
    except (AcompError, OSError) as error:
        message = f"a compiled network is not kept for the next run: {error}"
        warnings.warn(message, AcompWarning, stacklevel=2)


def _forget_unused(folder: Path) -> None:
    """Remove what no run has used for a while: of older versions of acomp, mostly."""
    for entry in folder.glob("*.openvino"):
        with suppress(FileNotFoundError):  # another run may tidy up too
            if time.time() - entry.stat().st_mtime > KEEP_SECONDS:
                entry.unlink()
