"""acomp and the official packages timed side by side, on the same weights and the same audio.

A case is a codec and some seconds of audio. Each side first does it once, which is when OpenVINO
compiles, and their results are compared. Then come rounds, in which the official package, acomp in
fp32 and acomp in bf16 take turns, so that whatever else the machine does meets them alike. A ratio
is taken within each round; the median over the rounds is what is shown. Loading is measured in
processes of its own, as long as the first codes take.

The official side is what a user of the package runs: the whole file through the package's own
model, its weight norm as published, without gradients. Where the official codec has no package in
Python, acomp is timed alone.
"""

from acomp.bench.cases import Case, parse_case
from acomp.bench.machine import Machine, survey
from acomp.bench.result import Agreement, Direction, Loading, Row, Timing
from acomp.bench.rounds import run

__all__ = [
    "Agreement",
    "Case",
    "Direction",
    "Loading",
    "Machine",
    "Row",
    "Timing",
    "parse_case",
    "run",
    "survey",
]
