"""nano: acomp's own codec, with its weights (docs/nano.md)."""

from acomp.backends.family import Check, Family, later
from acomp.backends.nano.shape import NanoShape


def _found() -> str:
    from acomp.backends import load

    return f"loads, weights {load('nano').fingerprint}"


FAMILY = Family(
    name="nano",
    shape_of=NanoShape.of,
    load=later("acomp.backends.nano.codec:load"),
    trainee="acomp.training.families.nano:NanoTrainee",
    penalties=("commitment", "lines", "bands"),
    checks=(Check("nano", _found),),
)
