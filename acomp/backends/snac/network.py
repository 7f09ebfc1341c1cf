"""SNAC's network, the stages that it is run in, and the noise of the decoder.

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
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.backends.shared import blocks
from acomp.backends.shared.blocks import Cut, InBlocks, Running, Stage, prepare_stage
from acomp.backends.shared.layers import (
    Autoencoder,
    Row,
    downsampling,
    residual_units,
    upsampling,
)
from acomp.backends.shared.quantisers import DirectionBook
from acomp.backends.shared.snake import Snake
from acomp.backends.snac.shape import EDGE, SnacShape
from acomp.engines import Array, Engine, Input
from acomp.engines.once import once

HEAD = 64
"""Channels of a head of attention."""
ROPE_BASE = 10_000.0


def build(shape: SnacShape) -> Autoencoder:
    """The network of a shape, with weights drawn at random."""
    narrow, widest = shape.encoder_width, shape.encoder_width << len(shape.strides)
    wide, narrowest = shape.decoder_width, shape.decoder_width >> len(shape.strides)
    encoder = [
        _depthwise(1, narrow),
        *(
            downsampling(narrow << level, stride, groups=narrow << level)
            for level, stride in enumerate(shape.strides)
        ),
        *_attending(shape, widest),
        _depthwise(widest, widest),
    ]
    decoder = [
        *(_depthwise(widest, widest), nn.Conv1d(widest, wide, 1)),
        *_attending(shape, wide),
        *(_upsampling(wide >> level, stride) for level, stride in enumerate(shape.strides[::-1])),
        *(Snake(narrowest), nn.Conv1d(narrowest, 1, 2 * EDGE + 1, padding=EDGE), nn.Tanh()),
    ]
    books = [
        DirectionBook(widest, shape.codebook_dimension, shape.codebook_size, stride)
        for stride in shape.level_strides
    ]
    return Autoencoder(encoder, books, decoder)


def _depthwise(inputs: int, outputs: int) -> nn.Module:
    return nn.Conv1d(inputs, outputs, 2 * EDGE + 1, padding=EDGE, groups=inputs)


def _attending(shape: SnacShape, width: int) -> list[nn.Module]:
    return [Attention(width)] if shape.window else []


def _upsampling(inputs: int, stride: int) -> nn.Module:
    width = inputs // 2
    units = residual_units(width, groups=width)
    return upsampling(inputs, stride, NoiseBlock(width), *units, longer=stride % 2)


def encoder_stages(network: Autoencoder, shape: SnacShape, engine: Engine, key: str) -> list[Stage]:
    """The encoder as stages in a row, from samples to latents."""
    layers, last, between = network.encoder_layers, len(shape.strides), shape.strides[-1]
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
            _window_stage(layers[last + 1], shape.window, engine, f"{key} encoder attention"),
            prepare_stage(layers[last + 2 :], edge, engine, f"{key} encoder last"),
        ]
    return stages


def decoder_stages(network: Autoencoder, shape: SnacShape, engine: Engine, key: str) -> list[Stage]:
    """The decoder as stages in a row, from latents to samples."""
    layers, between, stages = list(network.decoder_layers), shape.strides[-1], []
    opening, rest = layers[:2], layers[2:]
    if shape.window:
        edge = Cut(1, 1, EDGE, shape.window)
        stages = [
            prepare_stage(nn.Sequential(*opening), edge, engine, f"{key} decoder first"),
            _window_stage(layers[2], shape.window, engine, f"{key} decoder attention"),
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


class Attention(nn.Module):
    """Attention among the latents of a window, which are told apart by rotations."""

    # Parts are named as in the official files.

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.to_qkv = nn.Linear(width, 3 * width, bias=False)
        self.rel_pos = Rotations()
        self.to_out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, width, window]` to the same shape."""
        products = self.to_qkv(self.norm(x.transpose(1, 2)))
        queries, keys, values = (_heads(part) for part in products.chunk(3, dim=-1))
        y = F.scaled_dot_product_attention(self.rel_pos(queries), self.rel_pos(keys), values)
        y = self.to_out(y.permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)).transpose(1, 2)
        attended: Tensor = x + y
        return attended


def _heads(x: Tensor) -> Tensor:
    """`[batch, window, width]` to `[batch, heads, 1, window, HEAD]`.

    The axis of length 1 is that of the package's windows: with it torch takes the same kernel.
    """
    return x.reshape(*x.shape[:2], -1, HEAD).unsqueeze(1).permute(0, 3, 1, 2, 4)


class Rotations(nn.Module):
    """Rotary positions (https://arxiv.org/abs/2104.09864) from the beginning of a window on."""

    inv_freq: Tensor

    def __init__(self) -> None:
        super().__init__()
        exponents = torch.arange(0, HEAD, 2, dtype=torch.float32) / HEAD
        self.register_buffer("inv_freq", 1 / ROPE_BASE**exponents)

    def forward(self, x: Tensor) -> Tensor:
        """`[..., window, HEAD]` to the same shape."""
        positions = torch.arange(x.shape[-2], device=x.device).type_as(self.inv_freq)
        angles = torch.outer(positions, self.inv_freq).repeat(1, 2)
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
        return x * angles.cos() + turned * angles.sin()


def _window_stage(layer: nn.Module, window: int, engine: Engine, key: str) -> Stage:
    """Attention, a window at a time: of a fixed length, as its converted form needs it."""
    assert isinstance(layer, Attention)
    width = layer.to_out.in_features
    network = engine.prepare(lambda: layer, [Input((1, width, window), free=(0,))], key)
    return Stage(network, Cut(inputs=window, outputs=window, context=0, block=1))


# Noise


class NoiseBlock(nn.Module):
    """Mixes noise in, scaled by what it is mixed into."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """`[batch, channels, time]` and noise `[batch, 1, time]` to the former shape."""
        y: Tensor = x + noise * self.linear(x)
        return y


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
            if isinstance(part, NoiseBlock):
                x = part(x, noises.pop(0).transpose(1, 2).reshape(x.shape[0], 1, -1))
            else:
                x = part(x)
        return x

    def _parts(self) -> Iterator[nn.Module]:
        """The layers, and those in rows, in order."""
        for layer in self._layers:
            yield from layer.block if type(layer) is Row else [layer]
