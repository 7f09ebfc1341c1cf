"""How codes of an `.ecdc` file become bytes: as they are, here, or by their probabilities
(`acomp.entropy.official`).
"""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from acomp.codes import CodesInfo
from acomp.errors import FormatError
from acomp.formats.base import Reading, Writing
from acomp.formats.bits import pack, packed_size, unpack
from acomp.formats.ecdc.layout import BITS
from acomp.formats.source import Source

if TYPE_CHECKING:
    from torch import nn

WHOLE = 4
"""Frames whose codes fill whole bytes, however many codebooks there are."""

Frames = NDArray[np.uint16]
"""Codes `[codebooks, frames]`."""


class SegmentEncoder(Protocol):
    """Turns the codes of a segment into bytes."""

    def push(self, codes: Frames) -> None: ...

    def finish(self) -> None: ...


class SegmentDecoder(Protocol):
    """Turns the bytes of a segment into codes."""

    def pull(self, frames: int) -> Frames: ...

    def finish(self) -> None:
        """See that nothing follows; called for the last segment."""
        ...


class Packer:
    """Codes as they are, frame after frame."""

    def __init__(self, codebooks: int, stream: IO[bytes]) -> None:
        self._stream = stream
        self._held = np.zeros((codebooks, 0), np.uint16)

    def push(self, codes: Frames) -> None:
        codes = np.concatenate([self._held, codes], axis=1)
        whole = codes.shape[1] // WHOLE * WHOLE
        self._put(codes[:, :whole])
        self._held = codes[:, whole:]

    def finish(self) -> None:
        self._put(self._held)

    def _put(self, codes: Frames) -> None:
        self._stream.write(pack(codes.T.reshape(-1), BITS, "lsb"))


class Unpacker:
    """The reverse; all but the last `frames` of a segment must be multiples of `WHOLE`."""

    def __init__(self, codebooks: int, source: Source) -> None:
        self._codebooks = codebooks
        self._source = source

    def pull(self, frames: int) -> Frames:
        count = frames * self._codebooks
        data = self._source.read(packed_size(count, BITS))
        try:
            codes = unpack(data, BITS, count, "lsb")
        except ValueError as error:
            raise FormatError(f"is cut short or damaged: {error}") from error
        return codes.reshape(frames, self._codebooks).T

    def finish(self) -> None:
        if self._source.read(1):
            raise FormatError("has bytes after its end")


def language_model_of(info: CodesInfo, how: Reading | Writing) -> nn.Module:
    # Imports torch.
    from acomp.entropy.official import load_language_model

    return load_language_model(info.codec, how.language_model)
