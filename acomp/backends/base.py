"""The interface of a codec, `Codec`, and what every codec does alike.

A codec family implements a few methods of `Codec` on audio that already has its sample rate and
channels. `Encoder` and `Decoder` (`streaming`) put the user's audio around them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from acomp.audio import Audio
from acomp.audio.samples import Samples as Samples
from acomp.backends.reloading import Loading, load_again
from acomp.backends.streaming import Decoder, Encoder
from acomp.backends.streams import StreamDecoder, StreamEncoder
from acomp.backends.tokens import codes_of
from acomp.codecs import CodecSpec
from acomp.codes import Codes, CodesInfo, info_of, split
from acomp.engines import Engine
from acomp.errors import AcompError, AudioError, CodecError
from acomp.settings import Channels, Coding

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

BLOCK_SECONDS = 10
"""How much audio is taken at a time where the whole of it is there: bounds memory."""


class HasFormat(Protocol):
    """What encoding needs to know of audio beforehand: its rate in Hz and its channels."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...


class Codec(ABC):
    """A neural codec with its weights.

    Several threads may use one codec at the same time, each with streams of its own. A copy of a
    codec, and what pickle makes of it in another process, is loaded again from what the codec was
    loaded with.

    A family implements `stream_encoder`, `stream_decoder`, `codebooks` and, where it has a network
    in torch, `module`.

    Attributes:
        spec: what is fixed about the codec.
        fingerprint: first 16 hexadecimal digits of the SHA-256 of the weights.
        engine: what runs the networks; None where there are none.
        loading: what `acomp.load` was asked for; None of a codec that was made otherwise.
        preroll: warm-up in seconds: how much is decoded before a point in the middle of a
            recording, so that the sound there is the same as in the whole.
        decodes_chunks: whether it decodes codes of chunks that were coded on their own
            (`CodesInfo.chunk`).
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
        """The codec on another device; it is loaded again unless it was asked for that device.

        Raises:
            CodecError: there is no such device here, or the codec was not made by `acomp.load`.
        """
        if self.loading is None:
            raise CodecError(f"only acomp.load can put {self.spec.name} on another device")
        if self.loading.device == str(device):
            return self
        return load_again(replace(self.loading, device=str(device)), self.fingerprint)

    @abstractmethod
    def stream_encoder(self, info: CodesInfo) -> StreamEncoder:
        """A new stream's encoder: of samples at `spec.sample_rate`, of `info.channels` channels."""

    @abstractmethod
    def stream_decoder(self, info: CodesInfo) -> StreamDecoder:
        """A new stream's decoder: of what `stream_encoder(info)` gives."""

    @abstractmethod
    def codebooks(self) -> NDArray[np.float32]:
        """The codebooks' entries, `[codebooks, size, dimension]`, in which codes are looked up."""

    @property
    def module(self) -> torch.nn.Module:
        """The torch module, for training and analysis.

        Raises:
            CodecError: there is none.
        """
        raise CodecError(f"{self.spec.name} has no torch module: take another codec for that")

    def latent_codebooks(self) -> NDArray[np.float32]:
        """The codebooks' entries as the decoder adds them up, `[codebooks, size, latent]`.

        They are those of `codebooks()`, except where each codebook is projected into the latent
        space, as in DAC.
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
        """The `CodesInfo` of encoding `audio`, an `Audio` or a reader of one.

        Raises:
            CodecError: a bandwidth, number of codebooks or channels that the codec lacks.
        """
        spec = self.spec
        if not hasattr(audio, "sample_rate") or not hasattr(audio, "channels"):
            _refuse_audio(audio)
        coded = spec.channels_for(audio.channels, channels)
        return info_of(
            spec,
            channels=coded,
            codebooks=spec.codebooks_for(bandwidth, codebooks),
            source_rate=audio.sample_rate,
            fingerprint=self.fingerprint,
        )

    def info_for(self, audio: HasFormat, coding: Coding) -> CodesInfo:
        """As `info`, with what is coded as one value."""
        return self.info(
            audio,
            bandwidth=coding.bandwidth,
            codebooks=coding.codebooks,
            channels=coding.channels,
        )

    def encode(
        self,
        audio: Audio,
        *,
        bandwidth: float | str | None = None,
        codebooks: int | None = None,
        channels: Channels | int = "auto",
    ) -> Codes:
        """Encode audio of any rate and of one or two channels.

            >>> codec = acomp.load("nano")
            >>> codec.encode(acomp.read_audio("speech.flac"), bandwidth=3)
            Codes(nano, 1 x 4 x 260 (streams, codebooks, frames), 3.45 s, 3 kbps)

        Args:
            audio: what to encode.
            bandwidth: in kbps, one of `spec.bandwidths`; of each stream where there are two.
            codebooks: instead of a bandwidth, any number of codebooks.
            channels: "auto" keeps what the codec can keep; "mono", or 1, mixes down; "stereo", or
                2, asks for two; "each" codes any number of channels, each alone.

        Raises:
            CodecError: a setting that the codec does not have.
            AudioError: audio with no samples, or with more channels than can be coded.
        """
        return self._encode(audio, Coding(bandwidth, codebooks, channels))

    def _encode(self, audio: Audio, coding: Coding) -> Codes:
        if not isinstance(audio, Audio):
            _refuse_audio(audio)
        info = self.info_for(audio, coding)
        encoder = Encoder(self, info)
        step = BLOCK_SECONDS * audio.sample_rate
        parts = [
            encoder.push(audio.samples[:, start : start + step])
            for start in range(0, audio.length, step)
        ]
        parts.append(encoder.finish())
        return Codes.from_blocks(info, parts, encoder.length)

    def decode(self, codes: Codes, *, sample_rate: int | None = None) -> Audio:
        """Decode to audio of the length and sample rate that was encoded.

            >>> codec = acomp.load("nano")
            >>> codec.decode(codec.encode(acomp.read_audio("speech.flac")))
            Audio(1 channel, 3.45 s at 48000 Hz)

        Args:
            codes: what `encode`, or a file, gave.
            sample_rate: another rate to decode to, in Hz.

        Raises:
            CodecError: the codes are of another codec or were made with other weights.
        """
        if not isinstance(codes, Codes):
            raise CodecError(
                f"Codes are due, not {type(codes).__name__}: codec.codes(tokens) makes them of "
                "bare numbers, acomp.read_codes(path) of a file"
            )
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
        """Codes from elsewhere, as bare numbers, as `Codes` that decode and can be written.

            >>> acomp.load("nano").codes(np.zeros((8, 75), np.int64))
            Codes(nano, 1 x 8 x 75 (streams, codebooks, frames), 0.99 s, 6 kbps)

        Args:
            tokens: an array, a tensor of torch's or nested lists, of any integer type:
                `[codebooks, frames]`, or `[streams, codebooks, frames]`, where a batch of one
                counts as a stream; for EnCodec 48 kHz also `[segments, 1, codebooks, frames]` or
                a list of segments, each codes or a pair of codes and scale, as
                `EncodecModel.encode` gives them; for SNAC also a list with an array for each
                level, as `SNAC.encode` gives it.
            scales: for EnCodec 48 kHz the gain of each segment; without them each is 1, the
                loudness that the codec normalises to.
            length: samples per channel of the audio, at `sample_rate`; without it all that the
                frames stand for.
            sample_rate: that decoding returns to, in Hz; the codec's own by default.

        Raises:
            CodecError: the numbers cannot be codes of this codec.
        """
        return codes_of(self, tokens, scales=scales, length=length, sample_rate=sample_rate)

    def warm_up(self, bandwidth: float | None = None) -> None:
        """Code a second of silence: the first run of a network takes longer than the next.

        Raises:
            CodecError: a bandwidth that the codec lacks.
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
    ) -> Any:
        """Encode several clips of any lengths, rates and channels; arguments as for `encode`.

        Each clip gets the codes that it gets alone: exactly on a CPU, where clips are worked
        through one by one; but for rounding on a GPU, where they run side by side. Nothing is
        padded. With `errors="collect"` a clip that cannot be encoded gets its error in the list,
        and does not keep the others from being encoded.
        """
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
    ) -> Any:
        """Decode several recordings; as `encode_batch`, arguments as for `decode`."""
        decode = partial(self.decode, sample_rate=sample_rate)
        return self._run_all([partial(decode, one) for one in codes], errors)

    def _run_all(self, jobs: Sequence[Callable[[], T]], errors: str) -> list[Any]:
        if errors not in ("raise", "collect"):
            raise CodecError(f"errors are to raise or to collect, not to {errors!r}")
        every: list[Callable[[], Any]] = list(jobs)
        if errors == "collect":
            every = [partial(_or_error, job) for job in jobs]
        return [job() for job in every] if self.engine is None else self.engine.run_all(every)

    def seek(self, sample: int) -> tuple[int, int]:
        """Where to begin decoding so that the sound at `sample` is the same as in the whole.

        Args:
            sample: position at the codec's own rate.

        Returns:
            The frame to decode from, a warm-up of `preroll` earlier where there is that much, and
            the sample, at the codec's own rate, at which its sound begins.
        """
        hop = self.spec.hop_length
        frame = max(0, sample - int(self.preroll * self.spec.sample_rate)) // hop
        return frame, frame * hop

    def check(self, info: CodesInfo) -> None:
        """Raise CodecError unless codes of `info` can be decoded by this codec."""
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
            raise CodecError(f"these codes do not have the shape of {spec.name}'s")
        if info.chunk is not None and not self.decodes_chunks:
            raise CodecError(f"these codes are in chunks, which {spec.name} does not decode")


def _or_error(job: Callable[[], T]) -> T | AcompError:
    try:
        return job()
    except AcompError as error:
        return error


def _refuse_audio(audio: object) -> NoReturn:
    hint = "acomp.Audio(samples, sample_rate) makes it of samples"
    if isinstance(audio, str | PathLike | Path):
        hint = "acomp.read_audio(path) reads it"
    raise AudioError(f"Audio is due, not {type(audio).__name__}: {hint}")
