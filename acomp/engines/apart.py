"""Torch apart from what is around it: the caller's settings neither change acomp's arithmetic nor
are changed by it.

Everything of acomp that runs torch outside training does so under `apart`, or `apart_to_load`.
They see to autocast, the grad and inference modes and the default device, which belong to a
thread, and to reduced precision of float32 products, which belongs to the process. The default
type of new tensors belongs to the process too, and other threads would see it change, so acomp's
own code names its types instead. After a fork torch runs on one thread (see `forks`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import torch

from acomp.engines import forks

_PRODUCTS = ("mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
_GPU_PRODUCTS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn")
_EXACT = ("none", "ieee")
_seen_generation = 0
"""Not the generation at import: a fork may be the first to import this module."""


@contextmanager
def apart(device: str = "cpu") -> Iterator[None]:
    """Run networks: nothing is recorded, and products are in the precision of their factors."""
    with ExitStack() as settings:
        settings.enter_context(torch.inference_mode())
        _enter(settings, device)
        yield


@contextmanager
def apart_to_load(device: str = "cpu") -> Iterator[None]:
    """Make networks: as `apart`, but tensors can be trained later on."""
    with ExitStack() as settings:
        settings.enter_context(torch.inference_mode(False))
        settings.enter_context(torch.enable_grad())
        _enter(settings, device)
        yield


def _enter(settings: ExitStack, device: str) -> None:
    _tell_forks()
    for kind in ("cpu", "cuda"):
        if torch.is_autocast_enabled(kind):
            settings.enter_context(torch.autocast(kind, enabled=False))
    if torch.get_default_device().type != "cpu":
        settings.enter_context(torch.device("cpu"))
    settings.enter_context(_exact(gpu=device != "cpu"))


def _tell_forks() -> None:
    """In a forked process: one thread, as those of the parent are waited for in vain."""
    global _seen_generation
    if _seen_generation != forks.generation():
        _seen_generation = forks.generation()
        torch.set_num_threads(1)


class _Precision:
    """Reduced precision of float32 products, switched off while anybody needs it off."""

    def __init__(self) -> None:
        self._lock = forks.SafeLock()
        self._users = 0
        self._kept: list[tuple[Any, str]] = []

    @contextmanager
    def off(self, reduced: list[Any]) -> Iterator[None]:
        """Without the precisions of `reduced`, until the last of those inside leaves."""
        with self._lock:
            self._users += 1
            for each in reduced:
                self._kept.append((each, each.fp32_precision))
                each.fp32_precision = "ieee"
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                while not self._users and self._kept:
                    each, precision = self._kept.pop()
                    each.fp32_precision = precision


_precision = _Precision()


@contextmanager
def _exact(*, gpu: bool) -> Iterator[None]:
    places = [_place(name) for name in _PRODUCTS + (_GPU_PRODUCTS if gpu else ())]
    reduced = [each for each in places if each.fp32_precision not in _EXACT]
    with _precision.off(reduced):
        yield


class _Legacy:
    """A precision of torch before 2.9, which has other names for it."""

    def __init__(self, name: str) -> None:
        self._is_cudnn = name.startswith("cudnn")

    @property
    def fp32_precision(self) -> str:
        if self._is_cudnn:
            return "tf32" if torch.backends.cudnn.allow_tf32 else "ieee"
        precision = torch.get_float32_matmul_precision()
        return "ieee" if precision == "highest" else precision

    @fp32_precision.setter
    def fp32_precision(self, value: str) -> None:
        if self._is_cudnn:
            torch.backends.cudnn.allow_tf32 = value != "ieee"
        else:
            torch.set_float32_matmul_precision("highest" if value == "ieee" else value)


@cache
def _place(name: str) -> Any:
    """Where torch keeps the precision of a kind of products."""
    backend, product = name.split(".")
    place = getattr(getattr(torch.backends, backend), product, None)
    try:
        return place if place is not None and place.fp32_precision else _Legacy(name)
    except AttributeError:
        return _Legacy(name)
