"""`.ecdc`: files of the `encodec` package, the official tool of EnCodec; see docs/formats.md."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from acomp.codecs import PUBLISHED, CodecSpec
from acomp.codes import MAX_LENGTH, Block, CodesInfo, Segments, info_of, join, split
from acomp.errors import FormatError
from acomp.formats.base import (
    MAX_METADATA,
    CodesReader,
    CodesWriter,
    Reading,
    Writing,
    block_frames,
    naming,
    parse_json,
)
from acomp.formats.bits import pack, packed_size, unpack
from acomp.formats.source import Source
from acomp.plain import brief

if TYPE_CHECKING:
    from torch import nn

_MAGIC = b"ECDC"
_START = struct.Struct("!4sBI")
_SCALE = np.dtype(">f4")
_BITS = 10
_WHOLE = 4
"""Frames whose codes fill whole bytes, however many codebooks there are."""
_SPOOL = 1 << 22
"""Bytes that wait in memory for the end of a recording; more wait on the disk."""
_CHUNK = 1 << 16

Frames = NDArray[np.uint16]
"""Codes `[codebooks, frames]`."""


# What a file holds


_MODELS = {
    codec.official_name: codec.spec
    for codec in PUBLISHED.values()
    if codec.official_form == "ecdc" and codec.official_name is not None
}
"""EnCodec's published models, by the names that the files have for them."""


def _name_of(model: CodecSpec) -> str:
    return next(name for name, spec in _MODELS.items() if spec is model)


def _model_of(info: CodesInfo) -> CodecSpec:
    """The model that made codes of `info`."""
    for model in _MODELS.values():
        due = info_of(
            model,
            channels=model.channels,
            codebooks=min(info.codebooks, model.codebooks),
            source_rate=info.source_rate,
            fingerprint=info.fingerprint,
        )
        if info == due:
            return model
    codecs = " or ".join(model.name for model in _MODELS.values())
    raise FormatError(f"an .ecdc file holds codes of {codecs}, not these of {info.codec}")


@dataclass(frozen=True)
class _Layout:
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
        scale = 0 if self.model.segment_frames is None else _SCALE.itemsize
        return scale + packed_size(self.frames(segment) * codebooks, _BITS)

    def fits(self, counts: list[int]) -> bool:
        """Whether these are the frames of its segments."""
        return len(counts) == self.segments and all(
            count == self.frames(segment) for segment, count in enumerate(counts)
        )

    def as_decoded(self) -> _Layout:
        """The layout to write, a sample shorter where `encodec` would look for a frame too many.

        Its decoder computes the frames of a segment in floating point and, where the last segment
        ends with a whole frame, sometimes gets one more than its encoder writes.
        """
        model, last = self.model, self.segments - 1
        expected = math.ceil(self.samples(last) / model.sample_rate * model.frame_rate)
        return replace(self, length=self.length - 1) if expected > self.frames(last) else self


@dataclass(frozen=True)
class _Header:
    """What stands before the codes."""

    layout: _Layout
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
        return _START.pack(_MAGIC, 0, len(text)) + text

    @classmethod
    def from_metadata(cls, metadata: object) -> _Header:
        if not isinstance(metadata, dict):
            raise FormatError("the metadata is not a JSON object")
        name, length, codebooks, entropy_coded = (
            metadata.get(key) for key in ("m", "al", "nc", "lm")
        )
        model = _MODELS.get(name) if isinstance(name, str) else None
        if model is None:
            names = " and ".join(_MODELS)
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
        return cls(_Layout(model, length), codebooks, entropy_coded)


def _read_header(source: Source) -> tuple[_Header, int]:
    """Take the header; what it says, and its size in bytes."""
    start = source.read(_START.size)
    if not start.startswith(_MAGIC):
        raise FormatError("is not an .ecdc file: it does not begin with ECDC")
    if len(start) < _START.size:
        raise FormatError("ends in the middle of the header")
    _, version, size = _START.unpack(start)
    if version != 0:
        raise FormatError(f"is .ecdc version {version}; this acomp reads version 0")
    if size > MAX_METADATA:
        raise FormatError(f"claims {size} bytes of metadata, more than the {MAX_METADATA} allowed")
    text = source.read(size)
    if len(text) < size:
        raise FormatError("ends in the middle of the metadata")
    return _Header.from_metadata(parse_json(text)), len(start) + size


# How codes become bytes: as they are, here, or by their probabilities (acomp.entropy.official)


