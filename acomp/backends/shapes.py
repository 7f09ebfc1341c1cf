"""The shapes that networks are built in: the published ones', and those of one's own codecs.

A shape is all that its network's layout depends on, so a file of weights that names its shape needs
nothing else to be used. What a shape leaves out is as in EnCodec 24 kHz or DAC 44.1 kHz. Shapes
come from users and from files, and are checked before anything is built.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from acomp.codecs import CUSTOM_OVERLAP, CodecSpec, Published, of_family
from acomp.codes import MAX_CODEBOOK_SIZE, MAX_CODEBOOKS
from acomp.errors import CodecError
from acomp.plain import brief
from acomp.quiet import quiet
from acomp.torchaudio import ensure_torchaudio

if TYPE_CHECKING:
    from torch import nn

# What networks are kept within: beyond all use, but nothing that takes a machine down.
MAX_STRIDES = 8
MAX_WIDTH = 8192
MAX_ENTRIES = 1 << 28
"""Numbers in all codebooks together."""
MAX_SEGMENT_FRAMES = 4096

LATENT_BLOCK = 128
"""Frames that DAC's layers next to the latents take at a time."""
SAMPLE_BLOCK = 32
"""Frames that DAC's layers next to the samples, most of the work, take at a time: few enough for
what lies between them to stay in the CPU's cache."""


