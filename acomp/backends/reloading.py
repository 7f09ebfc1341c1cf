"""A codec loaded again, as a copy, in another process or on another device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from acomp.errors import CodecError
from acomp.settings import EngineName, Precision

if TYPE_CHECKING:
    from acomp.backends.base import Codec


@dataclass(frozen=True)
class Loading:
    """What a codec was loaded with: the arguments of `acomp.load`.

    Attributes:
        name: the codec's.
        weights: absolute path of its weights; None for the published ones.
        engine: torch, openvino or auto.
        precision: fp32 or bf16.
        device: auto, cpu, cuda or cuda:N.
    """

    name: str
    weights: str | None
    engine: EngineName
    precision: Precision
    device: str


def load_again(loading: Loading, fingerprint: str | None) -> Codec:
    """The codec of `loading`, whose weights must be those that it had."""
    from acomp.backends import load

    codec = load(
        loading.name,
        weights=loading.weights,
        engine=loading.engine,
        precision=loading.precision,
        device=loading.device,
    )
    if codec.fingerprint != fingerprint:
        raise CodecError(
            f"{loading.name} had the weights {fingerprint}, and here are {codec.fingerprint}"
        )
    return codec
