"""Networks as ONNX graphs, whose weights lie in one file, each once and as small as they are kept.

Float16 and whole numbers with scales are what the graphs hold, with the steps that make float32 of
them: onnxruntime takes these when it loads a graph, not each time it runs.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn

from acomp.export.bits import Bits, narrowed

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


@dataclass(frozen=True)
class Steps:
    """How a graph makes a weight.

    Attributes:
        nodes: the steps; the last one gives the weight.
        values: what they need, by name.
    """

    nodes: list[NodeProto]
    values: dict[str, NDArray[np.generic]]


class Packer:
    """Makes graphs small: weights in the form they are kept in, and in one file for all graphs.

    Attributes:
        data: that file's bytes so far.
    """

    def __init__(
        self,
        stored: Mapping[str, Sequence[NDArray[np.generic]]],
        computed: Callable[[str], Steps | None],
        bits: Bits | None,
    ) -> None:
        """`stored` are the weights by name, with their scales if they have any, where the graphs do
        not hold them as they are kept; `computed` has the steps to those that are made otherwise.
        `bits` are what weights may have at most; None: as many as they are kept in.
        """
        self.data = bytearray()
        self._stored = stored
        self._computed = computed
        self._bits = bits
        self._places: dict[bytes, int] = {}

    def pack(self, model: ModelProto) -> ModelProto:
        """The graph, its weights packed."""
        graph = model.graph
        kept, nodes = [], []
        for tensor in graph.initializer:
            steps = self._steps(tensor)
            nodes += steps.nodes
            kept += [self._tensor(name, value) for name, value in steps.values.items()]
        rest = list(graph.node)
        del graph.initializer[:], graph.node[:]
        graph.initializer.extend(kept)
        graph.node.extend([*nodes, *rest])
        for node in graph.node:
            node.ClearField("name")  # which only debuggers read
        return model

    def _steps(self, tensor: TensorProto) -> Steps:
        computed = self._computed(tensor.name)
        if computed is not None:
            return computed
        value: Sequence[NDArray[np.generic]] = [numpy_helper.to_array(tensor)]
        if self._stored:
            kept = self._stored.get(tensor.name.rpartition("network.")[2])
            if kept is None:  # no weight, but a constant
                return Steps([], {tensor.name: value[0]})
            value = kept
        if self._bits is not None:
            value = narrowed(tensor.name, value, self._bits)
        return _widened(tensor.name, value)

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


def _widened(name: str, stored: Sequence[NDArray[np.generic]]) -> Steps:
    """The steps to a value, float32 of what is stored in fewer bits."""
    if stored[0].dtype not in (np.float16, np.int8):
        return Steps([], {name: stored[0]})
    values = {f"{name}.stored": stored[0]}
    if len(stored) == 1:
        return Steps([node("Cast", [f"{name}.stored"], name, to=TensorProto.FLOAT)], values)
    values[f"{name}.scale"] = stored[1].astype(np.float32)
    nodes = [
        node("Cast", [f"{name}.stored"], f"{name}.wide", to=TensorProto.FLOAT),
        node("Mul", [f"{name}.wide", f"{name}.scale"], name),
    ]
    return Steps(nodes, values)


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:
    """A step of a graph."""
    return helper.make_node(kind, inputs, [output], **attributes)
