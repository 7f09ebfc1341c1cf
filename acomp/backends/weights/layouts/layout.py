"""What a layout is, and how tensors are renamed."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from acomp.errors import WeightsError
from acomp.plain import brief

if TYPE_CHECKING:
    from torch import Tensor

PREFIXES = ("module.", "model.")
"""What programs for training put before every name: torch's for several GPUs, Lightning's."""


@dataclass(frozen=True)
class Layout:
    """How one program names the tensors of one family.

    Attributes:
        title: what messages call it.
        family: of the codecs, as in `Family.name`.
        mark: a name that only files in this layout have.
        to_acomp: tensors by acomp's names; raises WeightsError. Large tensors are not copied.
        from_acomp: the same back.
    """

    title: str
    family: str
    mark: re.Pattern[str]
    to_acomp: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    from_acomp: Callable[[dict[str, Tensor]], dict[str, Tensor]]


def renamed(state: dict[str, Tensor], name_of: Callable[[str], str]) -> dict[str, Tensor]:
    """The tensors by other names.

    Raises:
        WeightsError: two would have one name.
    """
    result: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new = name_of(name)
        if new in result:
            raise WeightsError(f"holds {brief(new)} twice, by two names")
        result[new] = tensor
    return result


def without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without what stands before every name."""
    for prefix in PREFIXES * 2:
        if all(name.startswith(prefix) for name in state):
            state = {name[len(prefix) :]: tensor for name, tensor in state.items()}
    return state
