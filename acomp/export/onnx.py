"""Networks as ONNX graphs, whose weights lie in one file, each once and as small as they are kept.

Float16 and whole numbers with scales are what the graphs hold, with the steps that make float32 of
them: onnxruntime takes these when it loads a graph, not each time it runs.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

OPSET = 18
WEIGHTS = "weights.bin"
"""The file of the weights of all graphs in a folder."""
SMALL = 1024
"""Bytes of a tensor up to which it stays in its graph."""


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: its name.
        dtype: float32 or int64.
        shape: its axes; those of any length have a name.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    @property
    def axes(self) -> dict[int, str]:
        """The axes of any length."""
        return {i: size for i, size in enumerate(self.shape) if isinstance(size, str)}


def trace(
    module: nn.Module, example: Sequence[Tensor], inputs: Sequence[Port], outputs: Sequence[Port]
) -> ModelProto:
    """The ONNX graph of a module, its weights in float32."""
    made = BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # of the tracer's, about what is constant here
        torch.onnx.export(
            module.eval(),
            tuple(example),
            made,  # type: ignore[arg-type] # files are taken too
            input_names=[port.name for port in inputs],
            output_names=[port.name for port in outputs],
            dynamic_axes={port.name: port.axes for port in (*inputs, *outputs)},
            opset_version=OPSET,
            do_constant_folding=False,  # so that weights keep their names and their form
            dynamo=False,  # the newer way takes minutes for a search along several paths
        )
    return onnx.load_from_string(made.getvalue())


class Packer:
    """Makes graphs small: weights in the form they are kept in, and in one file for all graphs.

    Attributes:
        data: that file's bytes so far.
    """

    def __init__(self, stored: Mapping[str, Sequence[NDArray[np.generic]]], hop: int) -> None:
        """`stored` are the weights by name, with their scales if they have any; `hop`, that of the
        MDCT.
        """
        self.data = bytearray()
        self._stored = stored
        self._hop = hop
        self._places: dict[bytes, int] = {}

    def pack(self, model: ModelProto) -> ModelProto:
        """The graph, its weights packed."""
        graph = model.graph
        kept, nodes = [], []
        for tensor in graph.initializer:
            name = tensor.name.rpartition("network.")[2]
            if name in ("cosines", "sines"):
                made, values = _transform(tensor.name, self._hop)
            elif name in self._stored:
                made, values = _widened(tensor.name, self._stored[name])
            else:
                made, values = [], {tensor.name: numpy_helper.to_array(tensor)}
            nodes += made
            kept += [self._tensor(each, value) for each, value in values.items()]
        rest = list(graph.node)
        del graph.initializer[:], graph.node[:]
        graph.initializer.extend(kept)
        graph.node.extend([*nodes, *rest])
        for node in graph.node:
            node.ClearField("name")  # which only debuggers read
        return model

    def _tensor(self, name: str, value: NDArray[np.generic]) -> TensorProto:
        tensor = numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        raw = tensor.raw_data
        if len(raw) <= SMALL:
            return tensor
        key = hashlib.sha256(raw).digest()
        if key not in self._places:
            self._places[key] = len(self.data)
            self.data += raw + bytes(-len(raw) % 64)
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        place = {"location": WEIGHTS, "offset": self._places[key], "length": len(raw)}
        for what, where in place.items():
            tensor.external_data.add(key=what, value=str(where))
        return tensor


def _widened(
    name: str, stored: Sequence[NDArray[np.generic]]
) -> tuple[list[NodeProto], dict[str, NDArray[np.generic]]]:
    """The steps to a weight in float32 from what is stored of it, and that."""
    values = {f"{name}.stored": stored[0]}
    if len(stored) == 1:
        return [_node("Cast", [f"{name}.stored"], name, to=TensorProto.FLOAT)], values
    values[f"{name}.scale"] = stored[1].astype(np.float32)
    return [
        _node("Cast", [f"{name}.stored"], f"{name}.wide", to=TensorProto.FLOAT),
        _node("Mul", [f"{name}.wide", f"{name}.scale"], name),
    ], values


def _transform(name: str, hop: int) -> tuple[list[NodeProto], dict[str, NDArray[np.generic]]]:
    """The steps to the matrix of the MDCT or its sine twin, `[2 * hop, hop]`, and what they need.

    Its entries are few cosines, over and over: pi / (4 * hop) times (2 * time + 1 + hop) times
    (2 * line + 1), the product modulo 8 * hop.
    """
    time, line = np.arange(2 * hop), np.arange(hop)
    turn = 2 * np.pi / (8 * hop)
    shift = 2 * hop if name.rpartition(".")[2] == "sines" else 0
    window = np.sin(np.pi / (2 * hop) * (time + 0.5)) * np.sqrt(2 / hop)
    values: dict[str, NDArray[np.generic]] = {
        f"{name}.rows": (2 * time + 1 + hop)[:, np.newaxis],
        f"{name}.columns": 2 * line + 1,
        f"{name}.circle": np.array(8 * hop),
        f"{name}.table": np.cos(turn * (np.arange(8 * hop) - shift)).astype(np.float32),
        f"{name}.window": window.astype(np.float32)[:, np.newaxis],
    }
    return [
        _node("Mul", [f"{name}.rows", f"{name}.columns"], f"{name}.products"),
        _node("Mod", [f"{name}.products", f"{name}.circle"], f"{name}.places"),
        _node("Gather", [f"{name}.table", f"{name}.places"], f"{name}.bare"),
        _node("Mul", [f"{name}.bare", f"{name}.window"], name),
    ], values


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs, [output], **attributes)
