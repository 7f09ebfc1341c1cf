"""SEANet's causal layers as streams: stacks of layers that carry their own past.

EnCodec's networks and Mimi's are made of them. Each layer can be run in two ways, which give the
same but for rounding:

- `products`, as matrix products on `[batch, time, channels]`, one for each tap of the kernel. A row
  of a product does not depend on how many rows there are (`steady_linear` says when), so a stream
  gives the same bits however it is cut; and on CPUs this is faster than torch's convolutions.
- `forward`, as convolutions on `[batch, channels, time]`, for what makes the best of those:
  OpenVINO, and GPUs.

A layer's past is the end of its input, `[batch, memory, channels]` (for `forward`, with the last
two axes changed round). Before the first sample it is None: the layer then pads as the network
does, by reflection (EnCodec) or with zeros (Mimi), and so it does after the last sample.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

from acomp.engines.torch import MIN_ROWS, steady_map, steady_parts

Pasts = list[Tensor]
Padding = Literal["reflect", "zeros"]


class Conv(nn.Module):
    """A causal convolution, whose kernel is a multiple of its stride; where that is more than 1, it
    is not dilated.

    Args:
        kernel: `[outputs, inputs, taps]`.
        bias: `[outputs]`.
        stride: steps of the input for a step of the output.
        dilation: steps of the input between taps.
        elu: whether an ELU comes before it.
        padding: what the stream's edges are padded with.
    """

    kernel: Tensor
    bias: Tensor
    taps: Tensor

    def __init__(
        self,
        kernel: Tensor,
        bias: Tensor,
        stride: int = 1,
        dilation: int = 1,
        *,
        elu: bool = False,
        padding: Padding = "reflect",
    ) -> None:
        super().__init__()
        self.padding = padding
        self.outputs, self.inputs, size = kernel.shape
        self.stride = stride
        self.dilation = dilation
        self.elu = elu
        self.memory = (size - 1) * dilation + 1 - stride
        """Steps of the past that it sees."""
        taps = kernel.permute(2, 1, 0).reshape(size // stride, stride * self.inputs, self.outputs)
        self.register_buffer("kernel", kernel)
        self.register_buffer("bias", bias)
        self.register_buffer("taps", taps.contiguous())

    def products(self, x: Tensor, past: Tensor | None, *, last: bool) -> tuple[Tensor, Tensor]:
        """`[batch, time, inputs]` to `[batch, time / stride, outputs]`, and the next past.

        Time is a multiple of the stride, unless these are the `last` steps of the stream.
        """
        x = steady_map(F.elu, x) if self.elu else x
        missing = -x.shape[1] % self.stride if last else 0
        if past is not None:
            seen = self._pad_end(torch.cat([past, x], dim=1), missing)
        else:
            seen = self._begin(x, missing) if self.memory else x
        rows = seen.reshape(len(seen), -1, self.stride * self.inputs)
        y = _products(rows, self.taps, self.bias, self.dilation)
        return y, seen[:, seen.shape[1] - self.memory :]

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """`[batch, inputs, time]` to `[batch, outputs, time / stride]`, and the next past."""
        x = F.elu(x) if self.elu else x
        seen = torch.cat([past, x], dim=2) if self.memory else x
        y = F.conv1d(seen, self.kernel, self.bias, self.stride, dilation=self.dilation)
        return y, seen[..., seen.shape[2] - self.memory :]

    def _begin(self, x: Tensor, missing: int) -> Tensor:
        """The stream's first steps between what they are padded with."""
        if self.padding == "zeros":
            return F.pad(x, (0, 0, self.memory, missing))
        from encodec.modules.conv import pad1d

        padded: Tensor = pad1d(x.transpose(1, 2), (self.memory, missing), mode="reflect")
        return padded.transpose(1, 2)

    def _pad_end(self, seen: Tensor, missing: int) -> Tensor:
        """Steps, and as many behind them as are `missing`."""
        if not missing:
            return seen
        if self.padding == "zeros":
            return F.pad(seen, (0, 0, 0, missing))
        return torch.cat([seen, seen[:, -1 - missing : -1].flip(1)], dim=1)


