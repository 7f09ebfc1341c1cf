"""Mimi's convolutions and quantisers, built from a checkpoint's tensors by their names there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from acomp.backends.mimi.shape import END_KERNEL, KERNEL, RESIDUAL_KERNEL, SPEC, STRIDE, MimiShape
from acomp.backends.mimi.transformer import Transformer
from acomp.backends.shared.quantisers import Quantiser
from acomp.backends.shared.seanet import Conv, Residual, Stack, Upsampler
from acomp.backends.weights.tensors import Tensors
from acomp.engines.torch import steady_linear

USAGE_EPSILON = 1e-5


class StackBuilder:
    """Builds a stack from the tensors `{name}.layers.0`, `{name}.layers.1` and so on."""

    def __init__(self, tensors: Tensors, name: str) -> None:
        self._tensors = tensors
        self._name = name
        self._index = 0
        self._layers: list[Conv | Residual] = []

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
        bias = self._tensors.take(f"{at}.conv.bias", outputs)
        return Conv(kernel, bias, stride, elu=elu, padding="zeros")


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


@dataclass(frozen=True)
class Networks:
    """All that a checkpoint's tensors make.

    Attributes:
        books: the quantisers.
        encoder: samples to positions.
        decoder: positions to samples.
        downsample: positions to latents.
        upsample: what each channel of a latent is multiplied by: `[hidden, 1, taps]`.
        transformers: the encoder's and the decoder's.
    """

    books: SplitBooks
    encoder: Stack
    decoder: Stack
    downsample: Stack
    upsample: Tensor
    transformers: tuple[Transformer, Transformer]

    @classmethod
    def of(cls, tensors: Tensors, shape: MimiShape) -> Networks:
        """Those of a shape, of just these tensors.

        Raises:
            WeightsError: the tensors are others.
        """
        networks = cls(
            books=SplitBooks(tensors, shape),
            encoder=encoder_stack(tensors, shape),
            decoder=decoder_stack(tensors, shape),
            downsample=downsampler(tensors, shape),
            upsample=tensors.take("upsample.conv.weight", shape.hidden_size, 1, 2 * STRIDE),
            transformers=(
                Transformer(tensors, "encoder_transformer", shape),
                Transformer(tensors, "decoder_transformer", shape),
            ),
        )
        tensors.finish()
        return networks