@dataclass(frozen=True, kw_only=True)
class Shape(ABC):
    """What is common to all families.

    Raises:
        CodecError: no network can have this shape.
    """

    family: ClassVar[Literal["encodec", "dac"]]
    ranges: ClassVar[dict[str, tuple[int, int]]]
    """The least and the most of each field that is a whole number."""

    sample_rate: int
    """Hz."""
    strides: tuple[int, ...] = (2, 4, 5, 8)
    """Of the encoder's downsampling layers, the one next to the samples first; the decoder has
    them in reverse. Each layer has twice as many channels as the one before it."""
    codebooks: int
    codebook_size: int = 1024
    """Entries of a codebook, a power of two."""

    def __post_init__(self) -> None:
        for name, (least, most) in self._ranges().items():
            _check_whole(name, getattr(self, name), least, most)
        if not isinstance(self.strides, tuple) or not 1 <= len(self.strides) <= MAX_STRIDES:
            raise CodecError(f"strides are a list of 1 to {MAX_STRIDES} whole numbers")
        for stride in self.strides:
            _check_whole("a stride", stride, 2, 16)
        if self.hop_length > self.sample_rate:
            raise CodecError(
                f"strides of {self.hop_length} samples a frame are more than a second at a "
                f"sample_rate of {self.sample_rate} Hz"
            )
        if self.codebook_size.bit_count() != 1:
            raise CodecError(f"codebook_size is {self.codebook_size}, not a power of two")
        if self.codebooks * self.codebook_size * self.codebook_dim > MAX_ENTRIES:
            raise CodecError(
                f"codebooks: {self.codebooks} of {self.codebook_size} entries of "
                f"{self.codebook_dim} numbers are too large"
            )

    @classmethod
    def _ranges(cls) -> dict[str, tuple[int, int]]:
        common = {
            "sample_rate": (1000, 192_000),
            "codebooks": (1, MAX_CODEBOOKS),
            "codebook_size": (2, MAX_CODEBOOK_SIZE),
        }
        return {**common, **cls.ranges}

    @property
    def hop_length(self) -> int:
        """Samples that a frame stands for."""
        return math.prod(self.strides)

    @property
    @abstractmethod
    def codebook_dim(self) -> int:
        """Numbers that an entry of a codebook holds."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The official package's module in this shape, in eval mode, with weights of its own
        drawing and empty codebooks where the package fills them in training.

        Raises:
            CodecError: the package is not installed.
        """

    @abstractmethod
    def spec(
        self, name: str = "custom", bandwidths: Mapping[float, int] | None = None
    ) -> CodecSpec:
        """What is fixed about a codec of this shape, called `name`.

        Without `bandwidths` it offers those of 1, 2, 4, ... and all codebooks, to three digits.
        """

    def to_dict(self) -> dict[str, Any]:
        """The family and the fields under their own names, as JSON and YAML can hold them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"family": self.family, **values, "strides": list(self.strides)}

    def _bandwidths(self) -> dict[float, int]:
        bits = self.codebook_size.bit_length() - 1
        kbps = bits * self.sample_rate / self.hop_length / 1000
        return {float(f"{count * kbps:.3g}"): count for count in self._counts()}

    def _counts(self) -> list[int]:
        """Numbers of codebooks that a bandwidth is offered for."""
        powers = {1 << power for power in range(self.codebooks.bit_length())}
        return sorted(powers | {self.codebooks})


@dataclass(frozen=True, kw_only=True)
class EncodecShape(Shape):
    """An EnCodec (https://arxiv.org/abs/2210.13438, section 3)."""

    family: ClassVar[Literal["encodec", "dac"]] = "encodec"
    ranges: ClassVar[dict[str, tuple[int, int]]] = {
        "channels": (1, 2),
        "filters": (4, 1024),
        "residual_layers": (1, 4),
        "lstm_layers": (1, 4),
        "dimension": (2, 4096),
    }

    sample_rate: int = 24_000
    codebooks: int = 32
    channels: int = 1
    """Channels of audio, coded jointly."""
    filters: int = 32
    """Channels of the layer next to the samples."""
    residual_layers: int = 1
    """Residual units before each downsampling, each looking twice as far as the one before."""
    lstm_layers: int = 2
    dimension: int = 128
    """Of the latents and the codebooks."""
    causal: bool = True
    """Whether it sees the past only and codes a stream; otherwise it codes segments."""
    norm: Literal["weight_norm", "time_group_norm"] = "weight_norm"
    segment: float | None = None
    """Seconds, rounded to samples, of the segments that a network that is not causal codes, each
    scaled to unit level; they overlap by 1 %. None where it is causal."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width > MAX_WIDTH:
            raise CodecError(
                f"filters: {self.filters}, doubled by each of {len(self.strides)} strides, are "
                f"more than {MAX_WIDTH} channels"
            )
        if not isinstance(self.causal, bool):
            raise CodecError(f"causal is {brief(self.causal)}, not true or false")
        if self.norm not in ("weight_norm", "time_group_norm"):
            raise CodecError(f"norm is {brief(self.norm)}, not weight_norm or time_group_norm")
        if not self.causal:
            self._check_segment()
        elif self.segment is not None:
            raise CodecError("segment is for networks that are not causal")
        elif self.norm != "weight_norm":
            raise CodecError("norm: a causal network has weight_norm")

    def _check_segment(self) -> None:
        seconds = self.segment
        if seconds is None or type(seconds) not in (int, float) or not 0 < seconds <= 60:
            raise CodecError(
                f"segment is {brief(seconds)}: a network that is not causal needs the "
                "seconds that it codes at a time, 60 at most"
            )
        frames = min(max(1, round(self.segment_length / self.hop_length)), MAX_SEGMENT_FRAMES)
        if self.segment_length != frames * self.hop_length:
            raise CodecError(
                f"segment is {seconds:g} s, which is not a whole number of frames of "
                f"{self.hop_length} samples, or is more than {MAX_SEGMENT_FRAMES} of them: take "
                f"{frames * self.hop_length / self.sample_rate:.9g}"
            )

    @property
    def codebook_dim(self) -> int:
        return self.dimension

    @property
    def width(self) -> int:
        """Channels of the LSTM."""
        return self.filters << len(self.strides)

    @property
    def segment_length(self) -> int:
        """Samples of a segment; 0 where it is causal."""
        return round((self.segment or 0) * self.sample_rate)

    @property
    def first_frames(self) -> int:
        """Frames that the first step of a causal stream takes, an even number as the LSTM takes
        two at a time: the network begins by reflection, and the layers next to the latents see 6
        steps back, the last residual unit 2 ** residual_layers of its own.
        """
        frames = max(7, (1 << self.residual_layers) // self.strides[-1] + 1)
        return frames + frames % 2

    def build(self) -> nn.Module:
        ensure_torchaudio()
        with quiet():  # torch's old weight_norm is deprecated
            from encodec.model import EncodecModel
            from encodec.modules.seanet import SEANetDecoder, SEANetEncoder
            from encodec.quantization.vq import ResidualVectorQuantizer

            layout: dict[str, Any] = {
                "channels": self.channels,
                "dimension": self.dimension,
                "n_filters": self.filters,
                "n_residual_layers": self.residual_layers,
                "ratios": list(reversed(self.strides)),
                "norm": self.norm,
                "causal": self.causal,
                "lstm": self.lstm_layers,
            }
            model: nn.Module = EncodecModel(
                SEANetEncoder(**layout),
                SEANetDecoder(**layout),
                ResidualVectorQuantizer(self.dimension, self.codebooks, self.codebook_size),
                target_bandwidths=self._package_bandwidths(),
                sample_rate=self.sample_rate,
                channels=self.channels,
                normalize=not self.causal,
                segment=None if self.causal else self._package_segment(),
            )
        return model.eval()

    def _package_bandwidths(self) -> list[float]:
        """Bandwidths in kbps by which the package's `set_target_bandwidth` finds each number of
        codebooks: it rounds the frame rate up, and what it divides by it down.
        """
        each = math.log2(self.codebook_size) * math.ceil(self.sample_rate / self.hop_length) / 1000
        exact = ((count, count * each) for count in self._counts())
        return [x if x // each == count else math.nextafter(x, math.inf) for count, x in exact]

    def _package_segment(self) -> float:
        """Seconds of which the package, which rounds down, makes `segment_length` samples."""
        seconds = self.segment_length / self.sample_rate
        exact = int(seconds * self.sample_rate) == self.segment_length
        return seconds if exact else math.nextafter(seconds, math.inf)

    def spec(
        self, name: str = "custom", bandwidths: Mapping[float, int] | None = None
    ) -> CodecSpec:
        # The LSTM takes two frames at a time.
        held = self.hop_length if self.causal else self.segment_length
        return CodecSpec(
            name=name,
            sample_rate=self.sample_rate,
            channels=self.channels,
            hop_length=self.hop_length,
            codebooks=self.codebooks,
            codebook_size=self.codebook_size,
            codebook_dim=self.dimension,
            bandwidths=bandwidths or self._bandwidths(),
            delay=held / self.sample_rate,
            segment_frames=None if self.causal else self.segment_length // self.hop_length,
            segment_overlap=0.0 if self.causal else CUSTOM_OVERLAP,
        )


class Contexts(NamedTuple):
    """Frames that a half of DAC sees on either side of a frame."""

    samples: int
    """In its layers next to the samples."""
    latents: int
    """In its other layers, next to the latents."""


class _Layer(NamedTuple):
    """A convolution, as far as its reach goes."""

    kernel: int
    stride: int = 1
    dilation: int = 1
    transposed: bool = False

    @property
    def padding(self) -> int:
        if self.stride > 1:
            return math.ceil(self.stride / 2)
        return (self.kernel - 1) * self.dilation // 2


_RESIDUAL_UNITS = [_Layer(7, dilation=dilation) for dilation in (1, 3, 9)]


@dataclass(frozen=True, kw_only=True)
class DacShape(Shape):
    """A DAC (https://arxiv.org/abs/2306.06546, section 3); stereo is coded as two streams."""

    family: ClassVar[Literal["encodec", "dac"]] = "dac"
    ranges: ClassVar[dict[str, tuple[int, int]]] = {
        "encoder_width": (2, 1024),
        "decoder_width": (2, MAX_WIDTH),
        "codebook_dimension": (1, 1024),
    }

    sample_rate: int = 44_100
    strides: tuple[int, ...] = (2, 4, 8, 8)
    codebooks: int = 9
    encoder_width: int = 64
    """Channels of the encoder's layer next to the samples."""
    decoder_width: int = 1536
    """Channels of the decoder's layer next to the latents."""
    latent_dimension: int | None = None
    """Channels of the latents; None stands for the encoder's widest layer."""
    codebook_dimension: int = 8
    """Of the space that codes are looked up in."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder_width << len(self.strides) > MAX_WIDTH:
            raise CodecError(
                f"encoder_width: {self.encoder_width}, doubled by each of {len(self.strides)} "
                f"strides, are more than {MAX_WIDTH} channels"
            )
        if self.decoder_width >> len(self.strides) < 2:
            raise CodecError(
                f"decoder_width: {self.decoder_width}, halved by each of {len(self.strides)} "
                "strides, leave fewer than 2 channels"
            )
        if self.latent_dimension is not None:
            _check_whole("latent_dimension", self.latent_dimension, 1, MAX_WIDTH)

    @property
    def codebook_dim(self) -> int:
        return self.codebook_dimension

    @property
    def encoder_contexts(self) -> Contexts:
        """How far the encoder sees; it is cut before its last downsampling."""
        *near, last = [[*_RESIDUAL_UNITS, _Layer(2 * s, s)] for s in self.strides]
        return Contexts(
            samples=_reach(
                [_Layer(7), *chain(*near)], inputs=self.hop_length, outputs=self.strides[-1]
            ),
            latents=_reach([*last, _Layer(3)], inputs=self.strides[-1], outputs=1),
        )

    @property
    def decoder_contexts(self) -> Contexts:
        """How far the decoder sees; it is cut after its first upsampling."""
        first, *near = [
            [_Layer(2 * s, s, transposed=True), *_RESIDUAL_UNITS] for s in reversed(self.strides)
        ]
        return Contexts(
            samples=_reach(
                [*chain(*near), _Layer(7)], inputs=self.strides[-1], outputs=self.hop_length
            ),
            latents=_reach([_Layer(7), *first], inputs=1, outputs=self.strides[-1]),
        )

    @property
    def chunk_margin(self) -> int:
        """Samples that a chunk decodes to less than its frames stand for: without padding each
        convolution gives as many steps less as it sees around one.
        """
        units = sum((layer.kernel - 1) * layer.dilation for layer in _RESIDUAL_UNITS)
        ends = _Layer(7).kernel - 1
        margin = ends
        for stride in reversed(self.strides):
            margin = (margin - 1) * stride + units
        return margin + ends

    def build(self) -> nn.Module:
        ensure_torchaudio()
        with quiet():  # of the packages that it pulls in
            try:
                from dac.model import DAC
            except ImportError as error:
                raise CodecError(
                    f"DAC needs the package descript-audio-codec ({error}): "
                    'pip install "acomp[dac]"'
                ) from None
            model: nn.Module = DAC(
                encoder_dim=self.encoder_width,
                encoder_rates=list(self.strides),
                latent_dim=self.latent_dimension,
                decoder_dim=self.decoder_width,
                decoder_rates=list(reversed(self.strides)),
                n_codebooks=self.codebooks,
                codebook_size=self.codebook_size,
                codebook_dim=self.codebook_dimension,
                sample_rate=self.sample_rate,
            )
        return model.eval()

    def spec(
        self, name: str = "custom", bandwidths: Mapping[float, int] | None = None
    ) -> CodecSpec:
        contexts = sum(self.encoder_contexts) + sum(self.decoder_contexts)
        frames = 2 * (SAMPLE_BLOCK + LATENT_BLOCK) + contexts
        return CodecSpec(
            name=name,
            sample_rate=self.sample_rate,
            channels=1,
            hop_length=self.hop_length,
            codebooks=self.codebooks,
            codebook_size=self.codebook_size,
            codebook_dim=self.codebook_dimension,
            bandwidths=bandwidths or self._bandwidths(),
            stereo_streams=True,
            delay=frames * self.hop_length / self.sample_rate,
            chunk_margin=self.chunk_margin,
        )

    @classmethod
    def from_official(cls, kwargs: Mapping[str, object]) -> DacShape:
        """The shape in the metadata of `descript-audio-codec`'s files: the arguments of `dac.DAC`.

        Raises:
            CodecError: no network that acomp knows has them.
        """
        known = {official: kwargs[official] for official in _OFFICIAL if official in kwargs}
        values = {_OFFICIAL[official]: value for official, value in known.items()}
        shape = shape_from({"family": "dac", **values})
        assert isinstance(shape, DacShape)
        rates = kwargs.get("decoder_rates", [8, 8, 4, 2])
        if not isinstance(rates, list | tuple) or tuple(rates) != shape.strides[::-1]:
            raise CodecError("decoder_rates are not the encoder_rates in reverse")
        return shape


_OFFICIAL = {
    "sample_rate": "sample_rate",
    "encoder_dim": "encoder_width",
    "encoder_rates": "strides",
    "latent_dim": "latent_dimension",
    "decoder_dim": "decoder_width",
    "n_codebooks": "codebooks",
    "codebook_size": "codebook_size",
    "codebook_dim": "codebook_dimension",
}
"""Arguments of `dac.DAC`, and the fields that they are; quantiser dropout is training's alone."""

_FAMILIES: dict[str, type[Shape]] = {"encodec": EncodecShape, "dac": DacShape}


def shape_from(values: object) -> Shape:
    """The shape that `to_dict` gave, or that somebody wrote: nothing in it is trusted.

    Raises:
        CodecError: it is no shape; the one line names the key.
    """
    if not isinstance(values, Mapping):
        raise CodecError("a shape is a mapping of `family` and the fields of that family")
    family = values.get("family")
    if not isinstance(family, str) or family not in _FAMILIES:
        raise CodecError(f"family is {brief(family)}, not {' or '.join(_FAMILIES)}")
    kind = _FAMILIES[family]
    given = {key: value for key, value in values.items() if key != "family"}
    known = [field.name for field in fields(kind)]
    unknown = [key for key in given if key not in known]
    if unknown:
        raise CodecError(
            f"the shape of {family} has no {brief(unknown[0])}; it has {', '.join(known)}"
        )
    if isinstance(given.get("strides"), list):
        given["strides"] = tuple(given["strides"])
    return kind(**given)


def _check_whole(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise CodecError(f"{name} is {brief(value)}, not a whole number from {least} to {most}")


def _reach(layers: list[_Layer], *, inputs: int, outputs: int) -> int:
    """Whole frames on either side of a frame that some layers' output for it depends on.

    A frame is `inputs` steps of what goes in and `outputs` steps of what comes out.
    """
    first, last = 0, outputs - 1
    for layer in reversed(layers):
        reach = (layer.kernel - 1) * layer.dilation
        if layer.transposed:  # output t is made of the inputs i of t = i * stride - padding + tap
            first = -((reach - first - layer.padding) // layer.stride)
            last = (last + layer.padding) // layer.stride
        else:
            first = first * layer.stride - layer.padding
            last = last * layer.stride - layer.padding + reach
    return max(-(first // inputs), last // inputs)


def _published(codec: Published, kind: type[Shape]) -> Shape:
    spec = codec.spec
    return kind(sample_rate=spec.sample_rate, codebooks=spec.codebooks, **codec.network)


SHAPES: dict[str, Shape] = {
    codec.spec.name: _published(codec, kind)
    for family, kind in _FAMILIES.items()
    for codec in of_family(family)
}
"""The published shapes, by the name of the codec."""
