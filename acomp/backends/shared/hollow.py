"""Modules without memory for their weights, to be compared with a file and then filled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode


@contextmanager
def hollow() -> Iterator[None]:
    """Within it new tensors have shapes and no memory, as on torch's device `meta`."""
    with torch.device("meta"), _NoNorm():
        yield


def fill(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a hollow module copies of tensors, of the types that its own have.

    Raises:
        RuntimeError: their names or shapes are not those of the module.
    """
    types = {name: tensor.dtype for name, tensor in module.state_dict().items()}
    copies = {
        name: tensor.to(types.get(name, tensor.dtype), copy=True) for name, tensor in state.items()
    }
    module.load_state_dict(copies, assign=True)


class _NoNorm(TorchFunctionMode):
    """Weight norm where there is nothing to compute.

    Torch would find the shapes by way of its compiler, whose import takes a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.norm_except_dim:
            directions, _, axis = args
            sizes = [size if at == axis else 1 for at, size in enumerate(directions.shape)]
            return directions.new_empty(sizes)
        if func is torch._weight_norm:
            return args[0].new_empty(args[0].shape)
        return func(*args, **(kwargs or {}))
