"""SNAC (https://arxiv.org/abs/2410.14411) on the package `snac`.

Each level of its quantiser runs at twice the rate of the one before. A frame is as long as a code
of the coarsest level, and its codes stand level by level, in order of time within a level: 1, 2, 4
and, where there are four levels, 8 slots. So codes stay a rectangle, and the first 1, 3, 7 or 15
codebooks are whole levels. Fewer levels than all decode to what they say of the latents: the sum
over the levels that are there.

The network is a relative of DAC's and is run like it: in parts, in blocks with as much around them
as their layers see. In the middle of the 32 and 44 kHz networks lies attention within windows that
follow one another from the first latent on; a window is run at a time. As in `SNAC.preprocess`
the end is padded to whole windows, so that codes can be some frames longer than the audio.

The decoder mixes noise in, which `snac` draws anew at each run. Here the noise is fixed, so that
the same codes always give the same sound, however they are cut into blocks. It repeats after some
seconds, many times what the decoder sees at once, and decoding from a point in the middle on begins
where it does, so that a stretch is the same as in the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, chain
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.backends.base import Codec, Samples
from acomp.backends.dac.codec import PolynomialSnake
from acomp.backends.shapes import LATENT_BLOCK, SAMPLE_BLOCK, DacShape
from acomp.backends.tokens import fold
from acomp.backends.weights.checkpoint import load_weights
from acomp.codecs import SPECS, CodecSpec
from acomp.codes import Block, CodesInfo, join
from acomp.engines import Array, Engine, Input, Runner
from acomp.engines.apart import apart, apart_to_load
from acomp.engines.blocks import InBlocks
from acomp.engines.once import once
from acomp.engines.rewriting import fold_weight_norm, replace_parts, without_transposed
from acomp.engines.torch import TorchEngine
from acomp.errors import CodecError, WeightsError
from acomp.plain import brief, read_json

"""Bytes that no config.json exceeds."""
EXAMPLE_LATENTS = 32
"""Length of the example that a part is converted by."""
EDGE = 3
"""Latents that a convolution of kernel 7 sees on either side."""


@dataclass(frozen=True, kw_only=True)
class SnacShape:
    """All that a SNAC's layout depends on; the defaults are 24 kHz's."""

    sample_rate: int = 24_000
    """Hz."""
    strides: tuple[int, ...] = (2, 4, 8, 8)
    """Of the encoder's downsampling layers, the one next to the samples first."""
    encoder_width: int = 48
    """Channels of the encoder's layer next to the samples."""
    decoder_width: int = 1024
    """Channels of the decoder's layer next to the latents."""
    window: int | None = None
    """Latents that attend to each other; None where there is no attention."""
    level_strides: tuple[int, ...] = (4, 2, 1)
    """Latents that a code of each level stands for."""
    codebook_size: int = 4096
    codebook_dimension: int = 8
    noise_frames: int = 60
    """Frames after which the noise repeats, 4 s or more. Decoding from the middle on begins at a
    multiple, which should be a whole sample at other rates too, 44.1 and 48 kHz at least."""

    @property
    def latent_hop(self) -> int:
        """Samples that a latent stands for."""
        return math.prod(self.strides)

    @property
    def unit(self) -> int:
        """Frames that codes hold a multiple of: whole windows."""
        frame = self.level_strides[0]
        return math.lcm(frame, self.window or 1) // frame

    @property
    def config(self) -> dict[str, Any]:
        """The arguments of `snac.SNAC`, which are what config.json holds."""
        return {
            "sampling_rate": self.sample_rate,
            "encoder_dim": self.encoder_width,
            "encoder_rates": list(self.strides),
            "decoder_dim": self.decoder_width,
            "decoder_rates": list(reversed(self.strides)),
            "attn_window_size": self.window,
            "codebook_size": self.codebook_size,
            "codebook_dim": self.codebook_dimension,
            "vq_strides": list(self.level_strides),
            "noise": True,
            "depthwise": True,
        }

    @property
    def reach(self) -> _Reach:
        """How far the parts see. The layers are DAC's, but for the encoder's last convolution,
        of kernel 7 and not 3.
        """
        dac = DacShape(sample_rate=self.sample_rate, strides=self.strides)
        encoder, decoder = dac.encoder_contexts, dac.decoder_contexts
        return _Reach(encoder.samples, encoder.latents + EDGE - 1, decoder.latents, decoder.samples)

    @property
    def held(self) -> int:
        """Latents that encoder and decoder together hold back at most, beside a frame."""
        blocks = 2 * (SAMPLE_BLOCK + LATENT_BLOCK)
        around_attention = 4 * self.window + 2 * EDGE if self.window else 0
        return blocks + sum(self.reach) + around_attention

    def build(self) -> nn.Module:
        """A `snac.SNAC` in eval mode, with weights of its own drawing.

        Raises:
            CodecError: the package is not installed.
        """
        try:
            from snac import SNAC
        except ImportError as error:
            raise CodecError(
                f'SNAC needs the package snac ({error}): pip install "acomp[snac]"'
            ) from None
        model: nn.Module = SNAC(**self.config)
        return model.eval()


