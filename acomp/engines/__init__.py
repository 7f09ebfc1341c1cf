"""How a network is run: torch everywhere, OpenVINO on CPUs.

An engine makes a torch module ready to run; what it gives takes and returns numpy arrays, so that
the codecs' streams are the same on every engine, and a network that OpenVINO finds compiled in its
cache runs without torch.
"""

from __future__ import annotations

import os
import sys
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

from acomp.engines.base import Array, Engine, Input, Runner
from acomp.errors import CodecError
from acomp.settings import EngineName, Precision

__all__ = ["Array", "Engine", "Input", "Runner", "pick_engine"]

ENGINES = get_args(EngineName)
PRECISIONS = get_args(Precision)


def pick_engine(
    engine: EngineName = "auto", precision: Precision = "fp32", device: object = "auto"
) -> Engine:
    """The engine called `engine`; auto is OpenVINO on a CPU where it is installed, else torch.

    Args:
        engine: auto, torch or openvino.
        precision: fp32, or bf16: matrix products of bfloat16, faster, near the same sound, and not
            the same codes.
        device: auto, a CUDA GPU where torch finds one and else the CPU; or cpu, cuda, cuda:N, or
            a `torch.device`.

    Raises:
        CodecError: there is no such engine, precision or device here.
    """
    device = str(device)
    if engine not in ENGINES:
        raise CodecError(f"there is no engine {engine!r}; take {', '.join(ENGINES)}")
    if precision not in PRECISIONS:
        raise CodecError(f"there is no precision {precision!r}; take {' or '.join(PRECISIONS)}")
    installed = find_spec("openvino") is not None
    if engine == "openvino" and not installed:
        raise CodecError('the engine openvino needs its package: pip install "acomp[fast]"')
    if engine == "openvino" and device not in ("auto", "cpu"):
        raise CodecError(f"the engine openvino runs on the CPU, not on {device}; take torch")
    if (
        engine == "auto"
        and installed
        and (device == "cpu" or (device == "auto" and not _has_gpu()))
    ):
        engine = "openvino"
    if engine == "openvino":
        from acomp.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(precision)
    from acomp.engines.torch import TorchEngine

    return TorchEngine(precision, device)


def _has_gpu() -> bool:
    """Whether torch can use a GPU; where no driver is, torch is not asked, which takes a second."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0") == "" or not _has_driver():
        return False
    import torch

    return torch.cuda.is_available()


def _has_driver() -> bool:
    if Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists() or Path("/dev/kfd").exists():
        return True  # NVIDIA's on Linux and within Windows, AMD's
    return sys.platform == "win32" and find_library("nvcuda") is not None
