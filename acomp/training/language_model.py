"""Training of a language model of the codes of a codec, which `acomp.entropy.cascade` runs.

The codec encodes segments of audio, at a random bandwidth in each step, and the network learns to
predict the codes. The loss is the mean number of bits of a code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acomp.audio import Audio
from acomp.backends import load
from acomp.backends.base import Codec
from acomp.codes import Codes
from acomp.entropy.cascade import CascadeShape
from acomp.errors import TrainingError, WeightsError
from acomp.training.cascade import CascadeNetwork
from acomp.training.config import Config
from acomp.training.fabric import Fabric
from acomp.training.loop import Loop


class LanguageLoop(Loop):
    """Training of a language model on the codes of a codec."""

    def __init__(self, fabric: Fabric, config: Config) -> None:
        self._codec = load(
            config.backend, weights=config.weights, device=str(fabric.device), engine="auto"
        )
        self.spec = self._codec.spec
        self.shape = _shape(self._codec, config)
        network = CascadeNetwork(self.shape)
        peak = config.optimiser.rate
        super().__init__(
            fabric, config, network, [{"params": list(network.parameters()), "peak": peak}]
        )
        self._offered = sorted(set(self.spec.bandwidths.values()))

    def train(self, samples: Tensor) -> dict[str, Tensor]:
        """As `Loop.train`."""
        self._begin()
        codebooks = self._offered[int(torch.randint(len(self._offered), ()))]
        codes = self._encode(samples, codebooks)
        with self._autocast():
            bits = self._network(codes)
        loss = bits.mean()
        self.fabric.backward(loss)
        gradient = self._descend(self._optimiser, self._network, self.config.optimiser.clip)
        self.step += 1
        return {"bits": loss.detach(), "gradient": gradient.detach()}

    def _encode(self, samples: Tensor, codebooks: int) -> Tensor:
        """The codes of samples `[batch, channels, time]` as `[sequences, codebooks, frames]`.

        A sequence is a stream, or for codecs with segments a whole segment.
        """
        clips = [Audio(clip, self.spec.sample_rate) for clip in samples.cpu().numpy()]
        coded = self._codec.encode_batch(clips, codebooks=codebooks)
        sequences = np.concatenate([_sequences(codes) for codes in coded])
        return torch.from_numpy(sequences.astype(np.int64)).to(self.fabric.device)

    @torch.no_grad()
    def validate(self, samples: Tensor) -> dict[str, float]:
        """As `Loop.validate`: the bits of a code and the share that is saved, by bandwidth."""
        self._network.eval()
        measures, bits = {}, []
        clips = [_without_padding(clip)[None] for clip in samples]
        for kbps, codebooks in sorted(self.spec.bandwidths.items()):
            parts = []
            for clip in clips:
                self._go_on()
                mean = self._network(self._encode(clip, codebooks)).mean()
                parts.append(mean.item() * clip.shape[2])
            bits.append(sum(parts) / sum(clip.shape[2] for clip in clips))
            measures[f"bits@{kbps:g}"] = bits[-1]
            measures[f"saving@{kbps:g}"] = 1 - bits[-1] / math.log2(self.spec.codebook_size)
        return {"validation": sum(bits) / len(bits), **measures}

    def total(self, measured: Mapping[str, float]) -> float:
        return measured["bits"]

    def weights(self) -> dict[str, Tensor]:
        network: CascadeNetwork = self._network.module
        return network.weights()

    def decoded(self, samples: Tensor) -> dict[str, list[NDArray[np.float32]]]:  # noqa: ARG002
        """An empty dictionary, because a language model does not change the audio."""
        return {}


def _shape(codec: Codec, config: Config) -> CascadeShape:
    settings: dict[str, Any] = dict(config.language_model or {})
    try:
        if "dilations" in settings:
            settings["dilations"] = tuple(settings["dilations"])
        return CascadeShape(codec.spec.codebooks, codec.spec.codebook_size, **settings)
    except (TypeError, WeightsError) as error:
        raise TrainingError(f"language_model: {error}") from error


def _without_padding(clip: Tensor) -> Tensor:
    """`[channels, time]` without the silence that pads a short file, which is easy to predict."""
    return clip[:, : int(clip.any(dim=0).nonzero().max()) + 1]


def _sequences(codes: Codes) -> NDArray[np.uint16]:
    """The codes as `[sequences, codebooks, frames]`, without a last, shorter segment."""
    if codes.segments is None:
        return codes.data
    frames = codes.segments.frames
    whole = int((frames == frames[0]).sum())
    parts = np.split(codes.data, np.cumsum(frames)[:-1], axis=2)[:whole]
    return np.concatenate(parts)
