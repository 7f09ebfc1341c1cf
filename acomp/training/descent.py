"""Training of quantisers by gradient descent: Gumbel-softmax, factorised codebooks, finite scalars.

Those that learn by moving averages are in `acomp.training.quantiser`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor

from acomp.backends.encodec.quantisers import Entries, Factorised, Level, Residual, Scalar
from acomp.training.quantiser import kmeans

HOT, COLD = 0.1, 0.005
"""Temperature of Gumbel-softmax at the beginning of a run and at its end; it falls geometrically.
The unit is the mean squared distance to the nearest entry. Of 512 entries the tenth nearest is half
as far again, so a draw is among some 30 at first. At a temperature of 1 it is among most of them,
and says nothing of the vector, so that a decoder learns to do without it.
"""
COMMITMENT = 0.25
"""Weight of what pulls latents to the entries of factorised codebooks, beside what pulls the
entries, as DAC was published.
"""

Chosen = tuple[Tensor, Tensor, Tensor]
"""Vectors, through which gradients flow; codes; a penalty `[batch]`."""


def quantise(
    quantiser: Residual, latents: Tensor, codebooks: Tensor, *, part: float | None
) -> Chosen:
    """Quantise `[batch, time, dimension]`, example i with `codebooks[i]` levels.

    Args:
        quantiser: any of `acomp.backends.encodec.quantisers`.
        latents: float32.
        codebooks: `[batch]`.
        part: how much of the run is done, from 0 to 1; None where nothing learns, and the codes are
            those of the codec.

    Returns:
        The quantised latents; the codes `[batch, codebooks, time]` of all levels; the penalty, a
        number, the mean over the levels of an example.
    """
    rest, total, codes = latents, torch.zeros_like(latents), []
    penalty = latents.new_zeros(len(latents))
    for number, level in enumerate(quantiser.levels):
        chosen, indices, cost = _look(level, rest) if part is None else _learn(level, rest, part)
        used = (codebooks > number).to(latents.dtype)
        total = total + chosen * used[:, None, None]
        penalty = penalty + cost * used / codebooks
        rest = rest - chosen
        codes.append(indices)
    return total, torch.stack(codes, 1), penalty.mean()


def start(quantiser: Residual, latents: Tensor) -> None:
    """Begin from latents `[n, dimension]`: projections as principal components, codebooks as
    k-means centres, each level of what the ones before it left.
    """
    for level in quantiser.levels:
        if isinstance(level, Entries):
            level.book.copy_(kmeans(latents, len(level.book)))
        elif isinstance(level, Factorised | Scalar):
            _start_projection(level, latents)
        if isinstance(level, Factorised):
            level.book.copy_(kmeans(level.into(latents), len(level.book)))
        latents = latents - level.entries(level.lookup(latents))


def _start_projection(level: Factorised | Scalar, latents: Tensor) -> None:
    """Into as many principal components as it has numbers, and back.

    A factorised codebook is in the latents' own units: an untrained encoder's are all but nothing,
    and a factor that made them large would make what they grow by, and the gradients, larger than
    codebooks can follow. Scalars are to be from -1 to 1: all have the factor that gives the first
    component unit variance.
    """
    mean = latents.mean(0)
    centred = latents - mean
    values, vectors = torch.linalg.eigh((centred.T @ centred).double() / len(latents))
    size = min(level.into.out_features, len(values))
    basis = vectors[:, -size:].flip(1).float()
    first = values[-1].clamp(min=1e-12).sqrt().float()
    unit = first if isinstance(level, Scalar) else torch.ones_like(first)
    into = basis / unit
    level.into.weight[:size].copy_(into.T)
    level.into.bias[:size].copy_(-mean @ into)
    level.out.weight[:, :size].copy_(basis * unit)
    level.out.bias.copy_(mean)


def _look(level: Any, x: Tensor) -> Chosen:
    codes = level.lookup(x)
    return level.entries(codes), codes, x.new_zeros(len(x))


def _learn(level: Any, x: Tensor, part: float) -> Chosen:
    return _BY_KIND[type(level)](level, x, part)


def _gumbel(level: Entries, x: Tensor, part: float) -> Chosen:
    """A sample of the entries, and gradients as if it were their mean; the penalty is how far the
    use of the entries is from an even one, 1 where one alone is used.
    """
    distances = level.distances(x) + x.detach().square().sum(-1, keepdim=True)
    unit = distances.detach().amin(-1).mean().clamp(min=1e-8)
    heat = HOT * (COLD / HOT) ** part
    shares = F.gumbel_softmax(-distances / (unit * heat), hard=True)
    use = F.softmax(-distances / (unit * heat), -1).flatten(0, -2).mean(0)
    uneven = 1 + (use * (use + 1e-9).log()).sum() / math.log(len(use))
    return shares @ level.book, shares.argmax(-1), uneven.expand(len(x))


def _factorised(level: Factorised, x: Tensor, part: float) -> Chosen:  # noqa: ARG001
    projected = level.into(x)
    codes = level.nearest(projected)
    entries = F.embedding(codes, level.book)
    to_entries = (projected - entries.detach()).square().mean((1, 2))
    to_latents = (projected.detach() - entries).square().mean((1, 2))
    through = projected + (entries - projected).detach()
    return level.out(through), codes, COMMITMENT * to_entries + to_latents


def _scalar(level: Scalar, x: Tensor, part: float) -> Chosen:  # noqa: ARG001
    bounded = level.bounded(x)
    codes = level.nearest(bounded)
    through = bounded + (level.values(codes) - bounded).detach()
    return level.out(through), codes, x.new_zeros(len(x))


_BY_KIND: dict[type[Level], Callable[[Any, Tensor, float], Chosen]] = {
    Entries: _gumbel,
    Factorised: _factorised,
    Scalar: _scalar,
}
