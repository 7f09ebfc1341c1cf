"""nano over streams; the streams are the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from acomp.audio.samples import Samples
from acomp.backends.nano.shape import MEMORY
from acomp.backends.streams import Dequantise, Quantise
from acomp.codes import Block, CodesInfo, join, split
from acomp.engines import Array

if TYPE_CHECKING:
    from acomp.backends.nano.codec import Nano

BLOCK_FRAMES = 750
"""Frames run at a time, at most."""


class NanoEncoder:
    """Streaming encoder; the streams are the batch."""

    def __init__(self, codec: Nano, info: CodesInfo, quantise: Quantise) -> None:
        self._run = codec.functions
        self._quantise = quantise
        self._info = info
        self._hop = codec.shape.hop
        self._state = _start(info.streams, *codec.shape.encoder)
        self._buffer = np.zeros((info.streams, self._hop), np.float32)

    def push(self, samples: Samples) -> Block:
        self._buffer = np.concatenate([self._buffer, samples], axis=1)
        blocks, hop = [], self._hop
        while (hops := min(self._buffer.shape[1] // hop, BLOCK_FRAMES + 1)) >= 2:
            blocks.append(self._code(self._buffer[:, : hops * hop]))
            self._buffer = self._buffer[:, (hops - 1) * hop :]
        return join(self._info, blocks)

    def finish(self) -> Block:
        # Silence up to a whole hop, and one hop more for the last frame's second half.
        missing = -self._buffer.shape[1] % self._hop + self._hop
        return self.push(np.zeros((self._info.streams, missing), np.float32))

    def _code(self, samples: Samples) -> Block:
        frames = sliding_window_view(samples, 2 * self._hop, axis=1)[:, :: self._hop]
        features, sines = self._run.analyse(frames)
        latents, *self._state = self._run.encode(features, sines, *self._state)
        return Block(self._quantise(latents.transpose(0, 2, 1)))


class NanoDecoder:
    """Streaming decoder; the streams are the batch."""

    def __init__(self, codec: Nano, info: CodesInfo, dequantise: Dequantise) -> None:
        self._run = codec.functions
        self._dequantise = dequantise
        self._hop = codec.shape.hop
        self._state = _start(info.streams, *codec.shape.decoder)
        self._synthesised = _OverlapAdd(info.streams, self._hop)
        self._sharpened = _OverlapAdd(info.streams, self._hop)
        self._before = np.zeros((info.streams, self._hop), np.float32)
        """The last hop that came in to be sharpened."""
        self._early = 2 * self._hop
        """Samples that are still to come before the recording begins."""

    def push(self, block: Block) -> Samples:
        parts = [self._samples(part) for part in split(block, BLOCK_FRAMES)]
        nothing = self._before[:, :0]  # for a block without frames
        return np.concatenate([nothing, *parts], axis=1)

    def finish(self) -> Samples:
        return self._sharpen(self._synthesised.finish())

    def _samples(self, block: Block) -> Samples:
        latents = self._dequantise(block.data).transpose(0, 2, 1)
        features, *self._state = self._run.decode(np.ascontiguousarray(latents), *self._state)
        (frames,) = self._run.synthesise(features)
        return self._sharpen(self._synthesised.push(frames))

    def _sharpen(self, samples: Samples) -> Samples:
        hops = np.concatenate([self._before, samples], axis=1)
        self._before = hops[:, -self._hop :]
        pairs = sliding_window_view(hops, 2 * self._hop, axis=1)[:, :: self._hop]
        (frames,) = self._run.sharpen(pairs)
        early, found = self._early, self._sharpened.push(frames)
        self._early = max(0, early - found.shape[1])
        return found[:, early:]


class _OverlapAdd:
    """Adds each frame's second half to the first half of the one behind it."""

    def __init__(self, streams: int, hop: int) -> None:
        self._hop = hop
        self._last = np.zeros((streams, 1, hop), np.float32)

    def push(self, frames: Array) -> Samples:
        """Frames `[streams, time, 2 * hop]` to the samples that they complete, a hop of each."""
        halves = np.concatenate([self._last, frames[:, :, self._hop :]], axis=1)
        self._last = halves[:, -1:]
        samples: Samples = frames[:, :, : self._hop] + halves[:, :-1]
        return samples.reshape(len(samples), -1)

    def finish(self) -> Samples:
        """What is left of the last frame."""
        return self._last[:, 0]


def _start(streams: int, width: int, depth: int) -> list[Array]:
    """The state before the first frame."""
    return [np.zeros((streams, MEMORY, width), np.float32)] * depth
