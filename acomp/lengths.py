"""The length of decoded audio, computed from the number of frames where a file does not state it.

Audio of n samples at the codec's sample rate has ceil(n / hop_length) frames, padded to a multiple
of `CodecSpec.unit`, and `CodecSpec.extra_frames` more. In codecs with overlapping segments the
segments have so many frames each.
"""

from __future__ import annotations

from acomp.codecs import CUSTOM, CUSTOM_OVERLAP, SPECS, CodecSpec
from acomp.codes import MAX_LENGTH, CodesInfo


def natural_length(
    info: CodesInfo,
    frames: int,
    segments: int = 0,
    longest: int = 0,
    last: int = 0,
    spec: CodecSpec | None = None,
) -> int:
    """The number of samples per channel, at `info.source_rate`, that the frames decode to.

    For codes in chunks (`CodesInfo.chunk`) of a codec that is not published, this is an upper
    bound, because only its decoder knows how many samples of each chunk are lost.

    Args:
        info: what the codes are of.
        frames: total number of frames.
        segments: number of segments; 0 for codes that have none.
        longest: number of frames of the longest segment.
        last: number of frames of the last segment.
        spec: the spec of the codec; by default that of the published codec that `info` names.
    """
    if spec is None:
        spec = SPECS.get(info.codec)
    margin = spec.chunk_margin if spec else 0
    samples = max(0, frames - (spec.extra_frames if spec else 0)) * info.hop_length
    if info.chunk is not None:
        whole, rest = divmod(frames, info.chunk)
        samples = whole * _chunk_samples(info, info.chunk, margin)
        samples += _chunk_samples(info, rest, margin)
    overlap = _overlap(info, spec)
    if segments and overlap:
        stride = int((1 - overlap) * longest * info.hop_length)
        samples = (segments - 1) * stride + last * info.hop_length
    return min(samples * info.source_rate // info.sample_rate, MAX_LENGTH)


def _chunk_samples(info: CodesInfo, frames: int, margin: int) -> int:
    return max(0, frames * info.hop_length - margin)


def _overlap(info: CodesInfo, spec: CodecSpec | None) -> float:
    if spec is not None:
        return spec.segment_overlap
    return CUSTOM_OVERLAP if info.codec == CUSTOM else 0.0
