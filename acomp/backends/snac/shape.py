"""The shape of SNAC's networks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from acomp.backends.shared.blocks import LATENT_BLOCK, SAMPLE_BLOCK
from acomp.backends.shared.reach import decoder_contexts, encoder_contexts
from acomp.codecs import Published

if TYPE_CHECKING:
    from torch import nn

    from acomp.backends.shared.layers import Autoencoder

EDGE = 3
"""Latents that a convolution of kernel 7 sees on either side."""


class Reach(NamedTuple):
    """Latents that a part of the network sees on either side of one."""

    encoder_samples: int
    encoder_latents: int
    decoder_latents: int
    decoder_samples: int


@dataclass(frozen=True, kw_only=True)
class SnacShape:
    """All that a SNAC's layout depends on; the defaults are those of 24 kHz.

    Attributes:
        sample_rate: in Hz.
        strides: of the encoder's downsampling layers, the one next to the samples first.
        encoder_width: channels of the encoder's layer next to the samples.
        decoder_width: channels of the decoder's layer next to the latents.
        window: latents that attend to each other; None where there is no attention.
        level_strides: latents that a code of each level stands for.
        codebook_size: entries of a codebook.
        codebook_dimension: of the space that codes are looked up in.
        noise_frames: frames after which the noise repeats, 4 s or more. Decoding from the middle
            on begins at a multiple, which should be a whole sample at other rates too, 44.1 and
            48 kHz at least.
    """

    sample_rate: int = 24_000
    strides: tuple[int, ...] = (2, 4, 8, 8)
    encoder_width: int = 48
    decoder_width: int = 1024
    window: int | None = None
    level_strides: tuple[int, ...] = (4, 2, 1)
    codebook_size: int = 4096
    codebook_dimension: int = 8
    noise_frames: int = 60

    @classmethod
    def of(cls, codec: Published) -> SnacShape:
        """The shape of a published codec."""
        spec = codec.spec
        network: dict[str, Any] = {
            "sample_rate": spec.sample_rate,
            "codebook_size": spec.codebook_size,
            "codebook_dimension": spec.codebook_dim,
            **codec.network,
        }
        return cls(**network)

    @property
    def latent_hop(self) -> int:
        """Samples that a latent stands for."""
        return math.prod(self.strides)

    @property
    def unit(self) -> int:
        """Frames that codes hold a multiple of: whole windows."""
        frame = self.level_strides[0]
        return math.lcm(frame, self.window or 1) // frame

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of `snac.SNAC`, which are what config.json holds."""
        return {
            "sampling_rate": self.sample_rate,
            "encoder_dim": self.encoder_width,
            "encoder_rates": list(self.strides),
            "decoder_dim": self.decoder_width,
            "decoder_rates": list(reversed(self.strides)),
            "attn_window_size": self.window,
            "codebook_size": self.codebook_size,
            "codebook_dim": self.codebook_dimension,
            "vq_strides": list(self.level_strides),
            "noise": True,
            "depthwise": True,
        }

    @property
    def reach(self) -> Reach:
        """How far the parts see. The layers are DAC's, but for the encoder's last convolution,
        of kernel 7 and not 3.
        """
        encoder = encoder_contexts(self.strides, end_kernel=2 * EDGE + 1)
        decoder = decoder_contexts(self.strides)
        return Reach(encoder.samples, encoder.latents, decoder.latents, decoder.samples)

    @property
    def held(self) -> int:
        """Latents that encoder and decoder together hold back at most, beside a frame."""
        blocks = 2 * (SAMPLE_BLOCK + LATENT_BLOCK)
        around_attention = 4 * self.window + 2 * EDGE if self.window else 0
        return blocks + sum(self.reach) + around_attention

    def build(self) -> nn.Module:
        """A `snac.SNAC` in eval mode, with weights drawn at random.

        Raises:
            CodecError: the package is not installed.
        """
        from acomp.backends.snac.official import build

        return build(self)

    def network(self) -> Autoencoder:
        """The network that acomp runs, with weights drawn at random."""
        from acomp.backends.snac.network import build

        return build(self)
