"""What makes runs of training cheap in tests that are about something else."""

from __future__ import annotations

import pytest
from torch import Tensor, nn

from acomp.training import discriminators
from acomp.training.discriminators import Convolutions, Judgement


class _Small(nn.Module):
    """One network of two layers."""

    def __init__(self, *_: int) -> None:
        super().__init__()
        self.network = Convolutions([nn.Conv1d(1, 4, 15, 4), nn.Conv1d(4, 1, 3)], slope=0.1)

    def forward(self, samples: Tensor) -> list[Judgement]:
        return [self.network(samples.flatten(0, 1)[:, None])]


def make_discriminators_small(patch: pytest.MonkeyPatch) -> None:
    """Put small ones in the place of all that acomp has, with their names.

    Those have tens of millions of weights, which take seconds to make, to train and to save;
    test_training_losses.py has them.
    """
    patch.setattr(discriminators, "_BUILDERS", dict.fromkeys(discriminators.NAMES, _Small))


def leave_pictures_out(patch: pytest.MonkeyPatch) -> None:
    """Draw no losses.png and metrics.png: matplotlib takes longer than a short run."""
    patch.setattr("acomp.training.record.Record.draw", lambda _: None)
