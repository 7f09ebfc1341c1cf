"""How far the convolutions of DAC's layout see, which SNAC has too: a block's context."""

from __future__ import annotations

import math
from itertools import chain
from typing import NamedTuple


class Contexts(NamedTuple):
    """Frames that a half of the network sees on either side of a frame.

    Attributes:
        samples: in its layers next to the samples.
        latents: in its other layers, next to the latents.
    """

    samples: int
    latents: int


class Layer(NamedTuple):
    """A convolution, as far as its reach goes."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    transposed: bool = False

    @property
    def padding(self) -> int:
        if self.stride > 1:
            return math.ceil(self.stride / 2)
        return (self.kernel - 1) * self.dilation // 2


RESIDUAL_UNITS = [Layer(7, dilation=dilation) for dilation in (1, 3, 9)]


def encoder_contexts(strides: tuple[int, ...], end_kernel: int = 3) -> Contexts:
    """How far an encoder sees that is cut before its last downsampling.

    Args:
        strides: of its downsampling layers, the one next to the samples first.
        end_kernel: size of the kernel of its last convolution.
    """
    near, last = [[*RESIDUAL_UNITS, Layer(2 * s, s)] for s in strides[:-1]], strides[-1]
    return Contexts(
        samples=reach([Layer(7), *chain(*near)], inputs=math.prod(strides), outputs=last),
        latents=reach(
            [*RESIDUAL_UNITS, Layer(2 * last, last), Layer(end_kernel)], inputs=last, outputs=1
        ),
    )


def decoder_contexts(strides: tuple[int, ...]) -> Contexts:
    """How far a decoder sees that is cut after its first upsampling.

    Args:
        strides: of the encoder; the decoder has them in reverse.
    """
    first, *near = [[Layer(2 * s, s, transposed=True), *RESIDUAL_UNITS] for s in reversed(strides)]
    between = strides[-1]
    return Contexts(
        samples=reach([*chain(*near), Layer(7)], inputs=between, outputs=math.prod(strides)),
        latents=reach([Layer(7), *first], inputs=1, outputs=between),
    )


def reach(layers: list[Layer], *, inputs: int, outputs: int) -> int:
    """Whole frames on either side of a frame that the output of some layers for it depends on.

    Args:
        layers: one after another.
        inputs: steps of what goes in that are a frame.
        outputs: steps of what comes out that are a frame.
    """
    first, last = 0, outputs - 1
    for layer in reversed(layers):
        span = (layer.kernel - 1) * layer.dilation
        if layer.transposed:  # output t is made of the inputs i of t = i * stride - padding + tap
            first = -((span - first - layer.padding) // layer.stride)
            last = (last + layer.padding) // layer.stride
        else:
            first = first * layer.stride - layer.padding
            last = last * layer.stride - layer.padding + span
    return max(-(first // inputs), last // inputs)
