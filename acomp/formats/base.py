"""What every file form offers: a reader and a writer of blocks of codes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import BinaryIO, ClassVar

from acomp.codecs import FORMER, CodecSpec
from acomp.codes import MAX_LENGTH, Block, Codes, CodesInfo, check_block, split
from acomp.errors import FormatError
from acomp.files import Closing
from acomp.formats.source import Source
from acomp.plain import NotPlainError, brief, parse_json as plain_json
from acomp.scalars import whole_number
from acomp.settings import Entropy, FormName

BLOCK_BYTES = 4096
"""Packed codes that a block holds: 1.4 s at 24 kbps, 22 s at 1.5 kbps."""
MAX_METADATA = 1 << 16
"""Bytes of JSON that describe the codes; what is longer was not written by acomp."""

_LONGEST_MESSAGE = 300

# Fields of CodesInfo that most codes lack: left out of the metadata, as they were before they were
# thought of.
_OPTIONAL = ("loudness", "chunk")


@dataclass(frozen=True)
class Reading:
    """How codes are read.

    Attributes:
        recover: whether to pass over what is damaged, where the form allows it.
        language_model: file of the language model that the codes were entropy-coded with, where it
            is not the codec's own.
        codec: the codec that made the codes, for files that do not say it (`.dac`, plain `.txt`,
            bare codes).
    """

    recover: bool = False
    language_model: Path | None = None
    codec: CodecSpec | None = None


@dataclass(frozen=True)
class Writing:
    """How codes are written.

    Attributes:
        form: the file form, where the suffix of the target does not say it.
        entropy: how codes become bits: at a fixed width, or smaller by a language model.
        language_model: file of the language model, where it is not the codec's own.
        live: whether each block is written and flushed at once, for a pipe.
        replace: whether a file that exists is replaced.
    """

    form: FormName | None = None
    entropy: Entropy = "none"
    language_model: Path | None = None
    live: bool = False
    replace: bool = True


RECOVER = "; decode --recover takes what is whole"
"""The advice for a damaged file of a form that can be recovered."""


class CodesReader(Closing):
    """Codes that are open for reading, block by block: a context manager, made by `open_codes`.

    Attributes:
        info: what the codes are of, and how they are decoded.
        length: samples per channel at `info.source_rate`; None until the last block where only a
            whole reading tells: `.nac` in a pipe or in recovery.
        frames: codec frames in all; None as long as `length` is.
        form: name of the file form.
        language_model: fingerprint of the language model that the codes are coded with, where the
            file names one.
        damage: what recovery has passed over so far, one line each.
    """

    info: CodesInfo
    length: int | None = None
    frames: int | None = None
    form: str
    language_model: str | None = None
    damage: list[str]

    def __init__(self, source: Source, name: str) -> None:
        self._source = source
        self._name = name
        self.damage = []

    def __repr__(self) -> str:
        lasting = "" if self.length is None else f", {self.length / self.info.source_rate:.2f} s"
        return f"<reader of {self._name}: .{self.form}, {self.info}{lasting}>"

    def blocks(self, start_frame: int = 0) -> Iterator[tuple[int, Block]]:
        """Yield each block with the number of its first frame, from the block `start_frame` is in.

        The first block may so begin before `start_frame`. One iteration at a time; a pipe can be
        read once only.

        Raises:
            FormatError: the codes are damaged or end too early, or the reader is closed.
        """
        with naming(self._name):
            start_frame = whole_number(start_frame, "the first frame", FormatError)
            self._source.check_open()
            if start_frame < 0:
                raise FormatError(f"has no frame {start_frame}")
            yield from self._blocks(start_frame)

    @abstractmethod
    def _blocks(self, start_frame: int) -> Iterator[tuple[int, Block]]: ...

    def counts(self) -> Iterator[tuple[int, int | None]]:
        """Of each block its frames, and its segments where it has such; all of it is checked, but
        entropy-coded codes need not be decoded.

        Raises:
            FormatError: as `blocks`.
        """
        for _, block in self.blocks():
            yield block.frames, None if block.segments is None else len(block.segments)

    def close(self) -> None:
        self._source.close()


class WholeReader(CodesReader):
    """Reader of a form that can only be read whole."""

    def __init__(self, source: Source, name: str, codes: Codes) -> None:
        super().__init__(source, name)
        self._codes = codes
        self.info, self.length, self.frames = codes.info, codes.length, codes.frames

    def _blocks(self, start_frame: int) -> Iterator[tuple[int, Block]]:
        first = 0
        for block in split(self._codes.block, block_frames(self.info)):
            if first + block.frames > start_frame:
                yield first, block
            first += block.frames


class CodesWriter(ABC):
    """Codes that are being written: `write` each block in order, then `finish`."""

    wants_loudness: ClassVar[bool] = False
    """Whether the form cannot do without the loudness of the audio; see `finish`."""

    def __init__(self, stream: BinaryIO, name: str, info: CodesInfo, how: Writing) -> None:
        self.info = info
        self.finished = False
        self._stream = stream
        self._name = name
        self._live = how.live
        self._frames = 0
        self._segmented: bool | None = None

    def __repr__(self) -> str:
        return f"<writer of {self._name}: {self.info}>"

    def write(self, block: Block) -> None:
        """Append `block`.

        Raises:
            FormatError: its codes do not fit `info`, only some blocks have segments, or the writer
                has finished.
        """
        with naming(self._name):
            self._check_open()
            check_block(self.info, block)
            if not block.frames:
                return
            segmented = block.segments is not None
            if self._segmented not in (None, segmented):
                raise FormatError("either all blocks have segments or none has")
            self._segmented = segmented
            self._frames += block.frames
            self._write(block)
            if self._live:
                self._stream.flush()

    def finish(self, length: int, loudness: tuple[float, ...] | None = None) -> None:
        """Complete the file.

        Args:
            length: in samples per channel at `info.source_rate`.
            loudness: of the audio that was encoded, in the place of `info.loudness`, where the
                form wants it: an encoder knows it only now.

        Raises:
            FormatError: `length` is no number of samples, or the form lacks something.
        """
        with naming(self._name):
            self._check_open()
            if type(length) is not int or not 0 <= length <= MAX_LENGTH:
                raise FormatError(f"length is {brief(length)}, not a number of samples")
            if loudness is not None:
                self.info = replace(self.info, loudness=loudness)
            self._finish(length)
            self._stream.flush()
            self.finished = True

    def _check_open(self) -> None:
        if self.finished or getattr(self._stream, "closed", False):
            raise FormatError("has ended: nothing can be written any more")

    def _put(self, data: bytes) -> None:
        # An unbuffered stream may take only a part at a time.
        rest = memoryview(data)
        while rest:
            rest = rest[self._stream.write(rest) :]

    @abstractmethod
    def _write(self, block: Block) -> None: ...

    @abstractmethod
    def _finish(self, length: int) -> None: ...


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Put the file's name before a FormatError's message, and keep it to one line."""
    try:
        yield
    except FormatError as error:
        message = " ".join(str(error).split())
        if len(message) > _LONGEST_MESSAGE:
            # It quotes the file, which may hold anything.
            message = f"{message[:_LONGEST_MESSAGE]}..."
        raise FormatError(f"{name}: {message}") from error


