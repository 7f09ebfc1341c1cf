"""SNAC (https://arxiv.org/abs/2410.14411).

Each level of its quantiser runs at twice the rate of the one before; `shared.levels` tells how its
codes stand in frames. Fewer levels than all decode to what they say of the latents: the sum over
the levels that are there.

The network is acomp's own; the package `snac` is needed for `Snac.module` alone. It is a relative
of DAC's and is run like it, in stages, in blocks (`shared.blocks`); what is its own, attention and
noise, is in `network`. As in `SNAC.preprocess` the end is padded to whole
windows of attention, so that codes can be some frames longer than the audio.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.backends.base import Codec
from acomp.backends.shared.blocks import BlockDecoder, BlockEncoder
from acomp.backends.shared.layers import Autoencoder
from acomp.backends.shared.levels import fold, unfold
from acomp.backends.shared.loading import Network, load_autoencoder
from acomp.backends.shared.quantisers import DirectionDequantiser, DirectionQuantiser
from acomp.backends.shared.snake import with_fast_snakes
from acomp.backends.snac.network import decoder_stages, encoder_stages
from acomp.backends.snac.shape import SnacShape
from acomp.backends.streams import Dequantise, Quantise, StreamDecoder, StreamEncoder
from acomp.backends.weights.layouts.configs import agree
from acomp.backends.weights.layouts.files import config_of, read_config
from acomp.codecs import CodecSpec
from acomp.codes import CodesInfo
from acomp.engines import Array, Engine, Runner
from acomp.engines.apart import apart, apart_to_load
from acomp.engines.once import once
from acomp.engines.rewriting import without_transposed
from acomp.engines.torch import in_torch


@apart_to_load()
def load(spec: CodecSpec, shape: SnacShape, weights: Path, engine: Engine) -> Snac:
    """The codec of a shape with the weights of a file or folder.

    Raises:
        WeightsError: the weights cannot be read or are other than this codec's.
    """
    config = config_of(weights)
    if config is not None:
        agree(read_config(config), shape.config, f"{weights} does not hold weights of {spec.name}")
    return Snac(spec, shape, load_autoencoder(shape, weights, spec.name), engine)


class Snac(Codec):
    """SNAC in any shape.

    Attributes:
        network: the network that runs.
    """

    def __init__(self, spec: CodecSpec, shape: SnacShape, network: Network, engine: Engine) -> None:
        super().__init__(spec, network.fingerprint, engine)
        self.shape = shape
        self._module = network.module
        seen = sum(shape.reach[2:]) + (2 * shape.window if shape.window else 0)
        self.preroll = max(Codec.preroll, seen * shape.latent_hop / spec.sample_rate)
        folded: Autoencoder = with_fast_snakes(without_transposed(network.folded), engine)
        self.network = folded
        self._books = folded.books
        key = f"{shape} {network.fingerprint}"
        self.encoder = encoder_stages(folded, shape, engine, key)
        self.decoder = decoder_stages(folded, shape, engine, key)
        # The quantiser is a small part of the work, and bf16 would spoil it.
        self._precisely = partial(in_torch, engine, precise=True)
        self.quantiser = once(self._prepare_quantiser)
        self.dequantiser = self._precisely(DirectionDequantiser(self._books))

    @property
    def module(self) -> nn.Module:
        """A `snac.SNAC` with the weights; not what runs here.

        Raises:
            CodecError: the extra is not installed.
        """
        return self._module()

    def codebooks(self) -> NDArray[np.float32]:
        """Each level's codebook once for each of its slots: `[codebooks, size, dimension]`."""
        return self._by_slot([book.codebook.weight for book in self._books])

    @apart()
    def latent_codebooks(self) -> NDArray[np.float32]:
        return self._by_slot([book.latent_entries() for book in self._books])

    def _by_slot(self, books: Sequence[Tensor]) -> NDArray[np.float32]:
        stacked = np.stack([book.numpy() for book in books])
        return np.repeat(stacked, self.spec.levels, axis=0)

    def latent_encoder(self, info: CodesInfo, quantise: Quantise) -> StreamEncoder:
        unit = self.shape.unit * info.hop_length
        return BlockEncoder(info, self.encoder, quantise, unit)

    def latent_decoder(self, info: CodesInfo, dequantise: Dequantise) -> StreamDecoder:
        return BlockDecoder(info, self.decoder, dequantise)

    def quantised(self, latents: Array, codebooks: int) -> NDArray[np.uint16]:
        levels = self.quantiser(len(self.levels(codebooks)))(latents)
        return fold(levels).astype(np.uint16)

    def dequantised(self, codes: NDArray[np.uint16]) -> Array:
        levels = self.levels(codes.shape[1])
        (latents,) = self.dequantiser(*unfold(codes, levels))
        return latents

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

    def _prepare_quantiser(self, levels: int) -> Runner:
        return self._precisely(DirectionQuantiser(self._books[:levels]))
