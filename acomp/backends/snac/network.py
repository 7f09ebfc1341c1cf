"""SNAC's networks: the stages that they are run in, the noise of the decoder, and the quantiser.

In the middle of the 32 and 44 kHz networks lies attention within windows that follow one another
from the first latent on; a window is run at a time.

The decoder mixes noise in, which `snac` draws anew at each run. Here the noise is fixed, so that
the same codes always give the same sound, however they are cut into blocks. It repeats after some
seconds, many times what the decoder sees at once, and decoding from a point in the middle on begins
where it does, so that a stretch is the same as in the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.backends.shared import blocks
from acomp.backends.shared.blocks import Cut, InBlocks, Running, Stage, prepare_stage
from acomp.backends.snac.shape import EDGE, SnacShape
from acomp.engines import Array, Engine, Input
from acomp.engines.once import once


def encoder_stages(network: Any, shape: SnacShape, engine: Engine, key: str) -> list[Stage]:
    """The encoder as stages in a row, from samples to latents."""
    layers, last, between = network.encoder.block, len(shape.strides), shape.strides[-1]
    near = Cut(shape.latent_hop, between, shape.reach.encoder_samples, blocks.SAMPLE_BLOCK)
    far = Cut(between, 1, shape.reach.encoder_latents, blocks.LATENT_BLOCK)
    end = last + 1 if shape.window else None
    stages = [
        prepare_stage(layers[:last], near, engine, f"{key} encoder near"),
        prepare_stage(layers[last:end], far, engine, f"{key} encoder far"),
    ]
    if shape.window:
        edge = Cut(1, 1, EDGE, shape.window)
        stages += [
            _attention(layers[last + 1], shape.window, engine, f"{key} encoder attention"),
            prepare_stage(layers[last + 2 :], edge, engine, f"{key} encoder last"),
        ]
    return stages


def decoder_stages(network: Any, shape: SnacShape, engine: Engine, key: str) -> list[Stage]:
    """The decoder as stages in a row, from latents to samples."""
    layers, between, stages = network.decoder.model, shape.strides[-1], []
    opening, rest = layers[:2], layers[2:]
    if shape.window:
        edge = Cut(1, 1, EDGE, shape.window)
        stages = [
            prepare_stage(opening, edge, engine, f"{key} decoder first"),
            _attention(layers[2], shape.window, engine, f"{key} decoder attention"),
        ]
        opening, rest = [], layers[3:]
    # One block next to the latents, and all others next to the samples.
    far = Cut(1, between, shape.reach.decoder_latents, blocks.LATENT_BLOCK)
    near = Cut(between, shape.latent_hop, shape.reach.decoder_samples, blocks.SAMPLE_BLOCK)
    others = tuple(range(1, len(shape.strides)))
    prepare = partial(_noisy_stage, shape=shape, engine=engine)
    return [
        *stages,
        prepare([*opening, rest[0]], far, key=f"{key} decoder far", noisy=(0,)),
        prepare(rest[1:], near, key=f"{key} decoder near", noisy=others),
    ]


# Attention


def _attention(layer: Any, window: int, engine: Engine, key: str) -> Stage:
    """Attention, a window at a time: of a fixed length, as its converted form needs it."""
    if layer.rel_pos is not None:
        layer.rel_pos = _Positions(layer.rel_pos)
    width = int(layer.norm.normalized_shape[0])
    network = engine.prepare(lambda: layer, [Input((1, width, window), free=(0,))], key)
    return Stage(network, Cut(inputs=window, outputs=window, context=0, block=1))


class _Positions(nn.Module):
    """Rotations of `snac`'s attention, whose scale it makes of the caller's default type."""

    def __init__(self, positions: nn.Module) -> None:
        super().__init__()
        self._positions = positions

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rotations, scale = self._positions(x)
        return rotations, scale.to(rotations.dtype)


# Noise


def noise(shape: SnacShape, layer: int) -> NDArray[np.float32]:
    """The noise of one of the decoder's blocks, standard normal, which repeats: `[time]`.

    All streams have the same: what is alike in both channels stays in the middle.

    From numpy's `RandomState`, as its numbers will be the same in all versions (NEP 19).
    """
    steps = math.prod(shape.strides[::-1][: layer + 1])
    count = shape.noise_frames * shape.level_strides[0] * steps
    return np.random.RandomState(layer).standard_normal(count).astype(np.float32)


@dataclass(frozen=True)
class NoisyStage(Stage):
    """A stage whose input has noise beside it.

    Attributes:
        noise: makes the noise for each step of the input, `[channels, time]`; it repeats.
    """

    noise: Callable[[], NDArray[np.float32]]

    def start(self, streams: int) -> Running:
        return _WithNoise(self, streams)


class _WithNoise:
    """A stage at work, whose input gets its noise by the position in the stream."""

    def __init__(self, stage: NoisyStage, streams: int) -> None:
        self._running = InBlocks(stage)
        self._noise = np.repeat(stage.noise()[np.newaxis], streams, axis=0)
        self._position = 0

    def push(self, x: Array) -> Iterator[Array]:
        time = (self._position + np.arange(x.shape[-1])) % self._noise.shape[-1]
        self._position += x.shape[-1]
        return self._running.push(np.concatenate([x, self._noise[..., time]], axis=1))

    def finish(self) -> Iterator[Array]:
        return self._running.finish()


def _noisy_stage(
    layers: Sequence[nn.Module],
    cut: Cut,
    *,
    shape: SnacShape,
    engine: Engine,
    key: str,
    noisy: tuple[int, ...],
) -> NoisyStage:
    """Layers that mix noise in, in the decoder's blocks of the numbers `noisy`."""
    network = _NoisyBlocks(layers)
    stage = prepare_stage(network, cut, engine, key, extra=sum(network.rates))
    return NoisyStage(stage.network, cut, once(partial(_noise_beside, shape, cut.inputs, noisy)))


