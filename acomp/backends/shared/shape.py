"""Shapes that users may choose: what networks of their own codecs are built by.

A shape is all that its network's layout depends on, so a file of weights that names its shape needs
nothing else to be used. What a shape leaves out is as in its family's default. Shapes come from
users and from files, and are checked before anything is built.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

from acomp.codecs import CodecSpec, Published
from acomp.codes import MAX_CODEBOOK_SIZE, MAX_CODEBOOKS
from acomp.errors import CodecError
from acomp.plain import brief

if TYPE_CHECKING:
    from torch import nn

# What networks are kept within: beyond all use, but nothing that takes a machine down.
MAX_STRIDES = 8
MAX_WIDTH = 8192
MAX_ENTRIES = 1 << 28
"""Numbers in all codebooks together."""


@dataclass(frozen=True, kw_only=True)
class Shape(ABC):
    """What the shapes of all families have in common.

    Attributes:
        sample_rate: in Hz.
        strides: of the encoder's downsampling layers, the one next to the samples first; the
            decoder has them in reverse. Each layer has twice as many channels as the one before
            it.
        codebooks: number of codebooks.
        codebook_size: entries of a codebook, a power of two.

    Raises:
        CodecError: no network can have this shape.
    """

    family: ClassVar[str]
    """Name of the family."""
    ranges: ClassVar[dict[str, tuple[int, int]]]
    """The least and the most of each of the family's own fields that is a whole number."""

    sample_rate: int
    strides: tuple[int, ...] = (2, 4, 5, 8)
    codebooks: int
    codebook_size: int = 1024

    def __post_init__(self) -> None:
        for name, (least, most) in self._ranges().items():
            check_whole(name, getattr(self, name), least, most)
        if not isinstance(self.strides, tuple) or not 1 <= len(self.strides) <= MAX_STRIDES:
            raise CodecError(f"strides are a list of 1 to {MAX_STRIDES} whole numbers")
        for stride in self.strides:
            check_whole("a stride", stride, 2, 16)
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

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Self:
        """The shape of the fields that `to_dict` gave, or that somebody wrote; without `family`.

        Raises:
            CodecError: no network can have it, or it has another field; the one line names it.
        """
        known = [field.name for field in fields(cls)]
        unknown = [key for key in values if key not in known]
        if unknown:
            raise CodecError(
                f"the shape of {cls.family} has no {brief(unknown[0])}; it has {', '.join(known)}"
            )
        given: dict[str, Any] = dict(values)
        if isinstance(given.get("strides"), list):
            given["strides"] = tuple(given["strides"])
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """The family and the fields under their own names, as JSON and YAML can hold them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"family": self.family, **values, "strides": list(self.strides)}

    @classmethod
    @abstractmethod
    def of(cls, codec: Published) -> Self:
        """The shape of a published codec of this family."""

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
        """The network, a module of the official package, in eval mode. Its weights are drawn at
        random; its codebooks are empty where the package fills them in training.

        Raises:
            CodecError: the package is not installed.
        """

    def network(self) -> nn.Module:
        """The network that acomp runs, weights as in `build`: the package's, where the family has
        none of its own.
        """
        return self.build()

    @abstractmethod
    def spec(
        self, name: str = "custom", bandwidths: Mapping[float, int] | None = None
    ) -> CodecSpec:
        """What is fixed about a codec of this shape.

        Args:
            name: what the codec is called.
            bandwidths: as in `CodecSpec`; without them those of 1, 2, 4, ... and all codebooks, to
                three digits.
        """

    def offered_codebooks(self) -> list[int]:
        """Numbers of codebooks that a bandwidth is offered for."""
        powers = {1 << power for power in range(self.codebooks.bit_length())}
        return sorted(powers | {self.codebooks})

    def _bandwidths(self) -> dict[float, int]:
        bits = self.codebook_size.bit_length() - 1
        kbps = bits * self.sample_rate / self.hop_length / 1000
        return {float(f"{count * kbps:.3g}"): count for count in self.offered_codebooks()}


def check_whole(name: str, value: object, least: int, most: int) -> None:
    """Raise CodecError, which names the field, unless a value is a whole number in a range."""
    if type(value) is not int or not least <= value <= most:
        raise CodecError(f"{name} is {brief(value)}, not a whole number from {least} to {most}")
