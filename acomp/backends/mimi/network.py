"""Mimi's networks as streams: stacks of convolutions (`seanet`), two transformers, a quantiser.

All of them are built from the tensors of a checkpoint, by the names that they have in the file.

A stream gives the same bits however it is cut, on an engine that is steady. Matrix products see to
that for everything that is done to each position alone (`steady_linear`). Attention is computed in
tiles: the queries of `TILE` positions, which begin at multiples of `TILE` from the start of the
stream, with the keys of those and of a fixed number before them. What is not there yet is zeros and
masked out, so a tile has one shape whether it is whole or not, and a row comes out the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

from acomp.backends.mimi.shape import (
    END_KERNEL,
    KERNEL,
    NORM_EPSILON,
    RESIDUAL_KERNEL,
    ROPE_BASE,
    SPEC,
    STRIDE,
    MimiShape,
)
from acomp.backends.shared import seanet
from acomp.backends.shared.quantisers import Quantiser
from acomp.backends.shared.seanet import Conv, Stack, Upsampler
from acomp.engines.torch import steady_linear
from acomp.errors import WeightsError

TILE = 16
"""Positions whose attention is computed together."""
USAGE_EPSILON = 1e-5


class Tensors:
    """The tensors of a checkpoint, each to be taken once."""

    def __init__(self, state: Mapping[str, Tensor], problem: str) -> None:
        self._state = dict(state)
        self._problem = problem

    def take(self, name: str, *shape: int) -> Tensor:
        """The tensor of a name and shape, as float32.

        Raises:
            WeightsError: with the words `problem`; there is none, or it has another shape.
        """
        tensor = self._state.pop(name, None)
        if tensor is None or tensor.shape != shape or not tensor.is_floating_point():
            raise WeightsError(self._problem)
        return tensor.float()

    def finish(self) -> None:
        """Raise WeightsError if any is left."""
        if self._state:
            raise WeightsError(self._problem)


class Residual(seanet.Residual):
    """Two convolutions, each behind an ELU, whose result is added to what came in."""

    def __init__(self, first: Conv, second: Conv) -> None:
        nn.Module.__init__(self)  # there is no third convolution beside them
        self.first = first
        self.second = second
        self.memory = first.memory
        self.inputs, self.outputs = first.inputs, second.outputs

    def products(self, x: Tensor, past: Tensor | None, *, last: bool) -> tuple[Tensor, Tensor]:
        """`[batch, time, channels]` to the same shape, and the next past."""
        y, past = self.first.products(x, past, last=last)
        y, _ = self.second.products(y, None, last=False)
        return x + y, past

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """`[batch, channels, time]` to the same shape, and the next past."""
        y, past = self.first(x, past)
        y, _ = self.second(y, past)
        return x + y, past


class StackBuilder:
    """Builds a stack from the tensors `{name}.layers.0`, `{name}.layers.1` and so on."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        self._tensors = tensors
        self._name = name
        self._index = 0
        self._layers: list[Conv | seanet.Residual] = []

    def conv(self, inputs: int, outputs: int, size: int, stride: int = 1) -> None:
        """A convolution, behind an ELU unless it is the first layer."""
        elu = self._index > 0
        at = self._next(elu=elu)
        self._layers.append(self._conv(at, inputs, outputs, size, stride, elu=elu))

    def upsampler(self, inputs: int, outputs: int, factor: int) -> None:
        """A transposed convolution behind an ELU."""
        at = self._next(elu=True)
        kernel = self._tensors.take(f"{at}.conv.weight", inputs, outputs, 2 * factor)
        bias = self._tensors.take(f"{at}.conv.bias", outputs)
        self._layers.append(Upsampler(kernel, bias, factor))

    def residual(self, width: int) -> None:
        """A residual layer."""
        at = self._next(elu=False)
        first = self._conv(f"{at}.block.1", width, width // 2, RESIDUAL_KERNEL, elu=True)
        second = self._conv(f"{at}.block.3", width // 2, width, 1, elu=True)
        self._layers.append(Residual(first, second))

    def stack(self) -> Stack:
        return Stack(self._layers)

    def _next(self, *, elu: bool) -> str:
        """The name of the next layer; an ELU before it counts as a layer in the file."""
        index = self._index + elu
        self._index = index + 1
        return f"{self._name}.layers.{index}"

    def _conv(
        self, at: str, inputs: int, outputs: int, size: int, stride: int = 1, *, elu: bool
    ) -> Conv:
        kernel = self._tensors.take(f"{at}.conv.weight", outputs, inputs, size)
        return Conv(kernel, self._tensors.take(f"{at}.conv.bias", outputs), stride, elu=elu)


def encoder_stack(tensors: Tensors, shape: MimiShape) -> Stack:
    """Samples `[batch, time, 1]` to positions `[batch, time, hidden]`, 25 a second."""
    builder = StackBuilder(tensors, "encoder")
    width = shape.num_filters
    builder.conv(1, width, KERNEL)
    for ratio in reversed(shape.upsampling_ratios):
        builder.residual(width)
        builder.conv(width, 2 * width, 2 * ratio, ratio)
        width *= 2
    builder.conv(width, shape.hidden_size, END_KERNEL)
    return builder.stack()


def decoder_stack(tensors: Tensors, shape: MimiShape) -> Stack:
    """Positions `[batch, time, hidden]` to samples `[batch, time, 1]`."""
    builder = StackBuilder(tensors, "decoder")
    width = shape.num_filters << len(shape.upsampling_ratios)
    builder.conv(shape.hidden_size, width, KERNEL)
    for ratio in shape.upsampling_ratios:
        builder.upsampler(width, width // 2, ratio)
        width //= 2
        builder.residual(width)
    builder.conv(width, 1, END_KERNEL)
    return builder.stack()


def downsampler(tensors: Tensors, shape: MimiShape) -> Stack:
    """Positions `[batch, 2 * frames, hidden]` to latents `[batch, frames, hidden]`."""
    width = shape.hidden_size
    kernel = tensors.take("downsample.conv.weight", width, width, 2 * STRIDE)
    return Stack([Conv(kernel, torch.zeros(width, dtype=torch.float32), STRIDE)])


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
        x = x + steady_linear(F.gelu(steady_linear(normal, self.first)), self.second)
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


class Books(nn.Module):
    """A residual quantiser in a space of its own, which latents are projected into and out of."""

    def __init__(self, tensors: Tensors, name: str, codebooks: int, width: int) -> None:
        super().__init__()

        def take(part: str, *shape: int) -> Tensor:
            return tensors.take(f"{name}_residual_vector_quantizer.{part}", *shape)

        self.into = nn.Parameter(
            take("input_proj.weight", SPEC.codebook_dim, width, 1)[..., 0], False
        )
        self.out = nn.Parameter(
            take("output_proj.weight", width, SPEC.codebook_dim, 1)[..., 0], False
        )
        books = []
        for index in range(codebooks):
            at = f"layers.{index}.codebook"
            take(f"{at}.initialized", 1)  # tells training whether to begin by k-means
            usage = take(f"{at}.cluster_usage", SPEC.codebook_size).clamp(min=USAGE_EPSILON)
            books.append(
                take(f"{at}.embed_sum", SPEC.codebook_size, SPEC.codebook_dim) / usage[:, None]
            )
        self.books = nn.Parameter(torch.stack(books), requires_grad=False)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes `[batch, codebooks, time]` to latents `[batch, time, hidden]`."""
        total = self.books[0][codes[:, 0]]
        for index in range(1, codes.shape[1]):
            total = total + self.books[index][codes[:, index]]
        return steady_linear(total, self.out)


class SplitBooks(nn.Module):
    """Mimi's quantisers, side by side on the same latents: a semantic codebook and the others."""

    def __init__(self, tensors: Tensors, shape: MimiShape) -> None:
        super().__init__()
        width = shape.hidden_size
        self.semantic = Books(tensors, "quantizer.semantic", 1, width)
        self.acoustic = Books(tensors, "quantizer.acoustic", SPEC.codebooks - 1, width)

    def whole(self) -> Tensor:
        """The codebooks, `[codebooks, size, dimension]`."""
        return torch.cat([self.semantic.books, self.acoustic.books])

    def projected(self) -> Tensor:
        """The codebooks as they are added up, `[codebooks, size, hidden]`."""
        return torch.cat([part.books @ part.out.T for part in (self.semantic, self.acoustic)])


class SplitQuantiser(nn.Module):
    """Latents `[batch, time, hidden]` to codes `[batch, codebooks, time]`."""

    def __init__(self, books: SplitBooks, codebooks: int) -> None:
        super().__init__()
        parts = [(books.semantic, 1), (books.acoustic, codebooks - 1)]
        used = [(part, count) for part, count in parts if count]
        self._into = nn.ParameterList(part.into for part, _ in used)
        self._quantisers = nn.ModuleList(Quantiser(part.books[:count]) for part, count in used)

    def forward(self, latents: Tensor) -> Tensor:
        codes = [
            quantiser(steady_linear(latents, into))
            for into, quantiser in zip(self._into, self._quantisers, strict=True)
        ]
        return torch.cat(codes, dim=1)


class SplitDequantiser(nn.Module):
    """Codes `[batch, codebooks, time]` to latents `[batch, time, hidden]`."""

    def __init__(self, books: SplitBooks) -> None:
        super().__init__()
        self._books = books

    def forward(self, codes: Tensor) -> Tensor:
        latents = self._books.semantic.decode(codes[:, :1])
        if codes.shape[1] > 1:
            latents = latents + self._books.acoustic.decode(codes[:, 1:])
        return latents


def run_end(stack: Stack, x: Tensor, pasts: Iterable[Tensor]) -> Tensor:
    """The last steps of a stream, `[batch, time, inputs]` of any time, through a stack.

    What a strided layer lacks of a step behind the last one it takes for zeros.
    """
    for layer, past in zip(stack.layers, pasts, strict=True):
        stride = layer.stride if isinstance(layer, Conv) else 1
        x = F.pad(x, (0, 0, 0, -x.shape[1] % stride))
        x, _ = layer.products(x, past, last=False)
    return x
