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
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from acomp.audio import Audio
from acomp.backends import load
from acomp.backends.base import Codec
from acomp.codes import Codes
from acomp.entropy.cascade import CascadeShape
from acomp.entropy.exact import LayerNorm, quantise
from acomp.errors import TrainingError, WeightsError
from acomp.training.config import Config
from acomp.training.fabric import Fabric
from acomp.training.loop import Loop


class CascadeNetwork(nn.Module):
    """The network of `acomp.entropy.cascade.Cascade` in torch, for training."""

    def __init__(self, shape: CascadeShape) -> None:
        super().__init__()
        self.shape = shape
        matrices, vectors = shape.matrices(), shape.vectors()
        self.embedding = _random(matrices["embedding"])
        self.before = _random(matrices["before"], 0.3)
        self.within = _random(matrices["within"], 0.3)
        # Blocks and entries begin small, so that at first all entries are about equally likely.
        self.first = _random(matrices["first"])
        self.second = _random(matrices["second"], 0.2)
        self.narrow = _random(matrices["narrow"])
        self.entries = _random(matrices["entries"], 0.2)
        self.number = nn.Parameter(torch.zeros(vectors["number"]))
        norm = torch.zeros(vectors["norm"])
        norm[:, 0] = 1.0
        self.norm = nn.Parameter(norm)
        self.first_bias = nn.Parameter(torch.zeros(vectors["first_bias"]))
        self.second_bias = nn.Parameter(torch.zeros(vectors["second_bias"]))
        self.narrow_bias = nn.Parameter(torch.zeros(vectors["narrow_bias"]))
        self.entries_bias = nn.Parameter(torch.zeros(vectors["entries_bias"]))

    def forward(self, codes: Tensor) -> Tensor:
        """The mean bits of a code of each codebook, `[codebooks]`, for codes `[batch, codebooks,
        frames]`.
        """
        codebooks = codes.shape[1]
        vectors = [self.embedding[level][codes[:, level]] for level in range(codebooks)]
        context = self._contexts(vectors)
        bits = []
        for level, vector in enumerate(vectors):
            narrow = F.relu(
                F.linear(self._normalised(context, -1), self.narrow[level], self.narrow_bias[level])
            )
            logits = F.linear(narrow, self.entries[level], self.entries_bias[level])
            loss = F.cross_entropy(logits.float().flatten(0, 1), codes[:, level].flatten())
            bits.append(loss / math.log(2))
            context = context + F.linear(vector, self.within[level])
        # Training in several processes demands that every weight gets a gradient, even if it is 0.
        return torch.stack(bits) + 0 * context.mean()

    def _contexts(self, vectors: list[Tensor]) -> Tensor:
        """The context of each frame before its own codes, `[batch, frames, width]`, from embedded
        codes, `[batch, frames, embedding]` for each codebook.
        """
        sums = torch.stack(
            [F.linear(vector, self.before[level]) for level, vector in enumerate(vectors)]
        ).sum(0)
        x = F.pad(sums[:, :-1], (0, 0, 1, 0)) + self.number[len(vectors) - 1]
        for block, dilation in enumerate(self.shape.dilations):
            seen = self._normalised(x, block)
            past = F.pad(seen, (0, 0, dilation, 0))[:, : seen.shape[1]]
            inner = F.linear(
                torch.cat([seen, past], dim=2), self.first[block], self.first_bias[block]
            )
            x = x + F.linear(F.relu(inner), self.second[block], self.second_bias[block])
        return x

    def _normalised(self, x: Tensor, number: int) -> Tensor:
        weight, bias = self.norm[number]
        return F.layer_norm(x, x.shape[-1:], weight, bias, LayerNorm.EPSILON)

    def weights(self) -> dict[str, Tensor]:
        """The weights in the layout that `Cascade` takes."""
        state = {name: value.detach().cpu().numpy() for name, value in self.state_dict().items()}
        for name in self.shape.matrices():
            whole, scale = quantise(state[name])
            state[name] = whole.astype(np.int8)
            state[f"{name}_scale"] = scale.astype(np.float32)
        return {name: torch.from_numpy(array) for name, array in state.items()}


def _random(size: tuple[int, ...], factor: float = 1.0) -> nn.Parameter:
    """Random matrices that scale the magnitude of their input by `factor`."""
    return nn.Parameter(torch.randn(size) * (factor / math.sqrt(size[-1])))


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
