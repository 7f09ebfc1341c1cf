"""The engines that are here, and torch on so many threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

# Not by `importorskip`: that imports OpenVINO with its telemetry, and from then on this process and
# each conversion in it starts hundreds of others, which report to OpenVINO's maker.
needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="the extra acomp[fast] is not installed"
)
ENGINES = ["torch", pytest.param("openvino", marks=needs_openvino)]


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Lets torch use `count` threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
