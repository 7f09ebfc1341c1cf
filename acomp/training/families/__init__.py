"""The codec families that can be trained, one file each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from acomp.backends.weights.cache import fetch
from acomp.backends.weights.checkpoint import load_weights

if TYPE_CHECKING:
    from acomp.backends.shapes import Shape
    from acomp.training.config import Config
    from acomp.training.families.base import Trainee


def build(config: Config) -> tuple[Trainee, Shape | None]:
    """The network that a run trains, with the weights it begins from; and its shape, where that is
    one of the user's own.

    Raises:
        CodecError, WeightsError: as `acomp.load`.
    """
    if config.backend == "nano":
        return _nano(config), None
    if config.backend == "custom":
        return _custom(config)
    from acomp.backends.shapes import SHAPES
    from acomp.codecs import SPECS

    shape = SHAPES[config.backend]
    return _trainee(shape, SPECS[config.backend], config), None


def _nano(config: Config) -> Trainee:
    from acomp.backends.nano.network import Network
    from acomp.training.families.nano import NanoTrainee

    network = Network()
    _begin(network, config)
    return NanoTrainee(network)


def _custom(config: Config) -> tuple[Trainee, Shape]:
    from acomp.backends.custom import shape_of
    from acomp.backends.shapes import shape_from

    if config.shape is not None:
        shape = shape_from(config.shape)
    else:
        assert config.weights is not None  # which Config sees to
        shape = shape_of(Path(config.weights))
    return _trainee(shape, shape.spec("custom"), config), shape


def _trainee(shape: Shape, spec: Any, config: Config) -> Trainee:
    from acomp.training.families.dac import DacTrainee
    from acomp.training.families.encodec import EncodecTrainee

    family = {"encodec": EncodecTrainee, "dac": DacTrainee}[shape.family]
    model = shape.build()
    _begin(model, config)
    return family(model, spec)


def _begin(network: Any, config: Config) -> None:
    """Put the weights that the run begins from into the network; none from scratch."""
    if config.from_scratch:
        return
    path = fetch(config.backend) if config.weights is None else Path(config.weights)
    load_weights(network, path, config.backend)
