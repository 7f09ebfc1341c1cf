"""What a network begins from, set by data: every layer hands on as much as it is given.

Layers drawn at random, as torch draws them, each hand on less than they are given, and a dozen of
them one after the other nothing but their own biases: an encoder's latents are then all but the
same for any sound, and codebooks that begin from such latents are left behind by the first steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SILENT = 1e-6
"""A layer that makes nothing louder of real data is left as it is."""


@torch.no_grad()
def level(network: nn.Module, x: Tensor) -> Tensor:
    """Give what each convolution makes of real data a mean of zero, channel by channel, and unit
    variance over all channels, as T. Salimans and D. Kingma begin weight normalisation
    (https://arxiv.org/abs/1602.07868, section 3), with one factor for a layer as D. Mishkin and
    J. Matas have (https://arxiv.org/abs/1511.06422).

    Args:
        network: its convolutions, which have biases, are changed in place.
        x: what goes into it, `[batch, channels, time]`.

    Returns:
        What the changed network makes of `x`.
    """
    layers = [m for m in network.modules() if isinstance(m, nn.Conv1d | nn.ConvTranspose1d)]
    hooks = [layer.register_forward_hook(_level) for layer in layers]
    try:
        made: Tensor = network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return made


def scale(layer: Any, factor: Tensor) -> None:
    """Multiply what a convolution makes of anything."""
    # Under weight norm, `weight` itself is made of the length and the direction in each pass.
    (layer.weight_g if hasattr(layer, "weight_g") else layer.weight).mul_(factor)
    layer.bias.mul_(factor)


def _level(layer: Any, _: Any, output: Tensor) -> Tensor:
    mean = output.mean((0, 2))
    output.sub_(mean[:, None])  # in place, as there may be minutes of sound
    layer.bias.sub_(mean)
    size = output.std()
    if size < SILENT:
        return output
    scale(layer, 1 / size)
    return output.div_(size)
