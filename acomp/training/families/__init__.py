"""The codec families that can be trained, one file each, found through their records
(`acomp.backends.family.Family.trainee`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from acomp.backends.custom import shape_from, shape_of
from acomp.backends.families import family_called, family_of
from acomp.backends.family import Family, named
from acomp.backends.shared.shape import Shape
from acomp.backends.weights.cache import fetch
from acomp.backends.weights.checkpoint import load_weights
from acomp.codecs import CUSTOM, PUBLISHED, CodecSpec

if TYPE_CHECKING:
    from acomp.training.config import Config
    from acomp.training.families.base import Trainee


def build(config: Config) -> tuple[Trainee, Shape | None]:
    """The network that a run trains, with the weights that it begins from.

    Returns:
        The network, and its shape where that is one of the user's own.

    Raises:
        CodecError, WeightsError: as `acomp.load`.
    """
    if config.backend == CUSTOM:
        own = _own_shape(config)
        return _trainee(family_called(own.family), own, own.spec(config.backend), config), own
    codec, family = PUBLISHED[config.backend], family_of(config.backend)
    return _trainee(family, family.shape_of(codec), codec.spec, config), None


def _trainee(family: Family[Any], shape: Any, spec: CodecSpec, config: Config) -> Trainee:
    network = shape.build()
    if not config.from_scratch:
        path = fetch(config.backend) if config.weights is None else Path(config.weights)
        load_weights(network, path, config.backend)
    assert family.trainee is not None  # which the recipe sees to
    trainee: Trainee = named(family.trainee)(network, spec)
    return trainee


def _own_shape(config: Config) -> Shape:
    if config.shape is not None:
        return shape_from(config.shape)
    assert config.weights is not None  # which Config sees to
    return shape_of(Path(config.weights))
