"""Layouts of weights: how each program names the tensors of a codec, mapped to acomp's names.

acomp's families load the names of the official packages (`encodec`, `descript-audio-codec`, `snac`;
for Mimi those of Hugging Face's file). A `Layout` is recognised by a name that it alone has, and
maps the names of its program to those, and back. Where a file lies is `files`; what its
`config.json`, or AudioCraft's `xp.cfg`, says of the network is `configs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from acomp.backends.weights.layouts import dac, encodec, mimi, snac
from acomp.backends.weights.layouts.layout import Layout, without_prefixes

if TYPE_CHECKING:
    from torch import Tensor

LAYOUTS: tuple[Layout, ...] = (
    mimi.MOSHI,
    mimi.HUGGING_FACE,
    encodec.HUGGING_FACE,
    dac.HUGGING_FACE,
    encodec.OFFICIAL,
    snac.OFFICIAL,
    dac.OFFICIAL,
)
"""Every layout; of two that a file could be in, the first is meant."""


def recognised(state: dict[str, Tensor]) -> tuple[Layout | None, dict[str, Tensor]]:
    """The layout of some tensors, and the tensors by acomp's names; as they are where it is none
    of these, as for nano.

    Raises:
        WeightsError: two tensors would have one name; the message continues that of the file.
    """
    state = without_prefixes(state)
    for layout in LAYOUTS:
        if any(layout.mark.fullmatch(name) for name in state):
            return layout, layout.to_acomp(state)
    return None, state
