"""EnCodec (https://arxiv.org/abs/2210.13438) on the `encodec` package: 24 kHz mono, 48 kHz stereo.

The package's modules do the work; here they are run in blocks. The 24 kHz network is causal: its
convolutions need a short context and its LSTM a state that is carried over, and the codes are
those of a whole run. The 48 kHz network codes segments of 1 s that overlap by 1 %, each scaled to
unit level, on their own.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acomp.backends.base import Codec, CodecSpec, Samples, StreamDecoder, StreamEncoder
from acomp.backends.checkpoint import load_weights
from acomp.codes import Block, CodesInfo, Segments, join
from acomp.engines.torch import InBlocks, pick_device, to_tensor
from acomp.engines.torchaudio import ensure_torchaudio
from acomp.errors import CodecError

SPECS = {
    "encodec-24khz": CodecSpec(
        name="encodec-24khz",
        sample_rate=24_000,
        channels=1,
        hop_length=320,
        codebooks=32,
        codebook_size=1024,
        codebook_dim=128,
        bandwidths={1.5: 2, 3: 4, 6: 8, 12: 16, 24: 32},
    ),
    "encodec-48khz": CodecSpec(
        name="encodec-48khz",
        sample_rate=48_000,
        channels=2,
        hop_length=320,
        codebooks=16,
        codebook_size=1024,
        codebook_dim=128,
        bandwidths={3: 2, 6: 4, 12: 8, 24: 16},
    ),
}

CONVOLUTION_CONTEXT = 2
"""Frames that the 24 kHz network's (de)convolution stacks look back: 478 samples of 320 a frame."""
LATENT_CONTEXT = 6
"""Frames that the convolutions of kernel 7 next to the latents look back."""
BLOCK_FRAMES = 150
"""Frames run at a time. The first block must hold more than LATENT_CONTEXT: it is padded by
reflection."""


def load(name: str, weights: Path, device: str) -> Codec:
    """The codec `name` of SPECS with the weights of a file in the official or acomp's own layout.

    Raises:
        WeightsError: the file cannot be read or holds other weights than this codec's.
        CodecError: there is no such device.
    """
    target = pick_device(device)
    model = _architecture(name)
    fingerprint = load_weights(model, weights, name)
    return Encodec(SPECS[name], model.to(target), fingerprint)


def _architecture(name: str) -> Any:
    """The official model without its weights, an `encodec.EncodecModel`."""
    ensure_torchaudio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch's weight_norm of old is deprecated
        from encodec.model import EncodecModel

        if name == "encodec-24khz":
            return EncodecModel.encodec_model_24khz(pretrained=False)
        return EncodecModel.encodec_model_48khz(pretrained=False)


