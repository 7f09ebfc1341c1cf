"""Mimi over streams: convolutions, a transformer, and two positions to a frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from acomp.audio.samples import Samples
from acomp.backends.mimi.shape import STRIDE
from acomp.backends.mimi.transformer import PreparedTransformer, TransformerStream
from acomp.backends.shared.stacks import PreparedStack, StackStream
from acomp.backends.streams import Dequantise, Quantise
from acomp.codes import Block, CodesInfo, join, split
from acomp.engines import Array

if TYPE_CHECKING:
    from acomp.backends.mimi.codec import Mimi

TRANSFORMER_FRAMES = 128
"""Frames that a transformer takes at a time, at most."""
BLOCK_FRAMES = 8
"""Frames that the convolutions take at a time, at most."""


@dataclass(frozen=True)
class Half:
    """The encoder or the decoder.

    Attributes:
        stack: its convolutions.
        hop: steps of their input that are a frame.
        transformer: at their latent end.
    """

    stack: PreparedStack
    hop: int
    transformer: PreparedTransformer

    def stack_stream(self) -> StackStream:
        """The convolutions over a new stream."""
        return StackStream(self.stack, BLOCK_FRAMES * self.hop)


class MimiEncoder:
    """Streaming encoder: a frame as soon as it is there."""

    def __init__(self, codec: Mimi, info: CodesInfo, quantise: Quantise) -> None:
        self._info = info
        self._buffer = np.zeros((info.streams, 0), np.float32)
        self._streams = [EncoderStream(codec, quantise) for _ in range(info.streams)]

    def push(self, samples: Samples) -> Block:
        self._buffer = np.concatenate([self._buffer, samples], axis=1)
        hop = self._info.hop_length
        most = TRANSFORMER_FRAMES * hop
        whole = self._buffer.shape[1] // hop * hop
        ready, self._buffer = self._buffer[:, :whole], self._buffer[:, whole:]
        return self._blocks(
            [stream.run(x) for stream, x in zip(self._streams, part, strict=True)]
            for part in (ready[:, start : start + most] for start in range(0, whole, most))
        )

    def finish(self) -> Block:
        if not self._buffer.shape[1]:
            return self._blocks([])
        rest = zip(self._streams, self._buffer, strict=True)
        return self._blocks([[stream.finish(x) for stream, x in rest]])

    def _blocks(self, parts: Iterable[list[Array]]) -> Block:
        """The codes `[1, codebooks, frames]` of each stream, part by part."""
        return join(self._info, [Block(np.concatenate(codes)) for codes in parts])


class EncoderStream:
    """One channel's encoder: samples `[time]` to codes `[1, codebooks, frames]`."""

    def __init__(self, codec: Mimi, quantise: Quantise) -> None:
        self._stack = codec.encoder.stack_stream()
        self._transformer = TransformerStream(codec.encoder.transformer)
        self._downsample = codec.downsample
        self._quantise = quantise
        self._past: Array | None = None

    def run(self, samples: Samples) -> NDArray[np.uint16]:
        """Code whole frames."""
        return self._code(self._stack.run(samples[None, :, None]))

    def finish(self, samples: Samples) -> NDArray[np.uint16]:
        """Code the last frame, of which samples are missing."""
        return self._code(self._stack.run(samples[None, :, None], last=True))

    def _code(self, x: Array) -> NDArray[np.uint16]:
        x = self._transformer.run(x)
        # Both ends are padded by what is next to them.
        if self._past is None:
            self._past = np.repeat(x[:, :1], STRIDE, axis=1)
        if x.shape[1] % STRIDE:
            x = np.concatenate([x, x[:, -1:]], axis=1)
        latents, self._past = self._downsample(x, self._past)
        return self._quantise(latents.transpose(0, 2, 1))


class MimiDecoder:
    """Streaming decoder: a frame's samples as soon as it is there."""

    def __init__(self, codec: Mimi, info: CodesInfo, dequantise: Dequantise) -> None:
        self._streams = [DecoderStream(codec, dequantise) for _ in range(info.streams)]

    def push(self, block: Block) -> Samples:
        parts = [np.zeros((len(self._streams), 0), np.float32)]
        for part in split(block, TRANSFORMER_FRAMES):
            rows = zip(self._streams, part.data, strict=True)
            parts.append(np.stack([stream.run(codes) for stream, codes in rows]))
        return np.concatenate(parts, axis=1)

    def finish(self) -> Samples:
        return np.zeros((len(self._streams), 0), np.float32)


class DecoderStream:
    """One channel's decoder: codes `[codebooks, frames]` to samples `[time]`."""

    def __init__(self, codec: Mimi, dequantise: Dequantise) -> None:
        self._dequantise = dequantise
        self._early, self._late = np.split(codec.upsample, 2)  # [STRIDE, hidden] each
        self._past = np.zeros((1, 1, codec.shape.hidden_size), np.float32)
        self._transformer = TransformerStream(codec.decoder.transformer)
        self._stack = codec.decoder.stack_stream()

    def run(self, codes: NDArray[np.uint16]) -> Samples:
        latents = np.ascontiguousarray(self._dequantise(codes[None]).transpose(0, 2, 1))
        x = self._transformer.run(self._upsample(latents))
        samples: Samples = self._stack.run(x)[0, :, 0]
        return samples

    def _upsample(self, latents: Array) -> Array:
        """A transposed convolution of each channel alone: frames to pairs of positions."""
        seen = np.concatenate([self._past, latents], axis=1)
        self._past = seen[:, -1:]
        pairs: Array = seen[:, 1:, None] * self._early + seen[:, :-1, None] * self._late
        return pairs.reshape(1, -1, seen.shape[2])
