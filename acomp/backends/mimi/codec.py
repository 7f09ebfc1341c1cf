"""Mimi (https://arxiv.org/abs/2410.00037): 24 kHz mono, 12.5 frames/s, its first codebook semantic.

Convolutions lead to 25 positions a second, a transformer looks 10 s back among them, and two of
them become a frame; the decoder goes the same way back. All of it is causal, so a frame is coded
as soon as it is there. Stereo is coded as two streams, each as it would be alone.

The convolutions, most of the work, run on the engine. The transformers, the quantiser and the end
of a stream run in torch on every engine. The networks are built from the checkpoint itself
(`mimi_network`): the package `transformers`, slow to import, is needed for `Mimi.module` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.backends.base import Codec, Samples
from acomp.backends.mimi.network import (
    SplitBooks,
    SplitDequantiser,
    SplitQuantiser,
    Tensors,
    Transformer,
    decoder_stack,
    downsampler,
    encoder_stack,
    past_of,
    run_end,
)
from acomp.backends.mimi.shape import SPEC, STRIDE, MimiShape, read_config
from acomp.backends.shared.seanet import AsConvolutions, AsProducts, Stack
from acomp.backends.weights.checkpoint import fingerprint, load_checkpoint
from acomp.codes import Block, CodesInfo, join, split
from acomp.engines import Array, Engine, Input, Runner
from acomp.engines.apart import apart, apart_to_load
from acomp.engines.once import once
from acomp.engines.torch import TorchEngine
from acomp.errors import CodecError, WeightsError
from acomp.torchaudio import ensure_torchaudio

TRANSFORMER_FRAMES = 128
"""Frames that a transformer takes at a time, at most."""
BLOCK_FRAMES = 8
"""Frames that the convolutions take at a time, at most."""
EXAMPLE_FRAMES = 2
"""Length of the example that a stack is converted by."""
DECODER_CONTEXT = 16
"""Positions, and more, that the decoder's convolutions look back."""


@apart_to_load()
def load(name: str, weights: Path, engine: Engine) -> Codec:  # noqa: ARG001
    """Mimi with the weights of a `model.safetensors`, or of a folder in Hugging Face's layout.

    A file alone is of the published shape; a folder's `config.json` tells its own.

    Raises:
        WeightsError: the file or folder cannot be read or holds other weights than Mimi's.
    """
    shape = MimiShape()
    if weights.is_dir():
        shape = read_config(weights / "config.json")
        weights = weights / "model.safetensors"
    return Mimi(shape, weights, engine)


class Mimi(Codec):
    """Mimi in any shape, on a file of weights."""

    def __init__(self, shape: MimiShape, weights: Path, engine: Engine) -> None:
        state = _load_state(weights)
        super().__init__(SPEC, fingerprint(state), engine)
        self.shape = shape
        self._weights = weights
        # What runs in torch on every engine: on its device, or beside OpenVINO on the CPU.
        self._torch = engine if isinstance(engine, TorchEngine) else TorchEngine(engine.precision)
        self._build(Tensors(state, f"{weights} does not hold weights of mimi in the shape due"))
        self.quantiser = once(self._quantiser)
        seen = shape.num_hidden_layers * (shape.sliding_window - 1) + DECODER_CONTEXT
        self.preroll = seen / (STRIDE * SPEC.frame_rate)

    def _build(self, tensors: Tensors) -> None:
        """Make the networks; WeightsError if the tensors are not those of this shape."""
        shape, engine = self.shape, self.engine
        assert engine is not None
        self._books = SplitBooks(tensors, shape)
        stacks = encoder_stack(tensors, shape), decoder_stack(tensors, shape)
        downsample = AsProducts(downsampler(tensors, shape))
        taps = tensors.take("upsample.conv.weight", shape.hidden_size, 1, 2 * STRIDE)
        transformers = [
            Transformer(tensors, f"{half}_transformer", shape) for half in ("encoder", "decoder")
        ]
        tensors.finish()
        key = f"{shape} {self.fingerprint}"
        steps = SPEC.hop_length, STRIDE
        self.encoder, self.decoder = (
            Half(stack, hop, transformer, engine, self._torch, f"{key} {name}")
            for stack, hop, transformer, name in zip(
                stacks, steps, transformers, ("encoder", "decoder"), strict=True
            )
        )
        self.downsample = self._torch.prepare(lambda: downsample, (), "")
        self.upsample: Array = taps[:, 0].T.numpy()
        """What each channel is multiplied by: `[taps, hidden]`."""
        dequantiser = SplitDequantiser(self._books)
        self.dequantiser = self._torch.prepare(lambda: dequantiser, (), "", precise=True)

    @property
    def module(self) -> nn.Module:
        """A `transformers.MimiModel` with the weights; not what runs here.

        Raises:
            CodecError: the extra is not installed.
        """
        return official_model(self.shape, _load_state(self._weights))

    def codebooks(self) -> NDArray[np.float32]:
        return self._books.whole().numpy()

    def latent_codebooks(self) -> NDArray[np.float32]:
        return self._books.projected().numpy()

    def stream_encoder(self, info: CodesInfo) -> MimiEncoder:
        return MimiEncoder(self, info)

    def stream_decoder(self, info: CodesInfo) -> MimiDecoder:
        return MimiDecoder(self, info)

    def _quantiser(self, codebooks: int) -> Runner:
        quantiser = SplitQuantiser(self._books, codebooks)
        return self._torch.prepare(lambda: quantiser, (), "", precise=True)


