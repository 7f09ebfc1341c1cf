"""Mimi's transformers, whose streams give the same bits however they are cut.

On an engine that is steady, matrix products see to that for everything that is done to each
position alone (`steady_linear`). Attention is computed in tiles: the queries of `TILE` positions,
which begin at multiples of `TILE` from the start of the stream, with the keys of those and of a
fixed number before them. What is not there yet is zeros and masked out, so a tile has one shape
whether it is whole or not, and a row comes out the same.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

from acomp.backends.mimi.shape import NORM_EPSILON, ROPE_BASE, MimiShape
from acomp.backends.weights.tensors import Tensors
from acomp.engines import Array, Engine
from acomp.engines.torch import in_torch, steady_linear, steady_map

TILE = 16
"""Positions whose attention is computed together."""


class Transformer(nn.Module):
    """Attention over the last positions and layers of two products, at 25 positions a second.

    Its state, the keys and values of `[batch, layers, heads, kept, head_dim]` with the rotation
    already in the keys, is an argument like any other. Kept are the `past` positions before the
    tile that is filling and those that are in it.
    """

    def __init__(self, tensors: Tensors, name: str, shape: MimiShape) -> None:
        super().__init__()
        self.shape = shape
        self.layers = nn.ModuleList(
            Layer(tensors, f"{name}.layers.{index}", shape)
            for index in range(shape.num_hidden_layers)
        )

    def forward(
        self, x: Tensor, position: Tensor, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`[batch, time, hidden]` to the same shape, and the next keys and values.

        `position` is that of the first of these steps in the stream, `[batch]`.
        """
        tiles = Tiles(self.shape, x, position, keys.shape[3] - past_of(self.shape))
        keys_after, values_after = [], []
        for index, layer in enumerate(self.layers):
            x, key, value = layer(x, tiles, keys[:, index], values[:, index])
            keys_after.append(key)
            values_after.append(value)
        return x, torch.stack(keys_after, dim=1), torch.stack(values_after, dim=1)


