"""EnCodec's loss balancer: the weight of a loss is its share of the gradient, whatever its scale.

https://arxiv.org/abs/2210.13438, section 3.4, "Balancer".
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, distributed

from acomp.errors import DivergenceError, TrainingError


class Balancer:
    """Rescales the gradients of several losses of one output before they enter the network.

    The gradient g_i of loss i becomes `total_norm` * weight_i / (sum of weights) * g_i / (moving
    average of the norm of g_i); the sum is over the losses of the step at hand. The averages are
    corrected for having begun at zero.

    A norm is that of one example's gradient, averaged over the batch, as in the published training
    code: `total_norm` is what each example gives. By the norm of a whole batch, which is larger by
    the square root of the number of examples, what is not balanced would weigh that much more.
    """

    def __init__(
        self, weights: Mapping[str, float], decay: float = 0.999, total_norm: float = 1.0
    ) -> None:
        self._weights = dict(weights)
        self._decay = decay
        self._total_norm = total_norm
        self._sums: dict[str, float] = {}
        self._counts: dict[str, float] = {}
        """A moving average is a sum divided by a count; both decay alike."""

    def backward(
        self, losses: Mapping[str, Tensor], output: Tensor, others: Iterable[Tensor] = ()
    ) -> dict[str, float]:
        """Backpropagate the balanced gradient from `output` into the network that made it.

        Args:
            losses: scalars computed from `output`, with the same names on every rank. A loss whose
                weight is zero is left out.
            output: the network's output, `[batch, ...]`.
            others: scalars that do not depend on `output` alone (the commitment of a quantiser).
                They take part as they are, in the one backward pass that distributed training
                allows a step.

        Returns:
            The norm of each loss's gradient before rescaling, averaged over the examples of all
            ranks.

        Raises:
            TrainingError: a loss has no weight, or a gradient that is not finite; nothing has
                changed then.
        """
        if unknown := [name for name in losses if name not in self._weights]:
            raise TrainingError(f"no weight is given for the loss {unknown[0]}: give it one")
        gradients = {
            name: torch.autograd.grad(loss, output, retain_graph=True)[0]
            for name, loss in losses.items()
            if self._weights[name] > 0
        }
        norms = _norms(gradients)
        self._observe(norms)
        balanced = torch.zeros_like(output)
        for name, gradient in gradients.items():
            balanced.add_(gradient, alpha=self._scale(name, gradients))
        others = [other for other in others if other.requires_grad]  # a frozen encoder's do not
        torch.autograd.backward([output, *others], [balanced, *(None for _ in others)])
        return norms

    def state_dict(self) -> dict[str, dict[str, float]]:
        """The moving averages, as plain numbers."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        self._sums = dict(state["sums"])
        self._counts = dict(state["counts"])

    def _observe(self, norms: Mapping[str, float]) -> None:
        for name, norm in norms.items():
            if not math.isfinite(norm):
                raise DivergenceError(f"the gradient of the loss {name} is not finite")
        for name, norm in norms.items():
            self._sums[name] = self._decay * self._sums.get(name, 0.0) + norm
            self._counts[name] = self._decay * self._counts.get(name, 0.0) + 1.0

    def _scale(self, name: str, present: Iterable[str]) -> float:
        share = self._weights[name] / sum(self._weights[other] for other in present)
        average = self._sums[name] / self._counts[name]
        return self._total_norm * share / max(average, 1e-12)  # a loss may be zero throughout


def _norms(gradients: Mapping[str, Tensor]) -> dict[str, float]:
    """L2 norm of each `[batch, ...]` gradient, averaged over the batch, and over the ranks so that
    all of them balance alike.
    """
    if not gradients:
        return {}
    norms = torch.stack([gradient.flatten(1).norm(dim=1).mean() for gradient in gradients.values()])
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(norms)
        norms /= distributed.get_world_size()
    return dict(zip(gradients, norms.tolist(), strict=True))
