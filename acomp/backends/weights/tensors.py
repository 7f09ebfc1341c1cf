"""Tensors of a checkpoint, each taken once by its name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from acomp.errors import WeightsError
from acomp.plain import brief


class Tensors:
    """The tensors of a checkpoint, each to be taken once.

    Args:
        state: tensors by name.
        problem: what is said before what is wrong, where they are not those that are taken.
    """

    def __init__(self, state: Mapping[str, Tensor], problem: str) -> None:
        self._state = dict(state)
        self._problem = problem

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor of a name and shape, as float32.

        Raises:
            WeightsError: there is none, or it has another shape.
        """
        tensor = self._state.pop(name, None)
        if tensor is None:
            raise WeightsError(f"{self._problem} it lacks {name}")
        if tensor.shape != shape or not tensor.is_floating_point():
            found = f"{list(tensor.shape)} of {tensor.dtype}".replace("torch.", "")
            raise WeightsError(f"{self._problem} {name} is {found}, not {list(shape)}")
        return tensor.float()

    def finish(self) -> None:
        """Raise WeightsError if any was not taken."""
        for name in self._state:
            raise WeightsError(f"{self._problem} it has {brief(name)} beside them")
