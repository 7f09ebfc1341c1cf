"""EnCodec (https://arxiv.org/abs/2210.13438) on the `encodec` package: 24 kHz mono, 48 kHz stereo,
and other shapes.

A causal network, as that of 24 kHz, codes a stream (`causal`). One that is not, as that of 48 kHz,
codes segments of 1 s or so that overlap by 1 %, each scaled to unit level, on their own
(`segments`), or a stream too, as MusicGen's of 32 kHz (`acausal`).

The convolutions, most of the work, run on the engine. The LSTM, limited by how fast its weights
come out of the memory, runs in torch on every engine, where it is fastest; so do the quantiser, and
the edges of a stream, which the network pads by reflection.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acomp.backends.base import Codec
from acomp.backends.encodec.acausal import AcausalDecoder, AcausalEncoder, AcausalHalf
from acomp.backends.encodec.causal import CausalDecoder, CausalEncoder, CausalHalf
from acomp.backends.encodec.network import Dequantiser, Quantiser
from acomp.backends.encodec.quantisers import Residual
from acomp.backends.encodec.segments import SegmentDecoder, SegmentEncoder, SegmentHalf
from acomp.backends.encodec.shape import EncodecShape
from acomp.backends.shared import quantisers
from acomp.backends.shared.loading import Network, load_network
from acomp.backends.shared.side_by_side import alone, decoders_side_by_side, encoders_side_by_side
from acomp.backends.streams import Dequantise, Quantise, StreamDecoder, StreamEncoder
from acomp.codecs import CodecSpec
from acomp.codes import CodesInfo
from acomp.engines import Array, Engine, Runner
from acomp.engines.apart import apart_to_load
from acomp.engines.once import once
from acomp.engines.rewriting import without_transposed
from acomp.engines.torch import in_torch
from acomp.errors import CodecError

PREROLL_FRAMES = 75
"""Frames after which the LSTM has all but forgotten what it did not see: 1 s at 24 kHz."""


@apart_to_load()
def load(spec: CodecSpec, shape: EncodecShape, weights: Path, engine: Engine) -> Codec:
    """The codec of a shape with the weights of a file in the official or acomp's own layout.

    Raises:
        WeightsError: the file cannot be read or holds other weights than this codec's.
    """
    return Encodec(spec, shape, load_network(shape, weights, spec.name), engine)


class Encodec(Codec):
    """EnCodec in any shape, causal or in segments.

    Attributes:
        network: the `encodec.EncodecModel` that runs, its weight norm folded.
    """

    network: Any
    encoder: CausalHalf | SegmentHalf | AcausalHalf
    decoder: CausalHalf | SegmentHalf | AcausalHalf

    def __init__(
        self, spec: CodecSpec, shape: EncodecShape, network: Network, engine: Engine
    ) -> None:
        super().__init__(spec, network.fingerprint, engine)
        self.shape = shape
        self.preroll = PREROLL_FRAMES / spec.frame_rate
        self._module = network.module
        self.network = folded = network.folded
        self._vq = folded.quantizer.vq
        self._precisely = partial(in_torch, engine, precise=True)
        self._in_torch = engine.name == "torch"
        self.quantiser = once(self._prepare_quantiser)
        self._dequantiser = self._precisely(Dequantiser(self._vq))
        key = f"{shape} {network.fingerprint}"
        parts = (folded.encoder.model, f"{key} encoder"), (folded.decoder.model, f"{key} decoder")
        if shape.causal:
            hops = (shape.hop_length, 1)
            self.encoder, self.decoder = (
                CausalHalf(layers, hop, shape.first_frames, engine, key)
                for (layers, key), hop in zip(parts, hops, strict=True)
            )
        elif shape.segment is None:
            self.encoder, self.decoder = (
                AcausalHalf(layers, *cuts, engine)
                for (layers, _), cuts in zip(parts, shape.cuts, strict=True)
            )
        else:
            without_transposed(folded)
            frames = shape.segment_length // shape.hop_length
            inputs = (1, shape.channels, shape.segment_length), (1, shape.dimension, frames)
            self.encoder, self.decoder = (
                SegmentHalf(layers, whole, frames, engine, key)
                for (layers, key), whole in zip(parts, inputs, strict=True)
            )

    @property
    def module(self) -> nn.Module:
        """An `encodec.EncodecModel` with the weights; not the one that runs, which is folded."""
        return self._module()

    def codebooks(self) -> NDArray[np.float32]:
        return np.stack([layer.codebook.detach().cpu().numpy() for layer in self._vq.layers])

    def latent_codebooks(self) -> NDArray[np.float32]:
        if not isinstance(self._vq, Residual):
            return self.codebooks()
        every = torch.arange(self.spec.codebook_size)
        with torch.no_grad():
            return np.stack([level.entries(every).cpu().numpy() for level in self._vq.levels])

    def stream_encoder(self, info: CodesInfo) -> StreamEncoder:
        if isinstance(self.encoder, SegmentHalf):
            self._check_streams(info)
            return SegmentEncoder(self, self.encoder, info)
        quantise = partial(self.quantised, codebooks=info.codebooks)
        one = alone(info)
        return encoders_side_by_side(
            [self.latent_encoder(one, quantise) for _ in range(info.streams)]
        )

    def stream_decoder(self, info: CodesInfo) -> StreamDecoder:
        if isinstance(self.decoder, SegmentHalf):
            self._check_streams(info)
            return SegmentDecoder(self, self.decoder, info)
        one = alone(info)
        return decoders_side_by_side(
            [self.latent_decoder(one, self.dequantised) for _ in range(info.streams)]
        )

    def latent_encoder(self, info: CodesInfo, quantise: Quantise) -> StreamEncoder:
        if isinstance(self.encoder, SegmentHalf):
            return super().latent_encoder(info, quantise)
        if isinstance(self.encoder, AcausalHalf):
            return AcausalEncoder(self.encoder, info, quantise)
        return CausalEncoder(self.encoder, info, quantise)

    def latent_decoder(self, info: CodesInfo, dequantise: Dequantise) -> StreamDecoder:
        if isinstance(self.decoder, SegmentHalf):
            return super().latent_decoder(info, dequantise)
        if isinstance(self.decoder, AcausalHalf):
            return AcausalDecoder(self.decoder, info, dequantise)
        return CausalDecoder(self.decoder, info, dequantise)

    def _check_streams(self, info: CodesInfo) -> None:
        if info.streams > 1:
            raise CodecError(
                f"{self.spec.name} keeps a level for each segment, of one stream alone: "
                "code the channels one by one"
            )

    def seek(self, sample: int) -> tuple[int, int]:
        spec = self.spec
        if spec.segment_frames is None:
            return super().seek(sample)
        # One segment earlier, for the cross-fade.
        segment = max(0, sample // spec.segment_stride - 1)
        return segment * spec.segment_frames, segment * spec.segment_stride

    def quantised(self, latents: Array, codebooks: int) -> NDArray[np.uint16]:
        (codes,) = self.quantiser(codebooks)(latents.transpose(0, 2, 1))
        return codes.astype(np.uint16)

    def dequantised(self, codes: NDArray[np.uint16]) -> Array:
        (latents,) = self._dequantiser(codes.astype(np.int64))
        return latents

    def _prepare_quantiser(self, codebooks: int) -> Runner:
        if self._in_torch or isinstance(self._vq, Residual):
            return self._precisely(Quantiser(self._vq, codebooks))
        # Twice as fast as the package's, and there is no last bit to keep here.
        books = torch.from_numpy(self.codebooks()[:codebooks])
        return self._precisely(quantisers.Quantiser(books))
