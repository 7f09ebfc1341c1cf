"""Mimi's networks as they are exported: samples to codes and codes to samples, state in and out."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

from acomp.backends.mimi.codec import Mimi
from acomp.backends.mimi.network import Networks, SplitBooks, SplitQuantiser
from acomp.backends.mimi.shape import NORM_EPSILON, ROPE_BASE, STRIDE, MimiShape
from acomp.backends.mimi.transformer import Layer, Transformer
from acomp.backends.shared.seanet import Conv
from acomp.export.edges import CausalStack
from acomp.export.streams import (
    FACTS,
    Parts,
    Shapes,
    Stream,
    codes_port,
    half,
    samples_port,
    stream_rules,
    whole_rules,
)

TILE = 32
"""Positions of a recording whose attention is computed together, so that memory grows with the
length and not with its square."""


def parts(codec: Mimi, codebooks: int, *, streaming: bool) -> Parts:
    """A Mimi as it is exported."""
    samples, hop = samples_port(1), codec.spec.hop_length
    encoder = Encoder(codec.networks, codec.shape, codebooks)
    decoder = Decoder(codec.networks, codec.shape)
    return Parts(
        half(encoder, samples, codes_port(codebooks), streaming=streaming),
        half(decoder, codes_port("codebooks"), samples, streaming=streaming),
        stream_rules(hop, 1) if streaming else whole_rules(hop),
        FACTS,
    )


class Encoder(Stream):
    """Samples `[batch, time]` and the state to codes `[batch, codebooks, frames]` and the next."""

    def __init__(self, networks: Networks, shape: MimiShape, codebooks: int) -> None:
        super().__init__()
        self.stack = CausalStack(networks.encoder, "layer")
        self.transformer = Attending(networks.transformers[0], shape)
        self.downsample = networks.downsample
        self.books = networks.books
        self._codebooks = codebooks
        last = {"last": (shape.hidden_size, STRIDE)}
        self.state = {**self.transformer.state, **last, **self.stack.state}

    def forward(
        self, samples: Tensor, position: Tensor, keys: Tensor, values: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        last, *pasts = state
        x, *pasts = self.stack(samples[:, None], position, *pasts)
        y, *attended = self.transformer(x.transpose(1, 2), position, keys, values)
        latents, last = self._downsampled(y.transpose(1, 2), last, position)
        # Made here, so that what it derives from the codebooks is derived in the graph.
        codes = SplitQuantiser(self.books, self._codebooks)(latents.transpose(1, 2))
        return (codes, *attended, last, *pasts)

    def _downsampled(self, x: Tensor, last: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of positions `[batch, hidden, positions]` to latents; at both ends what is next to
        them is there again.
        """
        conv: Any = self.downsample.layers[0]
        assert isinstance(conv, Conv)
        begun = (position > 0).to(x.dtype)[:, None, None]
        last = begun * last + (1 - begun) * x[..., :1]
        whole = x.shape[2] + -x.shape[2] % STRIDE
        x = torch.cat([x, x[..., -1:]], dim=2)[..., :whole]
        seen = torch.cat([last, x], dim=2)
        return F.conv1d(seen, conv.kernel, conv.bias, STRIDE), seen[..., -STRIDE:]


class Decoder(Stream):
    """Codes `[batch, codebooks, frames]` and the state to samples `[batch, time]` and the next."""

    upsample: Tensor

    def __init__(self, networks: Networks, shape: MimiShape) -> None:
        super().__init__()
        self.stack = CausalStack(networks.decoder, "layer")
        self.transformer = Attending(networks.transformers[1], shape)
        self.books = networks.books
        self.register_buffer("upsample", networks.upsample[:, 0].T.contiguous())
        last = {"last": (1, shape.hidden_size)}
        self.state = {**self.transformer.state, **last, **self.stack.state}

    def forward(
        self, codes: Tensor, position: Tensor, keys: Tensor, values: Tensor, *state: Tensor
    ) -> tuple[Tensor, ...]:
        last, *pasts = state
        seen = torch.cat([last, _latents(self.books, codes)], dim=1)
        # A transposed convolution of each channel alone: frames to pairs of positions.
        early, late = self.upsample[:STRIDE], self.upsample[STRIDE:]
        pairs = seen[:, 1:, None] * early + seen[:, :-1, None] * late
        y, *attended = self.transformer(pairs.flatten(1, 2), position, keys, values)
        samples, *pasts = self.stack(y.transpose(1, 2), position, *pasts)
        return (samples[:, 0], *attended, seen[:, -1:], *pasts)


def _latents(books: SplitBooks, codes: Tensor) -> Tensor:
    """Codes of any number of codebooks to latents `[batch, frames, hidden]`."""
    semantic, acoustic = books.semantic, books.acoustic
    latents = F.linear(semantic.books[0][codes[:, 0]], semantic.out)
    finer = codes[:, 1:]
    first = torch.arange(finer.shape[1])[:, None] * acoustic.books.shape[1]
    return latents + F.linear(acoustic.books.flatten(0, 1)[finer + first].sum(1), acoustic.out)