class Encodec(Codec):
    """EnCodec at 24 kHz or 48 kHz."""

    def __init__(self, spec: CodecSpec, model: Any, fingerprint: str | None) -> None:
        super().__init__(spec, fingerprint)
        self._model = model.eval()
        self.device = next(model.parameters()).device

    @property
    def module(self) -> nn.Module:
        """The `encodec.EncodecModel`."""
        model: nn.Module = self._model
        return model

    def codebooks(self) -> NDArray[np.float32]:
        layers = self._model.quantizer.vq.layers
        return np.stack([layer.codebook.detach().cpu().numpy() for layer in layers])

    def stream_encoder(self, info: CodesInfo) -> StreamEncoder:
        return SegmentEncoder(self, info) if self._model.segment else CausalEncoder(self, info)

    def stream_decoder(self, info: CodesInfo) -> StreamDecoder:
        return SegmentDecoder(self, info) if self._model.segment else CausalDecoder(self, info)

    def seek(self, sample: int) -> tuple[int, int]:
        if not self._model.segment:
            return super().seek(sample)
        # One segment earlier, for the cross-fade.
        segment = max(0, sample // self._model.segment_stride - 1)
        frames = self._model.segment_length // self.spec.hop_length
        return segment * frames, segment * self._model.segment_stride

    def quantise(self, latents: torch.Tensor, codebooks: int) -> NDArray[np.uint16]:
        """Latents `[1, dimension, frames]` to codes `[1, codebooks, frames]`."""
        codes = self._model.quantizer.vq.encode(latents, n_q=codebooks)
        data: NDArray[np.uint16] = codes.transpose(0, 1).cpu().numpy().astype(np.uint16)
        return data

    def dequantise(self, codes: NDArray[np.uint16]) -> torch.Tensor:
        """Codes `[1, codebooks, frames]` to latents `[1, dimension, frames]`."""
        indices = torch.from_numpy(codes.astype(np.int64)).to(self.device)
        latents: torch.Tensor = self._model.quantizer.decode(indices.transpose(0, 1))
        return latents


class StatefulLstm:
    """`encodec`'s LSTM with its skip connection, its state kept from call to call."""

    def __init__(self, module: Any) -> None:
        self._module = module
        self._state: tuple[torch.Tensor, torch.Tensor] | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(2, 0, 1)
        y, self._state = self._module.lstm(x, self._state)
        y = y + x if self._module.skip else y
        out: torch.Tensor = y.permute(1, 2, 0)
        return out


def _around_lstm(network: nn.Sequential) -> tuple[nn.Module, StatefulLstm, nn.Module]:
    """The part of an encoder or decoder before its LSTM, the LSTM, and the part after it."""
    at = next(i for i, layer in enumerate(network) if hasattr(layer, "lstm"))
    return network[:at], StatefulLstm(network[at]), network[at + 1 :]


class CausalEncoder:
    """Streaming encoder of the 24 kHz network."""

    def __init__(self, codec: Encodec, info: CodesInfo) -> None:
        self._codec = codec
        self._info = info
        before, self._lstm, after = _around_lstm(codec._model.encoder.model)
        self._before = InBlocks(
            before,
            inputs=info.hop_length,
            outputs=1,
            left=CONVOLUTION_CONTEXT,
            right=0,
            block=BLOCK_FRAMES,
        )
        self._after = InBlocks(
            after, inputs=1, outputs=1, left=LATENT_CONTEXT, right=0, block=BLOCK_FRAMES
        )

    @torch.inference_mode()
    def push(self, samples: Samples) -> Block:
        return self._blocks(self._latents(self._before.push(self._tensor(samples))))

    @torch.inference_mode()
    def finish(self) -> Block:
        return self._blocks(self._latents(self._before.finish()) + self._after.finish())

    def _tensor(self, samples: Samples) -> torch.Tensor:
        return to_tensor(samples, self._codec.device)[None]

    def _latents(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        return [latents for x in features for latents in self._after.push(self._lstm(x))]

    def _blocks(self, latents: list[torch.Tensor]) -> Block:
        codebooks = self._info.codebooks
        return join(self._info, [Block(self._codec.quantise(z, codebooks)) for z in latents])


class CausalDecoder:
    """Streaming decoder of the 24 kHz network."""

    def __init__(self, codec: Encodec, info: CodesInfo) -> None:
        self._codec = codec
        before, self._lstm, after = _around_lstm(codec._model.decoder.model)
        self._before = InBlocks(
            before, inputs=1, outputs=1, left=LATENT_CONTEXT, right=0, block=BLOCK_FRAMES
        )
        self._after = InBlocks(
            after,
            inputs=1,
            outputs=info.hop_length,
            left=CONVOLUTION_CONTEXT,
            right=0,
            block=BLOCK_FRAMES,
        )

    @torch.inference_mode()
    def push(self, block: Block) -> Samples:
        return self._samples(self._audio(self._before.push(self._codec.dequantise(block.data))))

    @torch.inference_mode()
    def finish(self) -> Samples:
        return self._samples(self._audio(self._before.finish()) + self._after.finish())

    def _audio(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        return [audio for x in features for audio in self._after.push(self._lstm(x))]

    def _samples(self, audio: list[torch.Tensor]) -> Samples:
        if not audio:
            return np.zeros((1, 0), np.float32)
        return torch.cat(audio, dim=-1)[0].cpu().numpy()


class SegmentEncoder:
    """Streaming encoder of the 48 kHz network: one segment at a time."""

    def __init__(self, codec: Encodec, info: CodesInfo) -> None:
        self._codec = codec
        self._info = info
        self._length: int = codec._model.segment_length
        self._stride: int = codec._model.segment_stride
        self._buffer = np.zeros((info.channels, 0), np.float32)

    def push(self, samples: Samples) -> Block:
        self._buffer = np.concatenate([self._buffer, samples], axis=1)
        blocks = []
        while self._buffer.shape[1] >= self._length:
            blocks.append(self._segment())
        return join(self._info, blocks)

    def finish(self) -> Block:
        blocks = []
        while self._buffer.shape[1]:
            blocks.append(self._segment())
        return join(self._info, blocks)

    @torch.inference_mode()
    def _segment(self) -> Block:
        """Code the segment at the head of the buffer, and move on by the stride."""
        x = to_tensor(self._buffer[:, : self._length], self._codec.device)[None]
        self._buffer = self._buffer[:, self._stride :]
        # Root mean square of the mono mix, as EncodecModel._encode_frame has it; the rest of that
        # method is here too, because it takes its number of codebooks from a bandwidth.
        scale = x.mean(dim=1, keepdim=True).pow(2).mean(dim=2, keepdim=True).sqrt() + 1e-8
        latents = self._codec._model.encoder(x / scale)
        data = self._codec.quantise(latents, self._info.codebooks)
        frames = np.array([data.shape[2]])
        return Block(data, Segments(frames, scale.view(-1).cpu().numpy()))


class SegmentDecoder:
    """Streaming decoder of the 48 kHz network: segments are cross-faded where they overlap."""

    def __init__(self, codec: Encodec, info: CodesInfo) -> None:
        self._codec = codec
        self._stride: int = codec._model.segment_stride
        self._most = codec._model.segment_length // info.hop_length
        self._fade: Samples | None = None
        self._sum = np.zeros((info.channels, 0), np.float32)
        self._weight = np.zeros(0, np.float32)

    def push(self, block: Block) -> Samples:
        if block.segments is None:
            raise CodecError("these codes have no segments, and EnCodec 48 kHz needs them")
        if int(block.segments.frames.max(initial=0)) > self._most:
            raise CodecError(f"a segment of EnCodec 48 kHz has at most {self._most} frames")
        ready = [np.zeros((len(self._sum), 0), np.float32)]
        ends = np.cumsum(block.segments.frames)
        for start, end, scale in zip(
            ends - block.segments.frames, ends, block.segments.scales, strict=True
        ):
            self._add(self._decode(block.data[:, :, start:end], float(scale)))
            ready.append(self._take(self._stride))
        return np.concatenate(ready, axis=1)

    def finish(self) -> Samples:
        return self._take(self._sum.shape[1])

    @torch.inference_mode()
    def _decode(self, codes: NDArray[np.uint16], scale: float) -> Samples:
        audio = self._codec._model.decoder(self._codec.dequantise(codes)) * scale
        samples: Samples = audio[0].cpu().numpy()
        return samples

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
