"""The activation of DAC's and SNAC's networks, as the fastest for each engine."""

from __future__ import annotations

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from acomp.engines import Engine
from acomp.engines.rewriting import replace_parts

Module = TypeVar("Module", bound=nn.Module)


def with_fast_snakes(network: Module, engine: Engine) -> Module:
    """`network` with its activations in the form that is fastest on an engine."""
    if engine.name == "openvino":
        replace_parts(network, lambda part: isinstance(part, Snake), PolynomialSnake)
    return network


class Snake(nn.Module):
    """The activation x + sin(a x)^2 / a, with an `a` for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channels, time]` to the same shape."""
        # In place, as the time goes into memory; the steps are the official packages'.
        waves = (self.alpha * x).sin_().square_()
        return waves.mul_((self.alpha + 1e-9).reciprocal()).add_(x)


class PolynomialSnake(nn.Module):
    """`Snake` in steps that OpenVINO fuses; its sine is a slow one.

    a x less the nearest multiple of pi, which its square does not change, goes into the sine's
    Taylor series up to the 11th power: off by less than 6e-8.
    """

    def __init__(self, snake: Snake) -> None:
        super().__init__()
        self.alpha: Tensor = snake.alpha.detach()
        self.inverse: Tensor = (self.alpha + 1e-9).reciprocal()

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channels, time]` to the same shape."""
        phase = self.alpha * x
        turns = torch.round(phase * (1 / math.pi))
        # Pi in two parts, the first of few digits, so that the product with it is exact.
        rest = phase - turns * 3.140625 - turns * (math.pi - 3.140625)
        square = rest * rest
        series = torch.full((), -1 / math.factorial(11), dtype=x.dtype, device=x.device)
        for power in (9, 7, 5, 3, 1):
            series = series * square + (-1) ** (power // 2) / math.factorial(power)
        sine = rest * series
        return x + self.inverse * (sine * sine)
