"""Codes of DAC in chunks, as the official tool makes them of long audio, decoded as it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from acomp.audio.samples import Samples
from acomp.backends.shared.blocks import InBlocks, join_samples
from acomp.codes import Block, CodesInfo
from acomp.engines import Array
from acomp.errors import CodecError

if TYPE_CHECKING:
    from acomp.backends.dac.codec import Dac


class ChunkDecoder:
    """Streaming decoder of codes in chunks of so many frames; the streams are the batch."""

    def __init__(self, codec: Dac, info: CodesInfo, chunk: int) -> None:
        self._codec = codec
        self._channels = info.channels
        self._chunk = chunk
        self._begin()

    def push(self, block: Block) -> Samples:
        latents = self._codec.dequantised(block.data)
        parts = []
        while latents.shape[2]:
            part = latents[..., : self._chunk - self._frames]
            latents = latents[..., part.shape[2] :]
            self._frames += part.shape[2]
            parts += [self._without_start(audio) for audio in self._running.push(part)]
            if self._frames == self._chunk:
                parts.append(self._end())
        return join_samples(self._channels, parts)

    def finish(self) -> Samples:
        return join_samples(self._channels, [self._end()] if self._frames else [])

    def _begin(self) -> None:
        """Begin a chunk."""
        self._running = InBlocks(self._codec.chunk_stage())
        self._frames = 0
        """Of the chunk, so far."""
        self._missing = self._codec.unpadded().before
        """Samples at its beginning that are none."""

    def _end(self) -> Array:
        """The last samples of a chunk."""
        network = self._codec.unpadded()
        if self._frames < network.shortest:
            if self._frames < self._chunk:
                self._begin()
                return np.zeros((self._channels, 1, 0), np.float32)  # the codes were cut short
            raise CodecError(
                f"a chunk of {self._frames} frames is too short for {self._codec.spec.name}, "
                f"which needs {network.shortest}"
            )
        parts = [self._without_start(audio) for audio in self._running.finish()]
        self._begin()
        return np.concatenate(parts, axis=-1)[..., : -network.after]

    def _without_start(self, audio: Array) -> Array:
        missing, self._missing = self._missing, 0
        return audio[..., missing:]
