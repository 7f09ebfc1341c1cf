"""The network of a language model of codes in torch, for training; `acomp.entropy.cascade` runs it.

It needs nothing of training's other modules, so that it also learns on a machine that has torch and
little else (`examples/nano/gpu/language_model.py`).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - torch's own habit

from acomp.entropy.cascade import CascadeShape
from acomp.entropy.exact import LayerNorm, quantise


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
