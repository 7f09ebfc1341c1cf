"""Learning the codebooks of a residual vector quantiser: k-means first, moving averages after.

Moving averages as in VQ-VAE (https://arxiv.org/abs/1711.00937, appendix A.1), started by k-means
and with entries that nothing chooses put where the latents are, as in SoundStream
(https://arxiv.org/abs/2107.03312, section III-C).
"""

from __future__ import annotations

import torch
from torch import Tensor

DECAY = 0.995
DEAD = 0.1
"""An entry chosen less often than this share of its fair one is put elsewhere."""


def nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """Index of the entry of `[size, dimension]` nearest to each of `[n, dimension]`."""
    return (book.square().sum(1) - 2 * vectors @ book.T).argmin(1)


def kmeans(vectors: Tensor, size: int, rounds: int = 10) -> Tensor:
    """`size` centres of `[n, dimension]` vectors, by Lloyd's algorithm from random vectors."""
    centres = vectors[torch.randperm(len(vectors))[:size]].clone()
    for _ in range(rounds):
        counts, sums = _gather(vectors, nearest(vectors, centres), size)
        fresh = vectors[torch.randint(len(vectors), (size,))]
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], fresh)
    return centres


def _gather(vectors: Tensor, indices: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """How many vectors chose each entry, and their sum."""
    counts = torch.bincount(indices, minlength=size).to(vectors.dtype)
    sums = vectors.new_zeros(size, vectors.shape[1]).index_add_(0, indices, vectors)
    return counts, sums


class LearningQuantiser:
    """Learns `codebooks` `[codebooks, size, dimension]`, in place, from the latents it is shown."""

    def __init__(self, codebooks: Tensor) -> None:
        self._codebooks = codebooks
        self._share = torch.ones(codebooks.shape[:2])
        """Moving average of each entry's share of the vectors, 1 being fair."""

    def start(self, latents: Tensor) -> None:
        """Set each codebook to the k-means centres of what the ones before leave of `[n, d]`."""
        for book in self._codebooks:
            book.copy_(kmeans(latents, len(book)))
            latents = latents - book[nearest(latents, book)]

    def __call__(self, latents: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise `[batch, time, d]`, example i with `codebooks[i]` codebooks, and learn.

        Returns:
            The quantised latents, through which gradients go straight (https://arxiv.org/abs/
            1308.3432), and the commitment loss.
        """
        residual = latents
        quantised = torch.zeros_like(latents)
        commitment = latents.new_zeros(())
        for level in range(len(self._codebooks)):
            used = (codebooks > level)[:, None, None]
            vectors = residual.detach().flatten(0, 1)
            indices = nearest(vectors, self._codebooks[level])
            chosen = self._codebooks[level][indices].view_as(residual)
            commitment = commitment + ((residual - chosen).square() * used).mean()
            quantised = quantised + chosen * used
            residual = residual - chosen
            self._learn(level, vectors, indices)
        return latents + (quantised - latents).detach(), commitment

    def _learn(self, level: int, vectors: Tensor, indices: Tensor) -> None:
        """Move each entry towards the mean of the vectors that chose it."""
        book, share = self._codebooks[level], self._share[level]
        size = len(book)
        counts, sums = _gather(vectors, indices, size)
        fair = len(vectors) / size
        before = share.clone()
        share.mul_(DECAY).add_(counts / fair, alpha=1 - DECAY)
        moved = book * (before * DECAY)[:, None] + sums / fair * (1 - DECAY)
        book.copy_(moved / share.clamp(min=1e-6)[:, None])
        dead = share < DEAD
        book[dead] = vectors[torch.randint(len(vectors), (int(dead.sum()),))]
        share[dead] = 1.0
