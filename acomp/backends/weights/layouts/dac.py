"""DAC's layouts: the package `descript-audio-codec`'s and Hugging Face's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from acomp.backends.weights.layouts import norm
from acomp.backends.weights.layouts.layout import Layout, renamed

if TYPE_CHECKING:
    from torch import Tensor

_UNIT = {"0": "snake1", "1": "conv1", "2": "snake2", "3": "conv2"}
"""Parts of a residual unit."""
MOST_BLOCKS = 8


def _units(first: int) -> dict[str, str]:
    """Names of the parts of three residual units, that number `first` of a block and the next."""
    return {
        f"{first + unit}.block.{ours}": f"res_unit{unit + 1}.{theirs}"
        for unit in range(3)
        for ours, theirs in _UNIT.items()
    }


_ENCODER_BLOCK = {**_units(0), "3": "snake1", "4": "conv1"}
_DECODER_BLOCK = {"0": "snake1", "1": "conv_t1", **_units(2)}


def _parts(blocks: int) -> dict[str, str]:
    """Hugging Face's names of the convolutions and activations of a network, by acomp's."""
    return {
        "encoder.block.0": "encoder.conv1",
        f"encoder.block.{blocks + 1}": "encoder.snake1",
        f"encoder.block.{blocks + 2}": "encoder.conv2",
        "decoder.model.0": "decoder.conv1",
        f"decoder.model.{blocks + 1}": "decoder.snake1",
        f"decoder.model.{blocks + 2}": "decoder.conv2",
        **{
            f"encoder.block.{block + 1}.block.{ours}": f"encoder.block.{block}.{theirs}"
            for block in range(blocks)
            for ours, theirs in _ENCODER_BLOCK.items()
        },
        **{
            f"decoder.model.{block + 1}.block.{ours}": f"decoder.block.{block}.{theirs}"
            for block in range(blocks)
            for ours, theirs in _DECODER_BLOCK.items()
        },
    }


def _blocks(state: dict[str, Tensor], mark: str) -> int:
    """Blocks of the encoder, counted by a name that each has."""
    return sum(mark.format(block) in state for block in range(MOST_BLOCKS + 1))


def _by_part(state: dict[str, Tensor], parts: dict[str, str]) -> dict[str, Tensor]:
    def name_of(name: str) -> str:
        part, _, tensor = name.rpartition(".")
        return f"{parts.get(part, part)}.{tensor}"

    return renamed(state, name_of)


def _to_acomp(state: dict[str, Tensor]) -> dict[str, Tensor]:
    parts = _parts(_blocks(state, "encoder.block.{}.snake1.alpha"))
    state = norm.in_old_naming(state)
    return norm.split(_by_part(state, {theirs: ours for ours, theirs in parts.items()}))


def _from_acomp(state: dict[str, Tensor]) -> dict[str, Tensor]:
    parts = _parts(_blocks(state, "encoder.block.{}.block.3.alpha"))
    return _by_part(norm.folded(state), parts)


OFFICIAL = Layout(
    title="the layout of descript-audio-codec",
    family="dac",
    mark=re.compile(r"encoder\.block\.1\.block\.0\.block\.0\.alpha"),
    to_acomp=lambda state: norm.split(norm.in_old_naming(state)),
    from_acomp=lambda state: state,
)
HUGGING_FACE = Layout(
    title="Hugging Face's layout of DAC",
    family="dac",
    mark=re.compile(r"encoder\.block\.0\.res_unit1\.snake1\.alpha"),
    to_acomp=_to_acomp,
    from_acomp=_from_acomp,
)