class Attending(nn.Module):
    """A transformer over a stream, in plain steps.

    Attributes:
        state: the position, and the keys, already turned, and values before it.
    """

    def __init__(self, transformer: Transformer, shape: MimiShape) -> None:
        super().__init__()
        self.layers = transformer.layers
        self._window, self._head_dim = shape.sliding_window, shape.head_dim
        heads, past = shape.num_attention_heads, shape.sliding_window - 1
        kept = (shape.num_hidden_layers, heads, past, shape.head_dim)
        self.state: Shapes = {"position": (), "keys": kept, "values": kept}

    def forward(
        self, x: Tensor, position: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, ...]:
        """`[batch, time, hidden]` to the same shape, and the next state."""
        tiles = Tiles(x, position, self._window, self._head_dim)
        keys_after, values_after = [], []
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            x, key, value = _layer(layer, x, tiles, keys[:, index], values[:, index])
            keys_after.append(key)
            values_after.append(value)
        after = position + x.shape[1]
        return x, after, torch.stack(keys_after, dim=1), torch.stack(values_after, dim=1)


def _layer(
    layer: Layer, x: Tensor, tiles: Tiles, keys: Tensor, values: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`mimi.transformer.Layer` in steps that take any length when they are exported."""
    before, before_bias, middle, middle_bias = layer.norms
    normal = F.layer_norm(x, before.shape, before, before_bias, NORM_EPSILON)
    query, key, value = (
        part.reshape(part.shape[0], -1, layer.heads, layer.head_dim).transpose(1, 2)
        for part in F.linear(normal, layer.projection).chunk(3, dim=-1)
    )
    keys = torch.cat([keys, tiles.turned(key)], dim=2)
    values = torch.cat([values, value], dim=2)
    seen = tiles.attended(tiles.turned(query), keys, values)
    x = x + F.linear(seen.transpose(1, 2).flatten(2), layer.output)
    normal = F.layer_norm(x, middle.shape, middle, middle_bias, NORM_EPSILON)
    x = x + F.linear(F.gelu(F.linear(normal, layer.first)), layer.second)
    return x, keys[:, :, x.shape[1] :], values[:, :, x.shape[1] :]


class Tiles:
    """The tiles of some steps of a stream, no longer than the steps: what they attend to."""

    def __init__(self, x: Tensor, position: Tensor, window: int, head_dim: int) -> None:
        """`position` is that of the first step in the stream, `[batch]`."""
        self._time, self._past = x.shape[1], window - 1
        self._tile = _at_most(self._time, TILE)
        count = (self._time + self._tile - 1) // self._tile
        self._whole = count * self._tile
        first = torch.arange(count)[:, None] * self._tile
        self._places = first + torch.arange(self._past + self._tile)
        """Of the keys that each tile attends to, `[tiles, past + tile]`."""
        rows = (first + self._past + torch.arange(self._tile))[..., None]
        columns = self._places[:, None]
        near = (columns <= rows) & (columns > rows - window)
        # Before the stream's beginning there is nothing.
        there = position[:, None, None, None] - self._past + columns >= 0
        self._hidden = ~(near & there)[:, None]
        halves = torch.arange(0, head_dim, 2, dtype=torch.float32)
        steps = position[:, None] + torch.arange(self._time)
        angles = steps[:, None, :, None] * (1 / ROPE_BASE ** (halves / head_dim))
        self._cosines, self._sines = angles.cos(), angles.sin()

    def turned(self, x: Tensor) -> Tensor:
        """Rotary position embedding of `[batch, heads, time, head_dim]`."""
        one, other = x.chunk(2, dim=-1)
        cosines, sines = self._cosines, self._sines
        return torch.cat([one * cosines - other * sines, other * cosines + one * sines], dim=-1)

    def attended(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention of these steps' queries to all keys, `[batch, heads, time, head_dim]` each."""
        batch, heads, _, head_dim = query.shape
        more = torch.zeros(batch, heads, TILE - 1, head_dim)
        query = torch.cat([query, more], dim=2)[:, :, : self._whole]
        query = query.reshape(batch, heads, -1, self._tile, head_dim)
        key, value = (torch.cat([x, more], dim=2)[:, :, self._places] for x in (keys, values))
        scores = query @ key.transpose(-1, -2) / math.sqrt(head_dim)
        seen = scores.masked_fill(self._hidden, -math.inf).softmax(-1) @ value
        return seen.flatten(2, 3)[:, :, : self._time]


def _at_most(length: Any, most: int) -> Any:
    """A length, which is a tensor while a network is traced, or `most` if that is less."""
    return torch.clamp(torch.as_tensor(length), max=most)
