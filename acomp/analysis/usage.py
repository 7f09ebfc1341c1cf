"""How often the entries of codebooks are chosen: counted in files of codes, and its statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from acomp.batch.processes import each
from acomp.codes import Codes, CodesInfo
from acomp.errors import AcompError, CodecError
from acomp.formats import open_codes
from acomp.formats.source import name_of

if TYPE_CHECKING:
    from acomp.backends.base import Codec


@dataclass(frozen=True)
class Usage:
    """How often the entries of a codec's codebooks were chosen in some files of codes.

    Attributes:
        codec: the codec's name.
        counts: `[codebooks, size]`, of all the codec's codebooks; zeros for those that no file has.
        files: number of files.
        frames: number of frames in all files. Where a codec codes stereo as two streams, a frame
            has two codes of each codebook.
    """

    codec: str
    counts: NDArray[np.int64]
    files: int
    frames: int


def code_counts(codes: Codes) -> NDArray[np.int64]:
    """How often each entry of each codebook occurs, in all streams: `[codebooks, size]`."""
    return _counts(codes.data, codes.info.codebook_size)


def _counts(data: NDArray[np.uint16], size: int) -> NDArray[np.int64]:
    levels = data.swapaxes(0, 1).reshape(data.shape[1], -1)
    return np.stack([np.bincount(level, minlength=size) for level in levels])


def count_codes(
    sources: Iterable[str | BinaryIO],
    codec_for: Callable[[CodesInfo], Codec],
    told: Callable[[AcompError], None] | None = None,
) -> Usage:
    """Count how often files of codes choose each entry.

    Files are read block by block: memory grows neither with their length nor with their number.

    Args:
        sources: paths or streams of codes.
        codec_for: called once, with the facts of the first file; returns the codec whose codes all
            files must hold.
        told: called with the error of each file that cannot be counted, while the others are
            counted; without it the first such error is raised.

    Raises:
        AcompError: there is no frame in any file.
        FormatError: a file cannot be read or is damaged.
        CodecError: the codes of a file are not of that codec.
    """
    counter = _Counter(codec_for)
    for _, outcome in each(list(sources), lambda: counter.count):
        if isinstance(outcome, AcompError):
            if told is None:
                raise outcome
            told(outcome)
    if counter.codec is None or not counter.frames:
        raise AcompError("there is not a single frame of codes to count")
    return Usage(counter.codec.spec.name, counter.counts, counter.files, counter.frames)


class _Counter:
    def __init__(self, codec_for: Callable[[CodesInfo], Codec]) -> None:
        self._codec_for = codec_for
        self.codec: Codec | None = None
        self.counts = np.zeros((0, 0), np.int64)
        self.files = self.frames = 0

    def count(self, source: str | BinaryIO) -> None:
        """Add a file's codes, all of them or, where it is damaged, none.

        Raises:
            FormatError: it cannot be read or is damaged.
            CodecError: its codes are not of the codec of the others.
        """
        with open_codes(source) as reader:
            info = reader.info
            try:
                codec = self.codec or self._codec_for(info)
                codec.check(info)
            except CodecError as error:
                raise CodecError(f"{name_of(source)}: {error}") from error
            counts = np.zeros((codec.spec.codebooks, codec.spec.codebook_size), np.int64)
            frames = 0
            for _, block in reader.blocks():
                counts[: info.codebooks] += _counts(block.data, info.codebook_size)
                frames += block.frames
        self.counts = counts if self.codec is None else self.counts + counts
        self.codec = codec
        self.files += 1
        self.frames += frames


def utilisation(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The share of each codebook's entries that were chosen at all: `[codebooks]`."""
    used: NDArray[np.float64] = (counts > 0).mean(axis=1)
    return used


def entropy(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Entropy in bits of each codebook's codes: `[codebooks]`; 0 where there are no codes."""
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    bits = np.log2(share, out=np.zeros(counts.shape), where=counts > 0)
    total: NDArray[np.float64] = np.sum(share * bits, axis=1)
    return 0.0 - total  # a bare minus would make -0.0 of nothing


def perplexity(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Two to the entropy in bits of each codebook's codes: `[codebooks]`.

    As many equally frequent entries would be as hard to guess; 0 where there are no codes.
    """
    return np.where(counts.any(axis=1), 2.0 ** entropy(counts), 0.0)


def usage_statistics(counts: NDArray[np.int64]) -> list[dict[str, float | None]]:
    """Statistics of the counts `[codebooks, size]`, as JSON has them.

    Returns:
        For each codebook the number of its codes, the share of its entries that they use, their
        perplexity and their entropy in bits; None where there are no codes to tell.
    """
    figures = zip(
        counts.sum(axis=1).tolist(),
        utilisation(counts).tolist(),
        perplexity(counts).tolist(),
        entropy(counts).tolist(),
        strict=True,
    )
    return [
        {
            "codes": codes,
            "utilisation": used if codes else None,
            "perplexity": effective if codes else None,
            "entropy_bits": bits if codes else None,
        }
        for codes, used, effective, bits in figures
    ]
