"""The network of nano-2 for training; `acomp.backends.nano.network` runs the trained weights.

The tensors have the same names there. Here nothing waits for the CPU, so that a whole training step
can be captured as a CUDA graph, and results may depend on the batch.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

from acomp.backends.nano.network import BAND_WEIGHT, LEVELLING, constants, overlap_add
from acomp.backends.nano.shape import MEMORY, NanoShape

DECAY = 0.99
"""Of the moving averages that codebooks follow by."""
DEAD = 0.05
"""An entry chosen less often than this share of its fair one is put elsewhere."""
ROUNDS = 8
"""Of k-means."""


class Block(nn.Module):
    """Causal ConvNeXt block on `[batch, time, width]`."""

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, MEMORY + 1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, expansion * width)
        self.contract = nn.Linear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: Tensor) -> Tensor:
        y = self.depthwise(F.pad(x.transpose(1, 2), (MEMORY, 0))).transpose(1, 2)
        return x + self.scale * self.contract(F.gelu(self.expand(self.norm(y))))


class Refiner(nn.Module):
    """Blocks between two linear maps; it begins by adding nothing."""

    def __init__(self, inputs: int, outputs: int, blocks: tuple[int, int], expansion: int) -> None:
        super().__init__()
        width, depth = blocks
        self.first = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(Block(width, expansion) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.last = nn.Linear(width, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(self.norm(x))


class Network(nn.Module):
    """Samples to samples, through codes."""

    def __init__(self, shape: NanoShape) -> None:
        super().__init__()
        self.shape, self.levels, self.size = shape, shape.spec.codebooks, shape.spec.codebook_size
        features, latent, wider = shape.features, shape.latent, shape.expansion
        self.analysis = nn.Linear(features, latent)
        self.encoder = Refiner(features + shape.hop, latent, shape.encoder, wider)
        self.register_buffer("codebooks", torch.zeros(self.levels, self.size, latent))
        self.register_buffer("share", torch.ones(self.levels, self.size), persistent=False)
        self.synthesis = nn.Linear(latent, features)
        self.decoder = Refiner(latent, features, shape.decoder, wider)
        for name, constant in constants(shape.hop, shape.bands).items():
            self.register_buffer(name, constant, persistent=False)

    @torch.no_grad()
    def begin(self, state: Mapping[str, Tensor]) -> None:
        """Take the weights of a network whose decoder may have fewer blocks: those begin by adding
        nothing.
        """
        own = self.state_dict()
        more = own.keys() - state.keys()
        for name in more:
            if not name.startswith("decoder.blocks."):
                raise ValueError(f"the weights lack {name}")
            if name.endswith(".scale"):
                own[name].zero_()
        self.load_state_dict({**own, **state})

    def encoding(self) -> list[nn.Parameter]:
        return [*self.analysis.parameters(), *self.encoder.parameters()]

    def decoding(self) -> list[nn.Parameter]:
        return [*self.synthesis.parameters(), *self.decoder.parameters()]

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Samples `[batch, time]` to levelled lines and band energies, and levelled sine lines."""
        hop = self.shape.hop
        frames = F.pad(x, (hop, hop + -x.shape[-1] % hop)).unfold(-1, 2 * hop, hop)
        lines, sines = frames @ self.cosines, frames @ self.sines
        powers = 0.5 * (lines.square() + sines.square())
        energies = (powers @ self.to_bands + 1e-8).log()
        gain = torch.exp(-LEVELLING / 2 * (energies @ self.to_lines))
        return torch.cat([lines * gain, energies * BAND_WEIGHT], -1), sines * gain

    def encode(self, features: Tensor, sines: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            straight = self.analysis(features)
        return straight + self.encoder(torch.cat([features, sines], -1)).float()

    def decode(self, latents: Tensor) -> Tensor:
        with torch.autocast(latents.device.type, enabled=False):
            straight = self.synthesis(latents)
        return straight + self.decoder(latents).float()

    def frames(self, features: Tensor) -> Tensor:
        """Features to windowed frames of samples."""
        hop = self.shape.hop
        energies = (features[..., hop:] / BAND_WEIGHT).clamp(-20, 8)
        gain = torch.exp(LEVELLING / 2 * (energies @ self.to_lines))
        return (features[..., :hop] * gain) @ self.cosines.T

    def forward(
        self, x: Tensor, codebooks: Tensor, *, learn: bool = False, frozen: bool = False
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Code `[batch, time]`, example i with `codebooks[i]` codebooks.

        `learn` moves the codebooks; `frozen` keeps gradients from the encoder.

        Returns:
            Samples, codes `[batch, codebooks, frames]`, and losses: `lines` and `bands` `[batch]`,
            `commitment` a number.
        """
        precise = torch.autocast(x.device.type, enabled=False)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen):
            with precise:
                features, sines = self.features(x)
            latents = self.encode(features, sines)
            with precise:
                quantised, codes, commitment = self._quantise(latents, codebooks, learn=learn)
        decoded = self.decode(quantised)
        with precise:
            output = overlap_add(self.frames(decoded))[:, : x.shape[-1]]
            hop = self.shape.hop
            error = (features[..., :hop] - decoded[..., :hop]).square().mean((1, 2))
            lines = error / (features[..., :hop].square().mean((1, 2)) + 1e-4)
            bands = (features[..., hop:] - decoded[..., hop:]).abs().mean((1, 2))
        return output, codes, {"lines": lines, "bands": bands, "commitment": commitment}

    def _quantise(
        self, latents: Tensor, codebooks: Tensor, *, learn: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        rest, total, codes = latents, torch.zeros_like(latents), []
        commitment = latents.new_zeros(())
        for level, book in enumerate(self.codebooks):
            used = (codebooks > level)[:, None, None].to(latents.dtype)
            vectors = rest.detach().flatten(0, 1)
            index = nearest(vectors, book)
            chosen = book.index_select(0, index).view_as(rest)
            commitment = commitment + ((rest - chosen).square() * used).mean()
            total = total + chosen * used
            rest = rest - chosen
            codes.append(index.view(rest.shape[:2]))
            if learn:
                self._learn(level, vectors, index)
        return latents + (total - latents).detach(), torch.stack(codes, 1), commitment

    @torch.no_grad()
    def _learn(self, level: int, vectors: Tensor, index: Tensor) -> None:
        """Move each entry towards the mean of the vectors that chose it."""
        counts, sums = gather(vectors, index, self.size)
        fair = len(vectors) / self.size
        before, book = self.share[level].clone(), self.codebooks[level]
        share = before * DECAY + counts / fair * (1 - DECAY)
        moved = book * (before * DECAY)[:, None] + sums / fair * (1 - DECAY)
        fresh = torch.randint(len(vectors), (self.size,), device=vectors.device)
        dead = share < DEAD
        self.codebooks[level] = torch.where(
            dead[:, None],
            vectors.index_select(0, fresh),
            moved / share.clamp(min=1e-6)[:, None],
        )
        self.share[level] = torch.where(dead, torch.ones_like(share), share)

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Principal components for the linear maps and k-means for the codebooks."""
        features = self.features(x)[0].flatten(0, 1)
        mean = features.mean(0)
        centred = features - mean
        covariance = (centred.T @ centred).double()
        basis = torch.linalg.eigh(covariance).eigenvectors.float()[:, -self.shape.latent :]
        self.analysis.weight.copy_(basis.T)
        self.analysis.bias.copy_(-mean @ basis)
        self.synthesis.weight.copy_(basis)
        self.synthesis.bias.copy_(mean)
        rest = centred @ basis
        for level in range(self.levels):
            book = rest[torch.randint(len(rest), (self.size,), device=rest.device)].clone()
            for _ in range(ROUNDS):
                counts, sums = gather(rest, nearest(rest, book), self.size)
                fresh = rest[torch.randint(len(rest), (self.size,), device=rest.device)]
                book = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], fresh)
            self.codebooks[level] = book
            rest = rest - book[nearest(rest, book)]


def nearest(vectors: Tensor, book: Tensor) -> Tensor:
    """Index of the entry of `[size, dimension]` nearest to each of `[n, dimension]`."""
    return torch.addmm(book.square().sum(1), vectors, book.T, alpha=-2).argmin(1)


def gather(vectors: Tensor, index: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """How many vectors chose each entry, and their sum."""
    counts = vectors.new_zeros(size).index_add_(0, index, vectors.new_ones(len(vectors)))
    return counts, vectors.new_zeros(size, vectors.shape[1]).index_add_(0, index, vectors)
