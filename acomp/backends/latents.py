"""The latent space of a codec: what lies between its encoder and its quantiser, and between its
codebooks and its decoder.

The streams are those that code and decode; only what stands where the quantiser does is another.
So latents are the very numbers that are quantised, and decode to the very samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acomp.audio import Audio
from acomp.audio.samples import Samples, is_finite
from acomp.backends.shared.side_by_side import alone, decoders_side_by_side, encoders_side_by_side
from acomp.backends.streaming import Decoder, Encoder
from acomp.backends.streams import StreamDecoder, StreamEncoder
from acomp.codecs import CodecSpec
from acomp.codes import Block, Codes, CodesInfo
from acomp.errors import CodecError
from acomp.values import as_array

if TYPE_CHECKING:
    from acomp.backends.base import Codec

Array = NDArray[Any]

BLOCK_SECONDS = 10
"""Seconds of latents that are worked on at a time, which bounds memory."""


class LatentEncoder(Encoder):
    """An `Encoder` that keeps the latents too, which `take` gives.

        >>> codec, audio = acomp.load("nano"), acomp.read_audio("speech.flac")
        >>> encoder = acomp.LatentEncoder(codec, codec.info(audio, bandwidth=6))
        >>> blocks = [encoder.push(audio.samples), encoder.finish()]
        >>> encoder.take().shape
        (1, 128, 174)

    Args:
        codec: the codec.
        info: what the codes will be of; `codec.info` returns it.
    """

    def _start(self, codec: Codec, info: CodesInfo) -> StreamEncoder:
        dimension = dimension_of(codec)
        self._taps = [_Tap(codec, info.codebooks, dimension) for _ in range(info.streams)]
        one = alone(info)
        return encoders_side_by_side([codec.latent_encoder(one, tap) for tap in self._taps])

    def take(self) -> NDArray[np.float32]:
        """The latents of the frames that were given since the last time, as `Codec.latents`."""
        return np.concatenate([tap.take() for tap in self._taps])


class _Tap:
    """Quantises the latents of a stream, and keeps them."""

    def __init__(self, codec: Codec, codebooks: int, dimension: int) -> None:
        self._codec = codec
        self._codebooks = codebooks
        self._empty: Array = np.zeros((1, dimension, 0), np.float32)
        self._kept: list[Array] = []

    def __call__(self, latents: Array) -> NDArray[np.uint16]:
        self._kept.append(np.array(latents, np.float32))
        return self._codec.quantised(latents, self._codebooks)

    def take(self) -> Array:
        """`[1, dimension, steps]`."""
        kept, self._kept = self._kept, []
        return np.concatenate([self._empty, *kept], axis=2)


class LatentDecoder:
    """Decodes a stream of latents block by block; the samples are those of `Codec.decode_latents`.

        >>> codec, audio = acomp.load("nano"), acomp.read_audio("speech.flac")
        >>> decoder = acomp.LatentDecoder(codec, codec.info(audio))
        >>> samples = [decoder.push(codec.latents(audio)), decoder.finish(audio.length)]
        >>> acomp.Audio(np.concatenate(samples, axis=1), decoder.sample_rate)
        Audio(1 channel, 3.45 s at 48000 Hz)

    Args:
        codec: the codec.
        info: what the latents are of (`codec.info`); how many codebooks does not matter.

    Attributes:
        sample_rate: sample rate of the result in Hz, that of the encoded audio.
    """

    def __init__(self, codec: Codec, info: CodesInfo) -> None:
        self._decoder = _FromSprings(codec, info)  # which sees that they are what they should be
        self._spec = codec.spec
        self._dimension = dimension_of(codec)
        self.sample_rate = self._decoder.sample_rate

    def push(self, latents: object) -> Samples:
        """Decode the next latents and return the samples that are ready, possibly none.

        Args:
            latents: floats `[streams, dimension, frames]` of whole frames.

        Returns:
            Samples `[channels, time]` at `sample_rate`, full scale +-1.

        Raises:
            CodecError: these are no latents of this codec, or `finish` was called before.
        """
        return self._decoder.push_latents(as_latents(self._spec, self._dimension, latents))

    def finish(self, length: int) -> Samples:
        """Return the last samples; nothing can be pushed after this.

        Args:
            length: samples per channel of the encoded audio, at `sample_rate`.

        Raises:
            CodecError: the latents decode to less than `length` samples, or `finish` was called
                before.
        """
        return self._decoder.finish(length)


class _FromSprings(Decoder):
    """A decoder whose latents are those that wait, whatever codes it is given."""

    def _start(self, codec: Codec, info: CodesInfo) -> StreamDecoder:
        self._steps = steps_of(codec.spec)
        self._springs = [_Spring(self._steps) for _ in range(info.streams)]
        one = alone(info)
        return decoders_side_by_side([codec.latent_decoder(one, each) for each in self._springs])

    def push_latents(self, latents: NDArray[np.float32]) -> Samples:
        info, frames = self.info, latents.shape[2] // self._steps
        if len(latents) != info.streams:
            raise CodecError(f"latents of {len(latents)} streams, where {info.streams} are coded")
        for spring, stream in zip(self._springs, latents, strict=True):
            spring.waiting = stream[np.newaxis]
        return self.push(Block(np.zeros((info.streams, info.codebooks, frames), np.uint16)))


class _Spring:
    """Gives latents that wait, in the place of those of codes."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.waiting: Array = np.zeros((1, 0, 0), np.float32)

    def __call__(self, codes: NDArray[np.uint16]) -> Array:
        steps = codes.shape[2] * self._steps
        given, self.waiting = self.waiting[:, :, :steps], self.waiting[:, :, steps:]
        return np.ascontiguousarray(given)


