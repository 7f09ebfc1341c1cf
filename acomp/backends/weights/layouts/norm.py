"""Weight norm: convolutions whose weights are kept as directions and lengths.

Torch has two namings of it, `weight_g` and `weight_v`, and since version 2.0 `parametrizations`;
and programs that only run a network keep the plain weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acomp.backends.weights.layouts.layout import renamed

if TYPE_CHECKING:
    from torch import Tensor

_NEW = {
    "parametrizations.weight.original0": "weight_g",
    "parametrizations.weight.original1": "weight_v",
}
_OLD = {old: new for new, old in _NEW.items()}


def in_old_naming(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with lengths named `weight_g` and directions `weight_v`."""
    return renamed(state, lambda name: _renamed_end(name, _NEW))


def in_new_naming(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with lengths and directions named as `parametrizations`."""
    return renamed(state, lambda name: _renamed_end(name, _OLD))


def _renamed_end(name: str, ends: dict[str, str]) -> str:
    for end, other in ends.items():
        if name.endswith(f".{end}"):
            return name.removesuffix(end) + other
    return name


def split(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors with the weight of each convolution as a length and a direction, which is the
    weight itself: their product is the weight, bit by bit.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not (is_convolution(name, tensor.ndim) and tensor.is_floating_point()):
            result[name] = tensor
            continue
        lengths = _lengths(tensor)
        # A direction of zeros has no length to be divided by.
        direction = tensor if lengths.all() else tensor.where(lengths != 0, 1)
        result[f"{name}_g"], result[f"{name}_v"] = lengths, direction
    return result


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, in the old naming, with the weight of each convolution as a whole."""
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith(".weight_v"):
            stem = name.removesuffix("_v")
            result[stem] = whole(state[f"{stem}_g"], tensor)
        elif not name.endswith(".weight_g"):
            result[name] = tensor
    return result


def whole_shapes(state: dict[str, Tensor]) -> dict[str, list[int]]:
    """The shapes of the tensors, with the weight of each convolution as a whole."""
    return {
        name.removesuffix("_v") if name.endswith(".weight_v") else name: list(tensor.shape)
        for name, tensor in in_old_naming(state).items()
        if not name.endswith(".weight_g")
    }


def whole(lengths: Tensor, directions: Tensor) -> Tensor:
    """The weight of a convolution, as torch's weight norm computes it, to the last bit."""
    import torch

    return torch._weight_norm(directions, lengths, 0)


def is_convolution(name: str, axes: int) -> bool:
    """Whether a tensor of a name and so many axes is the weight of a convolution."""
    return name.endswith(".weight") and axes == 3


def _lengths(tensor: Tensor) -> Tensor:
    """The length of each row, as torch's weight norm computes it: `[rows, 1, 1]`."""
    import torch

    return torch.norm_except_dim(tensor, 2, 0)
