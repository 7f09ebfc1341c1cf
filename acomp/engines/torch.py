"""Running networks with torch: devices, and long inputs in blocks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from acomp.errors import CodecError

Network = Callable[[torch.Tensor], torch.Tensor]


def pick_device(name: str) -> torch.device:
    """The device called `name`: auto, cpu, cuda or cuda:N.

    Raises:
        CodecError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise CodecError(f"there is no device {name!r}; take auto, cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise CodecError("device cuda was asked for, but torch finds no CUDA GPU here; take cpu")
    return device


def to_tensor(array: NDArray[np.float32], device: torch.device) -> torch.Tensor:
    """`array` as a float32 tensor on `device`."""
    return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)


class InBlocks:
    """Runs a network of convolutions over a stream, in blocks, with the result of one whole run.

    A convolution sees a finite stretch. So each block is run with `left` frames before it and
    `right` frames after it, and what comes out for those is dropped. The first block begins where
    the stream does and the last ends where it does: there the network's own padding is at work,
    as in one whole run.

    A frame is `inputs` steps of the input and `outputs` steps of the output.
    """

    def __init__(
        self, network: Network, *, inputs: int, outputs: int, left: int, right: int, block: int
    ) -> None:
        self._network = network
        self._inputs = inputs
        self._outputs = outputs
        self._left = left
        self._right = right
        self._block = block
        self._buffer: torch.Tensor | None = None
        self._before = 0
        """Frames of the buffer that were put out already and stay as context."""

    def push(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Take `[batch, channels, time]`; give the outputs that are ready, in order."""
        self._buffer = x if self._buffer is None else torch.cat([self._buffer, x], dim=-1)
        ready: list[torch.Tensor] = []
        while True:
            seen = (self._before + self._block + self._right) * self._inputs
            if self._buffer.shape[-1] < seen:
                return ready
            y = self._network(self._buffer[..., :seen])
            start = self._before * self._outputs
            ready.append(y[..., start : start + self._block * self._outputs])
            keep = max(0, self._before + self._block - self._left)
            self._before += self._block - keep
            self._buffer = self._buffer[..., keep * self._inputs :]

    def finish(self) -> list[torch.Tensor]:
        """Give the outputs of what is left."""
        buffer = self._buffer
        if buffer is None or buffer.shape[-1] <= self._before * self._inputs:
            return []
        return [self._network(buffer)[..., self._before * self._outputs :]]
