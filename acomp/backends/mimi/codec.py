"""Mimi (https://arxiv.org/abs/2410.00037): 24 kHz mono, 12.5 frames/s, its first codebook semantic.

Convolutions lead to 25 positions a second, a transformer looks 10 s back among them, and two of
them become a frame; the decoder goes the same way back. All of it is causal, so a frame is coded
as soon as it is there. Stereo is coded as two streams, each as it would be alone.

The convolutions, most of the work, run on the engine. The transformers, the quantiser and the end
of a stream run in torch on every engine. The networks are built from the checkpoint itself
(`network`, `transformer`): the package `transformers`, slow to import, is needed for `Mimi.module`
alone.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from acomp.backends.base import Codec
from acomp.backends.mimi.network import Networks, SplitDequantiser, SplitQuantiser
from acomp.backends.mimi.shape import SPEC, STRIDE, MimiShape, read_shape
from acomp.backends.mimi.streams import Half, MimiDecoder, MimiEncoder
from acomp.backends.mimi.transformer import PreparedTransformer
from acomp.backends.shared.seanet import AsProducts
from acomp.backends.shared.stacks import PreparedStack
from acomp.backends.streams import Dequantise, Quantise
from acomp.backends.weights.checkpoint import fingerprint, load_checkpoint
from acomp.backends.weights.layouts.files import config_of
from acomp.backends.weights.tensors import Tensors
from acomp.codecs import CodecSpec
from acomp.codes import CodesInfo
from acomp.engines import Array, Engine, Runner
from acomp.engines.apart import apart_to_load
from acomp.engines.once import once
from acomp.engines.torch import in_torch

DECODER_CONTEXT = 16
"""Positions, and more, that the decoder's convolutions look back."""


@apart_to_load()
def load(spec: CodecSpec, shape: MimiShape, weights: Path, engine: Engine) -> Codec:
    """Mimi with the weights of a file, Moshi's among them, or of a folder of Hugging Face.

    A file alone is of the published shape; a folder's `config.json` tells its own.

    Raises:
        WeightsError: the file or folder cannot be read or holds other weights than Mimi's.
    """
    config = config_of(weights)
    if config is not None:
        shape = read_shape(config)
    return Mimi(spec, shape, weights, engine)


class Mimi(Codec):
    """Mimi in any shape, on a file of weights.

    Attributes:
        networks: what the file's tensors make.
    """

    def __init__(self, spec: CodecSpec, shape: MimiShape, weights: Path, engine: Engine) -> None:
        state = load_checkpoint(weights).state
        super().__init__(spec, fingerprint(state), engine)
        self.shape = shape
        self._weights = weights
        self._in_torch = partial(in_torch, engine)
        problem = f"{weights} does not hold weights of mimi in the shape expected:"
        self.networks = Networks.of(Tensors(state, problem), shape)
        self._prepare(self.networks, engine)
        self.quantiser = once(self._prepare_quantiser)
        seen = shape.num_hidden_layers * (shape.sliding_window - 1) + DECODER_CONTEXT
        self.preroll = seen / (STRIDE * spec.frame_rate)

    def _prepare(self, networks: Networks, engine: Engine) -> None:
        """Make the networks ready to run."""
        self._books = networks.books
        key = f"{self.shape} {self.fingerprint}"
        self.encoder, self.decoder = (
            Half(
                PreparedStack(stack, hop, engine, f"{key} {name}"),
                hop,
                PreparedTransformer(transformer, engine),
            )
            for stack, hop, transformer, name in zip(
                (networks.encoder, networks.decoder),
                (SPEC.hop_length, STRIDE),
                networks.transformers,
                ("encoder", "decoder"),
                strict=True,
            )
        )
        self.downsample = self._in_torch(AsProducts(networks.downsample))
        self.upsample: Array = networks.upsample[:, 0].T.numpy()
        """What each channel is multiplied by: `[taps, hidden]`."""
        self.dequantiser = self._in_torch(SplitDequantiser(self._books), precise=True)

    @property
    def module(self) -> nn.Module:
        """A `transformers.MimiModel` with the weights; not what runs here.

        Raises:
            CodecError: the extra is not installed.
        """
        from acomp.backends.mimi.official import official_model

        return official_model(self.shape, load_checkpoint(self._weights).state)

    def codebooks(self) -> NDArray[np.float32]:
        return self._books.whole().numpy()

    def latent_codebooks(self) -> NDArray[np.float32]:
        return self._books.projected().numpy()

    def latent_encoder(self, info: CodesInfo, quantise: Quantise) -> MimiEncoder:
        return MimiEncoder(self, info, quantise)

    def latent_decoder(self, info: CodesInfo, dequantise: Dequantise) -> MimiDecoder:
        return MimiDecoder(self, info, dequantise)

    def quantised(self, latents: Array, codebooks: int) -> NDArray[np.uint16]:
        rows = np.ascontiguousarray(latents.transpose(0, 2, 1))
        (codes,) = self.quantiser(codebooks)(rows)
        return codes.astype(np.uint16)

    def dequantised(self, codes: NDArray[np.uint16]) -> Array:
        (latents,) = self.dequantiser(codes.astype(np.int64))
        return latents.transpose(0, 2, 1)

    def _prepare_quantiser(self, codebooks: int) -> Runner:
        return self._in_torch(SplitQuantiser(self._books, codebooks), precise=True)
