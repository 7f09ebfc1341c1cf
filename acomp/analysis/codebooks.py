"""Codebooks themselves: statistics of their entries, and files of them for other tools."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from acomp.analysis.usage import Usage, usage_statistics
from acomp.errors import AcompError
from acomp.files import atomic_write

if TYPE_CHECKING:
    from acomp.backends.base import Codec

ROUNDING = 1e-9
"""Share of the entries' norm below which their differences are rounding."""


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