class _Reach(NamedTuple):
    """Latents that a part sees on either side of one."""

    encoder_samples: int
    encoder_latents: int
    decoder_latents: int
    decoder_samples: int


_MUSIC = SnacShape(
    sample_rate=32_000,
    strides=(2, 3, 8, 8),
    encoder_width=64,
    decoder_width=1536,
    window=32,
    level_strides=(8, 4, 2, 1),
)
SHAPES = {
    "snac-24khz": SnacShape(),
    "snac-32khz": _MUSIC,
    "snac-44khz": replace(_MUSIC, sample_rate=44_100, noise_frames=196),
}
"""The published shapes, from the models' config.json."""


def load(name: str, weights: Path, engine: Engine) -> Codec:
    """The codec `name` with the weights of a file, or of a folder in Hugging Face's layout.

    Raises:
        WeightsError: the weights cannot be read or are other than this codec's.
        CodecError: the extra is not installed.
    """
    return load_shape(SPECS[name], SHAPES[name], weights, engine)


@apart_to_load()
def load_shape(spec: CodecSpec, shape: SnacShape, weights: Path, engine: Engine) -> Snac:
    """A codec of any shape; as `load`."""
    model, fingerprint = _load_model(spec.name, shape, weights)
    official = once(lambda: _load_model(spec.name, shape, weights)[0])
    network = without_transposed(fold_weight_norm(model))
    if engine.name == "openvino":
        replace_parts(network, lambda part: type(part).__name__ == "Snake1d", PolynomialSnake)
    return Snac(spec, shape, network, official, fingerprint, engine)


@apart_to_load()
def _load_model(name: str, shape: SnacShape, weights: Path) -> tuple[nn.Module, str]:
    with torch.device("meta"):  # not drawing weights saves a second
        model = shape.build().float()  # whatever type new tensors have here
    file = _file_in(weights, name, shape) if weights.is_dir() else weights
    model.to_empty(device="cpu")
    return model, load_weights(model, file, name)


def _file_in(folder: Path, name: str, shape: SnacShape) -> Path:
    """The file of weights in a folder, whose config.json is that of the codec `name`."""
    config = _read_config(folder / "config.json")
    for key, due in shape.config.items():
        if key in config and config[key] != due:
            raise WeightsError(
                f"{folder} does not hold weights of {name}: in its config.json {key} is "
                f"{brief(config[key])}, not {due}"
            )
    for file in (folder / "model.safetensors", folder / "pytorch_model.bin"):
        if file.is_file():
            return file
    raise WeightsError(f"{folder} holds neither model.safetensors nor pytorch_model.bin")


def _read_config(path: Path) -> dict[str, Any]:
    config = read_json(path, WeightsError)
    if not isinstance(config, dict):
        raise WeightsError(f"{path} is no configuration of a model")
    return config


# Codes between levels and frames


def unfold(codes: NDArray[np.uint16], levels: Sequence[int]) -> list[NDArray[np.int64]]:
    """The reverse of `fold`, for levels of so many codes a frame: as `SNAC.decode` takes them."""
    slots = np.split(codes.astype(np.int64), list(accumulate(levels))[:-1], axis=1)
    return [part.transpose(0, 2, 1).reshape(len(codes), -1) for part in slots]


# The codec


