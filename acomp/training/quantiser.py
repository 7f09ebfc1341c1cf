"""Learning the codebooks of a residual vector quantiser: k-means first, moving averages after.

Moving averages as in VQ-VAE (https://arxiv.org/abs/1711.00937, appendix A.1), started by k-means
and with entries that nothing chooses put where the latents are, as in SoundStream
(https://arxiv.org/abs/2107.03312, section III-C).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

DECAY = 0.995
DEAD = 0.1
"""An entry chosen less often than this share of its fair one is put elsewhere."""


def nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """Index of the entry of `[size, dimension]` nearest to each of `[n, dimension]`."""
    return torch.addmm(book.square().sum(1), vectors, book.T, alpha=-2).argmin(1)


def kmeans(vectors: Tensor, size: int, rounds: int = 10) -> Tensor:
    """`size` centres of `[n, dimension]` vectors, by Lloyd's algorithm from random vectors."""
    centres = vectors[_draw(len(vectors), size, vectors)].clone()
    for _ in range(rounds):
        counts, sums = _gather(vectors, nearest(vectors, centres), size)
        fresh = vectors[torch.randint(len(vectors), (size,), device=vectors.device)]
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], fresh)
    return centres


def _draw(most: int, size: int, like: Tensor) -> Tensor:
    """`size` different numbers below `most`, or, where there are not so many, any."""
    if most < size:
        return torch.randint(most, (size,), device=like.device)
    return torch.randperm(most, device=like.device)[:size]


def _gather(vectors: Tensor, indices: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """How many vectors chose each entry, and their sum."""
    counts = torch.bincount(indices, minlength=size).to(vectors.dtype)
    sums = vectors.new_zeros(size, vectors.shape[1]).index_add_(0, indices, vectors)
    return counts, sums


class LearningQuantiser(nn.Module):
    """Quantises with codebooks, one `[size, dimension]` a level, and moves them in place.

    In a distributed run what all processes saw moves them, to the same place in each.
    """

    share: Tensor

    def __init__(self, codebooks: int, size: int, *, average: bool = False) -> None:
        """`average`: whether the commitment loss is averaged over the codebooks that an example is
        coded with, or added up.
        """
        super().__init__()
        self._average = average
        self.register_buffer("share", torch.ones(codebooks, size))
        """Moving average of each entry's share of the vectors, 1 being fair."""

    @torch.no_grad()
    def start(self, latents: Tensor, books: Sequence[Tensor]) -> None:
        """Set each codebook to the k-means centres of what the ones before leave of `[n, d]`."""
        for book in books:
            book.copy_(kmeans(latents, len(book)))
            latents = latents - book[nearest(latents, book)]

    def forward(
        self, latents: Tensor, books: Sequence[Tensor], codebooks: Tensor, *, learn: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise `[batch, time, d]`, example i with `codebooks[i]` codebooks.

        Returns:
            The quantised latents, through which gradients go straight (https://arxiv.org/abs/
            1308.3432); the codes `[batch, codebooks, time]` of all levels; the commitment loss.
        """
        residual, quantised, codes = latents, torch.zeros_like(latents), []
        commitment = latents.new_zeros(())
        parts = codebooks[:, None, None] if self._average else 1
        for level, book in enumerate(books):
            used = (codebooks > level)[:, None, None]
            vectors = residual.detach().flatten(0, 1)
            indices = nearest(vectors, book)
            chosen = book[indices].view_as(residual)
            commitment = commitment + ((residual - chosen).square() * used / parts).mean()
            quantised = quantised + chosen * used
            residual = residual - chosen
            codes.append(indices.view(residual.shape[:2]))
            if learn:
                self._learn(level, book, vectors, indices)
        return latents + (quantised - latents).detach(), torch.stack(codes, 1), commitment

    @torch.no_grad()
    def _learn(self, level: int, book: Tensor, vectors: Tensor, indices: Tensor) -> None:
        """Move each entry towards the mean of the vectors that chose it."""
        share, size = self.share[level], len(book)
        counts, sums = _gather(vectors, indices, size)
        number = vectors.new_tensor(len(vectors))
        if dist.is_initialized():
            for seen in (counts, sums, number):
                dist.all_reduce(seen)
        fair = number / size
        before = share.clone()
        share.mul_(DECAY).add_(counts / fair, alpha=1 - DECAY)
        moved = book * (before * DECAY)[:, None] + sums / fair * (1 - DECAY)
        book.copy_(moved / share.clamp(min=1e-6)[:, None])
        dead = share < DEAD
        if not dead.any():
            return
        fresh = torch.randint(len(vectors), (int(dead.sum()),), device=vectors.device)
        book[dead] = vectors[fresh]
        share[dead] = 1.0
        if dist.is_initialized():
            dist.broadcast(book, 0)
