"""nano in training: it begins as a transform codec, and learns to be better."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acomp.backends.nano.network import Network, overlap_add, sharpened
from acomp.backends.nano.shape import CHOICES, PATHS
from acomp.backends.shared.quantisers import Search
from acomp.codecs import CodecSpec
from acomp.training.families.base import Coded, Trainee, precise
from acomp.training.losses import relative_error
from acomp.training.quantiser import LearningQuantiser


class NanoTrainee(Trainee):
    """Nano's network."""

    def __init__(self, network: Network, spec: CodecSpec) -> None:
        super().__init__()
        self.spec = spec
        self.network = network
        self.quantiser = LearningQuantiser(spec.codebooks, spec.codebook_size)
        self.learns = True

    def forward(self, samples: Tensor, codebooks: Tensor) -> Coded:
        network, batch, hop = self.network, len(samples), self.spec.hop_length
        with precise(samples):
            features, sines = network.features(windows(samples[:, 0], hop))
        latents = network.encode(features, sines, network.encoder.start(batch))[0]
        with precise(samples):
            quantised, codes, commitment = self._quantise(latents.float(), codebooks)
        decoded = network.decode(quantised, network.decoder.start(batch))[0].float()
        with precise(samples):
            frames = network.frames(decoded)
            output = overlap_add(frames) if self.training else sharpened(network, frames)
            output = output[:, : samples.shape[-1]]
            penalties = {
                "lines": relative_error(features[..., :hop], decoded[..., :hop]),
                "bands": (features[..., hop:] - decoded[..., hop:]).abs().mean(),
                "commitment": commitment,
            }
        return Coded(output[:, None], codes, penalties)

    def _quantise(self, latents: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Learn from the nearest entries; where nothing is learnt, search as the codec does."""
        books = self.network.codebooks
        if self.training:
            learnt: tuple[Tensor, Tensor, Tensor] = self.quantiser(
                latents, list(books), codebooks, learn=self.learns
            )
            return learnt
        books = books[: int(codebooks.max())]
        codes = Search(books, paths=PATHS, choices=CHOICES)(latents)
        used = (torch.arange(len(books), device=codes.device) < codebooks[:, None])[..., None, None]
        chosen = torch.stack([book[codes[:, level]] for level, book in enumerate(books)], dim=1)
        return (chosen * used).sum(1), codes, latents.new_zeros(())

    def encoder(self) -> list[nn.Parameter]:
        return [*self.network.analysis.parameters(), *self.network.encoder.parameters()]

    def decoder(self) -> list[nn.Parameter]:
        return [*self.network.synthesis.parameters(), *self.network.decoder.parameters()]

    def freeze(self) -> None:
        super().freeze()
        self.learns = False

    @torch.no_grad()
    def start(self, samples: Tensor) -> None:
        """Principal components for the linear maps, and k-means for the codebooks."""
        frames = windows(samples[:, 0], self.spec.hop_length)
        features = self.network.features(frames)[0].flatten(0, 1)
        mean = features.mean(0)
        centred = features - mean
        components = torch.linalg.eigh(centred.T @ centred).eigenvectors
        basis = components[:, -self.spec.codebook_dim :]
        self.network.analysis.weight.copy_(basis.T)
        self.network.analysis.bias.copy_(-mean @ basis)
        self.network.synthesis.weight.copy_(basis)
        self.network.synthesis.bias.copy_(mean)
        self.quantiser.start(centred @ basis, list(self.network.codebooks))

    def weights(self) -> dict[str, Tensor]:
        """As float16, half the size; what is frozen as it was, or the codes would be others."""
        frozen = () if self.learns else ("codebooks", "analysis.", "encoder.")
        return {
            name: value if name.startswith(frozen) else value.half()
            for name, value in self.network.state_dict().items()
        }


def windows(samples: Tensor, hop: int) -> Tensor:
    """Samples `[batch, time]` to frames `[batch, frames, 2 * hop]`, silence around them."""
    missing = -samples.shape[-1] % hop
    return nn.functional.pad(samples, (hop, hop + missing)).unfold(-1, 2 * hop, hop)
