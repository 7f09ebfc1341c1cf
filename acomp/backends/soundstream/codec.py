"""SoundStream (https://arxiv.org/abs/2107.03312) as Lyra 1.3.2 published it, on LiteRT.

16 kHz mono, 50 frames/s, 46 codebooks of 16 entries; stereo is coded as two streams. The three
networks (encoder, quantiser, decoder) are compiled for LiteRT, Google's runtime for `.tflite`
files, and run on one thread of the CPU, whatever engine runs the other codecs. They take a frame
at a time and keep what they saw of the frames before, so each stream has interpreters of its own.
A frame's sound lies where it lay in the input: nothing is late.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acomp.audio.samples import Samples
from acomp.backends.base import Codec
from acomp.backends.soundstream.network import Network, open_model, read_codebooks
from acomp.backends.streams import Dequantise, Quantise
from acomp.backends.weights.catalogue import Weights, lookup
from acomp.codecs import CodecSpec
from acomp.codes import Block, CodesInfo, empty_block
from acomp.engines import Array, Engine
from acomp.errors import CodecError, WeightsError
from acomp.files import reason_of
from acomp.quiet import without_notice


def load(spec: CodecSpec, _shape: None, weights: Path, engine: Engine) -> Codec:
    """SoundStream with the three files of a folder, which must be the published ones.

    Raises:
        WeightsError: a file is missing, cannot be read, or is not the published one.
        CodecError: the extra is not installed, or bf16 or a GPU is asked for.
    """
    _check_engine(spec.name, engine)
    _require_package(spec.name)
    parts = (_read(spec.name, weights, lookup(part)) for part in lookup(spec.name).parts)
    return SoundStream(spec, *parts)


def _check_engine(name: str, engine: Engine) -> None:
    if engine.precision != "fp32":
        raise CodecError(
            f"{name} runs on LiteRT in the precision of its files, not in {engine.precision}; "
            "take precision fp32"
        )
    if engine.name == "torch":
        from acomp.engines.torch import TorchEngine

        if (
            isinstance(engine, TorchEngine)
            and engine.device.type != "cpu"
            and engine.device_asked != "auto"
        ):
            raise CodecError(f"{name} runs on the CPU, not on a GPU; take device cpu")


def _require_package(name: str) -> None:
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError as error:
        raise CodecError(
            f'the codec {name} needs its package ({error}): pip install "acomp[soundstream]"'
        ) from None


def _read(name: str, folder: Path, published: Weights) -> bytes:
    """A file of the folder, seen to be the published one: LiteRT trusts what it is given."""
    assert published.size is not None
    path = folder / Path(published.file).name
    try:
        if folder.exists() and not folder.is_dir():
            raise WeightsError(
                f"{folder} is a file: give the folder that holds {path.name} and the other files "
                f"of {name}"
            )
        if path.stat().st_size == published.size:
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() == published.sha256:
                return content
    except OSError as error:
        raise WeightsError(f"cannot read the weights {path}: {reason_of(error)}") from error
    raise WeightsError(
        f"{path} is not the published file, and {name} takes no other: its size or its "
        f"SHA-256 differs; see {published.page}"
    )


class SoundStream(Codec):
    """The codec on the bytes of its three files."""

    def __init__(self, spec: CodecSpec, encoder: bytes, quantiser: bytes, decoder: bytes) -> None:
        digest = hashlib.sha256(encoder + quantiser + decoder).hexdigest()
        super().__init__(spec, digest[:16])
        self.encoder = encoder
        self.quantiser = quantiser
        self.decoder = decoder
        with without_notice():
            self._books = read_codebooks(quantiser, spec)

    def codebooks(self) -> NDArray[np.float32]:
        return self._books.copy()

    def quantised(self, latents: Array, codebooks: int) -> NDArray[np.uint16]:
        quantise = open_model(self.quantiser).get_signature_runner("encode")
        used = np.array(codebooks, np.int32)
        codes = np.zeros((len(latents), codebooks, latents.shape[2]), np.uint16)
        for stream, frame in np.ndindex(codes.shape[0], codes.shape[2]):
            latent = np.ascontiguousarray(latents[np.newaxis, stream, np.newaxis, :, frame])
            found = quantise(input_frames=latent, num_quantizers=used)
            codes[stream, :, frame] = found["output_0"][:codebooks, 0, 0]
        return codes

    def dequantised(self, codes: NDArray[np.uint16]) -> Samples:
        """As `Codec.dequantised`.

        Added up in the order in which the quantiser's own decoding does, so that they are the same
        to the last bit.
        """
        streams, _, frames = codes.shape
        total = np.zeros((streams, frames, self.spec.codebook_dim), np.float32)
        for book, chosen in zip(self._books, codes.transpose(1, 0, 2), strict=False):
            total += book[chosen]
        return total.transpose(0, 2, 1)

    def latent_encoder(self, info: CodesInfo, quantise: Quantise) -> SoundStreamEncoder:
        return SoundStreamEncoder(self, info, quantise)

    def latent_decoder(self, info: CodesInfo, dequantise: Dequantise) -> SoundStreamDecoder:
        return SoundStreamDecoder(self, info, dequantise)


class SoundStreamEncoder:
    """Streaming encoder; each stream has a network of its own."""

    def __init__(self, codec: SoundStream, info: CodesInfo, quantise: Quantise) -> None:
        self._info = info
        self._networks = [Network(codec.encoder) for _ in range(info.streams)]
        self._quantise = quantise
        self._buffer = np.zeros((info.streams, 0), np.float32)

    def push(self, samples: Samples) -> Block:
        hop = self._info.hop_length
        samples = np.concatenate([self._buffer, samples], axis=1)
        count = samples.shape[1] // hop
        # A copy, for a view would keep the whole block in memory.
        self._buffer = samples[:, count * hop :].copy()
        if count == 0:
            return empty_block(self._info)
        frames = samples[:, : count * hop].reshape(len(samples), count, 1, hop)
        latents = [
            np.concatenate([network(frame)[0] for frame in stream])
            for network, stream in zip(self._networks, frames, strict=True)
        ]
        return Block(self._quantise(np.stack(latents).transpose(0, 2, 1)))

    def finish(self) -> Block:
        # Silence up to a whole frame.
        missing = -self._buffer.shape[1] % self._info.hop_length
        return self.push(np.zeros((self._info.streams, missing), np.float32))


class SoundStreamDecoder:
    """Streaming decoder; each stream has a network of its own."""

    def __init__(self, codec: SoundStream, info: CodesInfo, dequantise: Dequantise) -> None:
        self._dequantise = dequantise
        self._hop = info.hop_length
        self._networks = [Network(codec.decoder) for _ in range(info.streams)]

    def push(self, block: Block) -> Samples:
        samples = np.zeros((len(self._networks), block.frames, self._hop), np.float32)
        latents = np.ascontiguousarray(self._dequantise(block.data).transpose(0, 2, 1))
        latents = latents[:, :, np.newaxis, np.newaxis]
        for network, stream, frames in zip(self._networks, latents, samples, strict=True):
            for frame, latent in enumerate(stream):
                frames[frame] = network(latent)[0]
        return samples.reshape(len(samples), -1)

    def finish(self) -> Samples:
        return np.zeros((len(self._networks), 0), np.float32)
