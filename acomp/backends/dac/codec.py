"""DAC, the Descript Audio Codec (https://arxiv.org/abs/2306.06546).

The network is acomp's own (`network`, `shared.layers`); `descript-audio-codec` is needed for
`Dac.module` alone. It is one channel wide; stereo is coded as two streams. Its convolutions see a
finite stretch on both sides, so it is run in blocks with that much context, and the codes are those
of `DAC.encode` on the whole file. The layers next to the samples see little of that stretch and are
most of the work, those next to the latents see the rest; so each half is run in two parts with
blocks and context of their own. The audio is coded at the level it has.

The official tool codes long audio in chunks, with no padding in any layer, so that a chunk stands
for fewer samples than it sees. Such codes are decoded as it decodes them; acomp makes none.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from acomp.backends.base import Codec
from acomp.backends.dac.chunks import ChunkDecoder
from acomp.backends.dac.network import Unpadded, decoder_stages, encoder_stages
from acomp.backends.dac.shape import DacShape
from acomp.backends.shared import blocks
from acomp.backends.shared.blocks import BlockDecoder, BlockEncoder, Cut, Stage
from acomp.backends.shared.layers import Autoencoder
from acomp.backends.shared.loading import Network, load_autoencoder
from acomp.backends.shared.quantisers import DirectionDequantiser, DirectionQuantiser
from acomp.backends.shared.snake import with_fast_snakes
from acomp.backends.streams import Dequantise, Quantise, StreamDecoder, StreamEncoder
from acomp.codecs import CodecSpec
from acomp.codes import CodesInfo
from acomp.engines import Array, Engine, Runner
from acomp.engines.apart import apart, apart_to_load
from acomp.engines.once import once
from acomp.engines.rewriting import without_transposed
from acomp.engines.torch import in_torch


@apart_to_load()
def load(spec: CodecSpec, shape: DacShape, weights: Path, engine: Engine) -> Codec:
    """The codec of a shape with the weights of a file in the official or acomp's own layout.

    Raises:
        WeightsError: the file cannot be read or holds other weights than this codec's.
    """
    return Dac(spec, shape, load_autoencoder(shape, weights, spec.name), engine)


class Dac(Codec):
    """DAC in any shape.

    Attributes:
        network: the network that runs.
    """

    decodes_chunks = True

    def __init__(self, spec: CodecSpec, shape: DacShape, network: Network, engine: Engine) -> None:
        super().__init__(spec, network.fingerprint, engine)
        self.shape = shape
        self._module = network.module
        folded: Autoencoder = with_fast_snakes(without_transposed(network.folded), engine)
        self.network = folded
        self._books = folded.books
        key = f"{shape} {network.fingerprint}"
        self.encoder = encoder_stages(folded, shape, engine, key)
        self.decoder = decoder_stages(folded, shape, engine, key)
        contexts = sum(shape.decoder_contexts)
        self.preroll = max(Codec.preroll, contexts * spec.hop_length / spec.sample_rate)
        # The quantiser is a small part of the work, and bf16 would spoil it.
        self._precisely = partial(in_torch, engine, precise=True)
        self.quantiser = once(self._prepare_quantiser)
        self.dequantiser = self._precisely(DirectionDequantiser(self._books))
        self.unpadded = once(lambda: Unpadded(folded.decoder_layers))
        self.chunk_stage = once(self._prepare_chunk_stage)

    @property
    def module(self) -> nn.Module:
        """A `dac.DAC` with the weights; not what runs here.

        Raises:
            CodecError: the extra is not installed.
        """
        return self._module()

    def codebooks(self) -> NDArray[np.float32]:
        return np.stack([book.codebook.weight.numpy() for book in self._books])

    @apart()
    def latent_codebooks(self) -> NDArray[np.float32]:
        return np.stack([book.latent_entries().numpy() for book in self._books])

    def stream_decoder(self, info: CodesInfo) -> StreamDecoder:
        if info.chunk is not None:
            return ChunkDecoder(self, info, info.chunk)
        return super().stream_decoder(info)

    def latent_encoder(self, info: CodesInfo, quantise: Quantise) -> StreamEncoder:
        return BlockEncoder(info, self.encoder, quantise, info.hop_length)

    def latent_decoder(self, info: CodesInfo, dequantise: Dequantise) -> StreamDecoder:
        return BlockDecoder(info, self.decoder, dequantise)

    def quantised(self, latents: Array, codebooks: int) -> NDArray[np.uint16]:
        levels = self.quantiser(codebooks)(latents)
        codes: NDArray[np.uint16] = np.stack(levels, axis=1).astype(np.uint16)
        return codes

    def dequantised(self, codes: NDArray[np.uint16]) -> Array:
        (latents,) = self.dequantiser(*codes.astype(np.int64).swapaxes(0, 1))
        return latents

    def _prepare_quantiser(self, codebooks: int) -> Runner:
        return self._precisely(DirectionQuantiser(self._books[:codebooks]))

    def _prepare_chunk_stage(self) -> Stage:
        # Twice the context, so that even a last piece of one frame is long enough for the layers.
        context = 2 * sum(self.shape.decoder_contexts)
        cut = Cut(1, self.spec.hop_length, context, blocks.LATENT_BLOCK)
        return Stage(self._precisely(self.unpadded()), cut)
