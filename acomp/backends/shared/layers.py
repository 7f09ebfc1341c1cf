"""The layers that DAC's and SNAC's networks have in common (https://arxiv.org/abs/2306.06546,
section 3.1).

Parts are named and numbered as in the official files, whose tensors they load; the weights of
convolutions are whole. The arithmetic is the official packages', step by step, so that codes and
samples have the same bits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from torch import Tensor, nn

from acomp.backends.shared.quantisers import DirectionBook
from acomp.backends.shared.reach import RESIDUAL_UNITS, Layer
from acomp.backends.shared.snake import Snake


class Autoencoder(nn.Module):
    """An encoder, codebooks and a decoder.

    Args:
        encoder: layers in a row, samples `[batch, 1, time]` to latents `[batch, width, frames]`.
        books: the codebooks, the coarsest first.
        decoder: layers in a row, latents to samples.
    """

    def __init__(
        self,
        encoder: Iterable[nn.Module],
        books: Iterable[DirectionBook],
        decoder: Iterable[nn.Module],
    ) -> None:
        super().__init__()
        self.encoder = nn.ModuleDict({"block": nn.Sequential(*encoder)})
        self.quantizer = nn.ModuleDict({"quantizers": nn.ModuleList(books)})
        self.decoder = nn.ModuleDict({"model": nn.Sequential(*decoder)})

    @property
    def encoder_layers(self) -> nn.Sequential:
        return cast(nn.Sequential, self.encoder["block"])

    @property
    def decoder_layers(self) -> nn.Sequential:
        return cast(nn.Sequential, self.decoder["model"])

    @property
    def books(self) -> list[DirectionBook]:
        return list(cast(Iterable[DirectionBook], self.quantizer["quantizers"]))


class Row(nn.Module):
    """Layers in a row."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return y


class ResidualUnit(Row):
    """A convolution and a product with activations before them, whose result is added."""

    def __init__(self, width: int, layer: Layer, groups: int) -> None:
        super().__init__(
            Snake(width),
            nn.Conv1d(
                *(width, width, layer.kernel),
                padding=layer.padding,
                dilation=layer.dilation,
                groups=groups,
            ),
            Snake(width),
            nn.Conv1d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        # Without padding, as in DAC's chunks, there is less of it.
        missing = (x.shape[-1] - y.shape[-1]) // 2
        if missing > 0:
            x = x[..., missing:-missing]
        return x + y


def residual_units(width: int, groups: int = 1) -> list[nn.Module]:
    return [ResidualUnit(width, layer, groups) for layer in RESIDUAL_UNITS]


def downsampling(width: int, stride: int, groups: int = 1) -> Row:
    """Residual units, and a convolution to twice the channels.

    Args:
        width: channels of the input.
        stride: steps of the input that become one.
        groups: of the residual units' convolutions.
    """
    padding = Layer(2 * stride, stride).padding
    return Row(
        *residual_units(width, groups),
        Snake(width),
        nn.Conv1d(width, 2 * width, 2 * stride, stride, padding=padding),
    )


def upsampling(inputs: int, stride: int, *rest: nn.Module, longer: int = 0) -> Row:
    """A transposed convolution, and what comes behind it.

    Args:
        inputs: channels of the input.
        stride: steps that one of the input becomes.
        rest: layers of half as many channels.
        longer: steps more at the end of the output (`output_padding`).
    """
    padding = Layer(2 * stride, stride).padding
    up = nn.ConvTranspose1d(
        inputs, inputs // 2, 2 * stride, stride, padding=padding, output_padding=longer
    )
    return Row(Snake(inputs), up, *rest)