class Snac(Codec):
    """SNAC in any shape."""

    def __init__(
        self,
        spec: CodecSpec,
        shape: SnacShape,
        network: Any,
        official: Callable[[], Any],
        fingerprint: str | None,
        engine: Engine,
    ) -> None:
        super().__init__(spec, fingerprint, engine)
        self._network = network
        self._official = official
        self.shape = shape
        seen = sum(shape.reach[2:]) + (2 * shape.window if shape.window else 0)
        self.preroll = max(Codec.preroll, seen * shape.latent_hop / spec.sample_rate)
        prepare = partial(_prepare, engine, f"{shape} {fingerprint}")
        self.encoder = _encoder_parts(network.encoder.block, shape, prepare)
        self.decoder = _decoder_parts(network.decoder.model, shape, prepare)
        # The quantiser is a small part of the work, and bf16 would spoil it.
        torch_engine = engine if isinstance(engine, TorchEngine) else TorchEngine("fp32")
        self._precisely = partial(torch_engine.prepare, inputs=(), key="", precise=True)
        self.quantiser = once(self._quantiser_of)
        self.dequantiser = once(self._dequantiser_of)
        self.noise = once(partial(noise, shape))

    @property
    def module(self) -> nn.Module:
        """A `snac.SNAC` with the weights; not the one that runs, which is folded."""
        model: nn.Module = self._official().eval()
        return model

    def codebooks(self) -> NDArray[np.float32]:
        """Each level's codebook once for each of its slots: `[codebooks, size, dimension]`."""
        layers = self._network.quantizer.quantizers
        return self._by_slot([layer.codebook.weight for layer in layers])

    @apart()
    def latent_codebooks(self) -> NDArray[np.float32]:
        layers = self._network.quantizer.quantizers
        return self._by_slot(
            [layer.out_proj(layer.codebook.weight.T[None])[0].T for layer in layers]
        )

    def _by_slot(self, books: Sequence[Tensor]) -> NDArray[np.float32]:
        stacked = np.stack([book.detach().cpu().numpy() for book in books])
        return np.repeat(stacked, self.spec.levels, axis=0)

    def stream_encoder(self, info: CodesInfo) -> SnacEncoder:
        return SnacEncoder(self, info)

    def stream_decoder(self, info: CodesInfo) -> SnacDecoder:
        return SnacDecoder(self, info)

    def seek(self, sample: int) -> tuple[int, int]:
        """As `Codec.seek`; where windows begin, and the noise."""
        frame, _ = super().seek(sample)
        frame -= frame % math.lcm(self.shape.unit, self.shape.noise_frames)
        return frame, frame * self.spec.hop_length

    def check(self, info: CodesInfo) -> None:
        super().check(info)
        self.levels(info.codebooks)

    def levels(self, codebooks: int) -> tuple[int, ...]:
        """The levels that so many codebooks are, as in `spec.levels`.

        Raises:
            CodecError: they are not whole levels.
        """
        self.spec.codebooks_for(None, codebooks)
        return self.spec.levels[: list(accumulate(self.spec.levels)).index(codebooks) + 1]

    def _quantiser_of(self, levels: int) -> Runner:
        return self._precisely(lambda: _Quantiser(self._network.quantizer, levels))

    def _dequantiser_of(self, levels: int) -> Runner:
        return self._precisely(lambda: _Dequantiser(self._network.quantizer, levels))


class _Quantiser(nn.Module):
    """The first levels of a quantiser."""

    def __init__(self, quantiser: Any, levels: int) -> None:
        super().__init__()
        self._levels = quantiser.quantizers[:levels]

    def forward(self, latents: Tensor) -> list[Tensor]:
        codes = []
        for level in self._levels:
            coded, indices = level(latents)
            latents = latents - coded
            codes.append(indices)
        return codes


class _Dequantiser(nn.Module):
    """The first levels of a quantiser, back to latents."""

    def __init__(self, quantiser: Any, levels: int) -> None:
        super().__init__()
        self._levels = quantiser.quantizers[:levels]

    def forward(self, *codes: Tensor) -> Tensor:
        latents = [
            level.out_proj(level.decode_code(indices)).repeat_interleave(level.stride, dim=-1)
            for level, indices in zip(self._levels, codes, strict=True)
        ]
        return torch.stack(latents).sum(0)


# The networks, in parts


class _Part(NamedTuple):
    """Layers, and how they are run in blocks: the arguments of `InBlocks`."""

    network: Runner
    inputs: int
    outputs: int
    context: int
    block: int
    noisy: tuple[int, ...] = ()
    """The decoder's blocks in it, which mix noise in, by their numbers."""

    def in_blocks(self) -> InBlocks:
        return InBlocks(
            self.network,
            inputs=self.inputs,
            outputs=self.outputs,
            context=self.context,
            block=self.block,
        )