class Upsampler(Conv):
    """A transposed convolution of kernel 2s and stride s behind an ELU, whose end is cut off.

    It is a convolution of kernel 2 to s times the channels, then interleaved: output i * s + j is
    input i times tap j plus input i - 1 times tap s + j.
    """

    def __init__(self, kernel: Tensor, bias: Tensor, factor: int) -> None:
        late, early = kernel[..., :factor], kernel[..., factor:]  # [inputs, outputs, factor]
        pair = torch.stack([early, late], dim=-1).permute(2, 1, 0, 3).flatten(0, 1)
        super().__init__(pair, bias.repeat(factor), elu=True, padding="zeros")
        self.factor = factor
        self.outputs //= factor

    def products(self, x: Tensor, past: Tensor | None, *, last: bool) -> tuple[Tensor, Tensor]:
        """`[batch, time, inputs]` to `[batch, time * factor, outputs]`, and the next past."""
        y, past = super().products(x, past, last=last)
        return y.reshape(len(y), y.shape[1] * self.factor, -1), past

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """`[batch, inputs, time]` to `[batch, outputs, time * factor]`, and the next past."""
        y, past = super().forward(x, past)
        y = y.reshape(len(y), self.factor, -1, y.shape[2]).permute(0, 2, 3, 1)
        return y.flatten(2), past


class Residual(nn.Module):
    """Two convolutions, each behind an ELU, whose result is added to what came in, or to what a
    third convolution makes of that; only the first sees the past.
    """

    def __init__(self, first: Conv, second: Conv, beside: Conv | None = None) -> None:
        super().__init__()
        self.first = first
        self.second = second
        self.beside = beside
        self.memory = first.memory
        self.inputs, self.outputs = first.inputs, second.outputs
        self.padding = first.padding

    def products(self, x: Tensor, past: Tensor | None, *, last: bool) -> tuple[Tensor, Tensor]:
        """`[batch, time, channels]` to the same shape, and the next past."""
        y, past = self.first.products(x, past, last=last)
        y, _ = self.second.products(y, None, last=False)
        if self.beside is not None:
            x, _ = self.beside.products(x, None, last=False)
        return x + y, past

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """`[batch, channels, time]` to the same shape, and the next past."""
        y, past = self.first(x, past)
        y, _ = self.second(y, past)
        if self.beside is not None:
            x, _ = self.beside(x, past)
        return x + y, past


class Stack(nn.Module):
    """Layers, one after another."""

    def __init__(self, layers: Iterable[Conv | Residual]) -> None:
        super().__init__()
        self.layers = list(layers)
        self.inputs, self.outputs = self.layers[0].inputs, self.layers[-1].outputs
        self._registered = nn.ModuleList(self.layers)

    @property
    def reflects(self) -> bool:
        """Whether the stream's edges are padded by reflection, in some layer."""
        return any(layer.memory and layer.padding == "reflect" for layer in self.layers)

    def past_shapes(self) -> list[tuple[int, int, int]]:
        """The shape of each layer's past, `[1, time, channels]`."""
        return [(1, layer.memory, layer.inputs) for layer in self.layers]

    def products(
        self, x: Tensor, pasts: Pasts | None, *, last: bool = False
    ) -> tuple[Tensor, Pasts]:
        """`[batch, time, channels]` through all layers by `products`, and their next pasts."""
        after = []
        for index, layer in enumerate(self.layers):
            x, past = layer.products(x, pasts[index] if pasts else None, last=last)
            after.append(past)
        return x, after


class AsProducts(nn.Module):
    """A stack in the middle of a stream, run as matrix products: `(x, *pasts) -> (y, *pasts)`."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.stack = stack

    def forward(self, x: Tensor, *pasts: Tensor) -> tuple[Tensor, ...]:
        y, after = self.stack.products(x, list(pasts))
        return (y, *after)


class AsConvolutions(nn.Module):
    """The same, and on the same axes, run as convolutions."""

    def __init__(self, stack: Stack) -> None:
        super().__init__()
        self.stack = stack

    def forward(self, x: Tensor, *pasts: Tensor) -> tuple[Tensor, ...]:
        x = x.transpose(1, 2)
        after = []
        for layer, past in zip(self.stack.layers, pasts, strict=True):
            x, past = layer(x, past.transpose(1, 2))
            after.append(past.transpose(1, 2))
        return (x.transpose(1, 2), *after)


def _products(rows: Tensor, taps: Tensor, bias: Tensor, dilation: int) -> Tensor:
    """The convolution of rows `[batch, count, inputs]` with taps `[taps, inputs, outputs]`."""
    batch, count, inputs = rows.shape
    outputs = taps.shape[2]
    if outputs == 1:  # a product with a vector rounds by the number of rows
        taps, bias = F.pad(taps, (0, 1)), F.pad(bias, (0, 1))
    reach = (len(taps) - 1) * dilation
    steps = count - reach
    if steps < MIN_ROWS:
        rows = F.pad(rows, (0, 0, 0, MIN_ROWS - steps))
    padded = rows.shape[1] - reach
    y = bias
    for j, tap in enumerate(taps):
        seen = rows[:, j * dilation : j * dilation + padded].reshape(-1, inputs)
        for part, weights in steady_parts(seen, tap):
            y = torch.addmm(y, part, weights) if y is bias else y.addmm_(part, weights)
    return y.reshape(batch, padded, -1)[:, :steps, :outputs]