class Layer(nn.Module):
    """A layer of a transformer; layer scales are multiplied into the weights before them."""

    def __init__(self, tensors: Tensors, name: str, shape: MimiShape) -> None:
        super().__init__()
        width, inner = shape.hidden_size, shape.intermediate_size
        self.heads, self.head_dim = shape.num_attention_heads, shape.head_dim

        def take(part: str, *sizes: int) -> nn.Parameter:
            return nn.Parameter(tensors.take(f"{name}.{part}", *sizes), requires_grad=False)

        def scaled(part: str, scale: str, inputs: int) -> nn.Parameter:
            weight = take(f"{part}.weight", width, inputs)
            return nn.Parameter(take(f"{scale}.scale", width)[:, None] * weight, False)

        parts = tuple(take(f"self_attn.{part}_proj.weight", width, width) for part in "qkv")
        self.projection = nn.Parameter(torch.cat(parts), requires_grad=False)
        self.output = scaled("self_attn.o_proj", "self_attn_layer_scale", width)
        self.first = take("mlp.fc1.weight", inner, width)
        self.second = scaled("mlp.fc2", "mlp_layer_scale", inner)
        self.norms = nn.ParameterList(
            take(f"{norm}.{part}", width)
            for norm in ("input_layernorm", "post_attention_layernorm")
            for part in ("weight", "bias")
        )

    def forward(
        self, x: Tensor, tiles: Tiles, keys: Tensor, values: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`[batch, time, hidden]` to the same shape, and the keys and values that are kept."""
        before, before_bias, middle, middle_bias = self.norms
        normal = F.layer_norm(x, before.shape, before, before_bias, NORM_EPSILON)
        parts = steady_linear(normal, self.projection).chunk(3, dim=-1)
        query, key, value = (
            part.reshape(*part.shape[:2], self.heads, self.head_dim).transpose(1, 2)
            for part in parts
        )
        keys = torch.cat([keys, tiles.turn(key)], dim=2)
        values = torch.cat([values, value], dim=2)
        seen = tiles.attend(tiles.turn(query), keys, values)
        x = x + steady_linear(seen.transpose(1, 2).flatten(2), self.output)
        normal = F.layer_norm(x, middle.shape, middle, middle_bias, NORM_EPSILON)
        x = x + steady_linear(steady_map(F.gelu, steady_linear(normal, self.first)), self.second)
        return x, tiles.kept(keys), tiles.kept(values)


def past_of(shape: MimiShape) -> int:
    """Positions before a tile that are at hand for it: whole tiles of them."""
    return math.ceil((shape.sliding_window - 1) / TILE) * TILE


class Tiles:
    """The tiles that some steps of a stream lie in: their rotations, and what they attend to."""

    def __init__(self, shape: MimiShape, x: Tensor, position: Tensor, done: int) -> None:
        self._past = past_of(shape)
        self._done = done
        """Positions of the first tile that came before these steps."""
        self._steps = x.shape[1]
        self._missing = -(done + self._steps) % TILE
        # Rotations and masks are computed for whole tiles, as all else is that a tile's rows share.
        rows = torch.arange(done + self._steps + self._missing, device=x.device)
        positions = (position - done)[:, None] + rows
        self._cosines, self._sines = _rotation(positions, shape.head_dim, x.dtype)
        self._masks = [
            _mask(first, shape) for first in positions[:, ::TILE].unbind(dim=1)
        ]  # of [batch, 1, TILE, past + TILE] each

    def turn(self, x: Tensor) -> Tensor:
        """Rotary position embedding of `[batch, heads, time, head_dim]`.

        RoFormer, https://arxiv.org/abs/2104.09864; a channel's partner is half a head away.
        """
        steps = slice(self._done, self._done + self._steps)
        one, other = x.chunk(2, dim=-1)
        cosines, sines = self._cosines[:, :, steps], self._sines[:, :, steps]
        return torch.cat([one * cosines - other * sines, other * cosines + one * sines], dim=-1)

    def attend(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attention of these steps' queries to all keys, `[batch, heads, time, head_dim]` each."""
        query = F.pad(query, (0, 0, self._done, self._missing))
        keys, values = (F.pad(x, (0, 0, 0, self._missing)) for x in (keys, values))
        parts = []
        for index, mask in enumerate(self._masks):
            rows = slice(index * TILE, (index + 1) * TILE)
            window = slice(rows.start, rows.stop + self._past)
            # Copied, for one tile to lie in memory as any other.
            own, key, value = (
                x.contiguous()
                for x in (query[:, :, rows], keys[:, :, window], values[:, :, window])
            )
            parts.append(F.scaled_dot_product_attention(own, key, value, attn_mask=mask))
        seen = torch.cat(parts, dim=2)
        return seen[:, :, self._done : self._done + self._steps]

    def kept(self, x: Tensor) -> Tensor:
        """Those of all keys or values that later tiles, or the rest of this one, attend to."""
        kept = self._past + (self._done + self._steps) % TILE
        return x[:, :, x.shape[2] - kept :]


def _rotation(positions: Tensor, head_dim: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines for positions `[batch, time]`: `[batch, 1, time, head_dim / 2]`."""
    halves = torch.arange(0, head_dim, 2, dtype=torch.float32, device=positions.device)
    angles = positions[..., None].float() * (1 / ROPE_BASE ** (halves / head_dim))
    return angles.cos().to(dtype)[:, None], angles.sin().to(dtype)[:, None]


def _mask(first: Tensor, shape: MimiShape) -> Tensor:
    """What the tiles that begin at the positions `first`, `[batch]`, attend to."""
    rows = torch.arange(TILE, device=first.device)[:, None]
    columns = torch.arange(-past_of(shape), TILE, device=first.device)
    near = (columns <= rows) & (columns > rows - shape.sliding_window)
    begun = first[:, None] + columns >= 0  # before the stream's beginning there is nothing
    return (near & begun[:, None])[:, None]


class PreparedTransformer:
    """A transformer, ready to run in torch."""

    def __init__(self, transformer: Transformer, engine: Engine) -> None:
        self.shape = transformer.shape
        self.run = in_torch(engine, transformer)


class TransformerStream:
    """A transformer over a stream."""

    def __init__(self, prepared: PreparedTransformer) -> None:
        shape = prepared.shape
        self._run = prepared.run
        self._position = 0
        state = (1, shape.num_hidden_layers, shape.num_attention_heads, past_of(shape))
        self._keys = self._values = np.zeros((*state, shape.head_dim), np.float32)

    def run(self, x: Array) -> Array:
        """Take positions `[1, time, hidden]` and give what they become."""
        y, self._keys, self._values = self._run(
            x, np.array([self._position]), self._keys, self._values
        )
        self._position += x.shape[1]
        return y
