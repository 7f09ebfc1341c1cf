"""Networks of a shape with the weights of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from acomp.audio.samples import Samples
from acomp.backends.custom import named_shape
from acomp.backends.shared.hollow import fill, hollow
from acomp.backends.shared.layers import Autoencoder
from acomp.backends.weights.checkpoint import Checkpoint, fingerprint, load_checkpoint
from acomp.backends.weights.layouts import norm, recognised
from acomp.backends.weights.tensors import Tensors
from acomp.engines.apart import apart_to_load
from acomp.engines.once import once
from acomp.engines.rewriting import fold_weight_norm
from acomp.errors import WeightsError
from acomp.plain import brief

_Shapes = dict[str, tuple[int, ...]]


class Buildable(Protocol):
    """A shape that a package's modules are built in."""

    def build(self) -> nn.Module: ...


class Shaped(Buildable, Protocol):
    """A shape that acomp's own networks are built in too."""

    def network(self) -> Autoencoder: ...


@dataclass(frozen=True)
class Network:
    """A network with its weights.

    Attributes:
        folded: the module that runs, its weight norm folded into the weights; for rewriting.
        module: makes the module as it was published, once, for training and analysis.
        fingerprint: of the weights.
    """

    folded: Any
    module: Callable[[], nn.Module]
    fingerprint: str


@apart_to_load()
def load_autoencoder(shape: Shaped, path: Path, name: str) -> Network:
    """The network of a shape, acomp's own, with the weights of a file, those of the codec `name`.

    Memory is taken for each tensor once it is known to be of the right name and shape.

    Raises:
        WeightsError: the file cannot be read, or holds other weights than this codec's.
    """
    with torch.device("meta"):
        network = shape.network().eval().requires_grad_(False)
    checkpoint = _checkpoint(shape, path, name)
    tensors = Tensors(norm.in_old_naming(checkpoint.state), _problem(checkpoint, path, name))
    state = {
        key: _whole(tensors, key, expected.shape) for key, expected in network.state_dict().items()
    }
    tensors.finish()
    network.load_state_dict(state, assign=True)
    mark = fingerprint(checkpoint.state)
    return Network(network, once(partial(_load_again, shape, path, name)), mark)


def _whole(tensors: Tensors, name: str, shape: Sequence[int]) -> Tensor:
    """A tensor of acomp's own network, apart from the file that it came from."""
    if not norm.is_convolution(name, len(shape)):
        return tensors.take(name, *shape).clone()
    lengths = tensors.take(f"{name}_g", shape[0], 1, 1)
    return norm.whole(lengths, tensors.take(f"{name}_v", *shape))


@torch.no_grad()
def random_weights(shape: Shaped, samples: Samples) -> dict[str, Tensor]:
    """Weights drawn at random, by the names of the published file.

    Latents are looked up by their direction from where those of `samples`, `[channels, time]`, lie
    on average, so that each frame of real audio has codes of its own.
    """
    network = shape.network().float().eval()
    latents = network.encoder_layers(torch.from_numpy(samples[:1])[None])
    latents = latents[..., : latents.shape[-1] // network.books[0].stride * network.books[0].stride]
    for book in network.books:
        book.codebook.weight.normal_()
        book.in_proj.bias -= book.in_proj(latents).mean((0, 2))
        latents = latents - book(latents)[1]
    return recognised(dict(network.state_dict()))[1]


def load_network(shape: Buildable, path: Path, name: str) -> Network:
    """The package's network of a shape with the weights of a file; as `load_module`."""
    module, mark = load_module(shape, path, name)
    load = once(partial(_load_again, shape, path, name))
    return Network(fold_weight_norm(module), load, mark)


def _load_again(shape: Buildable, path: Path, name: str) -> nn.Module:
    return load_module(shape, path, name)[0].eval()


@apart_to_load()
def load_module(shape: Buildable, path: Path, name: str) -> tuple[nn.Module, str]:
    """The module of a shape with the weights of a file, those of the codec `name`.

    Memory is taken once the file is known to hold tensors of just these names and shapes.

    Returns:
        The module, in eval mode, and the fingerprint of the weights.

    Raises:
        WeightsError: the file cannot be read, or holds other weights than this codec's.
        CodecError: a package is missing.
    """
    with hollow():
        module = shape.build().float()  # whatever type new tensors have here
    checkpoint = _checkpoint(shape, path, name)
    other = _difference(_shapes(module.state_dict()), _shapes(checkpoint.state))
    if other is not None:
        raise WeightsError(f"{_problem(checkpoint, path, name)} {other}")
    fill(module, checkpoint.state)
    return module, fingerprint(checkpoint.state)


def _checkpoint(shape: Buildable, path: Path, name: str) -> Checkpoint:
    """The contents of a file, which does not name another shape as its own."""
    checkpoint = load_checkpoint(path)
    named = named_shape(path, checkpoint)
    if named not in (None, shape):
        raise WeightsError(
            f"{_problem(checkpoint, path, name)} its shape is another one"
            f"{_first_difference(shape, named)}: take -b custom"
        )
    rate, due = checkpoint.kwargs.get("sample_rate"), getattr(shape, "sample_rate", None)
    if rate not in (None, due):
        raise WeightsError(
            f"{_problem(checkpoint, path, name)} its metadata says {brief(rate)} Hz, not {due}: "
            "take -b custom"
        )
    return checkpoint


def _first_difference(expected: object, found: object) -> str:
    """The first field in which shapes of one family differ, in brackets."""
    if type(expected) is not type(found):
        return ""
    before, after = vars(expected), vars(found)
    name = next(name for name in before if before[name] != after[name])
    return f" ({name} is {after[name]}, not {before[name]})"


def _problem(checkpoint: Checkpoint, path: Path, name: str) -> str:
    """What is said of a file before what is wrong with it."""
    looks = "" if checkpoint.layout is None else f" it looks like {checkpoint.layout.title}, and"
    return f"{path} does not hold weights of {name}:{looks}"


def _shapes(state: Mapping[str, Tensor]) -> _Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _difference(expected: _Shapes, found: _Shapes) -> str | None:
    """The first thing in which tensors differ from those expected; None where in nothing."""
    for name, shape in expected.items():
        if name not in found:
            return f"it lacks {name}"
        if found[name] != shape:
            return f"{name} is {list(found[name])}, not {list(shape)}"
    extra = next((name for name in found if name not in expected), None)
    return None if extra is None else f"it has {brief(extra)} beside them"
