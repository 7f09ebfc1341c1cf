"""The loop: steps of gradient descent on Lightning Fabric, on one device or on several.

Whatever is random in a step is a function of the seed, the step and the process, so that a run that
goes on from a checkpoint does what it would have done uninterrupted: on a CPU to the last bit.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.codecs import CodecSpec
from acomp.errors import DivergenceError, TrainingError
from acomp.training import checkpoints
from acomp.training.config import Config
from acomp.training.fabric import Fabric
from acomp.training.interruption import RunEndsError

Losses = dict[str, Tensor]
EXPLODED = 100.0
"""Times that the losses may exceed the least they were before a run is given up."""


class Loop(ABC):
    """A network, its optimiser, and what a step does with them."""

    spec: CodecSpec
    """Of the codec."""
    interrupted: Callable[[], bool]
    """Whether the run is to end."""

    def __init__(
        self, fabric: Fabric, config: Config, network: nn.Module, groups: list[dict[str, Any]]
    ) -> None:
        """`groups` are the optimiser's, each with `params` and, as `peak`, its learning rate."""
        self.fabric = fabric
        self.config = config
        self.step = 0
        """Steps done."""
        self.interrupted = lambda: False
        self._network, self._optimiser = fabric.setup(network, _optimiser(groups, config))
        # What checkpoints hold, by name.
        self._networks: dict[str, nn.Module] = {"network": self._network.module}
        self._others: dict[str, Any] = {"optimiser": self._optimiser}

    @abstractmethod
    def train(self, samples: Tensor) -> dict[str, Tensor]:
        """One step on `[batch, channels, time]`; returns what it measured.

        Raises:
            DivergenceError: the gradient is not finite; the networks are as they were.
        """

    @abstractmethod
    def validate(self, samples: Tensor) -> dict[str, float]:
        """Measures on held-out segments `[n, channels, time]`, and `validation`, one figure that is
        least for the best.

        Raises:
            RunEndsError: the run is to end, and not to wait for this.
        """

    def _go_on(self) -> None:
        """Raise RunEndsError where the run is to end."""
        if self.interrupted():
            raise RunEndsError

    @abstractmethod
    def total(self, measured: Mapping[str, float]) -> float:
        """Of what training steps measured, the one figure that must not explode."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The tensors of the weights file, by name."""

    @abstractmethod
    def decoded(self, samples: Tensor) -> dict[str, list[NDArray[np.float32]]]:
        """What coding makes of `[n, channels, time]`, by setting, to listen to."""

    def originals(self, samples: Tensor) -> Tensor:
        """What decoding is to give back, of `[n, channels, time]`."""
        return samples

    def _begin(self) -> None:
        """Set all that a step draws, and the learning rate."""
        torch.manual_seed(seed_of(self.config.seed, self.step, self.fabric.global_rank))
        self._network.train()
        factor = rate_factor(self.config, self.step)
        for group in self._optimiser.param_groups:
            group["lr"] = group["peak"] * factor

    def _autocast(self) -> torch.autocast:
        """Networks run in bf16 where that is asked for. Fabric's own way would round the samples
        that go in and come out, too.
        """
        enabled = self.config.precision == "bf16"
        return torch.autocast(self.fabric.device.type, torch.bfloat16, enabled=enabled)

    def _descend(self, optimiser: Any, network: nn.Module, clip: float | None) -> Tensor:
        """Make the step, unless the gradient is no number; returns its norm."""
        parameters = [p for p in network.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, math.inf if clip is None else clip)
        if not torch.isfinite(norm):
            raise DivergenceError(f"the gradient of step {self.step + 1} is not finite")
        optimiser.step()
        optimiser.zero_grad()
        return norm

    # Checkpoints

    def save(self, folder: Path, extra: dict[str, Any]) -> None:
        """Write a checkpoint; only the first process does."""
        networks = {name: network.state_dict() for name, network in self._networks.items()}
        others = {name: other.state_dict() for name, other in self._others.items()}
        checkpoints.save(folder, self.step, networks, {"step": self.step, "extra": extra, **others})

    def load(self, folder: Path, step: int) -> dict[str, Any]:
        """Go on from the checkpoint of a step; returns its `extra`.

        Raises:
            TrainingError: it is damaged or of another configuration.
        """
        networks, state = checkpoints.load(folder, step)
        try:
            for name, network in self._networks.items():
                network.load_state_dict(networks[name])
            for name, other in self._others.items():
                other.load_state_dict(state[name])
            self.step = int(state["step"])
            extra: dict[str, Any] = state["extra"]
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise TrainingError(
                f"the checkpoint of step {step} does not fit the run's config.yaml; was that file "
                "changed?"
            ) from error
        return extra


def seed_of(*numbers: int) -> int:
    """One seed of several numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _optimiser(groups: list[dict[str, Any]], config: Config) -> torch.optim.Optimizer:
    settings = config.optimiser
    return torch.optim.AdamW(
        groups, settings.rate, settings.betas, weight_decay=settings.weight_decay
    )


def rate_factor(config: Config, step: int) -> float:
    """The learning rate at a step, in parts of its peak."""
    settings = config.optimiser
    factor = min(1.0, (step + 1) / settings.warm_up) if settings.warm_up else 1.0
    if settings.schedule == "cosine":
        return factor * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / config.steps)))
    if settings.schedule == "exponential":
        return factor * settings.decay**step
    return factor
