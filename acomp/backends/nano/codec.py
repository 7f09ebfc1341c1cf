"""nano: acomp's own small codecs. 24 kHz mono, causal; `nano-2`, the second generation, with 50
frames/s, 1 to 12 kbps, and `nano-1`, the first, with 75 frames/s, 1.5 to 12 kbps.

The network is in `network`. With OpenVINO and the weights that ship with acomp nothing imports
torch once the network lies compiled in the cache: starting torch takes longer than coding a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acomp.backends.base import Codec
from acomp.backends.nano.functions import Functions
from acomp.backends.nano.search import NumpySearch
from acomp.backends.nano.shape import CHOICES, MEMORY, PATHS, NanoShape
from acomp.backends.nano.streams import NanoDecoder, NanoEncoder
from acomp.backends.streams import Dequantise, Quantise
from acomp.backends.weights.checkpoint import SCALE, fingerprint, load_arrays
from acomp.backends.weights.places import shipped
from acomp.codecs import CodecSpec
from acomp.codes import CodesInfo
from acomp.engines import Array, Engine, Runner
from acomp.engines.once import once

if TYPE_CHECKING:
    from acomp.backends.nano.network import Network


CODES_OF: Mapping[str, str] = {"42d5b806e23b1f0a": "a12d17611d04b8f4"}
"""Fingerprints of weights whose decoder alone was trained further, and the fingerprint that codes
go on under: that of the first weights with their encoder and codebooks.
"""


def load(spec: CodecSpec, shape: NanoShape, weights: Path, engine: Engine) -> Codec:
    """Nano with the weights of a safetensors file.

    Raises:
        WeightsError: the file cannot be read or holds other weights than this nano's.
    """
    # What ships with acomp needs no torch to be trusted.
    if engine.name == "openvino" and weights == shipped(spec.name):
        state = load_arrays(weights)
        built = once(lambda: _network(shape, weights)[0])
        return Nano(shape, _codebooks(state), fingerprint(state), built, engine)
    network, mark = _network(shape, weights)
    return Nano(shape, network.codebooks.numpy(), mark, lambda: network, engine)


def _codebooks(state: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """As float32; kept as float16, or as whole numbers with a scale for each row."""
    scale = state.get("codebooks" + SCALE, np.float32(1))
    return state["codebooks"].astype(np.float32) * scale


def _network(shape: NanoShape, weights: Path) -> tuple[Network, str]:
    from acomp.backends.nano.network import load_network

    return load_network(shape, weights)


class Nano(Codec):
    """The codec on its network."""

    def __init__(
        self,
        shape: NanoShape,
        books: NDArray[np.float32],
        weights: str,
        network: Callable[[], Network],
        engine: Engine,
    ) -> None:
        """`weights` is their fingerprint."""
        super().__init__(shape.spec, CODES_OF.get(weights, weights), engine)
        self.shape = shape
        # The decoder's blocks see so far back, and a frame overlaps with the one before it.
        self.preroll = (shape.decoder[1] * MEMORY + 8) / shape.spec.frame_rate
        self._books = books
        self._network = network
        self._prepare = engine.prepare
        self._in_numpy = engine.name == "openvino"  # which is slower at quantising than numpy
        self.functions = Functions(shape, network, engine, f"nano {weights}")
        self.quantiser = once(self._quantiser)

    @property
    def module(self) -> Network:
        return self._network()

    def codebooks(self) -> NDArray[np.float32]:
        return self._books

    def _quantiser(self, codebooks: int) -> Runner:
        if self._in_numpy:
            return NumpySearch(self._books[:codebooks])
        from acomp.backends.shared.quantisers import Search

        books = self.module.codebooks[:codebooks]
        return self._prepare(
            lambda: Search(books, paths=PATHS, choices=CHOICES), (), "", precise=True
        )

    def quantised(self, latents: Array, codebooks: int) -> NDArray[np.uint16]:
        rows = np.ascontiguousarray(latents.transpose(0, 2, 1))
        (codes,) = self.quantiser(codebooks)(rows)
        return codes.astype(np.uint16)

    def dequantised(self, codes: NDArray[np.uint16]) -> Array:
        levels = zip(self._books, codes.transpose(1, 0, 2), strict=False)
        return np.asarray(sum(book[chosen] for book, chosen in levels)).transpose(0, 2, 1)

    def latent_encoder(self, info: CodesInfo, quantise: Quantise) -> NanoEncoder:
        return NanoEncoder(self, info, quantise)

    def latent_decoder(self, info: CodesInfo, dequantise: Dequantise) -> NanoDecoder:
        return NanoDecoder(self, info, dequantise)
