"""DAC's network, the stages that it is run in, and its decoder for chunks."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from acomp.backends.dac.shape import DacShape
from acomp.backends.shared import blocks
from acomp.backends.shared.blocks import Cut, Stage, prepare_stage
from acomp.backends.shared.layers import Autoencoder, downsampling, residual_units, upsampling
from acomp.backends.shared.quantisers import DirectionBook
from acomp.backends.shared.snake import Snake
from acomp.engines import Engine
from acomp.engines.rewriting import TransposedConv


def build(shape: DacShape) -> Autoencoder:
    """The network of a shape, with weights drawn at random."""
    narrow, widest = shape.encoder_width, shape.encoder_width << len(shape.strides)
    wide, narrowest = shape.decoder_width, shape.decoder_width >> len(shape.strides)
    latents = shape.latent_dimension or widest
    encoder = [
        nn.Conv1d(1, narrow, 7, padding=3),
        *(downsampling(narrow << level, stride) for level, stride in enumerate(shape.strides)),
        *(Snake(widest), nn.Conv1d(widest, latents, 3, padding=1)),
    ]
    decoder = [
        nn.Conv1d(latents, wide, 7, padding=3),
        *(_upsampling(wide >> level, stride) for level, stride in enumerate(shape.strides[::-1])),
        *(Snake(narrowest), nn.Conv1d(narrowest, 1, 7, padding=3), nn.Tanh()),
    ]
    books = [
        DirectionBook(latents, shape.codebook_dimension, shape.codebook_size)
        for _ in range(shape.codebooks)
    ]
    return Autoencoder(encoder, books, decoder)


def _upsampling(width: int, stride: int) -> nn.Module:
    return upsampling(width, stride, *residual_units(width // 2))


def encoder_stages(network: Autoencoder, shape: DacShape, engine: Engine, key: str) -> list[Stage]:
    """The encoder, cut before its last downsampling: samples to latents."""
    layers, last, between = network.encoder_layers, len(shape.strides), shape.strides[-1]
    contexts = shape.encoder_contexts
    near = Cut(shape.hop_length, between, contexts.samples, blocks.SAMPLE_BLOCK)
    far = Cut(between, 1, contexts.latents, blocks.LATENT_BLOCK)
    return [
        prepare_stage(layers[:last], near, engine, f"{key} encoder near"),
        prepare_stage(layers[last:], far, engine, f"{key} encoder far"),
    ]


def decoder_stages(network: Autoencoder, shape: DacShape, engine: Engine, key: str) -> list[Stage]:
    """The decoder, cut after its first upsampling: latents to samples."""
    layers, between = network.decoder_layers, shape.strides[-1]
    contexts = shape.decoder_contexts
    far = Cut(1, between, contexts.latents, blocks.LATENT_BLOCK)
    near = Cut(between, shape.hop_length, contexts.samples, blocks.SAMPLE_BLOCK)
    return [
        prepare_stage(layers[:2], far, engine, f"{key} decoder far"),
        prepare_stage(layers[2:], near, engine, f"{key} decoder near"),
    ]


class Unpadded(nn.Module):
    """The decoder with no padding in any layer. What comes out is put where it would be with
    padding, between zeros, so that a frame still is a hop of samples.

    A transposed convolution gives more than with padding, and its ends are sums of fewer frames; so
    this is not a part of what the padded decoder gives.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        # The copy has layers of its own and the same weights.
        shared: dict[int, Any] = {id(weight): weight for weight in decoder.parameters()}
        self._decoder = deepcopy(decoder, shared)
        self.before = self.after = 0
        """Samples that are missing at the beginning and at the end."""
        self.shortest = 1
        """Frames that there must be for every layer to give something."""
        steps = 1
        for layer in self._decoder.modules():
            if isinstance(layer, TransposedConv):
                stride = layer.stride[0]
                steps *= stride
                self.before = self.before * stride - layer.cut
                self.after = self.after * stride - stride + layer.cut
                layer.cut = 0
            elif isinstance(layer, nn.Conv1d):
                padding = int(layer.padding[0])
                self.before += padding
                self.after += padding
                layer.padding = (0,)
            self.shortest = max(self.shortest, (self.before + self.after) // steps + 1)

    def forward(self, latents: Tensor) -> Tensor:
        """`[batch, latent, frames]` to `[batch, 1, frames * hop]`."""
        audio: Tensor = self._decoder(latents)
        return nn.functional.pad(audio, (self.before, self.after))
