"""The interface of a codec, and what every codec shares: channels, rates, lengths and blocks.

A codec family implements a few methods of `Codec` on audio that already has its sample rate and
channels. `Encoder` and `Decoder` put the user's audio around them.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Protocol, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from acomp.audio import Audio, Resampler, to_channels
from acomp.audio.loudness import LoudnessMeter, gains
from acomp.audio.samples import as_samples
from acomp.backends.tokens import codes_of
from acomp.codecs import CodecSpec
from acomp.codes import Block, Codes, CodesInfo, check_block, info_of, join, split
from acomp.engines import Engine
from acomp.errors import AcompError, AcompWarning, AudioError, CodecError
from acomp.scalars import whole_number
from acomp.settings import Channels, Coding, EngineName, Precision

if TYPE_CHECKING:
    import torch

Samples = NDArray[np.float32]
T = TypeVar("T")

BLOCK_SECONDS = 10
"""How much audio is taken at a time where the whole of it is there: bounds memory."""

LOUDEST = 100.0
"""What no sound at full scale +-1 reaches: beyond lie samples at the scale of integers."""


class StreamEncoder(Protocol):
    """Codes a stream of samples at the codec's own rate."""

    def push(self, samples: Samples) -> Block:
        """Take `[channels, time]`, any time; give the frames that are certain by now."""
        ...

    def finish(self) -> Block:
        """Give the frames that are left."""
        ...


class StreamDecoder(Protocol):
    """Decodes a stream of frames to samples at the codec's own rate."""

    def push(self, block: Block) -> Samples:
        """Take any number of frames; give the samples `[channels, time]` certain by now."""
        ...

    def finish(self) -> Samples:
        """Give the samples that are left."""
        ...


class HasFormat(Protocol):
    """Audio as far as encoding needs to know it beforehand."""

    @property
    def sample_rate(self) -> int: ...

    @property
    def channels(self) -> int: ...


@dataclass(frozen=True)
class Loading:
    """What a codec was loaded with: the arguments of `acomp.load`."""

    name: str
    weights: str | None
    """Absolute path; None for the published weights."""
    engine: EngineName
    precision: Precision
    device: str


