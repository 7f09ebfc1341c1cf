"""Streams coded side by side, each as it would be alone, by networks that take one at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from acomp.audio.samples import Samples
from acomp.backends.streams import StreamDecoder, StreamEncoder
from acomp.codes import Block, CodesInfo


def alone(info: CodesInfo) -> CodesInfo:
    """What holds of the codes of one of the streams."""
    # The loudness is of all channels, and is restored where they are together again.
    return replace(info, streams=1, channels=info.channels // info.streams, loudness=None)


def encoders_side_by_side(encoders: Sequence[StreamEncoder]) -> StreamEncoder:
    """An encoder of as many streams as there are encoders, which take a channel each."""
    return encoders[0] if len(encoders) == 1 else _Encoders(encoders)


def decoders_side_by_side(decoders: Sequence[StreamDecoder]) -> StreamDecoder:
    """A decoder of as many streams as there are decoders, which give a channel each."""
    return decoders[0] if len(decoders) == 1 else _Decoders(decoders)


class _Encoders:
    def __init__(self, encoders: Sequence[StreamEncoder]) -> None:
        self._encoders = encoders

    def push(self, samples: Samples) -> Block:
        return self._joined(lambda encoder, row: encoder.push(samples[row : row + 1]))

    def finish(self) -> Block:
        return self._joined(lambda encoder, _: encoder.finish())

    def _joined(self, code: Callable[[StreamEncoder, int], Block]) -> Block:
        parts = [code(encoder, row) for row, encoder in enumerate(self._encoders)]
        return Block(np.concatenate([part.data for part in parts]))


class _Decoders:
    def __init__(self, decoders: Sequence[StreamDecoder]) -> None:
        self._decoders = decoders

    def push(self, block: Block) -> Samples:
        rows = np.split(block.data, len(self._decoders))
        pairs = zip(self._decoders, rows, strict=True)
        return np.concatenate([decoder.push(Block(row)) for decoder, row in pairs])

    def finish(self) -> Samples:
        return np.concatenate([decoder.finish() for decoder in self._decoders])
