"""Models of official packages, for families whose shapes build them."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from acomp.audio.samples import Samples
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


def random_weights(shape: Buildable, samples: Samples) -> dict[str, Tensor]:  # noqa: ARG001
    """The weights that the package draws; `samples` are for packages that leave codebooks empty."""
    return dict(shape.build().state_dict())
