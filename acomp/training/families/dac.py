"""DAC in training: factorised codebooks that learn by gradient descent, as it published them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from acomp.codecs import CodecSpec
from acomp.training.families.base import Coded, Trainee, precise


class DacTrainee(Trainee):
    """A `dac.DAC`."""

    def __init__(self, model: Any, spec: CodecSpec) -> None:
        super().__init__()
        self.spec = spec
        self.model = model

    def forward(self, samples: Tensor, codebooks: Tensor) -> Coded:
        latents = self.model.encoder(samples)
        with precise(samples):
            quantised, codes, penalties = self._quantise(latents.float(), codebooks)
        output = self.model.decoder(quantised).float()[..., : samples.shape[-1]]
        # With odd strides the decoder leaves some samples out at the end.
        missing = samples.shape[-1] - output.shape[-1]
        return Coded(nn.functional.pad(output, (0, missing)), codes, penalties)

    def _quantise(
        self, latents: Tensor, codebooks: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Residual vector quantisation with the codebooks that each example has.

        The package draws their number itself, from 1 to all; here it is one that is offered.
        """
        residual, quantised, codes = latents, torch.zeros_like(latents), []
        commitment = codebook = latents.new_zeros(())
        for level, layer in enumerate(self.model.quantizer.quantizers):
            chosen, toward_entries, toward_latents, indices, _ = layer(residual)
            used = (codebooks > level).to(latents.dtype)
            quantised = quantised + chosen * used[:, None, None]
            residual = residual - chosen
            commitment = commitment + (toward_entries * used).mean()
            codebook = codebook + (toward_latents * used).mean()
            codes.append(indices)
        return quantised, torch.stack(codes, 1), {"commitment": commitment, "codebook": codebook}

    def encoder(self) -> list[nn.Parameter]:
        return [*self.model.encoder.parameters(), *self.model.quantizer.parameters()]

    def decoder(self) -> list[nn.Parameter]:
        return list(self.model.decoder.parameters())

    def start(self, samples: Tensor) -> None:
        """Nothing: DAC begins from its random weights."""

    def weights(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.model.state_dict()
        return state
