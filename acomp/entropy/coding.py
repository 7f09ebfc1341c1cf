"""Blocks of codes to bytes and back, by a language model and a range coder.

The range coder is constriction's: 32-bit words, a state of 64 bits, probabilities of 24
(https://bamler-lab.github.io/constriction). Coded are, frame by frame, the codebooks in order, and
of each codebook the sequences: the runs that a block or its segments are cut into, of each run the
streams.
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
"""Frames of all sequences that are worked on at a time: bounds memory."""

_WORD = np.dtype(">u4")
# With `perfect` off, whole numbers that add up to 2**24 less one for each entry are taken as they
# are, and one is added to each.
_FAMILY = stream.model.Categorical(perfect=False)


@dataclass
class _Past:
    """Where some sequences have got to."""

    last: Entries
    """1 + the last frame's codes, 0 before the first: `[sequences, codebooks, 1]`."""
    memory: Memory


class BlockCoder:
    """Codes blocks of one file, in order, or any blocks that begin anew.

    A block goes on from the one before, if it is to, where both together are of one context and
    neither has segments. Each run begins anew otherwise.
    """

    def __init__(self, model: LanguageModel, info: CodesInfo) -> None:
        self.model = model
        self._info = info
        self._past: _Past | None = None

    def encode(self, block: Block, *, anew: bool) -> bytes:
        """The codes of a block.

        Args:
            block: some frames.
            anew: whether they are coded as though nothing came before them.
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
        """The codes of some blocks, `[streams, codebooks, frames]`, decoded side by side.

        Args:
            parts: of each block its bytes, and the block with its frames and segments, whose codes
                do not matter.
            anew: whether they were coded as though nothing came before them; must be so where
                there are several.

        Raises:
            FormatError: the bytes are not of such a block.
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
        """What is expected of known codes `[sequences, codebooks, frames]`, as
        `[sequences, frames, codebooks, size]`.
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
        """The next frame's codes, `[sequences, codebooks]`, 0 where a sequence is at its end."""
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
    """`[sequences, codebooks, size]` to the codes, `[sequences, codebooks]`."""
    sequences, codebooks, size = expected.shape
    in_order = np.ascontiguousarray(expected.transpose(1, 0, 2).reshape(-1, size))
    try:
        codes: NDArray[np.int32] = decoder.decode(_FAMILY, in_order)
    except AssertionError as error:  # so constriction says that no code has this place
        raise FormatError("the coded bytes are damaged: they are those of no codes") from error
    return codes.reshape(codebooks, sequences).T


def _decoder(data: bytes) -> Any:
    if len(data) % _WORD.itemsize:
        raise FormatError("the coded bytes are not whole words")
    return stream.queue.RangeDecoder(np.frombuffer(data, _WORD).astype(np.uint32))


def _sequences(block: Block) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """What is coded side by side, `[sequences, codebooks, frames]`, and the frames of each."""
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
    """Sequences as the codes of the block, `[streams, codebooks, frames]`."""
    streams = len(block.data)
    cut = [
        codes[first : first + streams, :, : lengths[first]]
        for first in range(0, len(codes), streams)
    ]
    return np.concatenate(cut, axis=2)
