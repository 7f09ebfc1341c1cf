"""Somebody else's codec: 8-bit mu-law (ITU-T G.711) at 8 kHz, one code a sample, no network."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from acomp.backends.base import Codec, CodecSpec, Samples
from acomp.codes import Block, CodesInfo, empty_block
from acomp.engines import Engine
from acomp.errors import CodecError

_MU = 255
_VALUES = np.linspace(-1, 1, 256)
LEVELS: Samples = np.asarray(
    np.sign(_VALUES) * ((1 + _MU) ** np.abs(_VALUES) - 1) / _MU, np.float32
)
SPEC = CodecSpec(
    name="tiny",
    sample_rate=8_000,
    channels=1,
    hop_length=1,
    codebooks=1,
    codebook_size=256,
    codebook_dim=1,
    bandwidths={64: 1},
    stereo_streams=True,
)


def load(name: str, weights: Path | None, engine: Engine) -> Codec:  # noqa: ARG001
    if weights is not None:
        raise CodecError(f"{name} has no weights")
    return Tiny(SPEC, None)


class Tiny(Codec):
    def stream_encoder(self, info: CodesInfo) -> TinyEncoder:
        return TinyEncoder(info)

    def stream_decoder(self, info: CodesInfo) -> TinyDecoder:
        return TinyDecoder(info)

    def codebooks(self) -> NDArray[np.float32]:
        return LEVELS.reshape(1, 256, 1)

    @property
    def module(self) -> NoReturn:
        raise CodecError("tiny has no network")


class TinyEncoder:
    def __init__(self, info: CodesInfo) -> None:
        self._info = info

    def push(self, samples: Samples) -> Block:
        codes = np.searchsorted((LEVELS[1:] + LEVELS[:-1]) / 2, samples)
        return Block(codes[:, np.newaxis].astype(np.uint16))

    def finish(self) -> Block:
        return empty_block(self._info)


class TinyDecoder:
    def __init__(self, info: CodesInfo) -> None:
        self._info = info

    def push(self, block: Block) -> Samples:
        samples: Samples = LEVELS[block.data[:, 0]]
        return samples

    def finish(self) -> Samples:
        return np.zeros((self._info.streams, 0), np.float32)