def block_frames(info: CodesInfo) -> int:
    """Frames of which the packed codes are about `BLOCK_BYTES`."""
    return max(1, BLOCK_BYTES * 8 // (info.codes_per_frame * info.bits))


def info_to_dict(info: CodesInfo) -> dict[str, object]:
    """The fields of `info` under their own names; the optional ones where they say something."""
    values = asdict(info)
    return {key: value for key, value in values.items() if not _is_left_out(key, value)}


def _is_left_out(key: str, value: object) -> bool:
    return key in _OPTIONAL and value is None


def info_from_dict(values: Mapping[str, object]) -> CodesInfo:
    """The reverse; unknown keys are ignored.

    Raises:
        FormatError: a field is missing or of the wrong type.
    """
    names = [field.name for field in fields(CodesInfo)]
    missing = [name for name in names if name not in values and name not in _OPTIONAL]
    if missing:
        raise FormatError(f"the metadata lacks {', '.join(missing)}")
    given = {name: values[name] for name in names if name in values}
    loudness = given.get("loudness")
    if isinstance(loudness, list):
        # JSON has one kind of number: other programs write -16.0 as -16.
        given["loudness"] = tuple(float(v) if type(v) is int else v for v in loudness)
    if isinstance(given["codec"], str):
        given["codec"] = FORMER.get(given["codec"], given["codec"])
    return CodesInfo(**given)  # type: ignore[arg-type]


def parse_json(text: bytes | str) -> object:
    """The plain value of a JSON text.

    Raises:
        FormatError: it is none.
    """
    try:
        return plain_json(text)
    except NotPlainError as error:
        raise FormatError(f"the metadata {error}") from error
