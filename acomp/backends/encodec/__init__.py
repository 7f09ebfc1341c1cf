"""EnCodec: 24 kHz mono, 48 kHz stereo and other shapes (https://arxiv.org/abs/2210.13438)."""

from acomp.backends.encodec.shape import EncodecShape
from acomp.backends.family import Check, Family, Official, Package, later

PACKAGE = Package(distribution="encodec", module="encodec")

FAMILY = Family(
    name="encodec",
    shape_of=EncodecShape.of,
    own_shape=EncodecShape,
    load=later("acomp.backends.encodec.codec:load"),
    random_weights=later("acomp.backends.encodec.official:random_weights"),
    official=Official(
        package=PACKAGE,
        load=later("acomp.backends.shared.official:load"),
        side=later("acomp.backends.encodec.official:Side"),
        open=later("acomp.backends.encodec.official:opened"),
    ),
    trainee="acomp.training.families.encodec:EncodecTrainee",
    penalties=("commitment",),
    checks=(Check("EnCodec architecture", PACKAGE.found),),
)
