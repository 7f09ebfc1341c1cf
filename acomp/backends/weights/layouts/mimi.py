"""Mimi's layouts: Hugging Face's, whose names acomp loads, and that of Kyutai's own `moshi`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from acomp.backends.weights.layouts.layout import Layout, renamed

if TYPE_CHECKING:
    from torch import Tensor

HEADS = 8
"""Heads of attention in every network that `moshi` has; its files do not say it."""

_NAMES = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"^(encoder|decoder)_transformer\.transformer\.", r"\1_transformer."),
    (r"^quantizer\.rvq_first\.", "quantizer.semantic_residual_vector_quantizer."),
    (r"^quantizer\.rvq_rest\.", "quantizer.acoustic_residual_vector_quantizer."),
    (r"_quantizer\.vq\.layers\.", "_quantizer.layers."),
    (r"\._codebook\._initialized$", ".codebook.initialized"),
    (r"\._codebook\.embedding_sum$", ".codebook.embed_sum"),
    (r"\._codebook\.", ".codebook."),
    (r"\.(conv|convtr)(\.(conv|convtr))+\.(weight|bias)$", r".conv.\4"),
    (r"\.self_attn\.out_proj(s\.0)?\.weight$", ".self_attn.o_proj.weight"),
    (r"\.self_attn\.in_projs\.0\.weight$", ".self_attn.in_proj_weight"),
    (r"\.linear([12])\.weight$", r".mlp.fc\1.weight"),
    (r"\.norm1\.", ".input_layernorm."),
    (r"\.norm2\.", ".post_attention_layernorm."),
    (r"\.layer_scale_1\.scale$", ".self_attn_layer_scale.scale"),
    (r"\.layer_scale_2\.scale$", ".mlp_layer_scale.scale"),
)
"""Patterns in Moshi's names, and what stands there in Hugging Face's."""


_THEIR_NAMES = (
    (r"^(encoder|decoder)\.layers\.", r"\1.model."),
    (r"^(encoder|decoder)_transformer\.", r"\1_transformer.transformer."),
    (r"^quantizer\.semantic_residual_vector_quantizer\.", "quantizer.rvq_first."),
    (r"^quantizer\.acoustic_residual_vector_quantizer\.", "quantizer.rvq_rest."),
    (r"^(quantizer\.rvq_(?:first|rest))\.layers\.", r"\1.vq.layers."),
    (r"\.codebook\.initialized$", "._codebook._initialized"),
    (r"\.codebook\.embed_sum$", "._codebook.embedding_sum"),
    (r"\.codebook\.", "._codebook."),
    (r"^(encoder\.model|decoder\.model)(.*)\.conv\.(weight|bias)$", r"\1\2.conv.conv.\3"),
    (r"^downsample\.conv\.", "downsample.conv.conv.conv."),
    (r"^upsample\.conv\.", "upsample.convtr.convtr.convtr."),
    (r"\.self_attn\.o_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.fc([12])\.", r".linear\1."),
    (r"\.input_layernorm\.", ".norm1."),
    (r"\.post_attention_layernorm\.", ".norm2."),
    (r"\.self_attn_layer_scale\.", ".layer_scale_1."),
    (r"\.mlp_layer_scale\.", ".layer_scale_2."),
)
"""Patterns in Hugging Face's names, and what stands there in Moshi's."""
_LAYER = re.compile(r"decoder\.layers\.(\d{1,3})\.conv\.")


def _our_name(name: str) -> str:
    for pattern, other in _NAMES:
        name = re.sub(pattern, other, name)
    return name


def _to_acomp(state: dict[str, Tensor]) -> dict[str, Tensor]:
    result: dict[str, Tensor] = {}
    for name, tensor in renamed(state, _our_name).items():
        stem = name.removesuffix(".in_proj_weight")
        if stem == name or tensor.ndim != 2 or len(tensor) % (6 * HEADS):
            result[name] = tensor
            continue
        queries, keys, values = tensor.chunk(3)
        result[f"{stem}.q_proj.weight"] = _halves(queries)
        result[f"{stem}.k_proj.weight"] = _halves(keys)
        result[f"{stem}.v_proj.weight"] = values
    return result


def _halves(rows: Tensor) -> Tensor:
    """Rows of queries or keys in the order that Hugging Face turns them in.

    A head's channels are turned in pairs. In Moshi those of a pair stand side by side; here the
    first ones of all pairs come first.
    """
    return rows.view(HEADS, -1, 2, rows.shape[1]).transpose(1, 2).reshape(rows.shape)


def _side_by_side(rows: Tensor) -> Tensor:
    """The inverse of `_halves`."""
    return rows.view(HEADS, 2, -1, rows.shape[1]).transpose(1, 2).reshape(rows.shape)


def _from_acomp(state: dict[str, Tensor]) -> dict[str, Tensor]:
    layers = [int(found[1]) for name in state if (found := _LAYER.match(name))]
    last = max(layers, default=0)

    def name_of(name: str) -> str:
        found = _LAYER.match(name)
        for pattern, other in _THEIR_NAMES:
            name = re.sub(pattern, other, name)
        # Between its first layer and its last, the decoder's convolutions are transposed ones.
        upsamples = found is not None and 0 < int(found[1]) < last
        return name.replace(".conv.conv.", ".convtr.convtr.") if upsamples else name

    import torch

    joined = renamed(state, name_of)
    for name in [name for name in joined if name.endswith(".q_proj.weight")]:
        stem = name.removesuffix("q_proj.weight")
        queries, keys, values = (joined.pop(f"{stem}{part}_proj.weight") for part in "qkv")
        rows = [_side_by_side(queries), _side_by_side(keys), values]
        joined[f"{stem}in_proj_weight"] = torch.cat(rows)
    return joined


HUGGING_FACE = Layout(
    title="Hugging Face's layout of Mimi",
    family="mimi",
    mark=re.compile(r"encoder_transformer\.layers\.0\.self_attn\.q_proj\.weight"),
    to_acomp=lambda state: state,
    from_acomp=lambda state: state,
)
MOSHI = Layout(
    title="Moshi's layout of Mimi",
    family="mimi",
    mark=re.compile(
        r"encoder_transformer\.transformer\.layers\.0\.self_attn\.in_proj(_weight|s\.0\.weight)"
    ),
    to_acomp=_to_acomp,
    from_acomp=_from_acomp,
)
