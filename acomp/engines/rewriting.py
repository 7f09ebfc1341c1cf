"""Networks rewritten to run faster, with the same results but for rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn
from torch.nn.utils import parametrize

Module = TypeVar("Module", bound=nn.Module)


def fold_weight_norm(module: Module) -> Module:
    """`module`, whose weights are no longer made of directions and lengths each time it runs."""
    for part in list(module.modules()):
        # Torch's newer way, and its older one.
        if parametrize.is_parametrized(part, "weight"):
            parametrize.remove_parametrizations(part, "weight")
        elif hasattr(part, "weight_g"):
            nn.utils.remove_weight_norm(part)
    return module.eval().requires_grad_(False)


def without_transposed(module: Module) -> Module:
    """`module` with its transposed convolutions replaced by ordinary ones, where that can be."""
    return replace_parts(module, TransposedConv.stands_for, TransposedConv)


def replace_parts(
    module: Module, which: Callable[[nn.Module], bool], by: Callable[[Any], nn.Module]
) -> Module:
    """`module` with each part that is one of `which` replaced by what `by` makes of it."""
    for parent in list(module.modules()):
        for name, part in list(parent.named_children()):
            if which(part):
                setattr(parent, name, by(part))
    return module


class TransposedConv(nn.Module):
    """A transposed convolution of kernel 2s and stride s as one of kernel 2 to s times the
    channels, then interleaved: the same sums, which CPUs run faster.

    Output i * s + j is input i times tap j plus input i - 1 times tap s + j.
    """

    def __init__(self, transposed: nn.ConvTranspose1d) -> None:
        super().__init__()
        weight = transposed.weight.detach()  # [inputs, outputs, 2 * stride]
        inputs, self.outputs, _ = weight.shape
        # Named as a transposed convolution's are, for those who look at them.
        self.in_channels = transposed.in_channels
        self.kernel_size, self.stride = transposed.kernel_size, transposed.stride
        self.cut = int(transposed.padding[0])
        step = int(self.stride[0])
        late, early = weight[..., :step], weight[..., step:]
        # In place: it is the largest tensor of DAC's and SNAC's, and a third copy would be the
        # most memory that loading takes.
        taps = weight.new_empty(self.outputs, step, inputs, 2)
        for tap, half in enumerate((early, late)):
            taps[..., tap] = half.permute(1, 2, 0)
        kernel = taps.reshape(self.outputs * step, inputs, 2)
        self.weight = nn.Parameter(kernel, requires_grad=False)
        bias = transposed.bias
        self.bias = (
            None
            if bias is None
            else nn.Parameter(bias.detach().repeat_interleave(step), requires_grad=False)
        )

    @staticmethod
    def stands_for(conv: nn.Module) -> bool:
        """Whether `conv` is one of the form that this can replace."""
        return (
            isinstance(conv, nn.ConvTranspose1d)
            and conv.kernel_size[0] == 2 * conv.stride[0]
            and (conv.groups, conv.dilation[0], conv.output_padding[0]) == (1, 1, 0)
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, inputs, time]` to `[batch, outputs, (time + 1) * stride - 2 * padding]`."""
        y = F.conv1d(x, self.weight, self.bias, padding=1)
        batch, _, time = y.shape
        y = (
            y.reshape(batch, self.outputs, -1, time)
            .transpose(2, 3)
            .reshape(batch, self.outputs, -1)
        )
        return y[..., self.cut : y.shape[2] - self.cut]


class SplitNorm(nn.Module):
    """`GroupNorm` of one group in elementary steps, which OpenVINO fuses with their neighbours."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.weight, self.bias = norm.weight[:, None], norm.bias[:, None]
        self.eps = norm.eps

    @staticmethod
    def stands_for(norm: nn.Module) -> bool:
        """Whether `norm` is one that this can replace."""
        return isinstance(norm, nn.GroupNorm) and norm.num_groups == 1 and norm.affine

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channels, time]` to the same shape."""
        mean = x.mean((1, 2), keepdim=True)
        variance = (x - mean).square().mean((1, 2), keepdim=True)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return x * scale + (self.bias - mean * scale)