class Codec(ABC):
    """A neural codec with its weights.

    Many threads may use one codec at the same time, with streams of their own. A copy, and what
    pickle makes of it in another process, is loaded again from what this one was loaded with.

    A family implements `stream_encoder`, `stream_decoder`, `codebooks` and, where it has a network
    in torch, `module`.
    """

    preroll = 1.0
    """Seconds of codes to decode before a point in the middle for the sound there to be right."""
    decodes_chunks = False
    """Whether it decodes what was coded in chunks of their own; see `CodesInfo.chunk`."""

    def __init__(
        self, spec: CodecSpec, fingerprint: str | None, engine: Engine | None = None
    ) -> None:
        self.spec = spec
        self.fingerprint = fingerprint
        """First 16 hexadecimal digits of the SHA-256 of the weights."""
        self.engine = engine
        """What runs the networks, where there are any."""
        self.loading: Loading | None = None
        """What `acomp.load` was asked for; None of a codec that was made otherwise."""

    def __repr__(self) -> str:
        engine = self.engine and f", {self.engine.name} {self.engine.precision}"
        return f"<codec {self.spec.name}, {self.spec.sample_rate} Hz{engine or ''}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        if self.loading is None:
            return super().__reduce_ex__(protocol)
        return _load_again, (self.loading, self.fingerprint)

    def to(self, device: object) -> Codec:
        """The codec on another device, loaded again unless it was asked for that one.

        Raises:
            CodecError: there is no such device here, or the codec was not made by `acomp.load`.
        """
        if self.loading is None:
            raise CodecError(f"only acomp.load can put {self.spec.name} on another device")
        if self.loading.device == str(device):
            return self
        return _load_again(replace(self.loading, device=str(device)), self.fingerprint)

    @abstractmethod
    def stream_encoder(self, info: CodesInfo) -> StreamEncoder:
        """An encoder of samples at `spec.sample_rate` with `info.channels` channels."""

    @abstractmethod
    def stream_decoder(self, info: CodesInfo) -> StreamDecoder:
        """The decoder of what `stream_encoder(info)` gives."""

    @abstractmethod
    def codebooks(self) -> NDArray[np.float32]:
        """The codebooks: `[codebooks, size, dimension]`."""

    @property
    def module(self) -> torch.nn.Module:
        """The torch module, for training and analysis.

        Raises:
            CodecError: there is none.
        """
        raise CodecError(f"{self.spec.name} has no torch module: take another codec for that")

    def latent_codebooks(self) -> NDArray[np.float32]:
        """The codebooks as they are added up in the latent space: `[codebooks, size, latent]`.

        The same as `codebooks()` but for codecs that project each codebook (DAC).
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
        return self.info_for(audio, Coding(bandwidth, codebooks, channels))

    def info_for(self, audio: HasFormat, coding: Coding) -> CodesInfo:
        """As `info`, with what is coded as one value."""
        spec = self.spec
        if not hasattr(audio, "sample_rate") or not hasattr(audio, "channels"):
            _refuse_audio(audio)
        coded = spec.channels_for(audio.channels, coding.channels)
        return info_of(
            spec,
            channels=coded,
            codebooks=spec.codebooks_for(coding.bandwidth, coding.codebooks),
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
        """Encode audio of any rate and of one or two channels.

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
        """Where to begin so that the sound at `sample` comes out right.

        Returns:
            The frame to decode from, `preroll` earlier where there is that much, and the sample
            at which its sound begins; both at the codec's own rate.
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
        due = replace(
            info,
            sample_rate=spec.sample_rate,
            codebook_size=spec.codebook_size,
            hop_length=spec.hop_length,
        )
        if spec.channels == 2:
            fits = (info.channels, info.streams) == (2, 1)
        else:
            fits = info.streams == info.channels
        if info != due or not fits or info.codebooks > spec.codebooks:
            raise CodecError(f"these codes do not have the shape of {spec.name}'s")
        if info.chunk is not None and not self.decodes_chunks:
            raise CodecError(f"these codes are in chunks, which {spec.name} does not decode")


def _or_error(job: Callable[[], T]) -> T | AcompError:
    try:
        return job()
    except AcompError as error:
        return error


def _load_again(loading: Loading, fingerprint: str | None) -> Codec:
    """The codec of `loading`, whose weights must be those that it had."""
    from acomp.backends import load

    codec = load(
        loading.name,
        weights=loading.weights,
        engine=loading.engine,
        precision=loading.precision,
        device=loading.device,
    )
    if codec.fingerprint != fingerprint:
        raise CodecError(
            f"{loading.name} had the weights {fingerprint}, and here are {codec.fingerprint}"
        )
    return codec


def _refuse_audio(audio: object) -> NoReturn:
    hint = "acomp.Audio(samples, sample_rate) makes it of samples"
    if isinstance(audio, str | PathLike | Path):
        hint = "acomp.read_audio(path) reads it"
    raise AudioError(f"Audio is due, not {type(audio).__name__}: {hint}")


class _Stream:
    """What streams of both directions keep: one call at a time, and none after the end."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._finished = False

    @contextmanager
    def _turn(self, *, last: bool = False) -> Iterator[None]:
        """One thread at a time, in the order in which they come, and as numpy is by default."""
        with self._lock, np.errstate(all="ignore"):
            if self._finished:
                raise CodecError(
                    f"this {type(self).__name__} has finished: make a new one for other audio"
                )
            yield
            self._finished = last

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise CodecError(
            f"a stream in progress cannot be copied or pickled: make a new {type(self).__name__} "
            "of its codec and info"
        )


class Encoder(_Stream):
    """Encodes a stream of audio of any rate; `Codec.encode` block by block.

    Push samples as they come, write each block, then finish. Where threads share one, each push is
    whole before the next begins.

    Args:
        codec: what encodes.
        info: as `codec.info` gives it.
        measure: whether to measure the loudness, for a file form that keeps it.
    """

    def __init__(self, codec: Codec, info: CodesInfo, *, measure: bool = False) -> None:
        super().__init__()
        self.info = info
        self.length = 0
        """Samples per channel taken so far, at `info.source_rate`."""
        self.loudness: tuple[float, ...] | None = None
        """Loudness in LUFS of each channel that was coded, once finished, if it is measured."""
        self._meter = LoudnessMeter(info.sample_rate, info.channels) if measure else None
        self._resampler = Resampler(info.source_rate, info.sample_rate, info.channels)
        self._stream = codec.stream_encoder(info)
        self._channels: int | None = None
        """Of the samples so far."""
        self._told = False
        """Whether the user was warned of a level that no sound has."""

    def push(self, samples: Samples) -> Block:
        """Take samples `[channels, time]` at `info.source_rate`; give the frames that are ready.

        Samples are floats, full scale +-1, of an array or a tensor; `[time]` is one channel.

        Raises:
            AudioError: they are not finite, or of other channels than before.
            CodecError: the stream has finished.
        """
        with self._turn():
            samples = as_samples(samples)
            if self._channels not in (None, samples.shape[0]):
                raise AudioError(
                    f"{samples.shape[0]} channels after {self._channels}: [channels, time] of the "
                    "same audio is due"
                )
            mixed = to_channels(samples, self.info.channels)
            self._warn_if_loud(samples)
            self._channels = samples.shape[0]
            self.length += samples.shape[1]
            return self._coded(self._resampler.push(mixed))

    def finish(self) -> Block:
        """Give the last frames.

        Raises:
            AudioError: there was not a single sample.
            CodecError: the stream has finished.
        """
        with self._turn(last=True):
            if self.length == 0:
                raise AudioError("the audio holds no samples: there is nothing to encode")
            rest = self._coded(self._resampler.finish())
            if self._meter is not None:
                self.loudness = self._meter.finish()
            return join(self.info, [rest, self._stream.finish()])

    def _coded(self, samples: Samples) -> Block:
        if self._meter is not None:
            self._meter.push(samples)
        return self._stream.push(samples)

    def _warn_if_loud(self, samples: Samples) -> None:
        if self._told or not samples.size:
            return
        peak = max(float(samples.max()), -float(samples.min()))
        if peak > LOUDEST:
            self._told = True
            warnings.warn(
                f"the audio reaches {peak:.0f} where full scale is 1: samples of 16-bit integers "
                "must be divided by 32768 first",
                AcompWarning,
                stacklevel=3,
            )


