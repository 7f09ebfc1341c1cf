"""The sides of a case: acomp, and the official package where there is one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acomp.audio import Audio
from acomp.audio.samples import Samples
from acomp.backends.base import Codec
from acomp.backends.families import family_of, published_shape
from acomp.backends.family import Side
from acomp.backends.weights.places import shipped
from acomp.bench.cases import Case
from acomp.bench.machine import memory_of
from acomp.codecs import PUBLISHED
from acomp.codes import Codes

SPARE_MEMORY = 1e9
"""Bytes to leave to everything else."""

MakeSide = Callable[[Audio, Codes], Side]


class Ours:
    """acomp."""

    def __init__(self, codec: Codec, audio: Audio, codes: Codes) -> None:
        self._codec = codec
        self._audio = audio
        self._codes = codes

    def encode(self) -> NDArray[np.integer[Any]]:
        return self._codec.encode(self._audio, codebooks=self._codes.info.codebooks).data

    def decode(self) -> Samples:
        return self._codec.decode(self._codes).samples


def official_side(codec: str, weights: Path) -> MakeSide | None:
    """What makes the official package's side; None where no package that is here has the codec."""
    official = family_of(codec).official
    if official is None or not official.package.is_installed:
        return None
    model = official.load(published_shape(codec), weights, codec)
    # Else torch's counter of operations fails on a network that runs in inference mode (SNAC).
    model.requires_grad_(False)
    return partial(official.side, model)


def official_repeats(codec: str) -> bool:
    """Whether the official package decodes the same codes to the same samples each time."""
    official = family_of(codec).official
    return official is not None and official.repeats


def reason_alone(case: Case) -> str | None:
    """Why acomp is timed alone, as one line for the user; None where there is nothing to say."""
    official = family_of(case.codec).official
    if official is not None:
        if official.package.is_installed:
            return _memory_problem(case)
        name = official.package.distribution
        return f"{case}: acomp alone, as {name} is not installed: pip install {name}"
    if shipped(case.codec) is not None:
        return None
    return f"{case}: acomp alone, as there is no official package for Python"


def _memory_problem(case: Case) -> str | None:
    """Why the official package cannot be given the whole of a case, if it cannot."""
    available, each = memory_of("MemAvailable"), PUBLISHED[case.codec].official_memory
    if available is None or each is None:
        return None
    needed = case.seconds * each + SPARE_MEMORY
    if needed <= available:
        return None
    return (
        f"{case}: the official package was not run: it takes about {needed / 1e9:.0f} GB "
        f"of memory for {case.seconds} s, and {available / 1e9:.0f} GB are free"
    )
