"""EnCodec's networks that see both sides, over streams: MusicGen's 32 kHz codec is one.

The convolutions see a finite stretch, so they run in blocks with that much around each
(`shared.blocks`); the LSTM between them goes forward and carries its state. The codes are those of
one whole run. The package's own layers run, in torch on every engine: what they pad is worked out
in Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np

from acomp.audio.samples import Samples
from acomp.backends.encodec.causal import LstmStream
from acomp.backends.encodec.network import Lstm, around_lstm
from acomp.backends.shared.blocks import Cut, InBlocks, Stage
from acomp.backends.streams import Dequantise, Quantise
from acomp.codes import Block, CodesInfo, join
from acomp.engines import Array, Engine
from acomp.engines.torch import in_torch


class AcausalHalf:
    """The encoder or the decoder of a network that sees both sides.

    Args:
        network: its layers, in order.
        before: how those before the LSTM are cut.
        after: how those after it are.
        engine: of the codec.
    """

    def __init__(self, network: Any, before: Cut, after: Cut, engine: Engine) -> None:
        layers, lstm, last = around_lstm(network)
        self.before = Stage(in_torch(engine, layers), before)
        self.lstm = Lstm(lstm, engine)
        self.after = Stage(in_torch(engine, last), after)


class AcausalStream:
    """A half over a stream, from its beginning to its end."""

    def __init__(self, half: AcausalHalf) -> None:
        self._before = InBlocks(half.before)
        # Two steps at a time, as torch's LSTM rounds one alone otherwise.
        self._lstm = LstmStream(half.lstm, 2)
        self._width = half.lstm.width
        self._after = InBlocks(half.after)

    def push(self, x: Array) -> Iterator[Array]:
        """Take `[1, channels, time]`; give what is ready."""
        for y in self._before.push(x):
            yield from self._after.push(self._remembered(y, last=False))

    def finish(self) -> Iterator[Array]:
        """Give the rest."""
        for y in self._before.finish():
            yield from self._after.push(self._remembered(y, last=False))
        rest = self._remembered(np.zeros((1, self._width, 0), np.float32), last=True)
        if rest.shape[2]:
            yield from self._after.push(rest)
        yield from self._after.finish()

    def _remembered(self, y: Array, *, last: bool) -> Array:
        return self._lstm.run(y.transpose(0, 2, 1), last=last).transpose(0, 2, 1)


class AcausalEncoder:
    """Streaming encoder of a network that sees both sides."""

    def __init__(self, half: AcausalHalf, info: CodesInfo, quantise: Quantise) -> None:
        self._quantise = quantise
        self._info = info
        self._stream = AcausalStream(half)

    def push(self, samples: Samples) -> Block:
        return self._blocks(self._stream.push(samples[np.newaxis]))

    def finish(self) -> Block:
        return self._blocks(self._stream.finish())

    def _blocks(self, latents: Iterator[Array]) -> Block:
        return join(self._info, [Block(self._quantise(z)) for z in latents])


class AcausalDecoder:
    """Streaming decoder of a network that sees both sides."""

    def __init__(self, half: AcausalHalf, info: CodesInfo, dequantise: Dequantise) -> None:
        self._dequantise = dequantise
        self._channels = info.channels
        self._stream = AcausalStream(half)

    def push(self, block: Block) -> Samples:
        return self._samples(self._stream.push(self._dequantise(block.data)))

    def finish(self) -> Samples:
        return self._samples(self._stream.finish())

    def _samples(self, parts: Iterator[Array]) -> Samples:
        empty = np.zeros((1, self._channels, 0), np.float32)
        samples: Samples = np.concatenate([*chain([empty], parts)], axis=2)[0]
        return samples
