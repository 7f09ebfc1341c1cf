"""EnCodec's networks that are not causal: segments coded on their own, and cross-faded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from acomp.audio.samples import Samples
from acomp.backends.encodec.network import Lstm, around_lstm
from acomp.codes import Block, CodesInfo, Segments, join
from acomp.engines import Array, Engine, Input
from acomp.engines.apart import apart
from acomp.engines.rewriting import SplitNorm, replace_parts
from acomp.engines.torch import in_torch
from acomp.errors import CodecError

if TYPE_CHECKING:
    from acomp.backends.encodec.codec import Encodec


class SegmentHalf:
    """The encoder or the decoder of a network that runs segments on their own."""

    def __init__(
        self,
        network: Any,
        shape: tuple[int, int, int],
        frames: int,
        engine: Engine,
        key: str,
    ) -> None:
        self._shape = shape
        """Of a whole segment."""
        self._in_torch = in_torch(engine, network)
        self._in_parts = engine.name != "torch"
        if self._in_parts:
            before, lstm, after = around_lstm(network)
            for part in (before, after):
                replace_parts(part, SplitNorm.stands_for, SplitNorm)
            # Of these shapes alone: `encodec` works its padding out in Python.
            between = Input((1, lstm.hidden_size, frames))
            self._before = engine.prepare(lambda: before, [Input(shape)], f"{key} before")
            self._after = engine.prepare(lambda: after, [between], f"{key} after")
            self._lstm = Lstm(lstm, engine)

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
        self._stride = codec.spec.segment_stride
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
        data = [self._codec.quantised(z, self._info.codebooks) for z in latents]
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
        self._stride = codec.spec.segment_stride
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
        parts = np.split(self._codec.dequantised(block.data), ends[:-1], axis=2)
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
