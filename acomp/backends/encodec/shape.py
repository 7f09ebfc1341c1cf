"""The shape of EnCodec's networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, ClassVar, Literal

from acomp.backends.shared.blocks import Cut
from acomp.backends.shared.reach import Layer, reach
from acomp.backends.shared.shape import MAX_WIDTH, Shape
from acomp.codecs import CUSTOM_OVERLAP, CodecSpec, Published
from acomp.errors import CodecError
from acomp.plain import brief

if TYPE_CHECKING:
    from torch import nn

MAX_SEGMENT_FRAMES = 4096
BLOCK_FRAMES = 64
"""Frames that the layers of a network that sees both sides take at a time."""
QUANTISERS = ("rvq", "vq", "gumbel", "factorised", "fsq")


@dataclass(frozen=True, kw_only=True)
class EncodecShape(Shape):
    """An EnCodec (https://arxiv.org/abs/2210.13438, section 3); the defaults are those of 24 kHz.

    Attributes:
        channels: channels of audio, coded jointly.
        filters: channels of the layer next to the samples.
        residual_layers: residual units before each downsampling, each looking twice as far as the
            one before.
        lstm_layers: layers of the LSTM.
        dimension: of the latents and of the codebooks' entries.
        causal: whether it sees the past only; otherwise it sees both sides.
        norm: what normalises the convolutions, as the package calls it.
        segment: seconds, rounded to samples, of the segments that a network that is not causal
            codes, each scaled to unit level; they overlap by 1 %. None where it codes a stream, as
            causal networks do, and MusicGen's, which is not causal.
        shortcut: whether there is a convolution beside residual units; otherwise what goes into
            them is added as it is. Causal networks have one.
        padding: what convolutions see beyond the ends: the sound reflected (`reflect`), or silence
            (`zero`); causal networks see the first.
        quantiser: how latents become codes: `rvq`, EnCodec's residual codebooks; `vq`, one of them;
            `gumbel`, residual codebooks trained by Gumbel-softmax; `factorised`, DAC's; `fsq`,
            finite scalar quantisation.
        codebook_dimension: of the entries of `factorised`; the others have it from elsewhere.
    """

    family: ClassVar[str] = "encodec"
    ranges: ClassVar[dict[str, tuple[int, int]]] = {
        "channels": (1, 2),
        "filters": (4, 1024),
        "residual_layers": (1, 4),
        "lstm_layers": (1, 4),
        "dimension": (2, 4096),
        "codebook_dimension": (1, 256),
    }

    sample_rate: int = 24_000
    codebooks: int = 32
    channels: int = 1
    filters: int = 32
    residual_layers: int = 1
    lstm_layers: int = 2
    dimension: int = 128
    causal: bool = True
    norm: Literal["weight_norm", "time_group_norm"] = "weight_norm"
    segment: float | None = None
    shortcut: bool = True
    padding: Literal["reflect", "zero"] = "reflect"
    quantiser: str = "rvq"
    codebook_dimension: int = 8

    def __post_init__(self) -> None:
        if self.quantiser not in QUANTISERS:
            known = ", ".join(QUANTISERS)
            raise CodecError(f"quantiser is {brief(self.quantiser)}, not one of {known}")
        super().__post_init__()
        if self.width > MAX_WIDTH:
            raise CodecError(
                f"filters: {self.filters}, doubled by each of {len(self.strides)} strides, are "
                f"more than {MAX_WIDTH} channels"
            )
        if self.quantiser == "vq" and self.codebooks > 1:
            raise CodecError(f"codebooks is {self.codebooks}: the quantiser vq has one")
        if not isinstance(self.causal, bool):
            raise CodecError(f"causal is {brief(self.causal)}, not true or false")
        if self.norm not in ("weight_norm", "time_group_norm"):
            raise CodecError(f"norm is {brief(self.norm)}, not weight_norm or time_group_norm")
        if not isinstance(self.shortcut, bool):
            raise CodecError(f"shortcut is {brief(self.shortcut)}, not true or false")
        if self.padding not in ("reflect", "zero"):
            raise CodecError(f"padding is {brief(self.padding)}, not reflect or zero")
        if self.causal and not (self.shortcut and self.padding == "reflect"):
            raise CodecError("a causal network has a shortcut and the padding reflect")
        if self.segment is not None:
            if self.causal:
                raise CodecError("segment is for networks that are not causal")
            self._check_segment(self.segment)
        elif self.norm != "weight_norm":
            raise CodecError("norm: a network that codes no segments has weight_norm")

    def _check_segment(self, seconds: float) -> None:
        if type(seconds) not in (int, float) or not 0 < seconds <= 60:
            raise CodecError(
                f"segment is {brief(seconds)}, not the seconds that are coded at a time, 60 at most"
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
        of = {"factorised": self.codebook_dimension, "fsq": len(self.scalar_steps)}
        return of.get(self.quantiser, self.dimension)

    @property
    def scalar_steps(self) -> tuple[int, ...]:
        """Of finite scalar quantisation: how many values each number has, 8 and at last 4 or 2,
        whose product is `codebook_size`.
        """
        bits = self.codebook_size.bit_length() - 1
        numbers = -(-bits // 3)
        return tuple(1 << (bits + number) // numbers for number in reversed(range(numbers)))

    @property
    def width(self) -> int:
        """Channels of the LSTM."""
        return self.filters << len(self.strides)

    @property
    def segment_length(self) -> int:
        """Samples of a segment; 0 where there are none."""
        return round((self.segment or 0) * self.sample_rate)

    @property
    def first_frames(self) -> int:
        """Frames that the first step of a causal stream takes, an even number as the LSTM takes
        two at a time: the network begins by reflection, and the layers next to the latents see 6
        steps back, the last residual unit 2 ** residual_layers of its own.
        """
        frames = max(7, (1 << self.residual_layers) // self.strides[-1] + 1)
        return frames + frames % 2

    @property
    def cuts(self) -> tuple[tuple[Cut, Cut], tuple[Cut, Cut]]:
        """How a network that sees both sides is cut into blocks: the encoder and the decoder, each
        before its LSTM and after it.
        """
        units = [Layer(3, dilation=1 << layer) for layer in range(self.residual_layers)]
        down = chain.from_iterable([*units, Layer(2 * s, s)] for s in self.strides)
        up = chain.from_iterable(
            [Layer(2 * s, s, transposed=True), *units] for s in reversed(self.strides)
        )
        end, hop = Layer(7), self.hop_length
        near = Cut(1, 1, reach([end], inputs=1, outputs=1), BLOCK_FRAMES)
        encoding = Cut(hop, 1, reach([end, *down], inputs=hop, outputs=1), BLOCK_FRAMES)
        decoding = Cut(1, hop, reach([*up, end], inputs=1, outputs=hop), BLOCK_FRAMES)
        return (encoding, near), (near, decoding)

    @classmethod
    def of(cls, codec: Published) -> EncodecShape:
        """The shape of a published codec."""
        spec = codec.spec
        return cls.from_dict(
            {
                "sample_rate": spec.sample_rate,
                "channels": spec.channels,
                "codebooks": spec.codebooks,
                "codebook_size": spec.codebook_size,
                "dimension": spec.codebook_dim,
                **codec.network,
            }
        )

    def build(self) -> nn.Module:
        from acomp.backends.encodec.official import build

        return build(self)

    def spec(
        self, name: str = "custom", bandwidths: Mapping[float, int] | None = None
    ) -> CodecSpec:
        # The LSTM takes two frames at a time.
        held = self.hop_length if self.causal else self.segment_length or self._held
        return CodecSpec(
            name=name,
            sample_rate=self.sample_rate,
            channels=self.channels,
            hop_length=self.hop_length,
            codebooks=self.codebooks,
            codebook_size=self.codebook_size,
            codebook_dim=self.codebook_dim,
            bandwidths=bandwidths or self._bandwidths(),
            delay=held / self.sample_rate,
            segment_frames=self.segment_length // self.hop_length or None,
            segment_overlap=CUSTOM_OVERLAP if self.segment else 0.0,
        )

    @property
    def _held(self) -> int:
        """Samples that a network that sees both sides waits for, there and back."""
        frames = sum(2 * cut.block + cut.context for half in self.cuts for cut in half)
        return frames * self.hop_length
