"""Residual vector quantisation: each codebook takes what the ones before it left.

SoundStream, https://arxiv.org/abs/2107.03312. Of the squared distance |x|^2 - 2 x.e + |e|^2 to an
entry e the first term is the same for all, and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
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
        return self.after(latents, (len(self.books),))[0]

    def after(self, latents: Tensor, counts: Sequence[int]) -> list[Tensor]:
        """The codes that the search ends with after each of these numbers of codebooks."""
        left = latents.flatten(0, 1)[:, None]
        codes = None  # rather than an empty tensor, which ONNX cannot gather from
        found = []
        for book, factor, norm in zip(self.books, self.factors, self.norms, strict=True):
            distances = left.square().sum(-1, keepdim=True) + steady_linear(left, factor, norm)
            nearest, entries = distances.topk(self._choices, largest=False)
            best = _least(nearest.flatten(1), self._paths)
            chosen = entries.flatten(1).gather(1, best)
            path = best // self._choices
            left = left.gather(1, path[..., None].expand(-1, -1, left.shape[-1])) - book[chosen]
            chosen = chosen[..., None]
            if codes is None:
                codes = chosen
            else:
                before = codes.gather(1, path[..., None].expand(-1, -1, codes.shape[-1]))
                codes = torch.cat([before, chosen], dim=-1)
            if codes.shape[-1] in counts:
                found.append(codes[:, 0].view(*latents.shape[:2], -1).transpose(1, 2))
        return found


def _least(values: Tensor, count: int) -> Tensor:
    """Where the least of each row of `[n, size]` are, ascending; of equal ones the first."""
    # ONNX has no stable sort, but its TopK is stable, which torch's is not.
    if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return values.topk(min(count, values.shape[1]), largest=False).indices
    return values.argsort(stable=True)[:, :count]


class DirectionBook(nn.Module):
    """A codebook of DAC's and SNAC's: latents are projected into few dimensions, and get the code
    of the entry whose direction is nearest (https://arxiv.org/abs/2110.04627, section 3.2).

    Args:
        width: channels of the latents.
        dimension: of the space that codes are looked up in.
        size: entries of the codebook.
        stride: latents that a code stands for; it is of their mean.
    """

    # Parts are named as in the official files.

    def __init__(self, width: int, dimension: int, size: int, stride: int = 1) -> None:
        super().__init__()
        self.in_proj = nn.Conv1d(width, dimension, 1)
        self.out_proj = nn.Conv1d(dimension, width, 1)
        # Nothing is drawn: on the device `meta` that would import torch's compiler, for seconds.
        self.codebook = nn.Embedding(size, dimension, _weight=torch.zeros(size, dimension))
        self.stride = stride

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Latents `[batch, width, time]` to codes `[batch, time / stride]`, and to what these say
        of the latents.
        """
        if self.stride > 1:
            latents = F.avg_pool1d(latents, self.stride, self.stride)
        projected = self.in_proj(latents)
        codes = self._nearest(projected)
        # The entries, but for their last bits: the packages' way, which passes gradients on.
        entries = projected + (self._entries(codes) - projected)
        return codes, self._expanded(entries)

    def decode(self, codes: Tensor) -> Tensor:
        """Codes `[batch, time / stride]` to what they say of the latents `[batch, width, time]`."""
        return self._expanded(self._entries(codes))

    def latent_entries(self) -> Tensor:
        """The entries as they are added up, `[size, width]`."""
        entries: Tensor = self.out_proj(self.codebook.weight.T[None])[0].T
        return entries

    def _nearest(self, projected: Tensor) -> Tensor:
        """Codes `[batch, time]` of `[batch, dimension, time]`."""
        rows = F.normalize(projected.transpose(1, 2).reshape(-1, projected.shape[1]))
        book = F.normalize(self.codebook.weight)
        distances = (
            rows.square().sum(1, keepdim=True)
            - 2 * rows @ book.T
            + book.square().sum(1, keepdim=True).T
        )
        return distances.argmin(1).reshape(projected.shape[0], -1)

    def _entries(self, codes: Tensor) -> Tensor:
        entries: Tensor = self.codebook(codes)
        return entries.transpose(1, 2)

    def _expanded(self, entries: Tensor) -> Tensor:
        latents: Tensor = self.out_proj(entries)
        if self.stride == 1:
            return latents
        # `repeat_interleave` in steps that ONNX has.
        return latents[..., None].expand(-1, -1, -1, self.stride).flatten(-2)


class DirectionQuantiser(nn.Module):
    """Latents `[batch, width, time]` to the codes of each of some codebooks."""

    def __init__(self, books: Iterable[DirectionBook]) -> None:
        super().__init__()
        self._books = nn.ModuleList(books)

    def forward(self, latents: Tensor) -> list[Tensor]:
        found = []
        for book in self._books:
            codes, coded = book(latents)
            latents = latents - coded
            found.append(codes)
        return found


class DirectionDequantiser(nn.Module):
    """The codes of the first codebooks, or of all, to latents `[batch, width, time]`."""

    def __init__(self, books: Iterable[DirectionBook]) -> None:
        super().__init__()
        self._books = nn.ModuleList(books)

    def forward(self, *codes: Tensor) -> Tensor:
        books: Iterable[DirectionBook] = self._books  # type: ignore[assignment]
        # One after the other, as the packages add them.
        return reduce(
            torch.add, (book.decode(level) for book, level in zip(books, codes, strict=False))
        )