class _Encoder(Protocol):
    """Turns the codes of a segment into bytes."""

    def push(self, codes: Frames) -> None: ...

    def finish(self) -> None: ...


class _Decoder(Protocol):
    """Turns the bytes of a segment into codes."""

    def pull(self, frames: int) -> Frames: ...

    def finish(self) -> None:
        """See that nothing follows; called for the last segment."""
        ...


class _Packer:
    """Codes as they are, frame after frame."""

    def __init__(self, codebooks: int, stream: IO[bytes]) -> None:
        self._stream = stream
        self._held = np.zeros((codebooks, 0), np.uint16)

    def push(self, codes: Frames) -> None:
        codes = np.concatenate([self._held, codes], axis=1)
        whole = codes.shape[1] // _WHOLE * _WHOLE
        self._put(codes[:, :whole])
        self._held = codes[:, whole:]

    def finish(self) -> None:
        self._put(self._held)

    def _put(self, codes: Frames) -> None:
        self._stream.write(pack(codes.T.reshape(-1), _BITS, "lsb"))


class _Unpacker:
    """The reverse; all but the last `frames` of a segment must be multiples of `_WHOLE`."""

    def __init__(self, codebooks: int, source: Source) -> None:
        self._codebooks = codebooks
        self._source = source

    def pull(self, frames: int) -> Frames:
        count = frames * self._codebooks
        data = self._source.read(packed_size(count, _BITS))
        try:
            codes = unpack(data, _BITS, count, "lsb")
        except ValueError as error:
            raise FormatError(f"is cut short or damaged: {error}") from error
        return codes.reshape(frames, self._codebooks).T

    def finish(self) -> None:
        if self._source.read(1):
            raise FormatError("has bytes after its end")


def _language_model(info: CodesInfo, how: Reading | Writing) -> nn.Module:
    # Imports torch.
    from acomp.entropy.official import load_language_model

    return load_language_model(info.codec, how.language_model)


# Writing


