"""DAC: 16, 24 and 44.1 kHz and other shapes (https://arxiv.org/abs/2306.06546)."""

from acomp.backends.dac.shape import DacShape
from acomp.backends.family import Check, Family, Official, Package, later

PACKAGE = Package(distribution="descript-audio-codec", module="dac.model", extra="dac")

FAMILY = Family(
    name="dac",
    shape_of=DacShape.of,
    own_shape=DacShape,
    recognise=DacShape.recognise,
    load=later("acomp.backends.dac.codec:load"),
    random_weights=later("acomp.backends.shared.loading:random_weights"),
    official=Official(
        package=PACKAGE,
        load=later("acomp.backends.shared.official:load"),
        side=later("acomp.backends.dac.official:Side"),
        open=later("acomp.backends.dac.official:opened"),
    ),
    trainee="acomp.training.families.dac:DacTrainee",
    penalties=("commitment", "codebook"),
    checks=(Check("DAC as a torch module", PACKAGE.found, PACKAGE.advice),),
)
