"""Training of the codebooks of a residual vector quantiser, by k-means and then moving averages.

The moving averages are those of VQ-VAE (https://arxiv.org/abs/1711.00937, appendix A.1). They start
from k-means, and entries that are not chosen any more are replaced by random latents, as in
SoundStream (https://arxiv.org/abs/2107.03312, section III-C).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

DECAY = 0.995
DEAD = 0.1
"""An entry that is chosen less often than this share of a uniform distribution is replaced."""


def nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """Index of the entry of `[size, dimension]` nearest to each of `[n, dimension]`."""
    return torch.addmm(book.square().sum(1), vectors, book.T, alpha=-2).argmin(1)


def kmeans(vectors: Tensor, size: int, rounds: int = 10) -> Tensor:
    """The `size` centres of vectors `[n, dimension]`, by Lloyd's algorithm from random vectors."""
    centres = vectors[_draw(len(vectors), size, vectors)].clone()
    for _ in range(rounds):
        counts, sums = _gather(vectors, nearest(vectors, centres), size)
        fresh = vectors[torch.randint(len(vectors), (size,), device=vectors.device)]
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], fresh)
    return centres


def _draw(most: int, size: int, like: Tensor) -> Tensor:
    """`size` random numbers below `most`, all different if there are so many."""
    if most < size:
        return torch.randint(most, (size,), device=like.device)
    return torch.randperm(most, device=like.device)[:size]


def _gather(vectors: Tensor, indices: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """The number of vectors that chose each entry, `[size]`, and their sum, `[size, dimension]`."""
    counts = torch.bincount(indices, minlength=size).to(vectors.dtype)
    sums = vectors.new_zeros(size, vectors.shape[1]).index_add_(0, indices, vectors)
    return counts, sums


class LearningQuantiser(nn.Module):
    """Quantises with one codebook `[size, dimension]` for each level, and trains them in place.

    In a distributed run the vectors of all processes train them, to the same values in each.

    Args:
        codebooks: number of codebooks.
        size: number of entries of a codebook.
        average: whether the commitment loss is the mean over the codebooks that an example is
            coded with; otherwise it is the sum.
    """

    share: Tensor

    def __init__(self, codebooks: int, size: int, *, average: bool = False) -> None:
        super().__init__()
        self._average = average
        self.register_buffer("share", torch.ones(codebooks, size))
        """Moving average of the share of vectors that chose each entry; 1 is a uniform share."""

    @torch.no_grad()
    def start(self, latents: Tensor, books: Sequence[Tensor]) -> None:
        """Set each codebook to the k-means centres of the residuals of latents `[n, d]`."""
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
