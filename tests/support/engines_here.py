"""Skipping what needs OpenVINO."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

# Not by `importorskip`: that imports OpenVINO with its telemetry, and from then on this process and
# each conversion in it starts hundreds of others, which report to OpenVINO's maker.
needs_openvino = pytest.mark.skipif(
    find_spec("openvino") is None, reason="the extra acomp[fast] is not installed"
)
ENGINES = ["torch", pytest.param("openvino", marks=needs_openvino)]
