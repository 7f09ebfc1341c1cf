"""SEANet's layers as they are exported: any length, and the edges of a recording within the graph.

What is padded at an edge depends on the length, which must not become a constant of the graph: so
the arithmetic of lengths is that of tensors, as they are while a network is traced.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

from acomp.backends.shared.seanet import Conv, Residual, Stack, Upsampler
from acomp.export.streams import Shapes


class CausalConv(nn.Module):
    """A causal convolution over a stream, which begins and ends in whatever call it does.

    Before the first sample the state holds zeros and `begun` is 0; a recording ends with the call
    whose steps are no multiple of the stride.
    """

    def __init__(self, conv: Conv) -> None:
        super().__init__()
        self.conv = conv
        self.memory = conv.memory
        self.inputs = conv.inputs

    def forward(self, x: Tensor, past: Tensor, begun: Tensor) -> tuple[Tensor, Tensor]:
        """`[batch, inputs, time]` to `[batch, outputs, time / stride]`, and the next past."""
        conv = self.conv
        x = F.elu(x) if conv.elu else x
        seen = x
        if conv.memory and conv.padding == "reflect":
            begun = begun[:, None, None]
            past = begun * past + (1 - begun) * _mirrored(x, conv.memory)
        if conv.memory:
            seen = torch.cat([past, x], dim=2)
        after = seen[..., seen.shape[2] - conv.memory :]
        if conv.stride > 1:
            seen = self._ended(seen, x.shape[2], begun)
        return _convolved(conv, seen), after

    def _ended(self, seen: Tensor, length: Any, begun: Tensor) -> Tensor:
        """What is seen, and behind it what it lacks of a multiple of the stride."""
        conv, end = self.conv, seen.shape[2]
        missing = -length % conv.stride
        if conv.padding == "zeros":
            more = torch.zeros(seen.shape[0], conv.inputs, conv.stride - 1)
            return torch.cat([seen, more], dim=2)[..., : end + missing]
        more = seen[..., end - 1 - missing : end - 1].flip(2)
        # A recording shorter than what is to be seen of it goes on with zeros.
        long = torch.as_tensor(length > conv.memory).to(seen.dtype)
        return torch.cat([seen, torch.clamp(begun + long, max=1) * more], dim=2)


def _mirrored(x: Tensor, count: int) -> Tensor:
    """So many steps that lie before `x`, by reflection; what is shorter goes on with zeros."""
    longer = torch.cat([x, torch.zeros(x.shape[0], x.shape[1], count)], dim=2)
    return longer[..., 1 : count + 1].flip(2)


def _convolved(conv: Conv, seen: Tensor) -> Tensor:
    y = F.conv1d(seen, conv.kernel, conv.bias, conv.stride, dilation=conv.dilation)
    if not isinstance(conv, Upsampler):
        return y
    y = y.reshape(y.shape[0], conv.factor, -1, y.shape[2]).permute(0, 2, 3, 1)
    return y.flatten(2)


class CausalResidual(nn.Module):
    """`seanet.Residual` over a stream."""

    def __init__(self, residual: Residual) -> None:
        super().__init__()
        self.first = CausalConv(residual.first)
        self.second = residual.second
        self.beside = residual.beside
        self.memory = residual.memory
        self.inputs = residual.inputs

    def forward(self, x: Tensor, past: Tensor, begun: Tensor) -> tuple[Tensor, Tensor]:
        """`[batch, channels, time]` to the same shape, and the next past."""
        y, past = self.first(x, past, begun)
        y, _ = self.second(y, past)
        if self.beside is not None:
            x, _ = self.beside(x, past)
        return x + y, past


class CausalStack(nn.Module):
    """`seanet.Stack` over a stream; the layers that see the past have a state each.

    Attributes:
        state: the state by name.
    """

    def __init__(self, stack: Stack, name: str) -> None:
        super().__init__()
        layers = (
            CausalResidual(layer) if isinstance(layer, Residual) else CausalConv(layer)
            for layer in stack.layers
        )
        self.layers = nn.ModuleList(layers)
        self.state: Shapes = {
            f"{name}_{index}": (layer.inputs, layer.memory)
            for index, layer in enumerate(cast("list[CausalConv]", self.layers))
            if layer.memory
        }

    def forward(self, x: Tensor, begun: Tensor, *pasts: Tensor) -> tuple[Tensor, ...]:
        """`(x, begun, *pasts)` to `(y, *pasts)`, all with the time last."""
        left, after = iter(pasts), []
        for layer in self.layers:
            if layer.memory:
                x, past = layer(x, next(left), begun)
                after.append(past)
            else:
                x, _ = layer(x, x, begun)
        return (x, *after)


class PaddedConv(nn.Module):
    """A convolution of `encodec`'s that sees both sides, on a whole recording or segment."""

    def __init__(self, layer: Any) -> None:
        """`layer` is an `SConv1d` whose weight norm is folded."""
        super().__init__()
        conv = layer.conv.conv
        self.conv = layer.conv  # with its norm
        self.stride = conv.stride[0]
        total = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1 - self.stride
        self.right = total // 2
        self.left = total - self.right
        self.reflects = layer.pad_mode == "reflect"

    @staticmethod
    def stands_for(layer: nn.Module) -> bool:
        """Whether `layer` is one that this replaces."""
        return type(layer).__name__ == "SConv1d"

    def forward(self, x: Tensor) -> Tensor:
        length = x.shape[2]
        right = self.right + -length % self.stride
        y: Tensor = self.conv(self._padded(x, length, right))
        return y

    def _padded(self, x: Tensor, length: Any, right: Any) -> Tensor:
        end = self.left + length + right
        most = max(self.left, self.right + self.stride - 1)
        more = torch.zeros(x.shape[0], x.shape[1], most + 1)
        x = torch.cat([x, more], dim=2)
        if not self.reflects:
            return torch.cat([more[..., : self.left], x], dim=2)[..., :end]
        # Where there is less than what is reflected, it first goes on with zeros.
        least = torch.clamp(torch.as_tensor(right), min=self.left) + 1
        full = torch.maximum(torch.as_tensor(length), least)
        before = x[..., 1 : self.left + 1].flip(2)
        behind = x[..., full - 1 - right : full - 1].flip(2)
        return torch.cat([before, x[..., :full], behind], dim=2)[..., :end]
