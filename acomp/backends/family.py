"""What a codec family tells the rest of acomp: its `Family` record.

A family is a folder of `acomp.backends` whose `__init__.py` holds the record, `FAMILY`. Nothing
else in acomp names a family: it asks the record. Importing a record imports no torch; what needs
torch is imported when it is called (`later`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from acomp.codecs import Published

if TYPE_CHECKING:
    from torch import Tensor

    from acomp.audio import Audio
    from acomp.audio.samples import Samples
    from acomp.backends.base import Codec
    from acomp.backends.shared.shape import Shape
    from acomp.backends.weights.checkpoint import Checkpoint
    from acomp.codecs import CodecSpec
    from acomp.codes import Codes
    from acomp.engines import Engine

S = TypeVar("S")


def named(name: str) -> Any:
    """What `module:name` names; the module is imported."""
    module, attribute = name.split(":")
    return getattr(importlib.import_module(module), attribute)


def later(name: str) -> partial[Any]:
    """A function by its name, `module:function`, whose module is imported when it is called."""
    return partial(_call, name)


def _call(name: str, *args: Any) -> Any:
    return named(name)(*args)


@dataclass(frozen=True, kw_only=True)
class Package:
    """Somebody else's package that a family uses.

    Attributes:
        distribution: what pip calls it.
        module: what is imported of it.
        extra: the extra of acomp that brings it; None where acomp always comes with it.
    """

    distribution: str
    module: str
    extra: str | None = None

    @property
    def import_name(self) -> str:
        """What `import` calls it."""
        return self.module.split(".")[0]

    @property
    def is_installed(self) -> bool:
        """Whether it is here; it is not imported."""
        return find_spec(self.import_name) is not None

    @property
    def advice(self) -> str | None:
        """How to get it; None where acomp always comes with it."""
        return None if self.extra is None else f'pip install "acomp[{self.extra}]"'

    def found(self) -> str:
        """Its name and version, once it is imported.

        Raises:
            ImportError: it is not here, or what it imports is not.
        """
        from acomp.torchaudio import ensure_torchaudio

        ensure_torchaudio()  # which several of them import
        importlib.import_module(self.module)
        return self.version()

    def version(self) -> str:
        """Its name and version; it is not imported.

        Raises:
            ModuleNotFoundError: it is not here.
        """
        return f"{self.distribution} {version(self.distribution)}"


@dataclass(frozen=True)
class Check:
    """Something that `acomp doctor` looks at.

    Attributes:
        title: what it is, for the reader of the table.
        look: says what was found; raises ImportError where a package is missing, and whatever a
            package raises that does not fit the others.
        advice: how to get what is missing, where not everybody needs it; otherwise None, and that
            it is missing is a fault.
    """

    title: str
    look: Callable[[], str]
    advice: str | None = None


class Side(Protocol):
    """A codec that is timed, with audio to encode and codes to decode."""

    def encode(self) -> NDArray[np.integer[Any]]:
        """The audio's codes: `[streams, codebooks, frames]`."""
        ...

    def decode(self) -> Samples:
        """The codes' samples: `[channels, time]`; there may be a few too many."""
        ...


@dataclass(frozen=True, kw_only=True)
class Official(Generic[S]):
    """A family's counterpart in somebody else's package, which `acomp bench` times beside it.

    Attributes:
        package: the package.
        load: its model in a shape with the weights of a file, which are those of the codec that is
            named: `(shape, path, name)`.
        side: the model with audio to encode and codes to decode, as a user of the package runs it:
            `(model, audio, codes)`.
        open: its model from a file or folder in its own layout, as a user of the package loads it:
            `(path, name)`.
        layout: what `acomp models convert --to` calls that layout.
        repeats: whether the same codes give it the same samples each time; otherwise it mixes new
            noise in.
    """

    package: Package
    load: Callable[[S, Path, str], Any]
    side: Callable[[Any, Audio, Codes], Side]
    open: Callable[[Path, str], Any]
    layout: Literal["official", "huggingface"] = "official"
    repeats: bool = True


@dataclass(frozen=True, kw_only=True)
class Family(Generic[S]):
    """A codec family.

    Attributes:
        name: of its folder in `acomp.backends`, and `Published.family` of its codecs.
        shape_of: the shape of a published codec's network, which is all that its layout depends on.
        load: the codec of a shape with the weights of a file, or folder, on an engine:
            `(spec, shape, weights, engine)`. Raises WeightsError, CodecError.
        package: what coding needs beyond acomp's own dependencies; None where it needs nothing.
        own_shape: class of the shapes that users may build networks of their own in (the codec
            `custom`); None where there are published networks alone.
        recognise: the shape of a checkpoint that tells it in a way of the family's own; None where
            it tells nothing, or the family has no such way. Raises CodecError.
        random_weights: weights drawn at random, by the names of the published file, for timing
            where that is not at hand: `(shape, samples)`, where real audio `[channels, time]`
            tells where codebooks should lie. None where the published weights alone are taken.
        official: its counterpart in somebody else's package; None where there is none in Python.
        trainee: class of `acomp.training.families` that trains its networks, as `module:class`;
            None where they cannot be trained.
        penalties: losses that its networks tell beside their output, by name.
        checks: what `acomp doctor` looks at.
    """

    name: str
    shape_of: Callable[[Published], S]
    load: Callable[[CodecSpec, S, Path, Engine], Codec]
    package: Package | None = None
    own_shape: type[Shape] | None = None
    recognise: Callable[[Checkpoint], S | None] = lambda _: None
    random_weights: Callable[[S, Samples], dict[str, Tensor]] | None = None
    official: Official[S] | None = None
    trainee: str | None = None
    penalties: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()
