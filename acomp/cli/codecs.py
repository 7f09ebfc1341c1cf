"""Codecs as the commands ask for them: loaded, described or fetched, with a bar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from acomp.errors import CodecError
from acomp.settings import Coding

if TYPE_CHECKING:
    from acomp.backends.base import Codec
    from acomp.codecs import CodecSpec


def load_fetched(name: str, channels: int, weights: Path | None, device: str) -> Codec:
    """The codec that `name` is for so many channels, its weights fetched with a bar; on torch."""
    from acomp.backends import load, resolve

    resolved = resolve(name, channels)
    file = weights or fetched(resolved)
    return load(resolved, weights=file, engine="torch", device=device)


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


def check_coding(name: str, weights: Path | None, coding: Coding) -> None:
    """See that a codec has the bandwidth or the codebooks that are asked for, as far as that can be
    known before any file is opened.

    `encodec` is one of two codecs, by the channels of each file: one of them must have it.

    Raises:
        CodecError: there is no such codec, or it does not have them.
        WeightsError: weights that should tell what codec they are of do not.
    """
    from acomp.backends import resolve
    from acomp.codecs import CUSTOM, SPECS

    resolved = {resolve(name, channels) for channels in (1, 2)}
    if resolved == {CUSTOM} and weights is not None:
        specs = [spec_of(name, weights)]
    else:
        specs = [SPECS.get(each) for each in sorted(resolved)]
    problems: list[CodecError] = []
    for spec in specs:
        if spec is None:
            return
        try:
            spec.codebooks_for(coding.bandwidth, coding.codebooks)
        except CodecError as error:
            problems.append(error)
    if len(problems) == len(specs):
        raise problems[0]


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
