"""An exported codec beside acomp's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acomp.audio import Audio
from acomp.audio.samples import Samples
from acomp.backends.base import Codec
from acomp.codes import Block, CodesInfo, join
from acomp.errors import CodecError
from acomp.export.bits import Bits
from acomp.export.running import Exported

AGREE = 1e-4
"""How far decoded samples may be from acomp's."""
TIES = 0.005
"""Share of frames that may have other codes: where two entries are almost equally near."""
BROKEN_CODES = 0.1
"""Share of codes that are acomp's below which an encoder with fewer bits is broken; random ones
would be one in hundreds."""
BROKEN_LEVEL = 20
"""Decibels that the difference must be below the sound, or a decoder with fewer bits is broken."""


@dataclass(frozen=True)
class Agreement:
    """How an exported codec does beside acomp's own on torch.

    Attributes:
        frames: frames that were encoded.
        different: those of them that have other codes.
        share: of all codes, those that are acomp's.
        difference: of samples decoded from acomp's codes, the largest.
        level: of the sound over the difference, in decibels.
    """

    frames: int
    different: int
    share: float
    difference: float
    level: float

    def __str__(self) -> str:
        codes = f" and {self.share:.1%} of all codes" if self.different else ""
        return (
            f"codes of {self.frames - self.different} of {self.frames} frames{codes} are acomp's, "
            f"samples to {self.difference:.1e}, {self.level:.0f} dB below the sound"
        )

    def holds(self, bits: Bits | None) -> bool:
        """Whether it is what can be asked of weights in so many bits."""
        if bits is None:
            return self.different <= TIES * self.frames and self.difference <= AGREE
        return self.share >= BROKEN_CODES and self.level >= BROKEN_LEVEL


def compare(codec: Codec, exported: Exported, samples: Samples, codebooks: int) -> Agreement:
    """See that an exported codec does what acomp does.

    Args:
        codec: on torch.
        exported: what it was exported to.
        samples: `[channels, time]` at the codec's sample rate.
        codebooks: that it was exported with.

    Raises:
        CodecError: they do not agree.
    """
    found = agreement(codec, exported, samples, codebooks)
    if not found.holds(exported.bits):
        raise CodecError(f"the exported codec does not do what acomp does: {found}")
    return found


def agreement(codec: Codec, exported: Exported, samples: Samples, codebooks: int) -> Agreement:
    """Encode and decode with both; the arguments are those of `compare`.

    Raises:
        CodecError: the codes are not even as many.
    """
    info = codec.info(Audio(samples, codec.spec.sample_rate), codebooks=codebooks)
    ours, theirs = _encoded(codec, samples, info), _encoded(exported, samples, info)
    if theirs.data.shape != ours.data.shape:
        shapes = theirs.data.shape, ours.data.shape
        raise CodecError(
            f"the exported codec gives codes of the shape {shapes[0]}, not {shapes[1]}"
        )
    same = theirs.data == ours.data
    sound = _decoded(codec, ours, info)
    difference = _decoded(exported, ours, info) - sound
    return Agreement(
        ours.frames,
        int((~same).any(axis=1).sum()),
        float(same.mean()),
        float(np.abs(difference).max()),
        10 * float(np.log10(_power(sound) / _power(difference))),
    )


def _power(samples: Samples) -> float:
    return float(np.square(samples, dtype=np.float64).mean()) + 1e-20


def _encoded(codec: Codec, samples: Samples, info: CodesInfo) -> Block:
    encoder = codec.stream_encoder(info)
    return join(info, [encoder.push(samples), encoder.finish()])


def _decoded(codec: Codec, block: Block, info: CodesInfo) -> Samples:
    decoder = codec.stream_decoder(info)
    return np.concatenate([decoder.push(block), decoder.finish()], axis=1)
