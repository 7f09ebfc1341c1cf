"""What a codec family has to say for its networks to be trained."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from acomp.codecs import CodecSpec


class Coded(NamedTuple):
    """A batch, coded and decoded.

    Attributes:
        output: decoded samples `[batch, channels, time]`.
        codes: of all codebooks, `[batch, codebooks, frames]`.
        penalties: losses that the network itself tells, by name; each a number.
    """

    output: Tensor
    codes: Tensor
    penalties: dict[str, Tensor]


class Trainee(nn.Module, ABC):
    """A codec's network in training, with what learns beside it (codebooks by moving averages).

    It is made of the network, as its shape builds it, and of the codec's spec. All that a
    checkpoint keeps of it is in its `state_dict`.

    Attributes:
        spec: what is fixed about the codec.
        part: how much of the run is done, from 0 to 1.
    """

    spec: CodecSpec
    part: float = 0.0

    @abstractmethod
    def forward(self, samples: Tensor, codebooks: Tensor) -> Coded:
        """Code and decode a batch; in training mode the codebooks learn from it.

        Args:
            samples: `[batch, channels, time]`, at the codec's rate.
            codebooks: `[batch]`, the number of codebooks that each example is coded with.
        """

    @abstractmethod
    def encoder(self) -> list[nn.Parameter]:
        """The parameters that make latents, which `optimiser.encoder` is for."""

    @abstractmethod
    def decoder(self) -> list[nn.Parameter]:
        """All other parameters."""

    @abstractmethod
    def start(self, samples: Tensor) -> None:
        """Begin from scratch: set what is better not drawn at random.

        Args:
            samples: `[batch, channels, time]` of real audio, at the codec's rate.
        """

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The tensors of the codec's weights file, by name."""

    def freeze(self) -> None:
        """Keep the encoder and the codebooks as they are, so that the codes stay the same."""
        for parameter in self.encoder():
            parameter.requires_grad_(False)


def precise(samples: Tensor) -> torch.autocast:
    """A context that computes in float32, for what lower precision would spoil."""
    return torch.autocast(samples.device.type, enabled=False)
