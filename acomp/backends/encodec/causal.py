"""EnCodec's causal networks over streams: layers, an LSTM, layers.

The layers carry their past from block to block (`shared.seanet`), and so does the LSTM its state;
the codes are those of a whole run, however the stream is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from acomp.audio.samples import Samples
from acomp.backends.encodec.network import Lstm, around_lstm, stack_of
from acomp.backends.shared.stacks import PreparedStack, StackStream
from acomp.backends.streams import Dequantise, Quantise
from acomp.codes import Block, CodesInfo, join
from acomp.engines import Array, Engine

LSTM_FRAMES = 600
"""Frames that the LSTM takes at a time, at most: torch arranges its weights anew for each call."""
BLOCK_FRAMES = 150
"""Frames that the layers take at a time, at most."""


class CausalHalf:
    """The encoder or the decoder of a causal network.

    Attributes:
        hop: steps of its input that are a frame.
        first_frames: frames that the first step of a stream takes.
        before: its layers before the LSTM.
        lstm: the LSTM.
        after: its layers after the LSTM.
    """

    def __init__(self, network: Any, hop: int, first_frames: int, engine: Engine, key: str) -> None:
        self.hop = hop
        self.first_frames = first_frames
        before, lstm, after = around_lstm(network)
        self.before = PreparedStack(stack_of(before), hop, engine, f"{key} before the LSTM")
        self.lstm = Lstm(lstm, engine)
        self.after = PreparedStack(stack_of(after), 1, engine, f"{key} after the LSTM")


class CausalStream:
    """A half of a causal network over a stream, from its beginning to its end."""

    def __init__(self, half: CausalHalf, *, together: int) -> None:
        self._hop = half.hop
        self._first_frames = half.first_frames
        self._before = StackStream(half.before, BLOCK_FRAMES * half.hop)
        self._lstm = LstmStream(half.lstm, together)
        self._after = StackStream(half.after, BLOCK_FRAMES)
        self._buffer: Array | None = None
        self._begun = False

    def push(self, x: Array) -> Iterator[Array]:
        """Take steps `[1, time, channels]`, of which `hop` are a frame; give what is ready."""
        self._buffer = x if self._buffer is None else np.concatenate([self._buffer, x], axis=1)
        while True:
            frames = self._buffer.shape[1] // self._hop
            if frames < (1 if self._begun else self._first_frames):
                return
            steps = min(frames, LSTM_FRAMES if self._begun else self._first_frames) * self._hop
            x, self._buffer = self._buffer[:, :steps], self._buffer[:, steps:]
            self._begun = True
            yield from self._run(x, last=False)

    def finish(self) -> Iterator[Array]:
        """Give the rest; its last frame may lack steps."""
        if self._buffer is not None:
            yield from self._run(self._buffer, last=True)

    def _run(self, x: Array, *, last: bool) -> Iterator[Array]:
        y = self._lstm.run(self._before.run(x, last=last), last=last)
        if y.shape[1]:
            yield self._after.run(y, last=last)


class LstmStream:
    """The LSTM over a stream.

    It is run over a multiple of `together` steps at a time: torch's LSTM rounds one step alone
    otherwise than the same step among others, and two steps as it does any number.
    """

    def __init__(self, lstm: Lstm, together: int) -> None:
        self._lstm = lstm
        self._together = together
        self._held = np.zeros((1, 0, lstm.width), np.float32)
        self._state = lstm.start(1)

    def run(self, x: Array, *, last: bool) -> Array:
        """Take steps `[1, time, width]`; give what those become that can be run."""
        x = np.concatenate([self._held, x], axis=1)
        steps = x.shape[1] - x.shape[1] % self._together
        x, self._held = x[:, :steps], x[:, steps:]
        parts = [x, self._held] if last else [x]
        return np.concatenate([x[:, :0], *(self._steps(part) for part in parts)], axis=1)

    def _steps(self, x: Array) -> Array:
        if x.shape[1]:
            x, self._state = self._lstm(x, self._state)
        return x


class CausalEncoder:
    """Streaming encoder of a causal network; two frames at a time."""

    def __init__(self, half: CausalHalf, info: CodesInfo, quantise: Quantise) -> None:
        self._quantise = quantise
        self._info = info
        self._stream = CausalStream(half, together=2)

    def push(self, samples: Samples) -> Block:
        return self._blocks(self._stream.push(samples.T[np.newaxis]))

    def finish(self) -> Block:
        return self._blocks(self._stream.finish())

    def _blocks(self, latents: Iterator[Array]) -> Block:
        parts = [self._quantise(z.transpose(0, 2, 1)) for z in latents]
        return join(self._info, [Block(data) for data in parts])


class CausalDecoder:
    """Streaming decoder of a causal network; each frame at once."""

    def __init__(self, half: CausalHalf, info: CodesInfo, dequantise: Dequantise) -> None:
        self._dequantise = dequantise
        self._channels = info.channels
        self._stream = CausalStream(half, together=1)

    def push(self, block: Block) -> Samples:
        latents = self._dequantise(block.data)
        return self._samples(self._stream.push(latents.transpose(0, 2, 1)))

    def finish(self) -> Samples:
        return self._samples(self._stream.finish())

    def _samples(self, parts: Iterator[Array]) -> Samples:
        empty = np.zeros((self._channels, 0), np.float32)
        return np.concatenate([empty, *(audio[0].T for audio in parts)], axis=1)
