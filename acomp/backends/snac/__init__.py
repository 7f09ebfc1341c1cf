"""SNAC: 24, 32 and 44.1 kHz, its levels at several rates (https://arxiv.org/abs/2410.14411)."""

from acomp.backends.family import Check, Family, Official, Package, later
from acomp.backends.snac.shape import SnacShape

PACKAGE = Package(distribution="snac", module="snac", extra="snac")

FAMILY = Family(
    name="snac",
    shape_of=SnacShape.of,
    load=later("acomp.backends.snac.codec:load"),
    random_weights=later("acomp.backends.shared.loading:random_weights"),
    official=Official(
        package=PACKAGE,
        load=later("acomp.backends.shared.official:load"),
        side=later("acomp.backends.snac.official:Side"),
        open=later("acomp.backends.snac.official:opened"),
        repeats=False,
    ),
    checks=(Check("SNAC as a torch module", PACKAGE.found, PACKAGE.advice),),
)
