"""Codecs of one's own: a file of weights that names its shape, in the family that this is of.

Besides those that `acomp train --from-scratch` writes, files of official packages may tell theirs
(`Family.recognise`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from acomp.backends.base import Codec
from acomp.backends.families import families, family_called
from acomp.backends.shared.shape import Shape
from acomp.backends.weights.checkpoint import Checkpoint, load_checkpoint
from acomp.engines import Engine
from acomp.errors import CodecError, WeightsError
from acomp.plain import brief


def load(name: str, weights: Path, engine: Engine) -> Codec:
    """The codec of a file of weights that says of what shape it is.

    Raises:
        WeightsError: the file cannot be read, or names no shape.
        CodecError: a package is missing.
    """
    shape = shape_of(weights)
    return family_called(shape.family).load(shape.spec(name), shape, weights, engine)


def shape_of(weights: Path) -> Shape:
    """The shape that a file of weights names.

    Raises:
        WeightsError: the file cannot be read, or names none.
    """
    checkpoint = load_checkpoint(weights)
    shape = named_shape(weights, checkpoint)
    if shape is None:
        shape = recognised_shape(weights, checkpoint)
    if shape is None:
        raise WeightsError(
            f"{weights} does not say what codec it is of, as files of custom codecs do: name the "
            "codec with -b instead"
        )
    return shape


def named_shape(weights: Path, checkpoint: Checkpoint) -> Shape | None:
    """The shape that a checkpoint names as acomp's own do; None where it names none.

    Raises:
        WeightsError: no network can have it.
    """
    if checkpoint.shape is None:
        return None
    try:
        return shape_from(checkpoint.shape)
    except CodecError as error:
        raise WeightsError(f"{weights}: in the shape that it names {error}") from error


def recognised_shape(weights: Path, checkpoint: Checkpoint) -> Shape | None:
    """The shape that a checkpoint tells as the files of an official package do."""
    for family in families():
        try:
            shape: Shape | None = family.recognise(checkpoint)
        except CodecError as error:
            raise WeightsError(f"{weights}: in the shape that it names {error}") from error
        if shape is not None:
            return shape
    return None


def shape_from(values: object) -> Shape:
    """The shape that `Shape.to_dict` gave, or that somebody wrote: nothing in it is trusted.

    Raises:
        CodecError: it is no shape; the one line names the key.
    """
    if not isinstance(values, Mapping):
        raise CodecError("a shape is a mapping of `family` and the fields of that family")
    shapes = {family.name: family.own_shape for family in families() if family.own_shape}
    name = values.get("family")
    kind = shapes.get(name) if isinstance(name, str) else None
    if kind is None:
        raise CodecError(f"family is {brief(name)}, not {' or '.join(shapes)}")
    return kind.from_dict({key: value for key, value in values.items() if key != "family"})
