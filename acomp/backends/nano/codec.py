"""nano: acomp's own small codecs. 24 kHz mono, causal; `nano` with 75 frames/s, 1.5 to 12 kbps, and
`nano-2`, its second generation, with 50 frames/s, 1 to 12 kbps.

The network is in `nano_network`; here are the codec and its streams, on any engine. With OpenVINO
and the weights that ship with acomp nothing imports torch once the network lies compiled in the
cache: starting torch takes longer than coding a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from acomp.backends.base import Codec, Samples
from acomp.backends.weights.checkpoint import fingerprint, load_arrays
from acomp.codecs import CodecSpec, of_family
from acomp.codes import Block, CodesInfo, join, split
from acomp.engines import Array, Engine, Input, Runner
from acomp.engines.once import once

if TYPE_CHECKING:
    from torch import nn

    from acomp.backends.nano.network import Network

BUILT_IN = Path(__file__).with_name("nano.safetensors")

MEMORY = 6
"""Frames that a block of the network looks back."""
PATHS, CHOICES = 4, 2
"""Of the search for codes; see `rvq.Search`."""
EXAMPLE = 40
"""Frames of the example that a network is converted by."""
BLOCK_FRAMES = 750
"""Frames run at a time, at most."""
SCALE = "_scale"
"""Ends the name of what the rows of whole numbers are to be multiplied by."""


@dataclass(frozen=True)
class NanoShape:
    """What tells one generation's network from the other's."""

    spec: CodecSpec
    bands: int
    """Bands by whose energies the lines are levelled."""
    encoder: tuple[int, int]
    """Width and depth of what adds to the latents."""
    decoder: tuple[int, int]
    """Width and depth of what adds to the features."""
    expansion: int
    """How many times wider a block is inside."""

    @property
    def hop(self) -> int:
        """Samples from one frame to the next, and spectral lines of a frame."""
        return self.spec.hop_length

    @property
    def features(self) -> int:
        """Spectral lines of a frame and its bands."""
        return self.hop + self.bands

    @property
    def latent(self) -> int:
        return self.spec.codebook_dim


SHAPES = {codec.spec.name: NanoShape(codec.spec, **codec.network) for codec in of_family("nano")}
FIRST, SECOND = SHAPES.values()
FILES = {"nano": BUILT_IN, "nano-2": BUILT_IN.with_name("nano_2.safetensors")}
"""The weights that ship with acomp."""


def load(name: str, weights: Path, engine: Engine) -> Codec:
    """Nano with the weights of a safetensors file; those that ship with acomp by default.

    Raises:
        WeightsError: the file cannot be read or holds other weights than this nano's.
    """
    shape = SHAPES[name]
    if weights == FILES[name] and engine.name == "openvino":
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
        fingerprint: str | None,
        network: Callable[[], Network],
        engine: Engine,
    ) -> None:
        super().__init__(shape.spec, fingerprint, engine)
        self.shape = shape
        # The decoder's blocks see so far back, and a frame overlaps with the one before it.
        self.preroll = (shape.decoder[1] * MEMORY + 8) / shape.spec.frame_rate
        self._books = books
        self._network = network
        self._prepare = engine.prepare
        self._in_numpy = engine.name == "openvino"  # which is slower at quantising than numpy
        self.functions = Functions(shape, network, engine, f"nano {fingerprint}")
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

    def stream_encoder(self, info: CodesInfo) -> NanoEncoder:
        return NanoEncoder(self, info)

    def stream_decoder(self, info: CodesInfo) -> NanoDecoder:
        return NanoDecoder(self, info)


class Functions:
    """The network's functions, each ready to run on the engine.

    Only the decoder's refiner runs in bf16 where that is asked for: what lies around it needs the
    precision, and so does the encoder's (in bf16 it costs up to 2 % of the SI-SDR).
    """

    def __init__(
        self, shape: NanoShape, network: Callable[[], Network], engine: Engine, key: str
    ) -> None:
        def prepare(
            name: str, *widths: int, blocks: tuple[int, int] = (0, 0), precise: bool = False
        ) -> Runner:
            inputs = [Input((1, EXAMPLE, width), free=(0, 1)) for width in widths]
            inputs += [Input((1, MEMORY, blocks[0]), free=(0,))] * blocks[1]
            build = partial(_step, network, name)
            return engine.prepare(build, inputs, f"{key} {name}", precise=precise)

        self.analyse = prepare("analyse", 2 * shape.hop, precise=True)
        """Frames of samples to features and sine lines."""
        self.encode = prepare(
            "encode", shape.features, shape.hop, blocks=shape.encoder, precise=True
        )
        """Features, sine lines and state to latents and state."""
        self.decode = prepare("decode", shape.latent, blocks=shape.decoder)
        """Latents and state to features and state."""
        self.synthesise = prepare("synthesise", shape.features, precise=True)
        """Features to windowed frames of samples."""


def _step(network: Callable[[], Network], name: str) -> nn.Module:
    from acomp.backends.nano.network import Step

    return Step(network(), name)


class NanoEncoder:
    """Streaming encoder; the streams are the batch."""

    def __init__(self, codec: Nano, info: CodesInfo) -> None:
        self._run = codec.functions
        self._quantise = codec.quantiser(info.codebooks)
        self._info = info
        self._hop = codec.shape.hop
        self._state = _start(info.streams, *codec.shape.encoder)
        self._buffer = np.zeros((info.streams, self._hop), np.float32)

    def push(self, samples: Samples) -> Block:
        self._buffer = np.concatenate([self._buffer, samples], axis=1)
        blocks, hop = [], self._hop
        while (hops := min(self._buffer.shape[1] // hop, BLOCK_FRAMES + 1)) >= 2:
            blocks.append(self._code(self._buffer[:, : hops * hop]))
            self._buffer = self._buffer[:, (hops - 1) * hop :]
        return join(self._info, blocks)

    def finish(self) -> Block:
        # Silence up to a whole hop, and one hop more for the last frame's second half.
        missing = -self._buffer.shape[1] % self._hop + self._hop
        return self.push(np.zeros((self._info.streams, missing), np.float32))

    def _code(self, samples: Samples) -> Block:
        frames = sliding_window_view(samples, 2 * self._hop, axis=1)[:, :: self._hop]
        features, sines = self._run.analyse(frames)
        latents, *self._state = self._run.encode(features, sines, *self._state)
        (codes,) = self._quantise(latents)
        return Block(codes.astype(np.uint16))


class NanoDecoder:
    """Streaming decoder; the streams are the batch."""

    def __init__(self, codec: Nano, info: CodesInfo) -> None:
        self._run = codec.functions
        self._books = codec.codebooks()
        self._hop = codec.shape.hop
        self._state = _start(info.streams, *codec.shape.decoder)
        self._last = np.zeros((info.streams, 0, 2 * self._hop), np.float32)
        self._streams = info.streams

    def push(self, block: Block) -> Samples:
        parts = [self._samples(part) for part in split(block, BLOCK_FRAMES)]
        return np.concatenate([self.finish(), *parts], axis=1)

    def finish(self) -> Samples:
        return np.zeros((self._streams, 0), np.float32)

    def _samples(self, block: Block) -> Samples:
        levels = zip(self._books, block.data.transpose(1, 0, 2), strict=False)
        latents = sum(book[codes] for book, codes in levels)
        features, *self._state = self._run.decode(np.asarray(latents), *self._state)
        (frames,) = self._run.synthesise(features)
        frames = np.concatenate([self._last, frames], axis=1)
        self._last = frames[:, -1:]
        # Overlap-add: each frame's second half onto the next one's first.
        samples: Samples = frames[:, 1:, : self._hop] + frames[:, :-1, self._hop :]
        return samples.reshape(self._streams, -1)


def _start(streams: int, width: int, depth: int) -> list[Array]:
    """The state before the first frame."""
    return [np.zeros((streams, MEMORY, width), np.float32)] * depth


class NumpySearch:
    """`Search` of `rvq` without torch; faster at it than OpenVINO."""

    def __init__(self, books: NDArray[np.float32]) -> None:
        """`books` are `[codebooks, size, dimension]`."""
        self._books = books
        self._norms = np.square(books).sum(axis=2)
        self._factors = -2 * np.ascontiguousarray(books.transpose(0, 2, 1))

    def __call__(self, *inputs: Array) -> list[Array]:
        """Latents `[batch, time, dimension]` to codes `[batch, codebooks, time]`."""
        (latents,) = inputs
        batch, time, dimension = latents.shape
        left = latents.reshape(batch * time, 1, dimension)
        rows = np.arange(batch * time)[:, np.newaxis]
        codes = np.zeros((batch * time, 1, 0), np.int64)
        for book, norm, factor in zip(self._books, self._norms, self._factors, strict=True):
            distances = left.reshape(-1, dimension) @ factor
            distances += norm
            nearest, entries = _nearest(distances, CHOICES)
            nearest += np.square(left).sum(axis=2).reshape(-1, 1)
            best = nearest.reshape(len(rows), -1).argsort(axis=1, kind="stable")[:, :PATHS]
            chosen, path = entries.reshape(len(rows), -1)[rows, best], best // CHOICES
            left = left[rows, path] - book[chosen]
            codes = np.concatenate([codes[rows, path], chosen[..., np.newaxis]], axis=2)
        return [codes[:, 0].reshape(batch, time, -1).transpose(0, 2, 1)]


def _nearest(distances: Array, number: int) -> tuple[Array, NDArray[np.int64]]:
    """The least of each row of `[n, size]`, and where they are: `[n, number]`, ascending."""
    every = np.arange(len(distances))
    least, entries = [], []
    for _ in range(number):
        entry = distances.argmin(axis=1)
        least.append(distances[every, entry])
        entries.append(entry)
        distances[every, entry] = np.inf
    return np.stack(least, axis=1), np.stack(entries, axis=1)
