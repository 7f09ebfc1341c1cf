"""How much sound frames of codes stand for, where the true length is not known.

A sound of n samples at the codec's rate has ceil(n / hop) frames, rounded up to the codec's unit,
and its extra frames; or, in segments that overlap, as many as those have (see `CodecSpec`).
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
    """Samples at `info.source_rate` that the frames stand for.

    Codes in chunks of a codec that is not published stand for less than this: only its decoder
    knows how much.

    Args:
        info: of the codes.
        frames: frames in all.
        segments: number of segments; 0 for codes that have none.
        longest: frames of the longest segment.
        last: frames of the last segment.
        spec: the codec's; by default that of the published codec that `info` names.
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
