"""Codecs of one's own: a file of weights that names its shape, in the family that this is of.

Besides those that `acomp train --from-scratch` writes, files of `descript-audio-codec` name theirs.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from acomp.backends.base import Codec
from acomp.backends.shapes import DacShape, Shape
from acomp.backends.weights.checkpoint import load_checkpoint
from acomp.engines import Engine
from acomp.errors import CodecError, WeightsError


def load(name: str, weights: Path, engine: Engine) -> Codec:
    """The codec of a file that acomp or the official DAC package has trained from scratch.

    Raises:
        WeightsError: the file cannot be read, or names no shape.
        CodecError: a package is missing.
    """
    shape = shape_of(weights)
    family = import_module(f"acomp.backends.{shape.family}.codec")
    codec: Codec = family.load_shape(shape.spec(name), shape, weights, engine)
    return codec


def shape_of(weights: Path) -> Shape:
    checkpoint = load_checkpoint(weights)
    if checkpoint.shape is not None:
        return checkpoint.shape
    if not checkpoint.kwargs:
        raise WeightsError(
            f"{weights} does not say what codec it is of, as files of custom codecs do: name the "
            "codec with -b instead"
        )
    try:
        return DacShape.from_official(checkpoint.kwargs)
    except CodecError as error:
        raise WeightsError(f"{weights}: in the shape that it names {error}") from error
