"""EnCodec (https://arxiv.org/abs/2210.13438) on the `encodec` package: 24 kHz mono, 48 kHz stereo,
and other shapes.

A causal network, as that of 24 kHz, has layers that carry their past from block to block
(`seanet`), and the codes are those of a whole run, however the stream is cut. One that is not, as
that of 48 kHz, codes segments of 1 s or so that overlap by 1 %, each scaled to unit level, on
their own.

The convolutions, most of the work, run on the engine. The LSTM, limited by how fast its weights
come out of the memory, runs in torch on every engine, where it is fastest; so do the quantiser, and
the edges of a stream, which the network pads by reflection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.backends.base import Codec, Samples, StreamDecoder, StreamEncoder
from acomp.backends.shapes import SHAPES, EncodecShape, Shape
from acomp.backends.shared.quantisers import Quantiser
from acomp.backends.shared.seanet import AsConvolutions, AsProducts, Stack, stack_of
from acomp.backends.shared.side_by_side import alone, decoders_side_by_side, encoders_side_by_side
from acomp.backends.weights.checkpoint import load_module
from acomp.codecs import SPECS, CodecSpec
from acomp.codes import Block, CodesInfo, Segments, join
from acomp.engines import Array, Engine, Input, Runner
from acomp.engines.apart import apart, apart_to_load
from acomp.engines.once import once
from acomp.engines.rewriting import (
    SplitNorm,
    fold_weight_norm,
    replace_parts,
    without_transposed,
)
from acomp.engines.torch import MIN_ROWS, TorchEngine
from acomp.errors import CodecError

LSTM_FRAMES = 600
"""Frames that the LSTM takes at a time, at most: torch arranges its weights anew for each call."""
BLOCK_FRAMES = 150
"""Frames that the layers take at a time, at most."""
EXAMPLE_STEPS = 320
"""Length of the example that a stack is converted by; more, where that is no whole frame."""
PREROLL_FRAMES = 75
"""Frames after which the LSTM has all but forgotten what it did not see: 1 s at 24 kHz."""


def load(name: str, weights: Path, engine: Engine) -> Codec:
    """The codec `name` with the weights of a file in the official or acomp's own layout.

    Raises:
        WeightsError: the file cannot be read or holds other weights than this codec's.
    """
    return load_shape(SPECS[name], SHAPES[name], weights, engine)


@apart_to_load()
def load_shape(spec: CodecSpec, shape: Shape, weights: Path, engine: Engine) -> Codec:
    """A codec of any shape; as `load`."""
    assert isinstance(shape, EncodecShape)
    model, fingerprint = load_module(shape, weights, spec.name)
    official = once(lambda: load_module(shape, weights, spec.name)[0])
    return Encodec(spec, shape, fold_weight_norm(model), official, fingerprint, engine)


class Encodec(Codec):
    """EnCodec in any shape, causal or in segments."""

    encoder: CausalHalf | SegmentHalf
    decoder: CausalHalf | SegmentHalf

    def __init__(
        self,
        spec: CodecSpec,
        shape: EncodecShape,
        network: Any,
        official: Callable[[], Any],
        fingerprint: str | None,
        engine: Engine,
    ) -> None:
        super().__init__(spec, fingerprint, engine)
        self._network = network
        self._official = official
        self.shape = shape
        self.preroll = PREROLL_FRAMES / spec.frame_rate
        # What runs in torch on every engine: on its device, or beside OpenVINO on the CPU.
        self._torch = engine if isinstance(engine, TorchEngine) else TorchEngine(engine.precision)
        self.quantiser = once(self._quantiser)
        self._dequantiser = self._prepare_precisely(_Dequantiser(network.quantizer.vq))
        key = f"{shape} {fingerprint}"
        parts = (network.encoder.model, f"{key} encoder"), (network.decoder.model, f"{key} decoder")
        if shape.causal:
            hops = (shape.hop_length, 1)
            self.encoder, self.decoder = (
                CausalHalf(layers, hop, shape.first_frames, engine, self._torch, key)
                for (layers, key), hop in zip(parts, hops, strict=True)
            )
        else:
            without_transposed(network)
            frames = shape.segment_length // shape.hop_length
            inputs = (1, shape.channels, shape.segment_length), (1, shape.dimension, frames)
            self.encoder, self.decoder = (
                SegmentHalf(layers, whole, frames, engine, self._torch, key)
                for (layers, key), whole in zip(parts, inputs, strict=True)
            )

    @property
    def module(self) -> nn.Module:
        """An `encodec.EncodecModel` with the weights; not the one that runs, which is folded."""
        model: nn.Module = self._official().eval()
        return model

    def codebooks(self) -> NDArray[np.float32]:
        layers = self._network.quantizer.vq.layers
        return np.stack([layer.codebook.detach().cpu().numpy() for layer in layers])

    def stream_encoder(self, info: CodesInfo) -> StreamEncoder:
        if isinstance(self.encoder, SegmentHalf):
            self._check_streams(info)
            return SegmentEncoder(self, self.encoder, info)
        half, one = self.encoder, alone(info)
        return encoders_side_by_side([CausalEncoder(self, half, one) for _ in range(info.streams)])

    def stream_decoder(self, info: CodesInfo) -> StreamDecoder:
        if isinstance(self.decoder, SegmentHalf):
            self._check_streams(info)
            return SegmentDecoder(self, self.decoder, info)
        half, one = self.decoder, alone(info)
        return decoders_side_by_side([CausalDecoder(self, half, one) for _ in range(info.streams)])

    def _check_streams(self, info: CodesInfo) -> None:
        if info.streams > 1:
            raise CodecError(
                f"{self.spec.name} keeps a level for each segment, of one stream alone: "
                "code the channels one by one"
            )

    def seek(self, sample: int) -> tuple[int, int]:
        if self.shape.causal:
            return super().seek(sample)
        # One segment earlier, for the cross-fade.
        segment = max(0, sample // self._network.segment_stride - 1)
        assert self.spec.segment_frames is not None
        return segment * self.spec.segment_frames, segment * self._network.segment_stride

    def quantise(self, latents: Array, codebooks: int) -> NDArray[np.uint16]:
        """Latents `[1, frames, dimension]` to codes `[1, codebooks, frames]`."""
        (codes,) = self.quantiser(codebooks)(latents)
        return codes.astype(np.uint16)

    def dequantise(self, codes: NDArray[np.uint16]) -> Array:
        """Codes `[1, codebooks, frames]` to latents `[1, dimension, frames]`."""
        (latents,) = self._dequantiser(codes.astype(np.int64))
        return latents

    def _quantiser(self, codebooks: int) -> Runner:
        if self._torch is not self.engine:
            # Twice as fast as the package's, and there is no last bit to keep here.
            books = torch.from_numpy(self.codebooks()[:codebooks])
            return self._prepare_precisely(Quantiser(books))
        return self._prepare_precisely(_Quantiser(self._network.quantizer.vq, codebooks))

    def _prepare_precisely(self, module: nn.Module) -> Runner:
        return self._torch.prepare(lambda: module, (), "", precise=True)


class _Quantiser(nn.Module):
    """`encodec`'s quantiser; as steady as matrix products are (`MIN_ROWS`)."""

    def __init__(self, quantiser: Any, codebooks: int) -> None:
        super().__init__()
        self._quantiser = quantiser
        self._codebooks = codebooks

    def forward(self, latents: Tensor) -> Tensor:
        frames = latents.shape[1]
        padded = nn.functional.pad(latents.transpose(1, 2), (0, max(0, MIN_ROWS - frames)))
        codes: Tensor = self._quantiser.encode(padded, n_q=self._codebooks)
        return codes.transpose(0, 1)[..., :frames]


