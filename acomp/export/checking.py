"""An exported codec beside acomp's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from acomp.audio import Audio
from acomp.audio.samples import Samples
from acomp.backends.base import Codec
from acomp.codes import Block, CodesInfo, join
from acomp.errors import CodecError
from acomp.export.running import Exported

AGREE = 1e-4
"""How far decoded samples may be from acomp's."""
TIES = 0.005
"""Share of frames that may have other codes: where two entries are almost equally near."""


@dataclass(frozen=True)
class Agreement:
    """How an exported codec does beside acomp's own on torch.

    Attributes:
        frames: frames that were encoded.
        different: those of them that have other codes.
        difference: of decoded samples, the largest.
    """

    frames: int
    different: int
    difference: float

    def __str__(self) -> str:
        return (
            f"codes of {self.frames - self.different} of {self.frames} frames are acomp's, "
            f"samples to {self.difference:.1e}"
        )


def compare(codec: Codec, exported: Exported, samples: Samples, codebooks: int) -> Agreement:
    """Encode and decode with both.

    Args:
        codec: on torch.
        exported: what it was exported to.
        samples: `[channels, time]` at the codec's sample rate.
        codebooks: that it was exported with.

    Raises:
        CodecError: they do not agree.
    """
    info = codec.info(Audio(samples, codec.spec.sample_rate), codebooks=codebooks)
    ours, theirs = _encoded(codec, samples, info), _encoded(exported, samples, info)
    if theirs.data.shape != ours.data.shape:
        shapes = theirs.data.shape, ours.data.shape
        raise CodecError(
            f"the exported codec gives codes of the shape {shapes[0]}, not {shapes[1]}"
        )
    different = int((theirs.data != ours.data).any(axis=1).sum())
    difference = np.abs(_decoded(exported, ours, info) - _decoded(codec, ours, info)).max()
    found = Agreement(ours.frames, different, float(difference))
    if different > TIES * found.frames or not difference <= AGREE:
        raise CodecError(f"the exported codec does not do what acomp does: {found}")
    return found


def _encoded(codec: Codec, samples: Samples, info: CodesInfo) -> Block:
    encoder = codec.stream_encoder(info)
    return join(info, [encoder.push(samples), encoder.finish()])


def _decoded(codec: Codec, block: Block, info: CodesInfo) -> Samples:
    decoder = codec.stream_decoder(info)
    return np.concatenate([decoder.push(block), decoder.finish()], axis=1)
