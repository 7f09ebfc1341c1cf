"""What a codec family has to say for its networks to be trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from acomp.codecs import CodecSpec


class Coded(NamedTuple):
    """What became of a batch."""

    output: Tensor
    """Decoded samples `[batch, channels, time]`."""
    codes: Tensor
    """`[batch, codebooks, frames]`, all codebooks'."""
    penalties: dict[str, Tensor]
    """Losses that the network itself tells, each a number."""


class Trainee(nn.Module, ABC):
    """A codec's network with what learns on it. Its weights are all of its own `state_dict`."""

    spec: CodecSpec

    @abstractmethod
    def forward(self, samples: Tensor, codebooks: Tensor) -> Coded:
        """Code and decode `[batch, channels, time]`, example i with `codebooks[i]` codebooks.

        In training mode the codebooks learn.
        """

    @abstractmethod
    def encoder(self) -> list[nn.Parameter]:
        """What makes latents: the parameters that `optimiser.encoder` is for."""

    @abstractmethod
    def decoder(self) -> list[nn.Parameter]:
        """All other parameters."""

    @abstractmethod
    def start(self, samples: Tensor) -> None:
        """Begin from scratch, with what `[batch, channels, time]` tells."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The tensors of the codec's weights file, by name."""

    def freeze(self) -> None:
        """Leave the encoder and the codebooks as they are."""
        for parameter in self.encoder():
            parameter.requires_grad_(False)


def precise(samples: Tensor) -> torch.autocast:
    """Float32 for what lower precision would spoil."""
    return torch.autocast(samples.device.type, enabled=False)
