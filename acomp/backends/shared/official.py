"""Models of official packages, for families whose shapes build them."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from acomp.backends.shared.loading import Buildable
from acomp.backends.weights.checkpoint import load_weights


def load(shape: Buildable, weights: Path, name: str) -> nn.Module:
    """The model of a shape with the weights of a file, those of the codec `name`.

    Raises:
        WeightsError: the file cannot be read, or holds other weights than this codec's.
        CodecError: the package is not installed.
    """
    model = shape.build()
    load_weights(model, weights, name)
    return model