class _Dequantiser(nn.Module):
    def __init__(self, quantiser: Any) -> None:
        super().__init__()
        self._quantiser = quantiser

    def forward(self, codes: Tensor) -> Tensor:
        latents: Tensor = self._quantiser.decode(codes.transpose(0, 1))
        return latents


class _Lstm(nn.Module):
    """An LSTM whose state is an argument like any other, the batch first in all of them."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self._lstm = lstm

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        state = (_swap(hidden), _swap(cell))
        y, (hidden, cell) = self._lstm(_swap(x), state)
        return _swap(y), _swap(hidden), _swap(cell)


def _swap(x: Tensor) -> Tensor:
    """The batch first instead of second, or the other way round."""
    return x.transpose(0, 1).contiguous()


def _around_lstm(network: nn.Sequential) -> tuple[Any, Any, Any]:
    """The layers of an encoder or decoder before its LSTM, the LSTM, and the layers after it."""
    at = next(i for i, layer in enumerate(network) if hasattr(layer, "lstm"))
    return network[:at], network[at].lstm, network[at + 1 :]


class Lstm:
    """The LSTM of a half, in torch, with its skip connection."""

    def __init__(self, lstm: nn.LSTM, engine: TorchEngine) -> None:
        self._run = engine.prepare(lambda: _Lstm(lstm), (), "")
        self._state = (lstm.num_layers, lstm.hidden_size)

    def start(self, batch: int) -> list[Array]:
        """The state before the first step."""
        return [np.zeros((batch, *self._state), np.float32)] * 2

    def __call__(self, x: Array, state: list[Array]) -> tuple[Array, list[Array]]:
        """`[batch, time, width]` to the same shape, and the next state."""
        y, *state = self._run(x, *state)
        return y + x, state


class CausalHalf:
    """The encoder or the decoder of a causal network: layers, an LSTM, layers."""

    def __init__(
        self,
        network: Any,
        hop: int,
        first_frames: int,
        engine: Engine,
        torch_engine: TorchEngine,
        key: str,
    ) -> None:
        self.hop = hop
        """Steps of its input that are a frame."""
        self.first_frames = first_frames
        """Frames that the first step of a stream takes."""
        before, lstm, after = _around_lstm(network)
        self.before, self.after = stack_of(before), stack_of(after)
        self.run_before = _prepare(self.before, hop, engine, f"{key} before the LSTM")
        self.run_after = _prepare(self.after, 1, engine, f"{key} after the LSTM")
        self.lstm = Lstm(lstm, torch_engine)


def _prepare(stack: Stack, hop: int, engine: Engine, key: str) -> Runner:
    """The stack in the middle of a stream."""
    as_network = AsProducts if engine.steady else AsConvolutions
    x = Input((1, hop * math.ceil(EXAMPLE_STEPS / hop), stack.inputs), free=(1,))
    pasts = [Input(shape) for shape in stack.past_shapes()]
    return engine.prepare(lambda: as_network(stack), [x, *pasts], key)


class CausalStream:
    """A half of a causal network over a stream, from its beginning to its end."""

    def __init__(self, half: CausalHalf, *, together: int) -> None:
        self._hop = half.hop
        self._first_frames = half.first_frames
        self._before = StackStream(half.before, half.run_before, BLOCK_FRAMES * half.hop)
        self._lstm = LstmStream(half.lstm, half.before.outputs, together)
        self._after = StackStream(half.after, half.run_after, BLOCK_FRAMES)
        self._buffer: Array | None = None
        self._begun = False

    def push(self, x: Array) -> Iterator[Array]:
        """Take steps `[1, time, channels]`, of which `hop` are a frame; give what is ready."""
        self._buffer = x if self._buffer is None else np.concatenate([self._buffer, x], axis=1)
        while True:
            frames = self._buffer.shape[1] // self._hop
            if frames < (1 if self._begun else self._first_frames):
                return
            steps = min(frames, LSTM_FRAMES if self._begun else self._first_frames) * self._hop
            x, self._buffer = self._buffer[:, :steps], self._buffer[:, steps:]
            self._begun = True
            yield from self._run(x, last=False)

    def finish(self) -> Iterator[Array]:
        """Give the rest; its last frame may lack steps."""
        if self._buffer is not None:
            yield from self._run(self._buffer, last=True)

    def _run(self, x: Array, *, last: bool) -> Iterator[Array]:
        y = self._lstm.run(self._before.run(x, last=last), last=last)
        if y.shape[1]:
            yield self._after.run(y, last=last)


class StackStream:
    """A stack of layers over a stream."""

    def __init__(self, stack: Stack, runner: Runner, most: int) -> None:
        self._stack = stack
        self._runner = runner
        self._most = most
        """Steps that are run at a time."""
        self._pasts: list[Array] | None = None

    def run(self, x: Array, *, last: bool) -> Array:
        """Take steps `[1, time, channels]` and give what they become."""
        starts = range(0, x.shape[1], self._most)
        parts = [
            self._run(x[:, start : start + self._most], last=last and start == starts[-1])
            for start in starts
        ]
        return np.concatenate([np.zeros((1, 0, self._stack.outputs), np.float32), *parts], axis=1)

    def _run(self, x: Array, *, last: bool) -> Array:
        if self._pasts is None or last:
            y, *self._pasts = self._at_an_edge(x, last=last)
        else:
            y, *self._pasts = self._runner(x, *self._pasts)
        return y

    @apart()
    def _at_an_edge(self, x: Array, *, last: bool) -> list[Array]:
        pasts = None if self._pasts is None else list(map(torch.from_numpy, self._pasts))
        y, after = self._stack.products(torch.from_numpy(x), pasts, last=last)
        return [tensor.numpy() for tensor in (y, *after)]


class LstmStream:
    """The LSTM over a stream.

    It is run over a multiple of `together` steps at a time: torch's LSTM rounds one step alone
    otherwise than the same step among others, and two steps as it does any number.
    """

    def __init__(self, lstm: Lstm, width: int, together: int) -> None:
        self._lstm = lstm
        self._together = together
        self._held = np.zeros((1, 0, width), np.float32)
        self._state = lstm.start(1)

    def run(self, x: Array, *, last: bool) -> Array:
        """Take steps `[1, time, width]`; give what those become that can be run."""
        x = np.concatenate([self._held, x], axis=1)
        steps = x.shape[1] - x.shape[1] % self._together
        x, self._held = x[:, :steps], x[:, steps:]
        parts = [x, self._held] if last else [x]
        return np.concatenate([x[:, :0], *(self._steps(part) for part in parts)], axis=1)

    def _steps(self, x: Array) -> Array:
        if x.shape[1]:
            x, self._state = self._lstm(x, self._state)
        return x


class CausalEncoder:
    """Streaming encoder of a causal network; two frames at a time."""

    def __init__(self, codec: Encodec, half: CausalHalf, info: CodesInfo) -> None:
        self._codec = codec
        self._info = info
        self._stream = CausalStream(half, together=2)

    def push(self, samples: Samples) -> Block:
        return self._blocks(self._stream.push(samples.T[np.newaxis]))

    def finish(self) -> Block:
        return self._blocks(self._stream.finish())

    def _blocks(self, latents: Iterator[Array]) -> Block:
        codebooks = self._info.codebooks
        parts = [self._codec.quantise(z, codebooks) for z in latents]
        return join(self._info, [Block(data) for data in parts])


class CausalDecoder:
    """Streaming decoder of a causal network; each frame at once."""

    def __init__(self, codec: Encodec, half: CausalHalf, info: CodesInfo) -> None:
        self._codec = codec
        self._channels = info.channels
        self._stream = CausalStream(half, together=1)

    def push(self, block: Block) -> Samples:
        latents = self._codec.dequantise(block.data)
        return self._samples(self._stream.push(latents.transpose(0, 2, 1)))

    def finish(self) -> Samples:
        return self._samples(self._stream.finish())

    def _samples(self, parts: Iterator[Array]) -> Samples:
        empty = np.zeros((self._channels, 0), np.float32)
        return np.concatenate([empty, *(audio[0].T for audio in parts)], axis=1)


class SegmentHalf:
    """The encoder or the decoder of a network that runs segments on their own."""

    def __init__(
        self,
        network: Any,
        shape: tuple[int, int, int],
        frames: int,
        engine: Engine,
        torch_engine: TorchEngine,
        key: str,
    ) -> None:
        self._shape = shape
        """Of a whole segment."""
        self._in_torch = torch_engine.prepare(lambda: network, (), "")
        self._in_parts = engine is not torch_engine
        if self._in_parts:
            before, lstm, after = _around_lstm(network)
            for part in (before, after):
                replace_parts(part, SplitNorm.stands_for, SplitNorm)
            # Of these shapes alone: `encodec` works its padding out in Python.
            between = Input((1, lstm.hidden_size, frames))
            self._before = engine.prepare(lambda: before, [Input(shape)], f"{key} before")
            self._after = engine.prepare(lambda: after, [between], f"{key} after")
            self._lstm = Lstm(lstm, torch_engine)

    def __call__(self, segments: list[Array]) -> list[Array]:
        """Each of some segments `[1, channels, time]`; the last of a stream may be shorter."""
        if not self._in_parts:
            return [self._in_torch(x)[0] for x in segments]
        whole = iter(self._together([x for x in segments if x.shape == self._shape]))
        return [next(whole) if x.shape == self._shape else self._in_torch(x)[0] for x in segments]

    def _together(self, segments: list[Array]) -> list[Array]:
        """Whole segments; the LSTM takes all at once, so that its weights come out of the memory
        once a step for all of them.
        """
        if not segments:
            return []
        x = np.concatenate([self._before(x)[0] for x in segments]).transpose(0, 2, 1)
        y, _ = self._lstm(x, self._lstm.start(len(segments)))
        return [self._after(part)[0] for part in np.split(y.transpose(0, 2, 1), len(segments))]


class SegmentEncoder:
    """Streaming encoder of segments: those that are whole, together."""

    def __init__(self, codec: Encodec, half: SegmentHalf, info: CodesInfo) -> None:
        self._codec = codec
        self._half = half
        self._info = info
        self._length = codec.shape.segment_length
        self._stride: int = codec._network.segment_stride
        self._buffer = np.zeros((info.channels, 0), np.float32)

    def push(self, samples: Samples) -> Block:
        self._buffer = np.concatenate([self._buffer, samples], axis=1)
        return self._code(max(0, (self._buffer.shape[1] - self._length) // self._stride + 1))

    def finish(self) -> Block:
        return self._code(-(-self._buffer.shape[1] // self._stride))

    @apart()
    def _code(self, count: int) -> Block:
        """Code the first segments of the buffer, each `stride` after the one before it."""
        starts = range(0, count * self._stride, self._stride)
        segments = [
            torch.from_numpy(self._buffer[np.newaxis, :, start : start + self._length].copy())
            for start in starts
        ]
        self._buffer = self._buffer[:, count * self._stride :]
        scales = [_scale(x) for x in segments]
        scaled = [(x / scale).numpy() for x, scale in zip(segments, scales, strict=True)]
        latents = self._half(scaled)
        data = [self._codec.quantise(z.transpose(0, 2, 1), self._info.codebooks) for z in latents]
        return join(
            self._info,
            [
                Block(codes, Segments(np.array([codes.shape[2]]), scale.view(-1).numpy()))
                for codes, scale in zip(data, scales, strict=True)
            ],
        )


def _scale(segment: Tensor) -> Tensor:
    """Root mean square of the mono mix, `[1, 1, 1]`, as `EncodecModel._encode_frame` has it; the
    rest of that method is not used, because it takes its number of codebooks from a bandwidth.
    """
    return segment.mean(dim=1, keepdim=True).pow(2).mean(dim=2, keepdim=True).sqrt() + 1e-8


class SegmentDecoder:
    """Streaming decoder of segments, which are cross-faded where they overlap."""

    def __init__(self, codec: Encodec, half: SegmentHalf, info: CodesInfo) -> None:
        self._codec = codec
        self._half = half
        self._stride: int = codec._network.segment_stride
        self._most = codec.shape.segment_length // info.hop_length
        self._fade: Samples | None = None
        self._sum = np.zeros((info.channels, 0), np.float32)
        self._weight = np.zeros(0, np.float32)

    def push(self, block: Block) -> Samples:
        if block.segments is None:
            raise CodecError(
                f"these codes have no segments, and {self._codec.spec.name} needs them"
            )
        if int(block.segments.frames.max(initial=0)) > self._most:
            raise CodecError(
                f"a segment of {self._codec.spec.name} has at most {self._most} frames"
            )
        ends = np.cumsum(block.segments.frames)
        parts = np.split(self._codec.dequantise(block.data), ends[:-1], axis=2)
        ready = [np.zeros((len(self._sum), 0), np.float32)]
        for audio, scale in zip(self._half(parts), block.segments.scales, strict=True):
            self._add(audio[0] * scale)
            ready.append(self._take(self._stride))
        return np.concatenate(ready, axis=1)

    def finish(self) -> Samples:
        return self._take(self._sum.shape[1])

    def _add(self, audio: Samples) -> None:
        """Add a segment, weighted by a triangle as long as the first one."""
        length = audio.shape[1]
        if self._fade is None:
            ramp = np.linspace(0, 1, length + 2, dtype=np.float32)[1:-1]
            self._fade = np.float32(0.5) - np.abs(ramp - np.float32(0.5))
        if len(self._fade) < length:
            raise CodecError("a segment is longer than the first one, which EnCodec never writes")
        more = max(0, length - self._sum.shape[1])
        self._sum = np.pad(self._sum, ((0, 0), (0, more)))
        self._weight = np.pad(self._weight, (0, more))
        self._sum[:, :length] += self._fade[:length] * audio
        self._weight[:length] += self._fade[:length]

    def _take(self, samples: int) -> Samples:
        """Take what no later segment touches."""
        done = self._sum[:, :samples] / self._weight[:samples]
        self._sum = self._sum[:, samples:]
        self._weight = self._weight[samples:]
        return done