def _prepare(
    engine: Engine, key: str, layers: nn.Module, name: str, channels: int, steps: int, free: bool
) -> Runner:
    """Layers made ready to run on `[batch, channels, steps]`, where `steps` may be any number."""
    example = Input((1, channels, steps), free=(0, 2) if free else (0,))
    return engine.prepare(lambda: layers, [example], f"{key} {name}")


Prepare = Callable[[nn.Module, str, int, int, bool], Runner]


def _encoder_parts(layers: Any, shape: SnacShape, prepare: Prepare) -> list[_Part]:
    """The encoder as parts in a row, from samples to latents."""
    cut, between, hop = len(shape.strides), shape.strides[-1], shape.latent_hop
    width = shape.encoder_width << cut
    reach = shape.reach
    near = prepare(layers[:cut], "encoder near", 1, hop * EXAMPLE_LATENTS, True)
    parts = [_Part(near, hop, between, reach.encoder_samples, SAMPLE_BLOCK)]
    far = layers[cut : cut + 1] if shape.window else layers[cut:]
    run = prepare(far, "encoder far", width // 2, between * EXAMPLE_LATENTS, True)
    parts.append(_Part(run, between, 1, reach.encoder_latents, LATENT_BLOCK))
    if shape.window:
        parts.append(_attention(layers[cut + 1], "encoder", width, shape.window, prepare))
        last = prepare(layers[cut + 2 :], "encoder last", width, EXAMPLE_LATENTS, True)
        parts.append(_Part(last, 1, 1, EDGE, shape.window))
    return parts


def _decoder_parts(layers: Any, shape: SnacShape, prepare: Prepare) -> list[_Part]:
    """The decoder as parts in a row, from latents to samples."""
    latents = shape.encoder_width << len(shape.strides)
    width, between, reach = shape.decoder_width, shape.strides[-1], shape.reach
    parts = []
    opening, first = layers[:2], 2
    if shape.window:
        run = prepare(opening, "decoder first", latents, EXAMPLE_LATENTS, True)
        parts.append(_Part(run, 1, 1, EDGE, shape.window))
        parts.append(_attention(layers[2], "decoder", width, shape.window, prepare))
        opening, first = [], 3
    # One block next to the latents, and all others next to the samples.
    far = _NoisyBlocks([*opening, layers[first]])
    near = _NoisyBlocks(layers[first + 1 :])
    channels = (width if shape.window else latents) + sum(far.rates)
    run = prepare(far, "decoder far", channels, EXAMPLE_LATENTS, True)
    parts.append(_Part(run, 1, between, reach.decoder_latents, LATENT_BLOCK, (0,)))
    steps = between * EXAMPLE_LATENTS
    run = prepare(near, "decoder near", width // 2 + sum(near.rates), steps, True)
    noisy = tuple(range(1, len(shape.strides)))
    hop = shape.latent_hop
    parts.append(_Part(run, between, hop, reach.decoder_samples, SAMPLE_BLOCK, noisy))
    return parts


class _Positions(nn.Module):
    """Rotations of `snac`'s attention, whose scale it makes of the caller's default type."""

    def __init__(self, positions: nn.Module) -> None:
        super().__init__()
        self._positions = positions

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rotations, scale = self._positions(x)
        return rotations, scale.to(rotations.dtype)


def _attention(layer: Any, name: str, width: int, window: int, prepare: Prepare) -> _Part:
    """Attention, a window at a time: of a fixed length, as its converted form needs it."""
    if layer.rel_pos is not None:
        layer.rel_pos = _Positions(layer.rel_pos)
    run = prepare(layer, f"{name} attention", width, window, False)
    return _Part(run, window, window, 0, 1)


class _NoisyBlocks(nn.Module):
    """Layers of the decoder, whose noise comes in as further channels of the input.

    A block that upsamples takes as many numbers for each step of the input as its output is longer.
    So noise is cut into blocks together with what it belongs to.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        super().__init__()
        self._layers = nn.ModuleList(layers)
        convolutions: list[Any] = [part for part in self.modules() if hasattr(part, "stride")]
        strides = [int(part.stride[0]) for part in convolutions if part.stride[0] > 1]
        self.rates = list(accumulate(strides, int.__mul__))
        """Noise of each block for a step of the input."""

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channels + noise, time]` to `[batch, channels, time]`."""
        channels = x.shape[1] - sum(self.rates)
        x, *noises = torch.split(x, [channels, *self.rates], dim=1)
        for part in self._parts():
            if type(part).__name__ == "NoiseBlock":
                mixed = noises.pop(0).transpose(1, 2).reshape(x.shape[0], 1, -1)
                x = x + mixed * part.linear(x)
            else:
                x = part(x)
        return x

    def _parts(self) -> Iterator[Any]:
        """The layers, and those in blocks, in order."""
        for layer in self._layers:
            yield from getattr(layer, "block", [layer])


# Noise


def noise(shape: SnacShape, layer: int) -> NDArray[np.float32]:
    """The noise of one of the decoder's blocks, standard normal, which repeats: `[time]`.

    All streams have the same: what is alike in both channels stays in the middle.

    From numpy's `RandomState`, as its numbers will be the same in all versions (NEP 19).
    """
    steps = math.prod(shape.strides[::-1][: layer + 1])
    count = shape.noise_frames * shape.level_strides[0] * steps
    return np.random.RandomState(layer).standard_normal(count).astype(np.float32)


class _Stage(Protocol):
    """A part at work on a stream."""

    def push(self, x: Array) -> Iterator[Array]: ...

    def finish(self) -> Iterator[Array]: ...


class _WithNoise:
    """A stage whose input gets noise beside it, by its position in the stream."""

    def __init__(self, part: _Part, codec: Snac, streams: int) -> None:
        self._blocks = part.in_blocks()
        steps = codec.shape.noise_frames * codec.shape.level_strides[0] * part.inputs
        noise = [codec.noise(layer).reshape(steps, -1).T for layer in part.noisy]
        self._noise = np.repeat(np.concatenate(noise)[np.newaxis], streams, axis=0)
        self._position = 0

    def push(self, x: Array) -> Iterator[Array]:
        time = (self._position + np.arange(x.shape[-1])) % self._noise.shape[-1]
        self._position += x.shape[-1]
        return self._blocks.push(np.concatenate([x, self._noise[..., time]], axis=1))

    def finish(self) -> Iterator[Array]:
        return self._blocks.finish()


def _through(stages: Sequence[_Stage], x: Array) -> Iterator[Array]:
    """What comes out of stages in a row for the next `x`."""
    if not stages:
        yield x
        return
    for y in stages[0].push(x):
        yield from _through(stages[1:], y)


def _finish(stages: Sequence[_Stage]) -> Iterator[Array]:
    """What is left in stages in a row."""
    if stages:
        for y in stages[0].finish():
            yield from _through(stages[1:], y)
        yield from _finish(stages[1:])


class SnacEncoder:
    """Streaming encoder; the streams are the batch."""

    def __init__(self, codec: Snac, info: CodesInfo) -> None:
        self._info = info
        self._unit = codec.shape.unit * info.hop_length
        self._ahead = 0
        self._quantise = codec.quantiser(len(codec.levels(info.codebooks)))
        self._stages = [part.in_blocks() for part in codec.encoder]

    def push(self, samples: Samples) -> Block:
        self._ahead = (self._ahead + samples.shape[1]) % self._unit
        return self._blocks(_through(self._stages, samples[:, np.newaxis]))

    def finish(self) -> Block:
        # SNAC.preprocess: silence up to whole frames and windows.
        padding = np.zeros((self._info.streams, 1, -self._ahead % self._unit), np.float32)
        return self._blocks(chain(_through(self._stages, padding), _finish(self._stages)))

    def _blocks(self, latents: Iterator[Array]) -> Block:
        return join(self._info, [Block(fold(self._quantise(z))) for z in latents])


class SnacDecoder:
    """Streaming decoder; the streams are the batch."""

    def __init__(self, codec: Snac, info: CodesInfo) -> None:
        self._channels = info.channels
        self._levels = codec.levels(info.codebooks)
        self._dequantise = codec.dequantiser(len(self._levels))
        self._stages: list[_Stage] = [
            _WithNoise(part, codec, info.streams) if part.noisy else part.in_blocks()
            for part in codec.decoder
        ]

    def push(self, block: Block) -> Samples:
        (latents,) = self._dequantise(*unfold(block.data, self._levels))
        return self._samples(_through(self._stages, latents))

    def finish(self) -> Samples:
        return self._samples(_finish(self._stages))

    def _samples(self, parts: Iterator[Array]) -> Samples:
        empty = np.zeros((self._channels, 0), np.float32)
        return np.concatenate([empty, *(audio[:, 0] for audio in parts)], axis=1)
