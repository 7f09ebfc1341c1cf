"""Stacks of SEANet's layers over streams, on an engine."""

from __future__ import annotations

import math

import numpy as np
import torch

from acomp.backends.shared.seanet import AsConvolutions, AsProducts, Stack
from acomp.engines import Array, Engine, Input
from acomp.engines.apart import apart

EXAMPLE_STEPS = 320
"""Length of the example that a stack is converted by; more, where that is no whole frame."""


class PreparedStack:
    """A stack of layers, ready to run in the middle of a stream.

    Args:
        stack: the layers.
        hop: steps of its input that are a frame.
        engine: runs them.
        key: names them and their weights, as in `Engine.prepare`.
    """

    def __init__(self, stack: Stack, hop: int, engine: Engine, key: str) -> None:
        self.stack = stack
        as_network = AsProducts if engine.steady else AsConvolutions
        x = Input((1, hop * math.ceil(EXAMPLE_STEPS / hop), stack.inputs), free=(1,))
        pasts = [Input(shape) for shape in stack.past_shapes()]
        self.run = engine.prepare(lambda: as_network(stack), [x, *pasts], key)


class StackStream:
    """A stack of layers over a stream.

    Args:
        prepared: the layers.
        most: steps of the input that are run at a time.
    """

    def __init__(self, prepared: PreparedStack, most: int) -> None:
        self._stack = prepared.stack
        self._runner = prepared.run
        self._most = most
        self._pasts: list[Array] | None = None
        if not self._stack.reflects:
            self._pasts = [np.zeros(shape, np.float32) for shape in self._stack.past_shapes()]

    def run(self, x: Array, *, last: bool = False) -> Array:
        """Take steps `[1, time, inputs]` and give what they become.

        They are whole frames, unless they are the `last` of the stream.
        """
        starts = range(0, x.shape[1], self._most)
        parts = [
            self._run(x[:, start : start + self._most], last=last and start == starts[-1])
            for start in starts
        ]
        return np.concatenate([np.zeros((1, 0, self._stack.outputs), np.float32), *parts], axis=1)

    def _run(self, x: Array, *, last: bool) -> Array:
        if self._pasts is None or last:
            y, *self._pasts = self._at_an_edge(x, last=last)
        else:
            y, *self._pasts = self._runner(x, *self._pasts)
        return y

    @apart()
    def _at_an_edge(self, x: Array, *, last: bool) -> list[Array]:
        pasts = None if self._pasts is None else list(map(torch.from_numpy, self._pasts))
        y, after = self._stack.products(torch.from_numpy(x), pasts, last=last)
        return [tensor.numpy() for tensor in (y, *after)]
