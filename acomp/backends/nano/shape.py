"""The shape of nano's networks, and what both of its generations have alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from acomp.codecs import CodecSpec, Published

if TYPE_CHECKING:
    from acomp.backends.nano.network import Network

MEMORY = 6
"""Frames that a block of the network looks back."""
PATHS, CHOICES = 4, 2
"""Of the search for codes; see `quantisers.Search`."""


@dataclass(frozen=True)
class NanoShape:
    """What tells one generation's network from the other's.

    Attributes:
        spec: what is fixed about the codec.
        bands: bands by whose energies the lines are levelled.
        encoder: width and depth of what adds to the latents.
        decoder: width and depth of what adds to the features.
        expansion: how many times wider a block is inside.
        sharpening: Hz to each side of a decoded line: over the first the mean is taken that it is
            moved away from, over the second the energy is kept.
    """

    spec: CodecSpec
    bands: int
    encoder: tuple[int, int]
    decoder: tuple[int, int]
    expansion: int
    sharpening: tuple[int, int]

    @classmethod
    def of(cls, codec: Published) -> NanoShape:
        """The shape of a published codec."""
        network: dict[str, Any] = dict(codec.network)
        return cls(codec.spec, **network)

    def build(self) -> Network:
        """The network, with weights drawn at random and codebooks of zeros."""
        from acomp.backends.nano.network import Network

        return Network(self)

    @property
    def hop(self) -> int:
        """Samples from one frame to the next, and spectral lines of a frame."""
        return self.spec.hop_length

    @property
    def features(self) -> int:
        """Spectral lines of a frame and its bands."""
        return self.hop + self.bands

    @property
    def latent(self) -> int:
        return self.spec.codebook_dim
