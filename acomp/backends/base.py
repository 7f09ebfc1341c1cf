"""`Codec`, the interface of all codecs, with what they have in common.

A codec family implements a few methods of `Codec`, for audio that already has the codec's sample
rate and channels. `Encoder` and `Decoder` (`streaming`) convert the user's audio to these and back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from acomp.audio import Audio
from acomp.audio.samples import Samples as Samples, check_audio
from acomp.backends.latents import decoded, encoded, latents_of, quantised
from acomp.backends.reloading import Loading, load_again
from acomp.backends.streaming import Decoder, Encoder
from acomp.backends.streams import Dequantise, Quantise, StreamDecoder, StreamEncoder
from acomp.backends.tokens import codes_of
from acomp.codecs import CodecSpec
from acomp.codes import Codes, CodesInfo, check_codes, info_of, split
from acomp.engines import Engine
from acomp.errors import AcompError, AudioError, CodecError, check_type
from acomp.scalars import whole_number
from acomp.settings import Channels, Coding

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

BLOCK_SECONDS = 10
"""Seconds of audio that `encode` and `decode` process at a time, which bounds memory."""


class HasFormat(Protocol):
    """What encoding needs to know of audio beforehand: sample rate in Hz and channels."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...


class Codec(ABC):
    """A neural codec with its weights; `acomp.load` returns it.

        >>> codec = acomp.load("nano")
        >>> codes = codec.encode(acomp.read_audio("speech.flac"), bandwidth=6)
        >>> codec.decode(codes)
        Audio(1 channel, 3.45 s at 48000 Hz)

    `encode` and `decode` work on whole recordings, `encode_batch` and `decode_batch` on several;
    `Encoder` and `Decoder` work block by block. Threads may share a codec. Copying or unpickling a
    codec loads it again, with the arguments that `acomp.load` was given.

    A codec of your own implements `stream_encoder`, `stream_decoder`, `codebooks` and, where it
    has a torch module, `module`; it may extend `seek` and `check`, which `Decoder` calls.

    Attributes:
        spec: sample rate, channels, codebooks, bandwidths and whatever else is fixed.
        fingerprint: first 16 hexadecimal digits of the SHA-256 of the weights; None if there
            are none.
        engine: runs the networks; None for a codec that has none.
        loading: the arguments of `acomp.load`; None for a codec that was made without it.
        preroll: warm-up in seconds: decoding from the middle of a recording begins that much
            earlier, so that the samples are the same as when all of it is decoded.
        decodes_chunks: whether the codec decodes codes in chunks (`CodesInfo.chunk`).
    """

    preroll = 1.0
    decodes_chunks = False

    def __init__(
        self, spec: CodecSpec, fingerprint: str | None, engine: Engine | None = None
    ) -> None:
        self.spec = spec
        self.fingerprint = fingerprint
        self.engine = engine
        self.loading: Loading | None = None

    def __repr__(self) -> str:
        engine = self.engine and f", {self.engine.name} {self.engine.precision}"
        return f"<codec {self.spec.name}, {self.spec.sample_rate} Hz{engine or ''}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.loading is None:
            return super().__reduce_ex__(protocol)
        return load_again, (self.loading, self.fingerprint)

    def to(self, device: object) -> Codec:
        """The codec loaded on another device, or itself if it was loaded with that device.

        Args:
            device: auto, cpu, cuda, cuda:N, or a `torch.device`.

        Raises:
            CodecError: there is no such device, or the codec was not loaded by `acomp.load`.
        """
        if self.loading is None:
            raise CodecError(f"only acomp.load can put {self.spec.name} on another device")
        if self.loading.device == str(device):
            return self
        return load_again(replace(self.loading, device=str(device)), self.fingerprint)

    def stream_encoder(self, info: CodesInfo) -> StreamEncoder:
        """A new encoder of one stream of audio with `info.channels` channels at `spec.sample_rate`.

        A codec family implements this, or the four methods of a codec that lets its latents out;
        `Encoder` is the class to use.
        """
        return self.latent_encoder(info, partial(self.quantised, codebooks=info.codebooks))

    def stream_decoder(self, info: CodesInfo) -> StreamDecoder:
        """A new decoder of the codes that `stream_encoder(info)` returns.

        A codec family implements this, or the four methods of a codec that lets its latents out;
        `Decoder` is the class to use.
        """
        return self.latent_decoder(info, self.dequantised)

    # A codec family that lets its latents out implements the next four methods. They take one
    # stream; those whose networks take several side by side serve `stream_encoder` and
    # `stream_decoder` so too.

    def latent_encoder(self, info: CodesInfo, quantise: Quantise) -> StreamEncoder:  # noqa: ARG002
        """As `stream_encoder`, with latents made codes by `quantise`."""
        raise self._no_latents()

    def latent_decoder(self, info: CodesInfo, dequantise: Dequantise) -> StreamDecoder:  # noqa: ARG002
        """As `stream_decoder`, with codes made latents by `dequantise`."""
        raise self._no_latents()

    def quantised(self, latents: NDArray[Any], codebooks: int) -> NDArray[np.uint16]:  # noqa: ARG002
        """Latents `[streams, dimension, steps]` as codes `[streams, codebooks, frames]`."""
        raise self._no_latents()

    def dequantised(self, codes: NDArray[np.uint16]) -> NDArray[Any]:  # noqa: ARG002
        """Codes `[streams, codebooks, frames]` as latents `[streams, dimension, steps]`."""
        raise self._no_latents()

    def _no_latents(self) -> CodecError:
        return CodecError(f"{self.spec.name} does not let its latents out: take another codec")

    @abstractmethod
    def codebooks(self) -> NDArray[np.float32]:
        """The entries of all codebooks, float32 `[codebooks, size, dimension]`.

        Code c of codebook b stands for the vector `codebooks()[b, c]`.
        """

    @property
    def module(self) -> torch.nn.Module:
        """The codec as a torch module, for training and analysis.

        Raises:
            CodecError: the codec has no torch module.
        """
        raise CodecError(f"{self.spec.name} has no torch module: take another codec for that")

    def latent_codebooks(self) -> NDArray[np.float32]:
        """The entries of all codebooks in the latent space, float32 `[codebooks, size, latent]`.

        These are the vectors that the decoder adds up. They are the same as `codebooks()`, except
        in codecs that project each codebook into the latent space, such as DAC.
        """
        return self.codebooks()

    def info(
        self,
        audio: HasFormat,
        *,
        bandwidth: float | str | None = None,
        codebooks: int | None = None,
        channels: Channels | int = "auto",
    ) -> CodesInfo:
        """The `CodesInfo` of the codes that encoding `audio` gives; an `Encoder` needs it.

        Args:
            audio: an `Audio` or an `AudioReader`; only its sample rate and channels are used.
            bandwidth: as for `encode`.
            codebooks: as for `encode`.
            channels: as for `encode`.

        Raises:
            CodecError: the codec does not have the bandwidth, number of codebooks or channels.
            AudioError: the audio has more channels than can be coded.
        """
        spec = self.spec
        if not hasattr(audio, "sample_rate") or not hasattr(audio, "channels"):
            check_audio(audio)
        coded = spec.channels_for(audio.channels, channels)
        return info_of(
            spec,
            channels=coded,
            codebooks=spec.codebooks_for(bandwidth, codebooks),
            source_rate=audio.sample_rate,
            fingerprint=self.fingerprint,
        )

    def encode(
        self,
        audio: Audio,
        *,
        bandwidth: float | str | None = None,
        codebooks: int | None = None,
        channels: Channels | int = "auto",
    ) -> Codes:
        """Encode audio of any sample rate.

            >>> codec = acomp.load("nano")
            >>> codec.encode(acomp.read_audio("speech.flac"), bandwidth=3)
            Codes(nano-2, 1 x 6 x 174 (streams, codebooks, frames), 3.45 s, 3 kbps)

        Args:
            audio: the audio to encode; it is resampled to the codec's sample rate.
            bandwidth: in kbps, one of `spec.bandwidths`; of each stream where there are several.
                By default 6 kbps where the codec has it, otherwise its highest.
            codebooks: a number of codebooks, instead of a bandwidth.
            channels: "auto" keeps mono and stereo where the codec can, and otherwise mixes down;
                "mono" or 1 mixes down; "stereo" or 2 codes two channels; "each" codes each of any
                number of channels alone.

        Raises:
            CodecError: the codec does not have the bandwidth, number of codebooks or channels.
            AudioError: the audio has no samples, or more channels than can be coded.
        """
        return self._encode(audio, Coding(bandwidth, codebooks, channels))

    def _encode(self, audio: Audio, coding: Coding) -> Codes:
        check_audio(audio)
        info = info_for(self, audio, coding)
        encoder = Encoder(self, info)
        step = BLOCK_SECONDS * audio.sample_rate
        parts = [
            encoder.push(audio.samples[:, start : start + step])
            for start in range(0, audio.length, step)
        ]
        parts.append(encoder.finish())
        return Codes.from_blocks(info, parts, encoder.length)

    def decode(self, codes: Codes, *, sample_rate: int | None = None) -> Audio:
        """Decode codes to audio of the length and sample rate of the audio that was encoded.

            >>> codec = acomp.load("nano")
            >>> codec.decode(codec.encode(acomp.read_audio("speech.flac")))
            Audio(1 channel, 3.45 s at 48000 Hz)

        Args:
            codes: the codes; `encode`, `codes` and `read_codes` return them.
            sample_rate: sample rate of the result in Hz, instead of that of the encoded audio.

        Raises:
            CodecError: the codes are of another codec or were made with other weights.
        """
        check_codes(codes, CodecError)
        decoder = Decoder(self, codes.info, sample_rate)
        frames = max(1, int(BLOCK_SECONDS * self.spec.frame_rate))
        parts = [decoder.push(block) for block in split(codes.block, frames)]
        parts.append(decoder.finish(codes.length))
        samples = np.concatenate(parts, axis=1)
        if decoder.gains is not None:
            samples *= decoder.gains
        return Audio(samples, decoder.sample_rate)

    def codes(
        self,
        tokens: object,
        *,
        scales: object = None,
        length: int | None = None,
        sample_rate: int | None = None,
    ) -> Codes:
        """Make `Codes` from bare codes, as language models and other packages give them.

            >>> acomp.load("nano").codes(np.zeros((8, 75), np.int64))
            Codes(nano-2, 1 x 8 x 75 (streams, codebooks, frames), 1.48 s, 4 kbps)

        Args:
            tokens: codes of any integer type, as an array, a torch tensor or nested lists:
                `[codebooks, frames]` or `[streams, codebooks, frames]`, where a batch of one
                counts as one stream. For EnCodec 48 kHz also `[segments, 1, codebooks, frames]`,
                or a list of segments, each codes or a pair of codes and scale, as
                `EncodecModel.encode` returns them. For SNAC also a list with one array for each
                level, as `SNAC.encode` returns it.
            scales: gain of each segment, for EnCodec 48 kHz; by default each is 1, and the audio
                has the loudness that the codec normalises to.
            length: samples per channel of the audio, at `sample_rate`; by default the duration of
                all frames.
            sample_rate: sample rate in Hz that decoding returns to; by default that of the codec.

        Raises:
            CodecError: the numbers cannot be codes of this codec.
        """
        return codes_of(self, tokens, scales=scales, length=length, sample_rate=sample_rate)

    def latents(self, audio: Audio, *, channels: Channels | int = "auto") -> NDArray[np.float32]:
        """What the encoder makes of audio, before it is quantised.

            >>> codec = acomp.load("nano")
            >>> codec.latents(acomp.read_audio("speech.flac")).shape
            (1, 128, 174)

        Args:
            audio: the audio; it is resampled to the codec's sample rate.
            channels: as for `encode`.

        Returns:
            Latents `[streams, dimension, frames]`; of a codec whose levels run at several rates,
            such as SNAC, as many for a frame as its finest level has codes.

        Raises:
            CodecError: the codec does not let its latents out, or does not have the channels.
            AudioError: the audio has no samples, or more channels than can be coded.
        """
        check_audio(audio)
        fewest = self.spec.codebook_counts[0]
        return encoded(self, audio, self.info(audio, codebooks=fewest, channels=channels))

    def latents_of(self, codes: Codes) -> NDArray[np.float32]:
        """What the decoder makes sound of: the sum of the entries that codes stand for.

            >>> codec = acomp.load("nano")
            >>> codec.latents_of(codec.encode(acomp.read_audio("speech.flac"))).shape
            (1, 128, 174)

        Args:
            codes: the codes.

        Returns:
            Latents, as `latents` returns them.

        Raises:
            CodecError: the codes are of another codec or were made with other weights, or the codec
                does not let its latents out.
        """
        check_codes(codes, CodecError)
        self.check(codes.info)
        return latents_of(self, codes)

    def quantise(
        self,
        latents: object,
        *,
        bandwidth: float | str | None = None,
        codebooks: int | None = None,
        length: int | None = None,
        sample_rate: int | None = None,
    ) -> Codes:
        """Quantise latents; `quantise(latents(audio))` has the codes of `encode(audio)`.

            >>> codec, audio = acomp.load("nano"), acomp.read_audio("speech.flac")
            >>> codes = codec.quantise(codec.latents(audio), bandwidth=6)
            >>> np.array_equal(codes.data, codec.encode(audio, bandwidth=6).data)
            True

        Args:
            latents: floats `[streams, dimension, frames]`, as an array or a tensor;
                `[dimension, frames]` is one stream.
            bandwidth: as for `encode`.
            codebooks: as for `encode`.
            length: samples per channel of the audio, at `sample_rate`; by default the duration of
                all frames.
            sample_rate: sample rate in Hz that decoding returns to; by default that of the codec.

        Raises:
            CodecError: these are no latents of this codec, or it does not let its latents out.
        """
        count = self.spec.codebooks_for(bandwidth, codebooks)
        data = quantised(self, latents, count)
        return self.codes(data, length=length, sample_rate=sample_rate)

    def decode_latents(
        self, latents: object, *, length: int | None = None, sample_rate: int | None = None
    ) -> Audio:
        """Decode latents, quantised or not; `decode_latents(latents_of(codes))` is `decode(codes)`.

            >>> codec, audio = acomp.load("nano"), acomp.read_audio("speech.flac")
            >>> codec.decode_latents(codec.latents(audio))  # as if nothing were quantised
            Audio(1 channel, 3.46 s at 24000 Hz)

        Args:
            latents: as for `quantise`.
            length: samples per channel of the audio, at `sample_rate`; by default the duration of
                all frames.
            sample_rate: sample rate of the result in Hz; by default that of the codec.

        Raises:
            CodecError: these are no latents of this codec, or it does not let its latents out.
        """
        return decoded(self, latents, length, sample_rate)

    def warm_up(self, bandwidth: float | None = None) -> None:
        """Encode and decode a second of silence, because a network's first run takes longest.

        Args:
            bandwidth: in kbps, as for `encode`.

        Raises:
            CodecError: the codec does not have the bandwidth.
        """
        rate = self.spec.sample_rate
        silence = Audio(np.zeros((self.spec.channels, rate), np.float32), rate)
        self.decode(self.encode(silence, bandwidth=bandwidth))

    @overload
    def encode_batch(
        self,
        clips: Sequence[Audio],
        *,
        bandwidth: float | str | None = None,
        codebooks: int | None = None,
        channels: Channels | int = "auto",
        errors: Literal["raise"] = "raise",
    ) -> list[Codes]: ...

    @overload
    def encode_batch(
        self,
        clips: Sequence[Audio],
        *,
        bandwidth: float | str | None = None,
        codebooks: int | None = None,
        channels: Channels | int = "auto",
        errors: Literal["collect"],
    ) -> list[Codes | AcompError]: ...

    def encode_batch(
        self,
        clips: Sequence[Audio],
        *,
        bandwidth: float | str | None = None,
        codebooks: int | None = None,
        channels: Channels | int = "auto",
        errors: str = "raise",
    ) -> list[Codes] | list[Codes | AcompError]:
        """Encode several clips of any lengths, sample rates and channels.

        Each clip gets the codes that `encode` gives it: the same on a CPU, where clips are encoded
        one after the other, and the same except for rounding on a GPU, where they run side by side.
        Clips are not padded.

        Args:
            clips: the clips to encode.
            bandwidth: as for `encode`.
            codebooks: as for `encode`.
            channels: as for `encode`.
            errors: "raise" raises the first error; "collect" puts the error of a clip into the
                list in the place of its codes, and encodes the other clips.

        Returns:
            The codes of each clip, in the order of the clips.

        Raises:
            CodecError: as `encode`, unless errors are collected.
            AudioError: as `encode`, unless errors are collected.
        """
        check_type(clips, Iterable, AudioError, "a list of acomp.Audio is")
        encode = partial(self._encode, coding=Coding(bandwidth, codebooks, channels))
        return self._run_all([partial(encode, clip) for clip in clips], errors)

    @overload
    def decode_batch(
        self,
        codes: Sequence[Codes],
        *,
        sample_rate: int | None = None,
        errors: Literal["raise"] = "raise",
    ) -> list[Audio]: ...

    @overload
    def decode_batch(
        self,
        codes: Sequence[Codes],
        *,
        sample_rate: int | None = None,
        errors: Literal["collect"],
    ) -> list[Audio | AcompError]: ...

    def decode_batch(
        self, codes: Sequence[Codes], *, sample_rate: int | None = None, errors: str = "raise"
    ) -> list[Audio] | list[Audio | AcompError]:
        """Decode the codes of several recordings; side by side on a GPU, as `encode_batch`.

        Args:
            codes: the codes of each recording.
            sample_rate: as for `decode`.
            errors: "raise" or "collect", as for `encode_batch`.

        Returns:
            The audio of each recording, in the order of `codes`.

        Raises:
            CodecError: as `decode`, unless errors are collected.
        """
        check_type(codes, Iterable, CodecError, "a list of acomp.Codes is")
        decode = partial(self.decode, sample_rate=sample_rate)
        return self._run_all([partial(decode, one) for one in codes], errors)

    def _run_all(self, jobs: Sequence[Callable[[], T]], errors: str) -> list[Any]:
        if errors not in ("raise", "collect"):
            raise CodecError(f"errors is {errors!r}: it must be 'raise' or 'collect'")
        every: list[Callable[[], Any]] = list(jobs)
        if errors == "collect":
            every = [partial(_or_error, job) for job in jobs]
        return [job() for job in every] if self.engine is None else self.engine.run_all(every)

    def seek(self, sample: int) -> tuple[int, int]:
        """Where to begin decoding to get the samples from `sample` on as if all were decoded.

        Args:
            sample: a position in samples at `spec.sample_rate`.

        Returns:
            The frame to begin with, `preroll` seconds before `sample` or at the beginning, and its
            position in samples at `spec.sample_rate`.
        """
        hop = self.spec.hop_length
        sample = whole_number(sample, "the position", CodecError)
        frame = max(0, sample - int(self.preroll * self.spec.sample_rate)) // hop
        return frame, frame * hop

    def check(self, info: CodesInfo) -> None:
        """Check that this codec can decode codes of `info`; a new `Decoder` does so.

        Raises:
            CodecError: the codes are of another codec or shape, or were made with other weights.
        """
        spec = self.spec
        if info.codec != spec.name:
            raise CodecError(f"these are codes of {info.codec}, not of {spec.name}")
        if info.fingerprint not in (None, self.fingerprint):
            raise CodecError(
                f"these codes were made with the weights {info.fingerprint}, and these are "
                f"{self.fingerprint}: give the right ones (--weights FILE)"
            )
        expected = replace(
            info,
            sample_rate=spec.sample_rate,
            codebook_size=spec.codebook_size,
            hop_length=spec.hop_length,
        )
        if spec.channels == 2:
            fits = (info.channels, info.streams) == (2, 1)
        else:
            fits = info.streams == info.channels
        if info != expected or not fits or info.codebooks > spec.codebooks:
            raise CodecError(f"these codes do not have the shape of codes of {spec.name}")
        if info.chunk is not None and not self.decodes_chunks:
            raise CodecError(f"these codes are in chunks, which {spec.name} cannot decode")


def info_for(codec: Codec, audio: HasFormat, coding: Coding) -> CodesInfo:
    """As `Codec.info`, with what is coded as one value."""
    return codec.info(
        audio,
        bandwidth=coding.bandwidth,
        codebooks=coding.codebooks,
        channels=coding.channels,
    )


def _or_error(job: Callable[[], T]) -> T | AcompError:
    try:
        return job()
    except AcompError as error:
        return error