class Decoder(_Stream):
    """Decodes a stream of blocks; `Codec.decode` block by block.

    It leaves the level as it was coded. Where there is a loudness to restore, `gains` do that.

    Args:
        codec: what decodes.
        info: of the codes.
        sample_rate: in Hz; that of the encoded audio by default.
        measure: whether `finish` will name a loudness, where `info` does not.
    """

    def __init__(
        self,
        codec: Codec,
        info: CodesInfo,
        sample_rate: int | None = None,
        *,
        measure: bool = False,
    ) -> None:
        super().__init__()
        if not isinstance(info, CodesInfo):
            raise CodecError(f"the info of codes is due (codes.info), not {type(info).__name__}")
        codec.check(info)
        self.info = info
        if sample_rate is None:
            sample_rate = info.source_rate
        self.sample_rate = whole_number(sample_rate, "the sample rate", AudioError)
        """Rate of the samples it gives, in Hz."""
        self.gains: Samples | None = None
        """What to multiply all samples by for the loudness, `[channels, 1]`, once finished: only
        the whole tells how loud it is. None where there is no loudness to restore."""
        self._meter = None
        if measure or info.loudness is not None:
            self._meter = LoudnessMeter(info.sample_rate, info.channels)
        # The last frame, or chunk, is padded, and only the end tells by how much.
        padded = info.hop_length * (info.chunk or codec.spec.unit)
        hold = -(-padded * self.sample_rate // info.sample_rate)
        self._resampler = Resampler(info.sample_rate, self.sample_rate, info.channels, hold=hold)
        self._stream = codec.stream_decoder(info)
        self._decoded = 0
        """Samples per channel from the codec so far, at its own rate."""

    def push(self, block: Block) -> Samples:
        """Take frames; give the samples `[channels, time]` that are ready.

        Raises:
            FormatError: the block is not one of `info`'s codes.
            CodecError: the stream has finished.
        """
        with self._turn():
            check_block(self.info, block)
            if block.frames == 0:
                return np.zeros((self.info.channels, 0), np.float32)
            return self._resample(self._stream.push(block))

    def finish(
        self, length: int, loudness: tuple[float, ...] | None = None, *, damaged: bool = False
    ) -> Samples:
        """Give the last samples, so that all are what `length` samples of the source rate last.

        Args:
            length: in samples per channel at `info.source_rate`.
            loudness: to restore, in LUFS of each channel, in the place of `info.loudness`: who
                encodes knows it only now.
            damaged: whether codes are missing, so that the length may be too much for them.

        Raises:
            CodecError: the codes do not hold that much audio, and are not damaged.
        """
        with self._turn(last=True):
            return self._end(whole_number(length, "length", CodecError), loudness, damaged)

    def _end(self, length: int, loudness: tuple[float, ...] | None, damaged: bool) -> Samples:
        info = self.info
        rest = self._resample(self._stream.finish())
        wanted = loudness or info.loudness
        if self._meter is not None and wanted is not None:
            self.gains = gains(wanted, self._meter.finish())
        expected = -(-length * info.sample_rate // info.source_rate)
        if damaged and expected > self._decoded:
            length = self._decoded * info.source_rate // info.sample_rate
        elif expected > self._decoded + info.hop_length:
            raise CodecError(
                f"the codes hold {self._decoded / info.sample_rate:.2f} s of audio, not the "
                f"{length / info.source_rate:.2f} s that they claim"
            )
        due = -(-length * self.sample_rate // info.source_rate)
        return np.concatenate([rest, self._resampler.finish(due)], axis=1)

    def _resample(self, samples: Samples) -> Samples:
        self._decoded += samples.shape[1]
        samples = as_samples(samples, "the decoded samples")
        if self._meter is not None:
            self._meter.push(samples)
        return self._resampler.push(samples)
