"""The shape of DAC's networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from acomp.backends.shared.blocks import LATENT_BLOCK, SAMPLE_BLOCK
from acomp.backends.shared.reach import (
    RESIDUAL_UNITS,
    Contexts,
    Layer,
    decoder_contexts,
    encoder_contexts,
)
from acomp.backends.shared.shape import MAX_WIDTH, Shape, check_whole
from acomp.codecs import CodecSpec, Published
from acomp.errors import CodecError

if TYPE_CHECKING:
    from torch import nn

    from acomp.backends.shared.layers import Autoencoder
    from acomp.backends.weights.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class DacShape(Shape):
    """A DAC (https://arxiv.org/abs/2306.06546, section 3); the defaults are those of 44.1 kHz.

    Attributes:
        encoder_width: channels of the encoder's layer next to the samples.
        decoder_width: channels of the decoder's layer next to the latents.
        latent_dimension: channels of the latents; None stands for the encoder's widest layer.
        codebook_dimension: of the space that codes are looked up in.
    """

    family: ClassVar[str] = "dac"
    ranges: ClassVar[dict[str, tuple[int, int]]] = {
        "encoder_width": (2, 1024),
        "decoder_width": (2, MAX_WIDTH),
        "codebook_dimension": (1, 1024),
    }

    sample_rate: int = 44_100
    strides: tuple[int, ...] = (2, 4, 8, 8)
    codebooks: int = 9
    encoder_width: int = 64
    decoder_width: int = 1536
    latent_dimension: int | None = None
    codebook_dimension: int = 8

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
            check_whole("latent_dimension", self.latent_dimension, 1, MAX_WIDTH)

    @property
    def codebook_dim(self) -> int:
        return self.codebook_dimension

    @property
    def encoder_contexts(self) -> Contexts:
        """How far the encoder sees; it is cut before its last downsampling."""
        return encoder_contexts(self.strides)

    @property
    def decoder_contexts(self) -> Contexts:
        """How far the decoder sees; it is cut after its first upsampling."""
        return decoder_contexts(self.strides)

    @property
    def chunk_margin(self) -> int:
        """Samples that a chunk decodes to less than its frames stand for: without padding each
        convolution gives as many steps less as it sees around one.
        """
        units = sum((layer.kernel - 1) * layer.dilation for layer in RESIDUAL_UNITS)
        ends = Layer(7).kernel - 1
        margin = ends
        for stride in reversed(self.strides):
            margin = (margin - 1) * stride + units
        return margin + ends

    @classmethod
    def of(cls, codec: Published) -> DacShape:
        """The shape of a published codec."""
        spec = codec.spec
        return cls.from_dict(
            {
                "sample_rate": spec.sample_rate,
                "codebooks": spec.codebooks,
                "codebook_size": spec.codebook_size,
                "codebook_dimension": spec.codebook_dim,
                **codec.network,
            }
        )

    def build(self) -> nn.Module:
        from acomp.backends.dac.official import build

        return build(self)

    def network(self) -> Autoencoder:
        from acomp.backends.dac.network import build

        return build(self)

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
    def recognise(cls, checkpoint: Checkpoint) -> DacShape | None:
        """The shape of a file of `descript-audio-codec`, whose metadata has the arguments of
        `dac.DAC`; None of a file without such.

        Raises:
            CodecError: no network that acomp knows has them.
        """
        kwargs = checkpoint.kwargs
        if not kwargs:
            return None
        known = {official: kwargs[official] for official in _OFFICIAL if official in kwargs}
        values = {_OFFICIAL[official]: value for official, value in known.items()}
        shape = cls.from_dict(values)
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


def arguments(shape: DacShape) -> dict[str, Any]:
    """The arguments of `dac.DAC` that a shape stands for, as its files keep them."""
    known = {official: getattr(shape, field) for official, field in _OFFICIAL.items()}
    return {
        **known,
        "encoder_rates": list(shape.strides),
        "decoder_rates": list(reversed(shape.strides)),
    }
