"""EnCodec in training: its encoder and decoder, and codebooks that learn by moving averages, or
another quantiser that learns by gradient descent.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from acomp.backends.encodec.quantisers import Residual
from acomp.codecs import CodecSpec
from acomp.training import beginning, descent
from acomp.training.families.base import Coded, Trainee, precise
from acomp.training.quantiser import LearningQuantiser

LEVELLED = 32
"""Segments by which the decoder's layers begin."""


class EncodecTrainee(Trainee):
    """An `encodec.EncodecModel` with acomp's learning of its codebooks.

    The commitment loss is the package's: averaged over the codebooks that an example is coded with,
    which the paper adds up. The package's own restart of unused entries has no effect (the entries
    that it puts in place are overwritten by the averages at once), and of its commitment losses
    only the first codebook's reaches the encoder.
    """

    def __init__(self, model: Any, spec: CodecSpec) -> None:
        super().__init__()
        self.spec = spec
        self.model = model
        self.quantiser = LearningQuantiser(spec.codebooks, spec.codebook_size, average=True)
        self.learns = True

    @property
    def vq(self) -> Any:
        """The package's codebooks, or a `Residual` of acomp's."""
        return self.model.quantizer.vq

    def books(self) -> list[Tensor]:
        return [layer._codebook.embed for layer in self.vq.layers]

    def forward(self, samples: Tensor, codebooks: Tensor) -> Coded:
        scaled, scale = self._normalise(samples)
        latents = self.model.encoder(scaled).transpose(1, 2)
        with precise(samples):
            quantised, codes, commitment = self._quantise(latents.float(), codebooks)
        decoded = self.model.decoder(quantised.transpose(1, 2))
        output = decoded[..., : samples.shape[-1]].float() * scale
        return Coded(output, codes, {"commitment": commitment})

    def _quantise(self, latents: Tensor, codebooks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        learns = self.training and self.learns
        if isinstance(self.vq, Residual):
            part = self.part if learns else None
            return descent.quantise(self.vq, latents, codebooks, part=part)
        learnt: tuple[Tensor, Tensor, Tensor] = self.quantiser(
            latents, self.books(), codebooks, learn=learns
        )
        return learnt

    def _normalise(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Samples at unit level and the level, as `EncodecModel` has it at 48 kHz."""
        if not self.model.normalize:
            return samples, samples.new_ones(())
        mono = samples.mean(1, keepdim=True)
        scale = mono.square().mean(2, keepdim=True).sqrt() + 1e-8
        return samples / scale, scale

    def encoder(self) -> list[nn.Parameter]:
        return [*self.model.encoder.parameters(), *self.model.quantizer.parameters()]

    def decoder(self) -> list[nn.Parameter]:
        return list(self.model.decoder.parameters())

    def freeze(self) -> None:
        super().freeze()
        self.learns = False

    @torch.no_grad()
    def start(self, samples: Tensor) -> None:
        scaled = self._normalise(samples)[0]
        latents = beginning.level(self.model.encoder, scaled).transpose(1, 2)
        self._start_quantiser(latents.flatten(0, 1))
        few = latents[:LEVELLED]
        every = torch.full((len(few),), self.spec.codebooks, device=few.device)
        quantised = self._quantise(few, every)[0].transpose(1, 2)
        beginning.level(self.model.decoder, quantised)
        # What goes out is as loud as what came in, not of unit variance.
        loudness = scaled.std().clamp(min=beginning.SILENT)
        beginning.scale(self.model.decoder.model[-1].conv.conv, loudness)

    def _start_quantiser(self, latents: Tensor) -> None:
        """Begin from latents `[n, dimension]`."""
        if isinstance(self.vq, Residual):
            descent.start(self.vq, latents)
            return
        self.quantiser.start(latents, self.books())
        for layer in self.vq.layers:
            layer._codebook.inited.fill_(1)

    def weights(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = dict(self.model.state_dict())
        if isinstance(self.vq, Residual):
            return state
        # The package's averages go with the entries, so that it could go on training.
        for level, share in enumerate(self.quantiser.share):
            prefix = f"quantizer.vq.layers.{level}._codebook."
            state[prefix + "cluster_size"] = share
            state[prefix + "embed_avg"] = state[prefix + "embed"] * share[:, None]
        return state
