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
