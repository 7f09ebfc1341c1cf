"""Networks of convolutions over streams, run in blocks, with the result of one whole run.

A convolution sees a finite stretch. So a block is run with as much around it as the layers see,
and what comes out for that context is dropped. Layers next to the samples see little of what those
next to the latents see, and are most of the work; so a network is cut into stages, each with a
block size and a context of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from acomp.audio.samples import Samples
from acomp.backends.streams import Dequantise, Quantise
from acomp.codes import Block, CodesInfo, join
from acomp.engines import Array, Engine, Input, Runner

if TYPE_CHECKING:
    from torch import nn

LATENT_BLOCK = 128
"""Frames that the layers next to the latents take at a time."""
SAMPLE_BLOCK = 32
"""Frames that the layers next to the samples, most of the work, take at a time: few enough for
what lies between them to stay in the CPU's cache."""
EXAMPLE_FRAMES = 32
"""Length of the example that a stage is converted by."""


class Running(Protocol):
    """A stage at work on a stream."""

    def push(self, x: Array) -> Iterator[Array]:
        """Take `[batch, channels, time]`, any time; give the outputs that are ready, in order."""
        ...

    def finish(self) -> Iterator[Array]:
        """Give the outputs of what is left."""
        ...


class Cut(NamedTuple):
    """How a stage is cut into blocks. A frame here is what a latent stands for.

    Attributes:
        inputs: steps of the stage's input that are a frame.
        outputs: steps of its output that are a frame.
        context: frames on either side of a frame that its output depends on.
        block: frames that are run at a time.
    """

    inputs: int
    outputs: int
    context: int
    block: int


@dataclass(frozen=True)
class Stage:
    """A stretch of a network, and how it is run in blocks.

    Attributes:
        network: ready to run; it takes and gives `[batch, channels, time]`.
        cut: how it is cut into blocks.
    """

    network: Runner
    cut: Cut

    def start(self, streams: int) -> Running:  # noqa: ARG002 - for stages with inputs of their own
        """Begin a batch of streams."""
        return InBlocks(self)


def prepare_stage(
    layers: nn.Module, cut: Cut, engine: Engine, key: str, *, extra: int = 0
) -> Stage:
    """Some layers of a network as a stage.

    Args:
        layers: take and give `[batch, channels, time]`.
        cut: how they are cut into blocks.
        engine: runs them.
        key: names them and their weights, as in `Engine.prepare`.
        extra: channels that they take beside those of their first convolution.
    """
    parts: Iterator[Any] = layers.modules()
    channels = next(int(part.in_channels) for part in parts if hasattr(part, "in_channels")) + extra
    example = Input((1, channels, cut.inputs * EXAMPLE_FRAMES), free=(0, 2))
    return Stage(engine.prepare(lambda: layers, [example], key), cut)


class InBlocks:
    """A stage at work on a stream, block by block.

    Each block is run with `context` frames before it and after it, and what comes out for those is
    dropped. The first block begins where the stream does and the last ends where it does: there
    the network's own padding is at work, as in one whole run.
    """

    def __init__(self, stage: Stage) -> None:
        self._network = stage.network
        self._cut = stage.cut
        self._buffer: Array | None = None
        self._before = 0
        """Frames of the buffer that were put out already and stay as context."""

    def push(self, x: Array) -> Iterator[Array]:
        """Take `[batch, channels, time]`; give the outputs that are ready, in order."""
        inputs, outputs, context, block = self._cut
        self._buffer = x if self._buffer is None else np.concatenate([self._buffer, x], axis=-1)
        while True:
            seen = (self._before + block + context) * inputs
            if self._buffer.shape[-1] < seen:
                return
            (y,) = self._network(self._buffer[..., :seen])
            start = self._before * outputs
            keep = max(0, self._before + block - context)
            self._before += block - keep
            self._buffer = self._buffer[..., keep * inputs :]
            yield y[..., start : start + block * outputs]

    def finish(self) -> Iterator[Array]:
        """Give the outputs of what is left."""
        inputs, outputs, *_ = self._cut
        if self._buffer is not None and self._buffer.shape[-1] > self._before * inputs:
            (y,) = self._network(self._buffer)
            yield y[..., self._before * outputs :]


class Stages:
    """Stages in a row at work on a batch of streams."""

    def __init__(self, stages: Sequence[Stage], streams: int) -> None:
        self._running = [stage.start(streams) for stage in stages]

    def push(self, x: Array) -> Iterator[Array]:
        """Take `[batch, channels, time]`; give what comes out of the last stage, in order."""
        return self._through(0, x)

    def finish(self) -> Iterator[Array]:
        """Give what is left in all stages."""
        for index, running in enumerate(self._running):
            for y in running.finish():
                yield from self._through(index + 1, y)

    def _through(self, index: int, x: Array) -> Iterator[Array]:
        """`x` through the stages from number `index` on."""
        if index == len(self._running):
            yield x
            return
        for y in self._running[index].push(x):
            yield from self._through(index + 1, y)


class BlockEncoder:
    """Streaming encoder of a network in stages; the streams are the batch.

    Args:
        info: what holds of the codes.
        stages: the encoder, from samples `[streams, 1, time]` to latents.
        quantise: latents to codes `[streams, codebooks, frames]`.
        unit: samples that the end is padded to a multiple of, with silence.
    """

    def __init__(
        self,
        info: CodesInfo,
        stages: Sequence[Stage],
        quantise: Quantise,
        unit: int,
    ) -> None:
        self._info = info
        self._stages = Stages(stages, info.streams)
        self._quantise = quantise
        self._unit = unit
        self._ahead = 0
        """Samples beyond the last whole unit."""

    def push(self, samples: Samples) -> Block:
        self._ahead = (self._ahead + samples.shape[1]) % self._unit
        return self._blocks(self._stages.push(samples[:, np.newaxis]))

    def finish(self) -> Block:
        silence = np.zeros((self._info.streams, 1, -self._ahead % self._unit), np.float32)
        return self._blocks(chain(self._stages.push(silence), self._stages.finish()))

    def _blocks(self, latents: Iterator[Array]) -> Block:
        return join(self._info, [Block(self._quantise(z)) for z in latents])


class BlockDecoder:
    """Streaming decoder of a network in stages; the streams are the batch.

    Args:
        info: what holds of the codes.
        stages: the decoder, from latents to samples `[streams, 1, time]`.
        dequantise: codes `[streams, codebooks, frames]` to latents.
    """

    def __init__(
        self,
        info: CodesInfo,
        stages: Sequence[Stage],
        dequantise: Dequantise,
    ) -> None:
        self._stages = Stages(stages, info.streams)
        self._dequantise = dequantise
        self._channels = info.channels

    def push(self, block: Block) -> Samples:
        return join_samples(self._channels, self._stages.push(self._dequantise(block.data)))

    def finish(self) -> Samples:
        return join_samples(self._channels, self._stages.finish())


def join_samples(channels: int, parts: Iterable[Array]) -> Samples:
    """Parts `[channels, 1, time]` of a sound, in order, as samples `[channels, time]`."""
    empty = np.zeros((channels, 0), np.float32)
    return np.concatenate([empty, *(audio[:, 0] for audio in parts)], axis=1)
