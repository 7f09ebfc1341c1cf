"""Residual vector quantisation: each codebook takes what the ones before it left.

SoundStream, https://arxiv.org/abs/2107.03312. Of the squared distance |x|^2 - 2 x.e + |e|^2 to an
entry e the first term is the same for all, and left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acomp.engines.torch import steady_linear


class Quantiser(nn.Module):
    """Looks codes up with torch, a row independently of how many rows there are."""

    books: Tensor
    factors: Tensor
    norms: Tensor

    def __init__(self, books: Tensor) -> None:
        super().__init__()
        self.register_buffer("books", books)
        self.register_buffer("factors", -2 * books)
        self.register_buffer("norms", books.square().sum(-1))

    def forward(self, latents: Tensor) -> Tensor:
        """Latents `[batch, time, dimension]` to codes `[batch, codebooks, time]`."""
        codes = []
        for book, factor, norm in zip(self.books, self.factors, self.norms, strict=True):
            codes.append(steady_linear(latents, factor, norm).argmin(-1))
            latents = latents - book[codes[-1]]
        return torch.stack(codes, dim=1)


class Search(nn.Module):
    """Looks codes up along several paths at once, and takes the one that ends nearest.

    Each path goes on to the `choices` entries nearest to what it has left, and after each codebook
    the `paths` nearest of all these sums are kept: M-L search, W. LeBlanc et al., "Efficient search
    and design procedures for robust multi-stage VQ of LPC parameters for 4 kb/s speech coding",
    IEEE Trans. Speech and Audio Processing 1(4), 1993.
    """

    books: Tensor
    factors: Tensor
    norms: Tensor

    def __init__(self, books: Tensor, *, paths: int, choices: int) -> None:
        super().__init__()
        self.register_buffer("books", books)
        self.register_buffer("factors", -2 * books)
        self.register_buffer("norms", books.square().sum(-1))
        self._paths, self._choices = paths, choices

    def forward(self, latents: Tensor) -> Tensor:
        """Latents `[batch, time, dimension]` to codes `[batch, codebooks, time]`."""
        left = latents.flatten(0, 1)[:, None]
        codes = latents.new_zeros((len(left), 1, 0), dtype=torch.int64)
        for book, factor, norm in zip(self.books, self.factors, self.norms, strict=True):
            distances = left.square().sum(-1, keepdim=True) + steady_linear(left, factor, norm)
            nearest, entries = distances.topk(self._choices, largest=False)
            best = nearest.flatten(1).argsort(stable=True)[:, : self._paths]
            chosen = entries.flatten(1).gather(1, best)
            path = best // self._choices
            left = left.gather(1, path[..., None].expand(-1, -1, left.shape[-1])) - book[chosen]
            before = codes.gather(1, path[..., None].expand(-1, -1, codes.shape[-1]))
            codes = torch.cat([before, chosen[..., None]], dim=-1)
        return codes[:, 0].view(*latents.shape[:2], -1).transpose(1, 2)
