"""Long inputs in blocks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from acomp.engines.base import Array, Runner


class InBlocks:
    """Runs a network of convolutions over a stream, in blocks, with the result of one whole run.

    A convolution sees a finite stretch. So each block is run with `context` frames before it
    and after it, and what comes out for those is dropped. The first block begins where
    the stream does and the last ends where it does: there the network's own padding is at work,
    as in one whole run.

    A frame is `inputs` steps of the input and `outputs` steps of the output, along the last axis.
    """

    def __init__(
        self, network: Runner, *, inputs: int, outputs: int, context: int, block: int
    ) -> None:
        self._network = network
        self._inputs = inputs
        self._outputs = outputs
        self._context = context
        self._block = block
        self._buffer: Array | None = None
        self._before = 0
        """Frames of the buffer that were put out already and stay as context."""

    def push(self, x: Array) -> Iterator[Array]:
        """Take `[batch, channels, time]`; give the outputs that are ready, in order."""
        self._buffer = x if self._buffer is None else np.concatenate([self._buffer, x], axis=-1)
        while True:
            seen = (self._before + self._block + self._context) * self._inputs
            if self._buffer.shape[-1] < seen:
                return
            (y,) = self._network(self._buffer[..., :seen])
            start = self._before * self._outputs
            keep = max(0, self._before + self._block - self._context)
            self._before += self._block - keep
            self._buffer = self._buffer[..., keep * self._inputs :]
            yield y[..., start : start + self._block * self._outputs]

    def finish(self) -> Iterator[Array]:
        """Give the outputs of what is left."""
        buffer = self._buffer
        if buffer is not None and buffer.shape[-1] > self._before * self._inputs:
            (y,) = self._network(buffer)
            yield y[..., self._before * self._outputs :]
