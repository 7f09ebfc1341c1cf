"""The search for nano's codes, without torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from acomp.backends.nano.shape import CHOICES, PATHS
from acomp.engines import Array


class NumpySearch:
    """`quantisers.Search` in numpy; faster at it than OpenVINO."""

    def __init__(self, books: NDArray[np.float32]) -> None:
        """`books` are `[codebooks, size, dimension]`."""
        self._books = books
        self._norms = np.square(books).sum(axis=2)
        self._factors = -2 * np.ascontiguousarray(books.transpose(0, 2, 1))

    def __call__(self, *inputs: Array) -> list[Array]:
        """Latents `[batch, time, dimension]` to codes `[batch, codebooks, time]`."""
        (latents,) = inputs
        batch, time, dimension = latents.shape
        left = latents.reshape(batch * time, 1, dimension)
        rows = np.arange(batch * time)[:, np.newaxis]
        codes = np.zeros((batch * time, 1, 0), np.int64)
        for book, norm, factor in zip(self._books, self._norms, self._factors, strict=True):
            distances = left.reshape(-1, dimension) @ factor
            distances += norm
            nearest, entries = _nearest(distances, CHOICES)
            nearest += np.square(left).sum(axis=2).reshape(-1, 1)
            best = nearest.reshape(len(rows), -1).argsort(axis=1, kind="stable")[:, :PATHS]
            chosen, path = entries.reshape(len(rows), -1)[rows, best], best // CHOICES
            left = left[rows, path] - book[chosen]
            codes = np.concatenate([codes[rows, path], chosen[..., np.newaxis]], axis=2)
        return [codes[:, 0].reshape(batch, time, -1).transpose(0, 2, 1)]


def _nearest(distances: Array, number: int) -> tuple[Array, NDArray[np.int64]]:
    """The least of each row of `[n, size]`, and where they are: `[n, number]`, ascending."""
    every = np.arange(len(distances))
    least, entries = [], []
    for _ in range(number):
        entry = distances.argmin(axis=1)
        least.append(distances[every, entry])
        entries.append(entry)
        distances[every, entry] = np.inf
    return np.stack(least, axis=1), np.stack(entries, axis=1)
