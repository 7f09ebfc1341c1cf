"""Somebody else's codec: an MDCT of 16 lines at 8 kHz, each line's value one of 64."""

from pathlib import Path

import numpy as np

from acomp.backends.base import Codec, Samples
from acomp.codecs import CodecSpec
from acomp.codes import Block, CodesInfo
from acomp.engines import Engine
from acomp.errors import CodecError

RATE, HOP = 8_000, 16
SPEC = CodecSpec(
    name="tiny", sample_rate=RATE, channels=1, hop_length=HOP, stereo_streams=True,
    codebooks=HOP, codebook_size=64, codebook_dim=1, bandwidths={24: 8, 48: 16}, delay=HOP / RATE,
)  # fmt: skip
TIME, LINE = np.arange(2 * HOP) + 0.5, np.arange(HOP)[:, np.newaxis] + 0.5
WINDOW = np.sqrt(2 / HOP) * np.sin(np.pi / (2 * HOP) * TIME)
MDCT = WINDOW * np.cos(np.pi / HOP * (TIME + HOP / 2) * LINE)  # [lines, samples]
VALUES = 4 * np.sinh(np.arange(-32, 32) / 6) / np.sinh(32 / 6)  # the quieter, the finer
BOUNDS = (VALUES[1:] + VALUES[:-1]) / 2


class TinyEncoder:
    def __init__(self, info: CodesInfo) -> None:
        self.lines = info.codebooks  # one codebook for each line, the lowest first
        self.rest = np.zeros((info.streams, HOP))  # the hop before, and the one that is filling

    def push(self, samples: Samples) -> Block:
        sound = np.concatenate([self.rest, samples], axis=1)
        starts = np.arange(0, sound.shape[1] - 2 * HOP + 1, HOP)
        self.rest = sound[:, len(starts) * HOP :]
        frames = sound[:, starts + np.arange(2 * HOP)[:, np.newaxis]]
        return Block(np.searchsorted(BOUNDS, MDCT[: self.lines] @ frames).astype(np.uint16))

    def finish(self) -> Block:
        missing = HOP + -self.rest.shape[1] % HOP
        return self.push(np.zeros((len(self.rest), missing), np.float32))


class TinyDecoder:
    def __init__(self, info: CodesInfo) -> None:
        self.last = np.zeros((info.streams, 2 * HOP, 0))

    def push(self, block: Block) -> Samples:
        frames = MDCT[: block.data.shape[1]].T @ VALUES[block.data]
        frames = np.concatenate([self.last, frames], axis=2)
        self.last = frames[..., -1:]
        hops = (frames[:, :HOP, 1:] + frames[:, HOP:, :-1]).astype(np.float32)
        samples: Samples = hops.transpose(0, 2, 1).reshape(len(hops), -1)
        return samples

    def finish(self) -> Samples:
        return np.zeros((len(self.last), 0), np.float32)


class Tiny(Codec):
    preroll = HOP / RATE

    def stream_encoder(self, info: CodesInfo) -> TinyEncoder:
        return TinyEncoder(info)

    def stream_decoder(self, info: CodesInfo) -> TinyDecoder:
        return TinyDecoder(info)

    def codebooks(self) -> Samples:
        return np.tile(VALUES[:, np.newaxis], (HOP, 1, 1)).astype(np.float32)


def load(name: str, weights: Path | None, engine: Engine) -> Codec:  # noqa: ARG001
    if weights is not None:
        raise CodecError(f"{name} has no weights")
    return Tiny(SPEC, fingerprint=None)
