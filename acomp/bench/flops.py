"""The floating-point operations of a network, counted as torch runs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch.utils.flop_counter import FlopCounterMode


def count(work: Callable[[], object]) -> int:
    """Operations of what torch runs; 0 where another library runs it."""
    # torch counts the matrix products of an LSTM, but not where oneDNN runs it as one operation.
    mapping = {torch.ops.aten.mkldnn_rnn_layer: _lstm_operations}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        work()
    operations: int = counter.get_total_flops()
    return operations


def _lstm_operations(
    x: Sequence[int], of_input: Sequence[int], of_state: Sequence[int], *_: object, **__: object
) -> int:
    """Of an LSTM layer: a multiplication and an addition for each weight and each time step.

    The shapes are those of its input `[time, batch, features]` and its two matrices of weights.
    """
    time, batch, _features = x
    return 2 * time * batch * (prod(of_input) + prod(of_state))
