"""Entropy coding of blocks of codes to bytes and back, with a language model and a range coder.

The range coder is constriction's, with 32-bit words, a 64-bit state and 24-bit probabilities
(https://bamler-lab.github.io/constriction). The order of the codes is: frame by frame, within a
frame codebook by codebook, within a codebook sequence by sequence. The sequences are the streams of
the first run of the block (or of its first segment), then those of the next run, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from constriction import stream
from numpy.typing import NDArray

from acomp.codes import Block, CodesInfo
from acomp.entropy.base import CONTEXT_FRAMES, Entries, LanguageModel, Memory, runs
from acomp.entropy.exact import frequencies
from acomp.errors import FormatError

ROWS = 256
"""Frames, over all sequences, that are processed at a time, which bounds memory."""

_WORD = np.dtype(">u4")
# With `perfect` off, constriction adds 1 to each frequency and uses it as it is, if the frequencies
# are whole numbers that add up to 2**24 less the number of entries.
_FAMILY = stream.model.Categorical(perfect=False)


@dataclass
class _Past:
    """The state of some sequences between two blocks."""

    last: Entries
    """1 + the codes of the last frame, 0 before the first frame: `[sequences, codebooks, 1]`."""
    memory: Memory


class BlockCoder:
    """Codes the blocks of one file in order, or any blocks that begin anew.

    A block that does not begin anew is predicted from the block before it; both together must not
    be longer than `CONTEXT_FRAMES`, and neither may have segments.
    """

    def __init__(self, model: LanguageModel, info: CodesInfo) -> None:
        self.model = model
        self._info = info
        self._past: _Past | None = None

    def encode(self, block: Block, *, anew: bool) -> bytes:
        """Encode the codes of a block.

        Args:
            block: the block.
            anew: whether it is coded without the frames before it.
        """
        codes, lengths = _sequences(block)
        past = self._begin(len(codes), anew)
        coder = stream.queue.RangeEncoder()
        step = max(1, ROWS // len(codes))
        for first in range(0, codes.shape[2], step):
            part = codes[:, :, first : first + step]
            expected, past = self._expect(part, past)
            there = first + np.arange(part.shape[2]) < lengths[:, np.newaxis]
            # From [sequences, codebooks, frames] to frames, codebooks, sequences.
            order = there.T[:, np.newaxis].repeat(self._info.codebooks, axis=1)
            symbols = part.transpose(2, 1, 0)[order].astype(np.int32)
            coder.encode(symbols, _FAMILY, expected.transpose(1, 2, 0, 3)[order])
        self._past = past
        return bytes(coder.get_compressed().astype(_WORD).tobytes())

    def decode(
        self, parts: Sequence[tuple[bytes, Block]], *, anew: bool
    ) -> list[NDArray[np.uint16]]:
        """Decode several blocks side by side.

        Args:
            parts: for each block its bytes, and a block of the same number of frames and the same
                segments, whose codes are ignored.
            anew: whether the blocks were coded without the frames before them; must be True for
                several blocks.

        Returns:
            The codes of each block, `[streams, codebooks, frames]`.

        Raises:
            FormatError: the bytes are not those of such a block.
        """
        cut = [_sequences(block) for _, block in parts]
        decoders = [_decoder(data) for data, _ in parts]
        rows = np.repeat(np.arange(len(parts)), [len(codes) for codes, _ in cut])
        lengths = np.concatenate([lengths for _, lengths in cut])
        past = self._begin(len(rows), anew)
        found = np.zeros((len(rows), self._info.codebooks, int(lengths.max())), np.uint16)
        for frame in range(found.shape[2]):
            there = frame < lengths
            found[:, :, frame], past = self._decode_frame(decoders, rows, there, past)
        self._past = past
        ends = np.cumsum([len(codes) for codes, _ in cut])[:-1]
        return [
            _joined(codes, own, block)
            for codes, (_, own), (_, block) in zip(np.split(found, ends), cut, parts, strict=True)
        ]

    def _begin(self, sequences: int, anew: bool) -> _Past:
        if self._past is not None and not anew:
            return self._past
        none = np.zeros((sequences, self._info.codebooks, 1), np.int64)
        return _Past(none, self.model.start(sequences, CONTEXT_FRAMES))

    def _expect(self, codes: Entries, past: _Past) -> tuple[NDArray[np.float32], _Past]:
        """The frequencies, `[sequences, frames, codebooks, size]`, of the entries of frames whose
        codes `[sequences, codebooks, frames]` are known, and the state after them.
        """
        entries = codes.astype(np.int64) + 1
        before = np.concatenate([past.last, entries[:, :, :-1]], axis=2)
        context, memory = self.model.contexts(before, past.memory)
        expected = []
        for stage in self.model.stages(codes.shape[1]):
            expected.append(frequencies(self.model.logits(context, stage)))
            context = self.model.absorb(context, stage, codes[:, stage.start : stage.stop])
        return np.concatenate(expected, axis=2), _Past(entries[:, :, -1:], memory)

    def _decode_frame(
        self,
        decoders: Sequence[Any],
        rows: NDArray[np.int64],
        there: NDArray[np.bool_],
        past: _Past,
    ) -> tuple[NDArray[np.uint16], _Past]:
        """The codes of the next frame, `[sequences, codebooks]`, 0 for sequences that ended."""
        context, memory = self.model.contexts(past.last, past.memory)
        codes = np.zeros((len(rows), self._info.codebooks, 1), np.int64)
        for stage in self.model.stages(self._info.codebooks):
            expected = frequencies(self.model.logits(context, stage))[:, 0]
            for number, decoder in enumerate(decoders):
                mine = (rows == number) & there
                if mine.any():
                    codes[mine, stage.start : stage.stop, 0] = _decode(decoder, expected[mine])
            context = self.model.absorb(context, stage, codes[:, stage.start : stage.stop])
        return codes[:, :, 0].astype(np.uint16), _Past(codes + 1, memory)


def _decode(decoder: Any, expected: NDArray[np.float32]) -> NDArray[np.int32]:
    """Decode codes `[sequences, codebooks]`, given frequencies `[sequences, codebooks, size]`."""
    sequences, codebooks, size = expected.shape
    in_order = np.ascontiguousarray(expected.transpose(1, 0, 2).reshape(-1, size))
    try:
        codes: NDArray[np.int32] = decoder.decode(_FAMILY, in_order)
    except AssertionError as error:  # constriction raises it for bytes that no codes give
        raise FormatError("the coded bytes are damaged: no codes are coded like this") from error
    return codes.reshape(codebooks, sequences).T


def _decoder(data: bytes) -> Any:
    if len(data) % _WORD.itemsize:
        raise FormatError("the coded bytes are not whole words")
    return stream.queue.RangeDecoder(np.frombuffer(data, _WORD).astype(np.uint32))


def _sequences(block: Block) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """The sequences of a block, `[sequences, codebooks, frames]`, and the frames of each."""
    streams, codebooks, frames = block.data.shape
    whole = [frames] if block.segments is None else block.segments.frames.tolist()
    lengths = np.concatenate([runs(each) for each in whole])
    codes = np.zeros((len(lengths), streams, codebooks, int(lengths.max())), np.uint16)
    for number, run in enumerate(np.split(block.data, np.cumsum(lengths)[:-1], axis=2)):
        codes[number, :, :, : run.shape[2]] = run
    return codes.reshape(-1, *codes.shape[2:]), lengths.repeat(streams)


def _joined(
    codes: NDArray[np.uint16], lengths: NDArray[np.int64], block: Block
) -> NDArray[np.uint16]:
    """The codes of a block, `[streams, codebooks, frames]`, put together from its sequences."""
    streams = len(block.data)
    cut = [
        codes[first : first + streams, :, : lengths[first]]
        for first in range(0, len(codes), streams)
    ]
    return np.concatenate(cut, axis=2)