def _noise_beside(shape: SnacShape, inputs: int, noisy: tuple[int, ...]) -> NDArray[np.float32]:
    """The noise of some of the decoder's blocks, `[channels, time]`, for a stage that takes
    `inputs` steps for a latent.
    """
    steps = shape.noise_frames * shape.level_strides[0] * inputs
    return np.concatenate([noise(shape, layer).reshape(steps, -1).T for layer in noisy])


class _NoisyBlocks(nn.Module):
    """Layers of the decoder, whose noise comes in as further channels of the input.

    A block that upsamples takes as many numbers for each step of the input as its output is longer.
    So noise is cut into blocks together with what it belongs to.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self._layers = nn.ModuleList(layers)
        convolutions: list[Any] = [part for part in self.modules() if hasattr(part, "stride")]
        strides = [int(part.stride[0]) for part in convolutions if part.stride[0] > 1]
        self.rates = list(accumulate(strides, int.__mul__))
        """Noise of each block for a step of the input."""

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channels + noise, time]` to `[batch, channels, time]`."""
        channels = x.shape[1] - sum(self.rates)
        x, *noises = torch.split(x, [channels, *self.rates], dim=1)
        for part in self._parts():
            if type(part).__name__ == "NoiseBlock":
                mixed = noises.pop(0).transpose(1, 2).reshape(x.shape[0], 1, -1)
                x = x + mixed * part.linear(x)
            else:
                x = part(x)
        return x

    def _parts(self) -> Iterator[Any]:
        """The layers, and those in blocks, in order."""
        for layer in self._layers:
            yield from getattr(layer, "block", [layer])


# The quantiser


class Quantiser(nn.Module):
    """The first levels of a quantiser."""

    def __init__(self, quantiser: Any, levels: int) -> None:
        super().__init__()
        self._levels = quantiser.quantizers[:levels]

    def forward(self, latents: Tensor) -> list[Tensor]:
        codes = []
        for level in self._levels:
            coded, indices = level(latents)
            latents = latents - coded
            codes.append(indices)
        return codes


class Dequantiser(nn.Module):
    """The first levels of a quantiser, back to latents."""

    def __init__(self, quantiser: Any, levels: int) -> None:
        super().__init__()
        self._levels = quantiser.quantizers[:levels]

    def forward(self, *codes: Tensor) -> Tensor:
        latents = [
            level.out_proj(level.decode_code(indices)).repeat_interleave(level.stride, dim=-1)
            for level, indices in zip(self._levels, codes, strict=True)
        ]
        return torch.stack(latents).sum(0)
