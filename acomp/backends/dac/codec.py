"""DAC, the Descript Audio Codec (https://arxiv.org/abs/2306.06546), on `descript-audio-codec`.

The network is one channel wide; stereo is coded as two streams. Its convolutions see a finite
stretch on both sides, so it is run in blocks with that much context, and the codes are those of
`DAC.encode` on the whole file. The layers next to the samples see little of that stretch and are
most of the work, those next to the latents see the rest; so each half is run in two parts with
blocks and context of their own. The audio is coded at the level it has.

The official tool codes long audio in chunks, with no padding in any layer, so that a chunk stands
for fewer samples than it sees. Such codes are decoded as it decodes them; acomp makes none.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.backends.base import Codec, Samples, StreamDecoder
from acomp.backends.shapes import LATENT_BLOCK, SAMPLE_BLOCK, SHAPES, DacShape, Shape
from acomp.backends.weights.checkpoint import load_module
from acomp.codecs import SPECS, CodecSpec
from acomp.codes import Block, CodesInfo, join
from acomp.engines import Array, Engine, Input, Runner
from acomp.engines.apart import apart, apart_to_load
from acomp.engines.blocks import InBlocks
from acomp.engines.once import once
from acomp.engines.rewriting import (
    TransposedConv,
    fold_weight_norm,
    replace_parts,
    without_transposed,
)
from acomp.engines.torch import TorchEngine
from acomp.errors import CodecError

EXAMPLE_STEPS = 320
"""Length of the example that a part is converted by, or a frame, where that is longer."""


def load(name: str, weights: Path, engine: Engine) -> Codec:
    """The codec `name` with the weights of a file in the official or acomp's own layout.

    Raises:
        WeightsError: the file cannot be read or holds other weights than this codec's.
        CodecError: the extra is not installed.
    """
    return load_shape(SPECS[name], SHAPES[name], weights, engine)


@apart_to_load()
def load_shape(spec: CodecSpec, shape: Shape, weights: Path, engine: Engine) -> Codec:
    """A codec of any shape; as `load`."""
    assert isinstance(shape, DacShape)
    model, fingerprint = load_module(shape, weights, spec.name)
    official = once(lambda: load_module(shape, weights, spec.name)[0])
    network = without_transposed(fold_weight_norm(model))
    if engine.name == "openvino":
        replace_parts(network, lambda part: type(part).__name__ == "Snake1d", PolynomialSnake)
    return Dac(spec, shape, network, official, fingerprint, engine)


class Dac(Codec):
    """DAC in any shape."""

    decodes_chunks = True

    def __init__(
        self,
        spec: CodecSpec,
        shape: DacShape,
        network: Any,
        official: Callable[[], Any],
        fingerprint: str | None,
        engine: Engine,
    ) -> None:
        super().__init__(spec, fingerprint, engine)
        self._network = network
        self._official = official
        self.shape = shape
        self.between = shape.strides[-1]
        """Steps of a frame between the parts of the encoder, and of the decoder."""
        # The first layer and a block for each stride: all but the one next to the latents.
        key, near = f"{shape} {fingerprint}", len(shape.strides)
        self.encoder = _Half(network.encoder.block, near, engine, f"{key} encoder", spec.hop_length)
        self.decoder = _Half(network.decoder.model, 2, engine, f"{key} decoder", 1)
        contexts = sum(shape.decoder_contexts) * spec.hop_length / spec.sample_rate
        self.preroll = max(Codec.preroll, contexts)
        # The quantiser is a small part of the work, and bf16 would spoil it.
        torch_engine = engine if isinstance(engine, TorchEngine) else TorchEngine("fp32")
        self._prepare = partial(torch_engine.prepare, inputs=(), key="", precise=True)
        self.quantiser = once(self._quantiser_of)
        self.dequantiser = self._prepare(lambda: _Dequantiser(network.quantizer))
        self.unpadded = once(lambda: Unpadded(network.decoder))
        self.chunk_decoder = once(lambda: self._prepare(self.unpadded))

    @property
    def module(self) -> nn.Module:
        """A `dac.DAC` with the weights; not the one that runs, which is folded."""
        model: nn.Module = self._official().eval()
        return model

    def codebooks(self) -> NDArray[np.float32]:
        layers = self._network.quantizer.quantizers
        return np.stack([layer.codebook.weight.detach().cpu().numpy() for layer in layers])

    @apart()
    def latent_codebooks(self) -> NDArray[np.float32]:
        layers = self._network.quantizer.quantizers
        projected = [layer.out_proj(layer.codebook.weight.T[None])[0].T for layer in layers]
        return torch.stack(projected).cpu().numpy()

    def stream_encoder(self, info: CodesInfo) -> DacEncoder:
        return DacEncoder(self, info)

    def stream_decoder(self, info: CodesInfo) -> StreamDecoder:
        return DacDecoder(self, info) if info.chunk is None else DacChunkDecoder(self, info)

    def _quantiser_of(self, codebooks: int) -> Runner:
        return self._prepare(lambda: _Quantiser(self._network.quantizer, codebooks))


class PolynomialSnake(nn.Module):
    """DAC's activation x + sin(a x)^2 / a in steps that OpenVINO fuses; its sine is a slow one.

    a x less the nearest multiple of pi, which its square does not change, goes into the sine's
    Taylor series up to the 11th power: off by less than 6e-8.
    """

    def __init__(self, snake: Any) -> None:
        super().__init__()
        self.alpha: Tensor = snake.alpha.detach()
        self.inverse: Tensor = (self.alpha + 1e-9).reciprocal()

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channels, time]` to the same shape."""
        phase = self.alpha * x
        turns = torch.round(phase * (1 / math.pi))
        # Pi in two parts, the first of few digits, so that the product with it is exact.
        rest = phase - turns * 3.140625 - turns * (math.pi - 3.140625)
        square = rest * rest
        series = torch.full((), -1 / math.factorial(11), dtype=x.dtype, device=x.device)
        for power in (9, 7, 5, 3, 1):
            series = series * square + (-1) ** (power // 2) / math.factorial(power)
        sine = rest * series
        return x + self.inverse * (sine * sine)


class _Quantiser(nn.Module):
    def __init__(self, quantiser: Any, codebooks: int) -> None:
        super().__init__()
        self._quantiser = quantiser
        self._codebooks = codebooks

    def forward(self, latents: Tensor) -> Tensor:
        codes: Tensor = self._quantiser(latents, self._codebooks)[1]
        return codes


class _Dequantiser(nn.Module):
    def __init__(self, quantiser: Any) -> None:
        super().__init__()
        self._quantiser = quantiser

    def forward(self, codes: Tensor) -> Tensor:
        latents: Tensor = self._quantiser.from_codes(codes)[0]
        return latents


class Unpadded(nn.Module):
    """The decoder with no padding in any layer. What comes out is put where it would be with
    padding, between zeros, so that a frame still is a hop of samples.

    A transposed convolution gives more than with padding, and its ends are sums of fewer frames; so
    this is not a part of what the padded decoder gives.
    """

    def __init__(self, decoder: nn.Module) -> None:
        super().__init__()
        # The copy has layers of its own and the same weights.
        shared: dict[int, Any] = {id(weight): weight for weight in decoder.parameters()}
        self._decoder = deepcopy(decoder, shared)
        self.before = self.after = 0
        """Samples that are missing at the beginning and at the end."""
        self.shortest = 1
        """Frames that there must be for every layer to give something."""
        steps = 1
        for layer in self._decoder.modules():
            if isinstance(layer, TransposedConv):
                stride = layer.stride[0]
                steps *= stride
                self.before = self.before * stride - layer.cut
                self.after = self.after * stride - stride + layer.cut
                layer.cut = 0
            elif isinstance(layer, nn.Conv1d):
                padding = int(layer.padding[0])
                self.before += padding
                self.after += padding
                layer.padding = (0,)
            self.shortest = max(self.shortest, (self.before + self.after) // steps + 1)

    def forward(self, latents: Tensor) -> Tensor:
        """`[batch, latent, frames]` to `[batch, 1, frames * hop]`."""
        audio: Tensor = self._decoder(latents)
        return nn.functional.pad(audio, (self.before, self.after))


class _Half:
    """The encoder or the decoder, cut in two parts."""

    def __init__(
        self, layers: nn.Sequential, cut: int, engine: Engine, key: str, steps: int
    ) -> None:
        self._steps = max(steps, EXAMPLE_STEPS)
        self.first = self._part(layers[:cut], engine, f"{key} first")
        self.second = self._part(layers[cut:], engine, f"{key} second")

    def _part(self, layers: Any, engine: Engine, key: str) -> Runner:
        opening = next(part for part in layers.modules() if hasattr(part, "in_channels"))
        example = Input((1, opening.in_channels, self._steps), free=(0, 2))
        return engine.prepare(lambda: layers, [example], key)


def _through(first: InBlocks, second: InBlocks, x: Array) -> Iterator[Array]:
    """What comes out of two parts in a row for the next `x`."""
    for y in first.push(x):
        yield from second.push(y)


def _finish(first: InBlocks, second: InBlocks) -> Iterator[Array]:
    for y in first.finish():
        yield from second.push(y)
    yield from second.finish()


class DacEncoder:
    """Streaming encoder; the streams are the batch."""

    def __init__(self, codec: Dac, info: CodesInfo) -> None:
        self._info = info
        self._ahead = 0
        self._quantise = codec.quantiser(info.codebooks)
        contexts = codec.shape.encoder_contexts
        self._parts = (
            InBlocks(
                codec.encoder.first,
                inputs=info.hop_length,
                outputs=codec.between,
                context=contexts.samples,
                block=SAMPLE_BLOCK,
            ),
            InBlocks(
                codec.encoder.second,
                inputs=codec.between,
                outputs=1,
                context=contexts.latents,
                block=LATENT_BLOCK,
            ),
        )

    def push(self, samples: Samples) -> Block:
        self._ahead = (self._ahead + samples.shape[1]) % self._info.hop_length
        return self._blocks(_through(*self._parts, samples[:, np.newaxis]))

    def finish(self) -> Block:
        # DAC.preprocess: silence up to a whole number of frames.
        missing = -self._ahead % self._info.hop_length
        padding = np.zeros((self._info.streams, 1, missing), np.float32)
        rest = chain(_through(*self._parts, padding), _finish(*self._parts))
        return self._blocks(rest)

    def _blocks(self, latents: Iterator[Array]) -> Block:
        codes = [self._quantise(z)[0].astype(np.uint16) for z in latents]
        return join(self._info, [Block(data) for data in codes])


class DacDecoder:
    """Streaming decoder; the streams are the batch."""

    def __init__(self, codec: Dac, info: CodesInfo) -> None:
        self._channels = info.channels
        self._dequantise = codec.dequantiser
        contexts = codec.shape.decoder_contexts
        self._parts = (
            InBlocks(
                codec.decoder.first,
                inputs=1,
                outputs=codec.between,
                context=contexts.latents,
                block=LATENT_BLOCK,
            ),
            InBlocks(
                codec.decoder.second,
                inputs=codec.between,
                outputs=info.hop_length,
                context=contexts.samples,
                block=SAMPLE_BLOCK,
            ),
        )

    def push(self, block: Block) -> Samples:
        (latents,) = self._dequantise(block.data.astype(np.int64))
        return self._samples(_through(*self._parts, latents))

    def finish(self) -> Samples:
        return self._samples(_finish(*self._parts))

    def _samples(self, parts: Iterator[Array]) -> Samples:
        empty = np.zeros((self._channels, 0), np.float32)
        return np.concatenate([empty, *(audio[:, 0] for audio in parts)], axis=1)


class DacChunkDecoder:
    """Streaming decoder of codes in chunks; the streams are the batch."""

    def __init__(self, codec: Dac, info: CodesInfo) -> None:
        assert info.chunk is not None
        self._codec = codec
        self._channels = info.channels
        self._chunk = info.chunk
        self._begin()

    def push(self, block: Block) -> Samples:
        (latents,) = self._codec.dequantiser(block.data.astype(np.int64))
        parts = []
        while latents.shape[2]:
            part = latents[..., : self._chunk - self._frames]
            latents = latents[..., part.shape[2] :]
            self._frames += part.shape[2]
            parts += [self._without_start(audio) for audio in self._blocks.push(part)]
            if self._frames == self._chunk:
                parts.append(self._end())
        return self._joined(parts)

    def finish(self) -> Samples:
        return self._joined([self._end()] if self._frames else [])

    def _begin(self) -> None:
        """Begin a chunk."""
        codec = self._codec
        # Twice the context, so that even a last piece of one frame is long enough for the layers.
        self._blocks = InBlocks(
            codec.chunk_decoder(),
            inputs=1,
            outputs=codec.spec.hop_length,
            context=2 * sum(codec.shape.decoder_contexts),
            block=LATENT_BLOCK,
        )
        self._frames = 0
        """Of the chunk, so far."""
        self._missing = codec.unpadded().before
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
        parts = [self._without_start(audio) for audio in self._blocks.finish()]
        self._begin()
        return np.concatenate(parts, axis=-1)[..., : -network.after]

    def _without_start(self, audio: Array) -> Array:
        missing, self._missing = self._missing, 0
        return audio[..., missing:]

    def _joined(self, parts: list[Array]) -> Samples:
        empty = np.zeros((self._channels, 0), np.float32)
        return np.concatenate([empty, *(audio[:, 0] for audio in parts)], axis=1)
