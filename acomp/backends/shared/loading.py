"""Networks of a shape with the weights of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from acomp.backends.custom import named_shape
from acomp.backends.weights.checkpoint import fingerprint, load_checkpoint
from acomp.engines.apart import apart_to_load
from acomp.engines.once import once
from acomp.engines.rewriting import fold_weight_norm
from acomp.errors import WeightsError
from acomp.plain import brief

_Shapes = dict[str, tuple[int, ...]]


class Buildable(Protocol):
    """A shape that networks are built in."""

    def build(self) -> nn.Module: ...


@dataclass(frozen=True)
class Network:
    """A network with its weights.

    Attributes:
        folded: the module that runs, its weight norm folded into the weights; for rewriting.
        module: makes the module as it was published, once, for training and analysis.
        fingerprint: of the weights.
    """

    folded: Any
    module: Callable[[], nn.Module]
    fingerprint: str


def load_network(shape: Buildable, path: Path, name: str) -> Network:
    """The network of a shape with the weights of a file; as `load_module`."""
    module, mark = load_module(shape, path, name)
    load = once(partial(_load_again, shape, path, name))
    return Network(fold_weight_norm(module), load, mark)


def _load_again(shape: Buildable, path: Path, name: str) -> nn.Module:
    return load_module(shape, path, name)[0].eval()


@apart_to_load()
def load_module(shape: Buildable, path: Path, name: str) -> tuple[nn.Module, str]:
    """The module of a shape with the weights of a file, those of the codec `name`.

    Memory is taken once the file is known to hold tensors of just these names and shapes.

    Returns:
        The module, in eval mode, and the fingerprint of the weights.

    Raises:
        WeightsError: the file cannot be read, or holds other weights than this codec's.
        CodecError: a package is missing.
    """
    with torch.device("meta"):
        module = shape.build().float()  # whatever type new tensors have here
    checkpoint = load_checkpoint(path)
    if named_shape(path, checkpoint) not in (None, shape):
        raise WeightsError(
            f"{path} does not hold weights of {name} but those of a codec of its own shape: "
            "take -b custom"
        )
    other = _difference(_shapes(module.state_dict()), _shapes(checkpoint.state))
    if other is not None:
        looks = (
            "" if checkpoint.layout is None else f"it looks like {checkpoint.layout.title}, and "
        )
        raise WeightsError(f"{path} does not hold weights of {name}: {looks}{other}")
    module.to_empty(device="cpu").load_state_dict(checkpoint.state)
    return module, fingerprint(checkpoint.state)


def _shapes(state: Mapping[str, Tensor]) -> _Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _difference(expected: _Shapes, found: _Shapes) -> str | None:
    """The first thing in which tensors differ from those expected; None where in nothing."""
    for name, shape in expected.items():
        if name not in found:
            return f"it lacks {name}"
        if found[name] != shape:
            return f"{name} is {list(found[name])}, not {list(shape)}"
    extra = next((name for name in found if name not in expected), None)
    return None if extra is None else f"it has {brief(extra)} beside them"
