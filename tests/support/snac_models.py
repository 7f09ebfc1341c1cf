"""Official SNACs with random weights: two small ones with all kinds of layers, and of full size."""

from __future__ import annotations

from typing import Any

import torch

from acomp.backends.snac.shape import SnacShape
from acomp.codecs import CodecSpec

SMALL = {
    "plain": SnacShape(
        sample_rate=8000,
        strides=(2, 3, 4),
        encoder_width=8,
        decoder_width=32,
        codebook_size=64,
        noise_frames=6,
    ),
    "windows": SnacShape(
        sample_rate=8000,
        strides=(2, 3),
        encoder_width=16,
        decoder_width=64,
        window=16,
        level_strides=(4, 2, 1),
        codebook_size=64,
        noise_frames=8,
    ),
}


def spec_of(shape: SnacShape) -> CodecSpec:
    hop = shape.latent_hop * shape.level_strides[0]
    bits = shape.codebook_size.bit_length() - 1
    return CodecSpec(
        name="snac-small",
        sample_rate=shape.sample_rate,
        channels=1,
        hop_length=hop,
        codebooks=7,
        codebook_size=shape.codebook_size,
        codebook_dim=8,
        bandwidths={7 * bits * shape.sample_rate / hop / 1000: 7},
        stereo_streams=True,
        delay=shape.held * shape.latent_hop / shape.sample_rate,
        levels=(1, 2, 4),
        unit=shape.unit,
    )


@torch.no_grad()
def lively(shape: SnacShape) -> Any:
    """The official module with random weights, whose parts differ and whose sound comes through."""
    torch.manual_seed(1)
    model: Any = shape.build()
    for part in model.modules():
        if type(part).__name__ == "Snake1d":
            part.alpha.uniform_(0.1, 4)
    # Codes are told by direction: around their mean latents have all of them.
    rest = model.encoder(model.preprocess(0.3 * torch.randn(1, 1, shape.sample_rate)))
    for level in model.quantizer.quantizers:
        level.in_proj.bias -= level.in_proj(rest).mean(dim=(0, 2))
        rest = rest - level(rest)[0]
    return model
