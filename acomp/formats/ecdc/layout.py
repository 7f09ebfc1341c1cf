"""What an `.ecdc` file holds: its header, and how the recording lies in segments."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from acomp.codecs import PUBLISHED, CodecSpec
from acomp.codes import MAX_LENGTH, CodesInfo, info_of
from acomp.errors import FormatError
from acomp.formats.base import MAX_METADATA, parse_json
from acomp.formats.bits import packed_size
from acomp.formats.source import Source
from acomp.plain import brief

MAGIC = b"ECDC"
START = struct.Struct("!4sBI")
SCALE = np.dtype(">f4")
"""How the gain of a segment is stored."""
BITS = 10
"""Bits of a packed code."""

MODELS = {
    codec.official_name: codec.spec
    for codec in PUBLISHED.values()
    if codec.official_form == "ecdc" and codec.official_name is not None
}
"""EnCodec's published models, by the names that the files have for them."""


def _name_of(model: CodecSpec) -> str:
    return next(name for name, spec in MODELS.items() if spec is model)


def model_of(info: CodesInfo) -> CodecSpec:
    """The model that made codes of `info`."""
    for model in MODELS.values():
        expected = info_of(
            model,
            channels=model.channels,
            codebooks=min(info.codebooks, model.codebooks),
            source_rate=info.source_rate,
            fingerprint=info.fingerprint,
        )
        if info == expected:
            return model
    codecs = " or ".join(model.name for model in MODELS.values())
    raise FormatError(f"an .ecdc file holds codes of {codecs}, not these of {info.codec}")


@dataclass(frozen=True)
class Layout:
    """How a recording is divided into segments.

    Attributes:
        model: the model that coded it.
        length: samples of the recording, at the model's sample rate.
    """

    model: CodecSpec
    length: int

    @property
    def segments(self) -> int:
        return -(-self.length // (self.model.segment_stride or self.length))

    def samples(self, segment: int) -> int:
        rest = self.length - segment * (self.model.segment_stride or self.length)
        return min(rest, self.model.segment_length or self.length)

    def frames(self, segment: int) -> int:
        return -(-self.samples(segment) // self.model.hop_length)

    def total(self, of: Callable[[int], int]) -> int:
        """The sum of `of(segment)` over all segments, of which all but the last two are alike."""
        alike = max(0, self.segments - 2)
        return alike * of(0) + sum(map(of, range(alike, self.segments)))

    def packed(self, segment: int, codebooks: int) -> int:
        """Bytes of a segment whose codes are packed."""
        scale = 0 if self.model.segment_frames is None else SCALE.itemsize
        return scale + packed_size(self.frames(segment) * codebooks, BITS)

    def fits(self, counts: list[int]) -> bool:
        """Whether these are the frames of its segments."""
        return len(counts) == self.segments and all(
            count == self.frames(segment) for segment, count in enumerate(counts)
        )

    def as_decoded(self) -> Layout:
        """The layout to write, a sample shorter where `encodec` would look for a frame too many.

        Its decoder computes the frames of a segment in floating point and, where the last segment
        ends with a whole frame, sometimes gets one more than its encoder writes.
        """
        model, last = self.model, self.segments - 1
        expected = math.ceil(self.samples(last) / model.sample_rate * model.frame_rate)
        return replace(self, length=self.length - 1) if expected > self.frames(last) else self


@dataclass(frozen=True)
class Header:
    """What stands before the codes."""

    layout: Layout
    codebooks: int
    entropy_coded: bool

    def to_bytes(self) -> bytes:
        metadata = {
            "m": _name_of(self.layout.model),
            "al": self.layout.length,
            "nc": self.codebooks,
            "lm": self.entropy_coded,
        }
        text = json.dumps(metadata).encode()
        return START.pack(MAGIC, 0, len(text)) + text

    @classmethod
    def from_metadata(cls, metadata: object) -> Header:
        if not isinstance(metadata, dict):
            raise FormatError("the metadata is not a JSON object")
        name, length, codebooks, entropy_coded = (
            metadata.get(key) for key in ("m", "al", "nc", "lm")
        )
        model = MODELS.get(name) if isinstance(name, str) else None
        if model is None:
            names = " and ".join(MODELS)
            raise FormatError(f"is of the model {brief(name)}; there are {names}")
        if type(length) is not int or not 1 <= length <= MAX_LENGTH:
            raise FormatError(f"al is {brief(length)}, not a number of samples")
        most = model.codebooks
        if type(codebooks) is not int or not 1 <= codebooks <= most:
            raise FormatError(
                f"nc is {brief(codebooks)}, not a number of codebooks from 1 to {most}"
            )
        if type(entropy_coded) is not bool:
            raise FormatError(f"lm is {brief(entropy_coded)}, neither true nor false")
        return cls(Layout(model, length), codebooks, entropy_coded)


def read_header(source: Source) -> tuple[Header, int]:
    """Take the header; what it says, and its size in bytes."""
    start = source.read(START.size)
    if not start.startswith(MAGIC):
        raise FormatError("is not an .ecdc file: it does not begin with ECDC")
    if len(start) < START.size:
        raise FormatError("ends in the middle of the header")
    _, version, size = START.unpack(start)
    if version != 0:
        raise FormatError(f"is .ecdc version {version}; this acomp reads version 0")
    if size > MAX_METADATA:
        raise FormatError(f"claims {size} bytes of metadata, more than the {MAX_METADATA} allowed")
    text = source.read(size)
    if len(text) < size:
        raise FormatError("ends in the middle of the metadata")
    return Header.from_metadata(parse_json(text)), len(start) + size
