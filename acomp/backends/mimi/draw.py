"""Mimi's weights drawn at random, for timing where the published ones are not at hand."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from acomp.audio.samples import Samples
from acomp.backends.mimi.network import Networks
from acomp.backends.mimi.shape import MimiShape
from acomp.backends.shared.seanet import AsProducts, Stack
from acomp.backends.weights.tensors import Tensors

LAYER_SCALE = 0.01
"""What a transformer's layers are multiplied by before training."""
FINER = 0.97
"""What the entries of each codebook are to those of the one before."""


class _Draws(Tensors):
    """Tensors that are drawn when they are taken: so they are just those that a network takes."""

    def __init__(self) -> None:
        super().__init__({}, "")
        self.drawn: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        self.drawn[name] = _drawn(name, shape)
        return self.drawn[name]


def _drawn(name: str, shape: tuple[int, ...]) -> Tensor:
    tensor = torch.ones(shape, dtype=torch.float32)
    if name.endswith(".scale"):
        return tensor * LAYER_SCALE
    if name.endswith(".bias"):
        return torch.zeros_like(tensor)
    if tensor.ndim > 1:
        torch.nn.init.kaiming_uniform_(tensor, a=math.sqrt(5))
    return tensor


@torch.no_grad()
def random_weights(shape: MimiShape, samples: Samples) -> dict[str, Tensor]:
    """Weights drawn at random, by the names of the published file.

    The codebooks lie where the latents of `samples`, `[1, time]`, do, so that each frame of real
    audio has codes of its own. The transformer, which changes little before training, is left out.
    """
    draws = _Draws()
    networks = Networks.of(draws, shape)
    positions = _whole(networks.encoder, torch.from_numpy(samples)[..., None])
    latents = _whole(networks.downsample, positions)[0]
    books = networks.books
    for name, part in (("semantic", books.semantic), ("acoustic", books.acoustic)):
        projected = latents @ part.into.T
        centre, spread = projected.mean(dim=0), projected.std(dim=0)
        for index in range(len(part.books)):
            at = f"quantizer.{name}_residual_vector_quantizer.layers.{index}.codebook.embed_sum"
            draws.drawn[at].normal_().mul_(spread).add_(centre)
            spread, centre = FINER * spread, torch.zeros_like(centre)
    return draws.drawn


def _whole(stack: Stack, x: Tensor) -> Tensor:
    """A sound `[1, time, inputs]` through a stack, with silence before it."""
    y: Tensor = AsProducts(stack)(x, *map(torch.zeros, stack.past_shapes()))[0]
    return y
