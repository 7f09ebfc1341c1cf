"""Codebooks, looked at: statistics and files for other tools."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from acomp.errors import AcompError
from acomp.files import atomic_write


def codebook_statistics(codebooks: NDArray[np.float32]) -> list[dict[str, float]]:
    """Statistics of each of `[codebooks, size, dimension]`.

    Returns:
        For each codebook the mean and standard deviation of its vectors' Euclidean norms, and the
        least and mean distance from a vector to its nearest neighbour.
    """
    return [_statistics(book.astype(np.float64)) for book in codebooks]


def _statistics(book: NDArray[np.float64]) -> dict[str, float]:
    norms = np.linalg.norm(book, axis=1)
    squares = norms**2
    distances = squares[:, None] + squares[None, :] - 2 * book @ book.T
    np.fill_diagonal(distances, np.inf)
    nearest = np.sqrt(np.maximum(distances.min(axis=1), 0))
    return {
        "norm_mean": float(norms.mean()),
        "norm_std": float(norms.std()),
        "nearest_min": float(nearest.min()),
        "nearest_mean": float(nearest.mean()),
    }


def save_codebooks(path: Path, codebooks: NDArray[np.float32]) -> None:
    """Write codebooks as .npy, .npz or .safetensors (one array called `codebooks`).

    Raises:
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
    with atomic_write(path, AcompError) as file:
        file.write(content.getbuffer())
