"""What is fixed about each codec that acomp has, told without loading it."""

from __future__ import annotations

from acomp.backends.base import CodecSpec
from acomp.backends.nano.codec import SPEC as NANO, SPEC_2 as NANO_2
from acomp.backends.shapes import SHAPES

# DAC's models are published for one bandwidth each; the others are what its quantiser dropout was
# trained for, rounded down to whole codebooks.
_SHAPED: dict[str, dict[float, int]] = {
    "encodec-24khz": {1.5: 2, 3: 4, 6: 8, 12: 16, 24: 32},
    "encodec-48khz": {3: 2, 6: 4, 12: 8, 24: 16},
    "dac-16khz": {1: 2, 2: 4, 3: 6, 4: 8, 6: 12},
    "dac-24khz": {1.5: 2, 3: 4, 6: 8, 12: 16, 24: 32},
    "dac-44khz": {1: 1, 2: 2, 4: 4, 6: 6, 8: 9},
    "dac-44khz-16kbps": {2: 2, 4: 4, 8: 9, 12: 13, 16: 18},
}


def _snac(
    name: str,
    rate: int,
    hop: int,
    levels: int,
    bandwidths: dict[float, int],
    held: int,
    unit: int = 1,
) -> CodecSpec:
    """A SNAC (https://arxiv.org/abs/2410.14411), each level at twice the rate of the one before.

    `held` is how many latents, the finest level's steps, a stream holds back: `SnacShape.held`.
    `unit` is that of `SnacShape`.
    """
    rates = tuple(1 << level for level in range(levels))
    return CodecSpec(
        name=name,
        sample_rate=rate,
        channels=1,
        hop_length=hop,
        codebooks=sum(rates),
        codebook_size=4096,
        codebook_dim=8,
        bandwidths=bandwidths,
        stereo_streams=True,
        delay=held * hop / rates[-1] / rate,
        levels=rates,
        unit=unit,
    )


_ALL = (
    NANO,
    NANO_2,
    *(SHAPES[name].spec(name, bandwidths) for name, bandwidths in _SHAPED.items()),
    _snac("snac-24khz", 24_000, 2048, 3, {0.14: 1, 0.42: 3, 0.98: 7}, held=340),
    _snac("snac-32khz", 32_000, 3072, 4, {0.13: 1, 0.38: 3, 0.88: 7, 1.9: 15}, held=474, unit=4),
    _snac("snac-44khz", 44_100, 3072, 4, {0.17: 1, 0.52: 3, 1.2: 7, 2.6: 15}, held=474, unit=4),
    CodecSpec(
        name="soundstream",
        sample_rate=16_000,
        channels=1,
        hop_length=320,
        codebooks=46,
        codebook_size=16,
        codebook_dim=64,
        bandwidths={3.2: 16, 6: 30, 9.2: 46},
        stereo_streams=True,
    ),
    CodecSpec(
        name="mimi",
        sample_rate=24_000,
        channels=1,
        hop_length=1920,
        codebooks=32,
        codebook_size=2048,
        codebook_dim=256,
        bandwidths={0.55: 4, 1.1: 8, 2.2: 16, 4.4: 32},
        stereo_streams=True,
    ),
)

SPECS = {spec.name: spec for spec in _ALL}
