"""Parts of the official EnCodec network as acomp runs them: the layers, the LSTM, the quantiser.

The LSTM and the quantiser run in torch on every engine.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor, nn

from acomp.backends.shared.seanet import Conv, Residual, Stack, Upsampler
from acomp.engines import Array, Engine
from acomp.engines.torch import MIN_ROWS, in_torch


class Quantiser(nn.Module):
    """Latents `[1, frames, dimension]` to codes `[1, codebooks, frames]`, by `encodec`'s quantiser;
    as steady as matrix products are (`MIN_ROWS`).
    """

    def __init__(self, quantiser: Any, codebooks: int) -> None:
        super().__init__()
        self._quantiser = quantiser
        self._codebooks = codebooks

    def forward(self, latents: Tensor) -> Tensor:
        frames = latents.shape[1]
        padded = nn.functional.pad(latents.transpose(1, 2), (0, max(0, MIN_ROWS - frames)))
        codes: Tensor = self._quantiser.encode(padded, n_q=self._codebooks)
        return codes.transpose(0, 1)[..., :frames]


class Dequantiser(nn.Module):
    """Codes `[1, codebooks, frames]` to latents `[1, dimension, frames]`."""

    def __init__(self, quantiser: Any) -> None:
        super().__init__()
        self._quantiser = quantiser

    def forward(self, codes: Tensor) -> Tensor:
        latents: Tensor = self._quantiser.decode(codes.transpose(0, 1))
        return latents


class _Lstm(nn.Module):
    """An LSTM whose state is an argument like any other, the batch first in all of them."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self._lstm = lstm

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state = (_swap(hidden), _swap(cell))
        y, (hidden, cell) = self._lstm(_swap(x), state)
        return _swap(y), _swap(hidden), _swap(cell)


def _swap(x: Tensor) -> Tensor:
    """The batch first instead of second, or the other way round."""
    return x.transpose(0, 1).contiguous()


def around_lstm(network: nn.Sequential) -> tuple[Any, Any, Any]:
    """The layers of an encoder or decoder before its LSTM, the LSTM, and the layers after it."""
    at = next(i for i, layer in enumerate(network) if hasattr(layer, "lstm"))
    return network[:at], network[at].lstm, network[at + 1 :]


class Lstm:
    """The LSTM of a half, in torch, with its skip connection."""

    def __init__(self, lstm: nn.LSTM, engine: Engine) -> None:
        self._run = in_torch(engine, _Lstm(lstm))
        self.width = lstm.hidden_size
        self._state = (lstm.num_layers, lstm.hidden_size)

    def start(self, batch: int) -> list[Array]:
        """The state before the first step."""
        return [np.zeros((batch, *self._state), np.float32)] * 2

    def __call__(self, x: Array, state: list[Array]) -> tuple[Array, list[Array]]:
        """`[batch, time, width]` to the same shape, and the next state."""
        y, *state = self._run(x, *state)
        return y + x, state


def stack_of(layers: Iterable[nn.Module]) -> Stack:
    """The stack of some of the official network's layers, whose weight norm is folded."""
    ours: list[Conv | Residual] = []
    elu = False
    for layer in layers:
        kind = type(layer).__name__
        if kind == "SConv1d":
            ours.append(_conv(layer, elu=elu))
        elif kind == "SConvTranspose1d":
            ours.append(_upsampler(layer))
        elif kind == "SEANetResnetBlock":
            ours.append(_residual(layer))
        elu = kind == "ELU"
    return Stack(ours)


def _conv(layer: Any, *, elu: bool = False) -> Conv:
    conv = layer.conv.conv
    weight, bias = conv.weight.detach(), conv.bias.detach()
    return Conv(weight, bias, conv.stride[0], conv.dilation[0], elu=elu)


def _upsampler(layer: Any) -> Upsampler:
    conv = layer.convtr.convtr
    return Upsampler(conv.weight.detach(), conv.bias.detach(), conv.stride[0])


def _residual(layer: Any) -> Residual:
    _, first, _, second = layer.block
    return Residual(_conv(first, elu=True), _conv(second, elu=True), _conv(layer.shortcut))