class EcdcWriter(CodesWriter):
    """Writes what `encodec.compress.decompress` reads.

    The header tells the length, so all that follows it waits for the end.
    """

    def __init__(self, stream: BinaryIO, name: str, info: CodesInfo, how: Writing) -> None:
        super().__init__(stream, name, info, how)
        with naming(name):
            self._model = _model_of(info)
        self._language_model = _language_model(info, how) if how.entropy == "lm" else None
        self._spool = SpooledTemporaryFile(_SPOOL)  # noqa: SIM115 - `_finish` closes it
        self._encoder = self._new_encoder()
        self._counts: list[int] = []

    def _new_encoder(self) -> _Encoder:
        if self._language_model is None:
            return _Packer(self.info.codebooks, self._spool)
        from acomp.entropy.official import OfficialEncoder

        return OfficialEncoder(self._language_model, self.info.codebooks, self._spool)

    def _write(self, block: Block) -> None:
        if (block.segments is None) != (self._model.segment_frames is None):
            lack = "lack" if block.segments is None else "have"
            raise FormatError(f"these codes of {self.info.codec} {lack} segments")
        if block.segments is None:
            self._encoder.push(block.data[0])
            return
        self._spool_segments(block)

    def _spool_segments(self, block: Block) -> None:
        for part in split(block, 1):
            assert part.segments is not None
            self._spool.write(part.segments.scales.astype(_SCALE).tobytes())
            self._encoder.push(part.data[0])
            self._encoder.finish()
            self._encoder = self._new_encoder()
            self._counts.append(part.frames)

    def _finish(self, length: int) -> None:
        info = self.info
        if self._model.segment_frames is None:
            self._encoder.finish()
            self._counts = [self._frames]
        # As many samples as the resampler made of the audio.
        layout = _Layout(self._model, -(-length * info.sample_rate // info.source_rate))
        if not length or not layout.fits(self._counts):
            raise FormatError(
                f"{self._frames} frames are not what {info.codec} makes of {layout.length} "
                "samples, and an .ecdc file holds nothing else"
            )
        entropy_coded = self._language_model is not None
        self._put(_Header(layout.as_decoded(), info.codebooks, entropy_coded).to_bytes())
        with self._spool as spool:
            spool.seek(0)
            while data := spool.read(_CHUNK):
                self._put(data)


# Reading


class EcdcReader(CodesReader):
    """Reads `.ecdc` files of either kind. They hold no checksum: there is nothing to recover by."""

    form = "ecdc"

    def __init__(self, source: Source, name: str, how: Reading) -> None:
        super().__init__(source, name)
        self._how = how
        self._spent = False
        self._header, self._begin = _read_header(source)
        self._layout = self._header.layout
        codebooks, model = self._header.codebooks, self._layout.model
        self.info = info_of(model, channels=model.channels, codebooks=codebooks)
        self.length, self.frames = self._layout.length, self._layout.total(self._layout.frames)
        self._step = -(-block_frames(self.info) // _WHOLE) * _WHOLE
        if source.size is not None and not self._header.entropy_coded:
            self._check_size(source.size - self._begin)

    def _check_size(self, size: int) -> None:
        codebooks = self._header.codebooks
        due = self._layout.total(lambda segment: self._layout.packed(segment, codebooks))
        if size < due:
            raise FormatError(f"is cut short: {due} bytes of codes are due and {size} are there")
        if size > due:
            raise FormatError("has bytes after its end")

    def _blocks(self, start_frame: int) -> Iterator[tuple[int, Block]]:
        if self._source.size is not None:
            self._source.seek(self._begin)
        elif self._spent:
            raise FormatError("comes through a pipe, which can be read only once")
        self._spent = True
        segment, frame = self._seek(start_frame)
        first = segment * self._layout.frames(0) + frame
        for block in self._together(self._parts(segment, frame)):
            if first + block.frames > start_frame:
                yield first, block
            first += block.frames

    def counts(self) -> Iterator[tuple[int, int | None]]:
        """As `CodesReader.counts`; entropy-coded codes hold nothing that could be checked."""
        if not self._header.entropy_coded:
            yield from super().counts()
            return
        segmented = self._layout.model.segment_frames is not None
        yield self._layout.total(self._layout.frames), self._layout.segments if segmented else None

    def _seek(self, start_frame: int) -> tuple[int, int]:
        """Go to a segment, and a frame in it, no later than `start_frame`.

        That is the beginning in a pipe and where codes are entropy-coded: only decoding tells where
        they end.
        """
        if self._source.size is None or self._header.entropy_coded:
            return 0, 0
        layout, codebooks = self._layout, self._header.codebooks
        if layout.model.segment_frames is None:
            frame = min(start_frame, layout.frames(0)) // _WHOLE * _WHOLE
            self._source.seek(self._begin + packed_size(frame * codebooks, _BITS))
            return 0, frame
        # Up to the last two, all segments are like the first.
        segment = min(start_frame // layout.frames(0), max(0, layout.segments - 2))
        self._source.seek(self._begin + segment * layout.packed(0, codebooks))
        return segment, 0

    def _parts(self, segment: int, frame: int) -> Iterator[Block]:
        """All from a frame of a segment on: whole segments, or some frames at a time."""
        new_decoder = self._decoders()
        decoder = new_decoder()
        if self._layout.model.segment_frames is None:
            for begin in range(frame, self._layout.frames(0), self._step):
                frames = min(self._step, self._layout.frames(0) - begin)
                yield _block(decoder.pull(frames))
        else:
            for number in range(segment, self._layout.segments):
                scale = self._take_scale(number)
                decoder = new_decoder()
                frames = self._layout.frames(number)
                yield _block(decoder.pull(frames), Segments(np.array([frames]), scale))
        decoder.finish()

    def _decoders(self) -> Callable[[], _Decoder]:
        """What makes the decoder of each segment."""
        codebooks, source = self._header.codebooks, self._source
        if not self._header.entropy_coded:
            return lambda: _Unpacker(codebooks, source)
        from acomp.entropy.official import OfficialDecoder

        model = _language_model(self.info, self._how)
        return lambda: OfficialDecoder(model, codebooks, source)

    def _take_scale(self, segment: int) -> NDArray[np.float32]:
        """`[1]`."""
        data = self._source.read(_SCALE.itemsize)
        if len(data) < _SCALE.itemsize:
            raise FormatError(f"ends before segment {segment + 1} of {self._layout.segments}")
        return np.frombuffer(data, _SCALE).astype(np.float32)

    def _together(self, parts: Iterable[Block]) -> Iterator[Block]:
        """Join parts until they are a block of the usual size."""
        pending: list[Block] = []
        for part in parts:
            pending.append(part)
            if sum(block.frames for block in pending) >= self._step:
                yield join(self.info, pending)
                pending = []
        if pending:
            yield join(self.info, pending)


def _block(codes: Frames, segments: Segments | None = None) -> Block:
    return Block(np.ascontiguousarray(codes[np.newaxis]), segments)
