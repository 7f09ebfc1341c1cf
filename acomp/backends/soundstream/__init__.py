"""SoundStream as Lyra published it: 16 kHz (https://arxiv.org/abs/2107.03312)."""

from acomp.backends.family import Check, Family, Package, later

PACKAGE = Package(
    distribution="ai-edge-litert", module="ai_edge_litert.interpreter", extra="soundstream"
)

FAMILY = Family(
    name="soundstream",
    shape_of=lambda _: None,
    load=later("acomp.backends.soundstream.codec:load"),
    package=PACKAGE,
    checks=(Check("SoundStream", PACKAGE.found, PACKAGE.advice),),
)
