"""What a codec family implements to code streams, on audio of the codec's own rate and channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from acomp.audio.samples import Samples
from acomp.codes import Block

Quantise = Callable[[NDArray[Any]], NDArray[np.uint16]]
"""Makes codes `[streams, codebooks, frames]` of latents `[streams, dimension, steps]`. A codec
whose levels run at several rates has several steps in a frame, others have one."""
Dequantise = Callable[[NDArray[np.uint16]], NDArray[Any]]
"""The reverse."""


class StreamEncoder(Protocol):
    """Codes a stream of samples at the codec's own rate."""

    def push(self, samples: Samples) -> Block:
        """Take `[channels, time]`, any time; give the frames that are certain by now."""
        ...

    def finish(self) -> Block:
        """Give the frames that are left."""
        ...


class StreamDecoder(Protocol):
    """Decodes a stream of frames to samples at the codec's own rate."""

    def push(self, block: Block) -> Samples:
        """Take any number of frames; give the samples `[channels, time]` certain by now."""
        ...

    def finish(self) -> Samples:
        """Give the samples that are left."""
        ...