def _load_state(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        raise WeightsError(
            f"{path} does not hold weights of mimi: it takes a model.safetensors, or its folder"
        )
    return load_checkpoint(path).state


class Half:
    """The encoder or the decoder: a stack of convolutions and a transformer at its latent end."""

    def __init__(
        self,
        stack: Stack,
        hop: int,
        transformer: Transformer,
        engine: Engine,
        torch_engine: TorchEngine,
        key: str,
    ) -> None:
        self.stack = stack
        self.hop = hop
        """Steps of the stack's input that are a frame."""
        as_network = AsProducts if engine.steady else AsConvolutions
        x = Input((1, EXAMPLE_FRAMES * hop, stack.inputs), free=(1,))
        pasts = [Input(shape) for shape in stack.past_shapes()]
        self.run_stack = engine.prepare(lambda: as_network(stack), [x, *pasts], key)
        self.shape = transformer.shape
        self.run_transformer = torch_engine.prepare(lambda: transformer, (), "")


class StackStream:
    """A half's stack over a stream; before its beginning are zeros."""

    def __init__(self, half: Half) -> None:
        self._half = half
        self._pasts: list[Array] = [
            np.zeros(shape, np.float32) for shape in half.stack.past_shapes()
        ]

    def run(self, x: Array) -> Array:
        """Take whole frames `[1, time, inputs]` and give what they become."""
        most = BLOCK_FRAMES * self._half.hop
        parts = []
        for start in range(0, x.shape[1], most):
            y, *self._pasts = self._half.run_stack(x[:, start : start + most], *self._pasts)
            parts.append(y)
        return np.concatenate(parts, axis=1)

    @apart()
    def finish(self, x: Array) -> Array:
        """Take the last steps, less than a frame."""
        pasts = map(torch.from_numpy, self._pasts)
        return run_end(self._half.stack, torch.from_numpy(x), pasts).numpy()


class TransformerStream:
    """A half's transformer over a stream."""

    def __init__(self, half: Half) -> None:
        shape = half.shape
        self._run = half.run_transformer
        self._position = 0
        state = (1, shape.num_hidden_layers, shape.num_attention_heads, past_of(shape))
        self._keys = self._values = np.zeros((*state, shape.head_dim), np.float32)

    def run(self, x: Array) -> Array:
        """Take positions `[1, time, hidden]` and give what they become."""
        y, self._keys, self._values = self._run(
            x, np.array([self._position]), self._keys, self._values
        )
        self._position += x.shape[1]
        return y


class MimiEncoder:
    """Streaming encoder: a frame as soon as it is there."""

    def __init__(self, codec: Mimi, info: CodesInfo) -> None:
        self._info = info
        self._buffer = np.zeros((info.streams, 0), np.float32)
        self._streams = [EncoderStream(codec, info.codebooks) for _ in range(info.streams)]

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

    def __init__(self, codec: Mimi, codebooks: int) -> None:
        self._stack = StackStream(codec.encoder)
        self._transformer = TransformerStream(codec.encoder)
        self._downsample = codec.downsample
        self._quantise = codec.quantiser(codebooks)
        self._past: Array | None = None

    def run(self, samples: Samples) -> NDArray[np.uint16]:
        """Code whole frames."""
        return self._code(self._stack.run(samples[None, :, None]))

    def finish(self, samples: Samples) -> NDArray[np.uint16]:
        """Code the last frame, of which samples are missing."""
        return self._code(self._stack.finish(samples[None, :, None]))

    def _code(self, x: Array) -> NDArray[np.uint16]:
        x = self._transformer.run(x)
        # Both ends are padded by what is next to them.
        if self._past is None:
            self._past = np.repeat(x[:, :1], STRIDE, axis=1)
        if x.shape[1] % STRIDE:
            x = np.concatenate([x, x[:, -1:]], axis=1)
        latents, self._past = self._downsample(x, self._past)
        (codes,) = self._quantise(latents)
        return codes.astype(np.uint16)


class MimiDecoder:
    """Streaming decoder: a frame's samples as soon as it is there."""

    def __init__(self, codec: Mimi, info: CodesInfo) -> None:
        self._streams = [DecoderStream(codec) for _ in range(info.streams)]

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

    def __init__(self, codec: Mimi) -> None:
        self._dequantise = codec.dequantiser
        self._early, self._late = np.split(codec.upsample, 2)  # [STRIDE, hidden] each
        self._past = np.zeros((1, 1, codec.shape.hidden_size), np.float32)
        self._transformer = TransformerStream(codec.decoder)
        self._stack = StackStream(codec.decoder)

    def run(self, codes: NDArray[np.uint16]) -> Samples:
        (latents,) = self._dequantise(codes[None].astype(np.int64))
        x = self._transformer.run(self._upsample(latents))
        samples: Samples = self._stack.run(x)[0, :, 0]
        return samples

    def _upsample(self, latents: Array) -> Array:
        """A transposed convolution of each channel alone: frames to pairs of positions."""
        seen = np.concatenate([self._past, latents], axis=1)
        self._past = seen[:, -1:]
        pairs: Array = seen[:, 1:, None] * self._early + seen[:, :-1, None] * self._late
        return pairs.reshape(1, -1, seen.shape[2])


@apart_to_load()
def official_model(shape: MimiShape, state: Mapping[str, Tensor]) -> nn.Module:
    """A `transformers.MimiModel` of a shape, with the tensors of a checkpoint.

    Raises:
        CodecError: the package is missing or broken.
    """
    transformers = _import_transformers()
    fields = {**asdict(shape), "upsampling_ratios": list(shape.upsampling_ratios)}
    config = transformers.MimiConfig(
        **fields,
        head_dim=shape.head_dim,
        num_key_value_heads=shape.num_attention_heads,
        upsample_groups=shape.hidden_size,
    )
    with _quiet(transformers.utils.logging), torch.random.fork_rng(devices=[]):
        # With no name to load, nothing is looked up; the tensors only get the names that the
        # installed version has for them.
        model: nn.Module = transformers.MimiModel.from_pretrained(
            None, config=config, state_dict=dict(state)
        )
    return model.eval()


def _import_transformers() -> Any:
    try:
        ensure_torchaudio()  # which transformers imports too
        transformers = import_module("transformers")
        import_module("transformers.models.mimi")
    except ImportError as error:
        raise CodecError(
            "the module of mimi is one of the package transformers, which is missing or too old: "
            'pip install "acomp[mimi]"'
        ) from error
    return transformers


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Keep transformers from showing progress and advice."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
