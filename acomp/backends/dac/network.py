"""DAC's networks: the stages that they are run in, the quantiser, and the decoder for chunks."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from torch import Tensor, nn

from acomp.backends.dac.shape import DacShape
from acomp.backends.shared import blocks
from acomp.backends.shared.blocks import Cut, Stage, prepare_stage
from acomp.engines import Engine
from acomp.engines.rewriting import TransposedConv


def encoder_stages(network: Any, shape: DacShape, engine: Engine, key: str) -> list[Stage]:
    """The encoder, cut before its last downsampling: samples to latents."""
    layers, last, between = network.encoder.block, len(shape.strides), shape.strides[-1]
    contexts = shape.encoder_contexts
    near = Cut(shape.hop_length, between, contexts.samples, blocks.SAMPLE_BLOCK)
    far = Cut(between, 1, contexts.latents, blocks.LATENT_BLOCK)
    return [
        prepare_stage(layers[:last], near, engine, f"{key} encoder near"),
        prepare_stage(layers[last:], far, engine, f"{key} encoder far"),
    ]


def decoder_stages(network: Any, shape: DacShape, engine: Engine, key: str) -> list[Stage]:
    """The decoder, cut after its first upsampling: latents to samples."""
    layers, between = network.decoder.model, shape.strides[-1]
    contexts = shape.decoder_contexts
    far = Cut(1, between, contexts.latents, blocks.LATENT_BLOCK)
    near = Cut(between, shape.hop_length, contexts.samples, blocks.SAMPLE_BLOCK)
    return [
        prepare_stage(layers[:2], far, engine, f"{key} decoder far"),
        prepare_stage(layers[2:], near, engine, f"{key} decoder near"),
    ]


class Quantiser(nn.Module):
    """Latents `[batch, latent, frames]` to codes `[batch, codebooks, frames]` of the first
    codebooks.
    """

    def __init__(self, quantiser: Any, codebooks: int) -> None:
        super().__init__()
        self._quantiser = quantiser
        self._codebooks = codebooks

    def forward(self, latents: Tensor) -> Tensor:
        codes: Tensor = self._quantiser(latents, self._codebooks)[1]
        return codes


class Dequantiser(nn.Module):
    """Codes `[batch, codebooks, frames]` to latents `[batch, latent, frames]`."""

    def __init__(self, quantiser: Any) -> None:
        super().__init__()
        self._quantiser = quantiser

    def forward(self, codes: Tensor) -> Tensor:
        latents: Tensor = self._quantiser.from_codes(codes)[0]
        return latents


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