def steps_of(spec: CodecSpec) -> int:
    """Latents of a frame: as many as its finest level has codes."""
    return spec.levels[-1] if spec.levels else 1


def dimension_of(codec: Codec) -> int:
    """Numbers in a latent, as one frame of codes has them."""
    frame = np.zeros((1, codec.spec.codebook_counts[0], 1), np.uint16)
    return int(codec.dequantised(frame).shape[1])


def as_latents(spec: CodecSpec, dimension: int, value: object) -> NDArray[np.float32]:
    """Latents of a codec as float32 `[streams, dimension, steps]`.

    Raises:
        CodecError: they are none.
    """
    array = as_array(value, "latents", CodecError)
    if array.ndim == 2:
        array = array[np.newaxis]
    check_shape(spec, dimension, array.shape)
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite
        latents = np.ascontiguousarray(array, np.float32)
    if not is_finite(latents):
        raise CodecError("latents are not finite numbers")
    return latents


def check_shape(spec: CodecSpec, dimension: int, shape: tuple[int, ...]) -> int:
    """The number of frames of latents `[streams, dimension, steps]`.

    Raises:
        CodecError: they are of another shape.
    """
    if len(shape) != 3 or shape[1] != dimension or 0 in shape:
        raise CodecError(
            f"latents are of shape {shape}, and those of {spec.name} are "
            f"[streams, {dimension}, frames]"
        )
    steps = steps_of(spec)
    if shape[2] % steps:
        raise CodecError(
            f"{spec.name} has {steps} latents in a frame: {shape[2]} are no whole frames"
        )
    return shape[2] // steps


def encoded(codec: Codec, audio: Audio, info: CodesInfo) -> NDArray[np.float32]:
    """The latents of audio, block by block."""
    encoder = LatentEncoder(codec, info)
    parts = []
    step = BLOCK_SECONDS * audio.sample_rate
    for start in range(0, audio.length, step):
        encoder.push(audio.samples[:, start : start + step])
        parts.append(encoder.take())
    encoder.finish()
    return np.concatenate([*parts, encoder.take()], axis=2)


def decoded(codec: Codec, value: object, length: int | None, sample_rate: int | None) -> Audio:
    """As `Codec.decode_latents`, block by block."""
    latents = as_latents(codec.spec, dimension_of(codec), value)
    frames = latents.shape[2] // steps_of(codec.spec)
    shape = (len(latents), codec.spec.codebook_counts[0], frames)
    codes = codec.codes(np.zeros(shape, np.uint16), length=length, sample_rate=sample_rate)
    decoder = LatentDecoder(codec, codes.info)
    parts = [decoder.push(block) for block in blocks_of(codec, latents)]
    samples = np.concatenate([*parts, decoder.finish(codes.length)], axis=1)
    return Audio(samples, decoder.sample_rate)


def quantised(codec: Codec, value: object, codebooks: int) -> NDArray[np.uint16]:
    """Latents as codes `[streams, codebooks, frames]`, block by block."""
    parts = [
        np.concatenate([codec.quantised(one[np.newaxis], codebooks) for one in block])
        for block in blocks_of(codec, as_latents(codec.spec, dimension_of(codec), value))
    ]
    return np.concatenate(parts, axis=2)


def latents_of(codec: Codec, codes: Codes) -> NDArray[np.float32]:
    """As `Codec.latents_of`."""
    frames = max(1, int(BLOCK_SECONDS * codec.spec.frame_rate))
    parts = [
        np.concatenate([codec.dequantised(one[np.newaxis]) for one in part])
        for part in (codes.data[:, :, at : at + frames] for at in range(0, codes.frames, frames))
    ]
    empty = np.zeros((codes.info.streams, dimension_of(codec), 0), np.float32)
    return np.concatenate([empty, *parts], axis=2, dtype=np.float32)


def blocks_of(codec: Codec, latents: Array) -> Iterator[Array]:
    """Latents cut into blocks of whole frames."""
    size = max(1, int(BLOCK_SECONDS * codec.spec.frame_rate)) * steps_of(codec.spec)
    for start in range(0, latents.shape[2], size):
        yield latents[:, :, start : start + size]
