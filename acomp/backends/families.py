"""The codec families that acomp has: those that its published codecs are of."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

from acomp.backends.family import Family
from acomp.codecs import PUBLISHED


@cache
def family_called(name: str) -> Family[Any]:
    """The family whose folder in `acomp.backends` has this name."""
    family: Family[Any] = import_module(f"acomp.backends.{name}").FAMILY
    return family


def family_of(codec: str) -> Family[Any]:
    """The family of a published codec."""
    return family_called(PUBLISHED[codec].family)


def families() -> list[Family[Any]]:
    """Every family, in the order of the published codecs."""
    names = dict.fromkeys(codec.family for codec in PUBLISHED.values())
    return [family_called(name) for name in names]


def published_shape(codec: str) -> Any:
    """The shape of a published codec's network."""
    return family_of(codec).shape_of(PUBLISHED[codec])
