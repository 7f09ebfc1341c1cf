"""Codecs as the commands ask for them: loaded, described or fetched, with a bar."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from acomp.errors import CodecError

if TYPE_CHECKING:
    from acomp.backends.base import Codec
    from acomp.codecs import CodecSpec


def codec_loader(
    name: str,
    weights: Path | None,
    device: str,
    engine: str = "torch",
    precision: str = "fp32",
) -> Callable[[int], Codec]:
    """A function from a number of channels to the codec, loaded once."""
    from acomp.backends import load, resolve

    resolve(name)  # so that an unknown name is an error before any file is opened

    @cache
    def load_resolved(resolved: str) -> Codec:
        file = weights or fetched(resolved)
        return load(resolved, weights=file, engine=engine, precision=precision, device=device)

    return lambda channels: load_resolved(resolve(name, channels))


def spec_of(name: str | None, weights: Path | None = None) -> CodecSpec | None:
    """What is fixed about a codec, without loading it; `custom` is told by its file of weights.

    Raises:
        CodecError: there is no such codec, or it is not one of acomp's own.
        WeightsError: the file cannot be read, or names no shape.
    """
    from acomp.backends import resolve
    from acomp.codecs import CUSTOM, SPECS

    if name is None:
        return None
    resolved = resolve(name)
    if resolved in SPECS:
        return SPECS[resolved]
    if resolved != CUSTOM or weights is None:
        raise CodecError(f"what {name} is is not known without its file of weights")
    from acomp.backends.custom import shape_of

    return shape_of(weights).spec(CUSTOM)


def fetched(name: str) -> Path | None:
    """The published weights of a codec, fetched if need be; None for somebody else's codec.

    Raises:
        WeightsError: they are neither here nor to be had.
    """
    from acomp.backends import check_packages
    from acomp.backends.weights.cache import fetch
    from acomp.backends.weights.catalogue import CATALOGUE
    from acomp.cli.progress import download_bar

    if name not in CATALOGUE:
        return None
    check_packages(name)
    with download_bar(name) as progress:
        return fetch(name, progress)
