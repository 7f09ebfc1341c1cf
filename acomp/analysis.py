"""Codebooks and codes, looked at: statistics and files for other tools."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from acomp.batch.processes import each
from acomp.codes import Codes, CodesInfo
from acomp.errors import AcompError, CodecError
from acomp.files import atomic_write
from acomp.formats import open_codes
from acomp.formats.source import name_of

if TYPE_CHECKING:
    from acomp.backends.base import Codec

ROUNDING = 1e-9
"""Share of the entries' norm below which their differences are rounding."""


@dataclass(frozen=True)
class Usage:
    """How often a codec's entries were chosen in some files of codes."""

    codec: str
    """The codec's name."""
    counts: NDArray[np.int64]
    """`[codebooks, size]` of all the codec's codebooks, zeros where no file has the codebook."""
    files: int
    frames: int
    """Frames of all files; where a codec codes stereo as two streams, each frame has two codes."""


def codebook_statistics(codebooks: NDArray[np.float32]) -> list[dict[str, float]]:
    """Statistics of each of `[codebooks, size, dimension]`.

    Returns:
        For each codebook the mean and standard deviation of its vectors' Euclidean norms, and the
        least and mean distance from a vector to its nearest neighbour.
    """
    return [_statistics(book.astype(np.float64)) for book in codebooks]


def _statistics(book: NDArray[np.float64]) -> dict[str, float]:
    norms = np.linalg.norm(book, axis=1)
    nearest = nearest_distances(book)
    return {
        "norm_mean": float(norms.mean()),
        "norm_std": float(norms.std()),
        "nearest_min": float(nearest.min()),
        "nearest_mean": float(nearest.mean()),
    }


def nearest_distances(book: NDArray[np.float64]) -> NDArray[np.float64]:
    """Euclidean distance from each entry of `[size, dimension]` to the nearest other: `[size]`."""
    squares = np.sum(book**2, axis=1)
    distances = squares[:, None] + squares[None, :] - 2 * book @ book.T
    np.fill_diagonal(distances, np.inf)
    nearest: NDArray[np.float64] = np.sqrt(np.maximum(distances.min(axis=1), 0))
    return nearest


def projection(book: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The entries of `[size, dimension]` on their first two principal components.

    Returns:
        Coordinates `[size, 2]` around the mean, and the share of the variance that each of the two
        axes holds; zeros for an axis that the entries do not have. The axes point to where their
        largest component is positive, so that they do not depend on the solver.
    """
    centred = book - book.mean(axis=0)
    _, deviations, axes = np.linalg.svd(centred, full_matrices=False)
    axes = axes[:2]
    if deviations[0] <= ROUNDING * np.linalg.norm(book):
        return np.zeros((len(book), 2)), np.zeros(2)
    largest = np.abs(axes).argmax(axis=1)
    axes = axes * np.where(axes[range(len(axes)), largest] < 0, -1, 1)[:, None]
    points = np.zeros((len(book), 2))
    points[:, : len(axes)] = centred @ axes.T
    share = np.zeros(2)
    share[: len(axes)] = deviations[:2] ** 2 / np.sum(deviations**2)
    return points, share


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
    """Count the codes of files, read block by block: memory does not grow with their number.

    Args:
        sources: paths or streams of codes.
        codec_for: gives the codec whose codes the files must hold, asked with what the first is.
        told: is told of each file that cannot be counted, and the others are; without it the first
            such file ends the counting.

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


def codebook_report(
    codec: Codec, codebooks: NDArray[np.float32], usage: Usage | None
) -> dict[str, Any]:
    """What `acomp codebooks --json` says of a codec's codebooks; usage where it is known."""
    statistics: list[dict[str, Any]] = [*codebook_statistics(codebooks)]
    counted = {}
    if usage is not None:
        counted = {"files": usage.files, "frames": usage.frames}
        for one, used in zip(statistics, usage_statistics(usage.counts), strict=True):
            one.update(used)
    return {
        "codec": codec.spec.name,
        "fingerprint": codec.fingerprint,
        "shape": list(codebooks.shape),
        **counted,
        "codebooks": statistics,
    }


def save_codebooks(path: Path, codebooks: NDArray[np.float32], *, replace: bool = True) -> None:
    """Write codebooks as .npy, .npz or .safetensors (one array called `codebooks`).

    Raises:
        ExistsError: the file exists and is not to be replaced.
        AcompError: another suffix, or the file cannot be written.
    """
    content = io.BytesIO()
    if path.suffix == ".npy":
        np.save(content, codebooks, allow_pickle=False)
    elif path.suffix == ".npz":
        np.savez(content, codebooks=codebooks)
    elif path.suffix == ".safetensors":
        from safetensors.numpy import save

        content.write(save({"codebooks": np.ascontiguousarray(codebooks)}))
    else:
        raise AcompError(f"{path}: codebooks go to .npy, .npz or .safetensors")
    with atomic_write(path, AcompError, replace=replace) as file:
        file.write(content.getbuffer())
