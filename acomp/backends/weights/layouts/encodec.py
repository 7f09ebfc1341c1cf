"""EnCodec's layouts: the package `encodec`'s, which AudioCraft shares, and Hugging Face's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from acomp.backends.weights.layouts import norm
from acomp.backends.weights.layouts.layout import Layout, renamed

if TYPE_CHECKING:
    from torch import Tensor

_THEIRS = re.compile(
    r"(?P<half>encoder|decoder)\.layers\.(?P<layer>\d{1,3})(?P<inner>(\.block\.\d|\.shortcut)?)"
    r"\.(?P<part>conv|norm)\.(?P<tensor>.+)"
)
_OURS = re.compile(
    r"(?P<half>encoder|decoder)\.model\.(?P<layer>\d{1,3})(?P<inner>(\.block\.\d|\.shortcut)?)"
    r"\.(conv|convtr)\.(?P<part>conv|convtr|norm)\.(?P<tensor>.+)"
)


def _to_acomp(state: dict[str, Tensor]) -> dict[str, Tensor]:
    layers = [int(found["layer"]) for name in state if (found := _THEIRS.fullmatch(name))]
    last = max(layers, default=0)

    def name_of(name: str) -> str:
        found = _THEIRS.fullmatch(name)
        if found is None:
            name = re.sub(r"^(encoder|decoder)\.layers\.(\d+)\.lstm\.", r"\1.model.\2.lstm.", name)
            return re.sub(
                r"^quantizer\.layers\.(\d+)\.codebook\.", r"quantizer.vq.layers.\1._codebook.", name
            )
        half, layer, inner, part, tensor = found.group("half", "layer", "inner", "part", "tensor")
        # Between its first layer and its last, a convolution of the decoder that stands in no
        # residual layer is a transposed one.
        upsamples = half == "decoder" and not inner and 0 < int(layer) < last
        kind = "convtr" if upsamples else "conv"
        return f"{half}.model.{layer}{inner}.{kind}.{kind if part == 'conv' else part}.{tensor}"

    return _normalised(norm.in_old_naming(renamed(state, name_of)))


def _from_acomp(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return norm.in_new_naming(renamed(state, _their_name))


def _their_name(name: str) -> str:
    found = _OURS.fullmatch(name)
    if found is None:
        name = re.sub(r"^(encoder|decoder)\.model\.(\d+)\.lstm\.", r"\1.layers.\2.lstm.", name)
        return re.sub(
            r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook.", name
        )
    half, layer, inner, part, tensor = found.group("half", "layer", "inner", "part", "tensor")
    return f"{half}.layers.{layer}{inner}.{'norm' if part == 'norm' else 'conv'}.{tensor}"


def _normalised(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Convolutions with weight norm, where nothing else normalises them."""
    has_groups = any(name.endswith(".norm.weight") for name in state)
    return state if has_groups else norm.split(state)


OFFICIAL = Layout(
    title="the layout of the package encodec",
    family="encodec",
    mark=re.compile(r"quantizer\.vq\.layers\.0\._codebook\.embed"),
    to_acomp=lambda state: _normalised(norm.in_old_naming(state)),
    from_acomp=lambda state: state,
)
HUGGING_FACE = Layout(
    title="Hugging Face's layout of EnCodec",
    family="encodec",
    mark=re.compile(r"quantizer\.layers\.0\.codebook\.embed"),
    to_acomp=_to_acomp,
    from_acomp=_from_acomp,
)
