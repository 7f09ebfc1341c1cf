"""Quantisers that a network of one's own may have in place of EnCodec's codebooks.

All are residual: each level takes what the ones before it left. They stand where the package's
`ResidualVectorQuantizer` has its own, `vq`, with the same two functions, so that the package's
model codes with them too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

from acomp.backends.encodec.shape import EncodecShape
from acomp.engines.torch import SteadyLinear, steady_linear, steady_map


class Level(nn.Module, ABC):
    """One level of a quantiser: what it may take for a vector, and how it chooses."""

    @property
    @abstractmethod
    def codebook(self) -> Tensor:
        """The numbers that each code stands for, `[size, codebook dimension]`."""

    @abstractmethod
    def lookup(self, x: Tensor) -> Tensor:
        """The codes `[...]` of vectors `[..., dimension]`."""

    @abstractmethod
    def entries(self, codes: Tensor) -> Tensor:
        """The vectors `[..., dimension]` of codes `[...]`."""


class Residual(nn.Module):
    """Levels one after the other."""

    def __init__(self, levels: list[Level]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(levels)

    @property
    def levels(self) -> list[Level]:
        return [level for level in self.layers if isinstance(level, Level)]

    def encode(self, x: Tensor, n_q: int | None = None) -> Tensor:
        """Latents `[batch, dimension, frames]` to codes `[codebooks, batch, frames]`."""
        x, codes = x.transpose(1, 2), []
        for level in self.levels[:n_q]:
            codes.append(level.lookup(x))
            x = x - level.entries(codes[-1])
        return torch.stack(codes)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes `[codebooks, batch, frames]` to latents `[batch, dimension, frames]`."""
        first, *finer = zip(self.levels, codes, strict=False)
        total = first[0].entries(first[1])
        for level, chosen in finer:
            total = total + level.entries(chosen)
        return total.transpose(1, 2)


class Entries(Level):
    """A codebook that learns by gradient descent, for Gumbel-softmax; the nearest entry is taken.

    C. Maddison, A. Mnih, Y. W. Teh, https://arxiv.org/abs/1611.00712, and E. Jang, S. Gu, B. Poole,
    https://arxiv.org/abs/1611.01144; of codebooks, vq-wav2vec, https://arxiv.org/abs/1910.05453.
    """

    def __init__(self, shape: EncodecShape) -> None:
        super().__init__()
        self.book = nn.Parameter(torch.randn(shape.codebook_size, shape.dimension))

    @property
    def codebook(self) -> Tensor:
        return self.book

    def distances(self, x: Tensor) -> Tensor:
        """The squared distance of vectors `[..., dimension]` to each entry, `[..., size]`, less the
        vector's own square, which is the same for all entries.
        """
        return steady_linear(x, -2 * self.book, self.book.square().sum(-1))

    def lookup(self, x: Tensor) -> Tensor:
        return self.distances(x).argmin(-1)

    def entries(self, codes: Tensor) -> Tensor:
        return F.embedding(codes, self.book)


class Factorised(Level):
    """DAC's: entries of few dimensions, of which the direction alone is compared.

    R. Kumar et al., https://arxiv.org/abs/2306.06546, section 3.2.
    """

    def __init__(self, shape: EncodecShape) -> None:
        super().__init__()
        self.into = SteadyLinear(shape.dimension, shape.codebook_dim)
        self.book = nn.Parameter(torch.randn(shape.codebook_size, shape.codebook_dim))
        self.out = SteadyLinear(shape.codebook_dim, shape.dimension)

    @property
    def codebook(self) -> Tensor:
        return self.book

    def nearest(self, projected: Tensor) -> Tensor:
        """The codes of vectors that are projected, `[..., codebook dimension]`."""
        return steady_linear(projected, F.normalize(self.book, dim=-1)).argmax(-1)

    def lookup(self, x: Tensor) -> Tensor:
        return self.nearest(self.into(x))

    def entries(self, codes: Tensor) -> Tensor:
        vectors: Tensor = self.out(F.embedding(codes, self.book))
        return vectors


class Scalar(Level):
    """Finite scalar quantisation: a few numbers from -1 to 1, each rounded to one of 4 or 8 values.

    F. Mentzer et al., https://arxiv.org/abs/2309.15505. There are no entries to learn; a code is
    the values' places as the digits of a number, the first one first.
    """

    def __init__(self, shape: EncodecShape) -> None:
        super().__init__()
        steps = shape.scalar_steps
        self.into = SteadyLinear(shape.dimension, len(steps))
        self.out = SteadyLinear(len(steps), shape.dimension)
        # Made of the shape, so not among the weights.
        self._steps = steps

    def _digits(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """How many values each number has, and what its digit counts for."""
        steps = torch.tensor(self._steps, device=like.device)
        places = steps.flip(0).cumprod(0).flip(0) // steps
        return steps, places

    def bounded(self, x: Tensor) -> Tensor:
        """The numbers of vectors `[..., dimension]`, before they are rounded."""
        return steady_map(torch.tanh, self.into(x))

    def nearest(self, bounded: Tensor) -> Tensor:
        """The codes of numbers `[..., codebook dimension]`."""
        steps, places = self._digits(bounded)
        digits = ((bounded + 1) / 2 * steps).floor().long()
        return (torch.minimum(digits, steps - 1) * places).sum(-1)

    def values(self, codes: Tensor) -> Tensor:
        """The rounded numbers of codes, `[..., codebook dimension]`."""
        steps, places = self._digits(codes)
        digits = (codes[..., None] // places % steps).float()  # whatever new tensors are here
        return (digits + 0.5) * 2 / steps - 1

    @property
    def codebook(self) -> Tensor:
        size = torch.tensor(self._steps).prod()
        return self.values(torch.arange(int(size)))

    def lookup(self, x: Tensor) -> Tensor:
        return self.nearest(self.bounded(x))

    def entries(self, codes: Tensor) -> Tensor:
        vectors: Tensor = self.out(self.values(codes))
        return vectors


_LEVELS: dict[str, Callable[[EncodecShape], Level]] = {
    "gumbel": Entries,
    "factorised": Factorised,
    "fsq": Scalar,
}


def build_quantiser(shape: EncodecShape) -> Residual | None:
    """The quantiser of a shape; None where it is the package's own."""
    make = _LEVELS.get(shape.quantiser)
    return None if make is None else Residual([make(shape) for _ in range(shape.codebooks)])
