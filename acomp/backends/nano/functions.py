"""The functions of nano's network, each ready to run on an engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from acomp.backends.nano.shape import MEMORY, NanoShape
from acomp.engines import Engine, Input, Runner

if TYPE_CHECKING:
    from torch import nn

    from acomp.backends.nano.network import Network

EXAMPLE = 40
"""Frames of the example that a network is converted by."""


class Functions:
    """The network's functions, each ready to run on the engine.

    Only the decoder's refiner runs in bf16 where that is asked for: what lies around it needs the
    precision, and so does the encoder's (in bf16 it costs up to 2 % of the SI-SDR).
    """

    def __init__(
        self, shape: NanoShape, network: Callable[[], Network], engine: Engine, key: str
    ) -> None:
        def prepare(
            name: str, *widths: int, blocks: tuple[int, int] = (0, 0), precise: bool = False
        ) -> Runner:
            inputs = [Input((1, EXAMPLE, width), free=(0, 1)) for width in widths]
            inputs += [Input((1, MEMORY, blocks[0]), free=(0,))] * blocks[1]
            build = partial(_step, network, name)
            return engine.prepare(build, inputs, f"{key} {name}", precise=precise)

        self.analyse = prepare("analyse", 2 * shape.hop, precise=True)
        """Frames of samples to features and sine lines."""
        self.encode = prepare(
            "encode", shape.features, shape.hop, blocks=shape.encoder, precise=True
        )
        """Features, sine lines and state to latents and state."""
        self.decode = prepare("decode", shape.latent, blocks=shape.decoder)
        """Latents and state to features and state."""
        self.synthesise = prepare("synthesise", shape.features, precise=True)
        """Features to windowed frames of samples."""
        self.sharpen = prepare("sharpen", 2 * shape.hop, precise=True)
        """Hops of samples, two by two, to windowed frames of samples."""


def _step(network: Callable[[], Network], name: str) -> nn.Module:
    from acomp.backends.nano.network import Step

    return Step(network(), name)
