"""Codes beside the official ones: the same, but where two entries lie equally near.

Another order of the same float32 sums moves a latent by its last bits, and some processor's order
will be another one; then the choice between two entries whose distances agree in float32 is
either's, and so are the finer levels of that frame, which code what the choice left over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

TIE = 1e-5  # of the distance: closer than all but about one choice in three thousand


def assert_official_codes(
    codes: NDArray[Any],
    official: NDArray[Any],
    distances: Callable[[int, int, int], NDArray[np.float64]],
) -> None:
    """Two arrays of codes, (streams, levels, frames), agree.

    `distances(stream, level, frame)` tells how far what the official model quantised there lay
    from each entry of the level's codebook.
    """
    assert codes.shape == official.shape
    differ = codes != official
    for stream, frame in np.argwhere(differ.any(axis=1)):
        level = int(differ[stream, :, frame].argmax())
        far = distances(stream, level, frame)
        chosen = far[[codes[stream, level, frame], official[stream, level, frame]]]
        assert np.ptp(chosen) <= TIE * chosen.min(), f"{stream=} {level=} {frame=}: {chosen}"


def encodec_distances(
    model: Any, latents: list[torch.Tensor], official: NDArray[Any]
) -> Callable[[int, int, int], NDArray[np.float64]]:
    """Distances for the latents of an `encodec.EncodecModel`'s segments, each (1, 128, frames)."""
    latent = torch.cat(latents, dim=-1).double()
    books = [layer.codebook.double() for layer in model.quantizer.vq.layers]

    def distances(stream: int, level: int, frame: int) -> NDArray[np.float64]:
        coarser = official[stream, :level, frame]
        rest = latent[stream, :, frame] - sum(
            book[code] for book, code in zip(books, coarser, strict=False)
        )
        far: NDArray[np.float64] = (books[level] - rest).square().sum(dim=1).numpy()
        return far

    return distances


def dac_distances(
    model: Any, latents: torch.Tensor
) -> Callable[[int, int, int], NDArray[np.float64]]:
    """Distances for a `dac.DAC`'s projected latents, (streams, levels * 8, frames).

    DAC compares directions: both sides are of length 1.
    """
    books = [
        torch.nn.functional.normalize(part.codebook.weight.detach().double())
        for part in model.quantizer.quantizers
    ]

    def distances(stream: int, level: int, frame: int) -> NDArray[np.float64]:
        size = books[level].shape[1]
        latent = latents[stream, level * size : (level + 1) * size, frame].double()
        direction = torch.nn.functional.normalize(latent, dim=0)
        far: NDArray[np.float64] = (books[level] - direction).square().sum(dim=1).numpy()
        return far

    return distances
