"""A small official Mimi with random weights."""

from __future__ import annotations

from typing import Any

import torch

from acomp.torchaudio import ensure_torchaudio

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_filters": 4,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "head_dim": 8,
    "intermediate_size": 64,
    "sliding_window": 20,
    "upsample_groups": 32,
}
"""Less of everything; the window is no multiple of a tile, and shorter than the sounds."""


def small_mimi() -> Any:
    """A `transformers.MimiModel`; its `save_pretrained` writes Hugging Face's layout."""
    ensure_torchaudio()  # which transformers imports too
    from transformers import MimiConfig, MimiModel

    torch.manual_seed(0)
    return lively(MimiModel(MimiConfig(**SMALL)))


@torch.no_grad()
def lively(model: Any) -> Any:
    """The model with parts that differ, attention that matters and codes that vary."""
    model.eval()
    for name, weight in model.named_parameters():
        if name.endswith(".scale"):
            weight.uniform_(0.2, 0.6)
        elif "norm" in name:
            weight.add_(0.1 * torch.randn_like(weight))
    model.decoder.decoder_seanet.layers[-1].conv.weight.mul_(0.02)  # samples of full scale
    latents = model.encoder(0.3 * torch.randn(1, 1, 48_000)).latents
    for part in parts(model):
        projected = part.input_proj(latents)[0]
        centre, spread = projected.mean(-1), projected.std(-1)
        for layer in part.layers:
            book = layer.codebook
            book.cluster_usage.uniform_(0.5, 3)
            entries = torch.randn_like(book.embed_sum) * spread + centre
            book.embed_sum.copy_(entries * book.cluster_usage[:, None])
            book._embed = None
            centre, spread = torch.zeros_like(centre), 0.97 * spread
    return model


def parts(model: Any) -> list[Any]:
    quantiser = model.quantizer
    return [
        quantiser.semantic_residual_vector_quantizer,
        quantiser.acoustic_residual_vector_quantizer,
    ]
