"""Mimi: 24 kHz, 12.5 frames/s, its first codebook semantic (https://arxiv.org/abs/2410.00037)."""

from acomp.backends.family import Check, Family, Official, Package, later
from acomp.backends.mimi.shape import MimiShape

PACKAGE = Package(distribution="transformers", module="transformers", extra="mimi")


def _found() -> str:
    # Not imported: that takes seconds.
    return f"{PACKAGE.version()}; encoding and decoding need no more than torch"


FAMILY = Family(
    name="mimi",
    shape_of=MimiShape.of,
    load=later("acomp.backends.mimi.codec:load"),
    random_weights=later("acomp.backends.mimi.draw:random_weights"),
    official=Official(
        package=PACKAGE,
        load=later("acomp.backends.mimi.official:load"),
        side=later("acomp.backends.mimi.official:Side"),
        open=later("acomp.backends.mimi.official:opened"),
        layout="huggingface",
    ),
    checks=(Check("Mimi as a torch module", _found, PACKAGE.advice),),
)
