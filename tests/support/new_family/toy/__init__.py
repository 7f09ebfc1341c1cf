"""toy: an MDCT of 16 lines at 8 kHz; the family that a test puts into acomp."""

from acomp.backends.family import Family, later

FAMILY = Family(
    name="toy",
    shape_of=lambda _: None,
    load=later("acomp.backends.toy.codec:load"),
)
