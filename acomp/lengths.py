"""How much sound frames of codes stand for, told by the name of their codec alone.

A sound of n samples at the codec's rate has ceil(n / hop) frames, and

- nano one more, as each of its frames is the overlap of two windows;
- SNAC at 32 and 44.1 kHz as many more as fill its windows of attention (`CodecSpec.unit`);
- EnCodec 48 kHz as many as its segments of 1 s have, which begin every 0.99 s.
"""

from __future__ import annotations

from acomp.codes import MAX_LENGTH, CodesInfo

EXTRA_FRAMES = {"nano": 1}
"""Frames that a codec gives beyond those that its sound lasts; where it is not named, none."""

# What codes in segments of one length that overlap by 1 % (EnCodec's `segment` and `overlap`).
_IN_SEGMENTS = ("custom", "encodec-48khz")

CHUNK_MARGINS = {
    "dac-44khz": 8342,
    "dac-24khz": 5534,
    "dac-16khz": 5534,
    "dac-44khz-16kbps": 8342,
}
"""Samples that a chunk decodes to less than its frames stand for: with no padding, a decoder's
convolutions come to an end before their input does."""


def natural_length(
    info: CodesInfo, frames: int, segments: int = 0, longest: int = 0, last: int = 0
) -> int:
    """Samples at `info.source_rate` that the frames stand for, where the true length is not known.

    `segments` is the number of segments, `longest` and `last` are frames of one. Codes in chunks of
    a codec that is not published stand for less than this: only its decoder knows how much.
    """
    samples = max(0, frames - EXTRA_FRAMES.get(info.codec, 0)) * info.hop_length
    if info.chunk is not None:
        whole, rest = divmod(frames, info.chunk)
        samples = whole * _chunk_samples(info, info.chunk) + _chunk_samples(info, rest)
    if segments and info.codec in _IN_SEGMENTS:
        stride = int(0.99 * longest * info.hop_length)
        samples = (segments - 1) * stride + last * info.hop_length
    return min(samples * info.source_rate // info.sample_rate, MAX_LENGTH)


def _chunk_samples(info: CodesInfo, frames: int) -> int:
    return max(0, frames * info.hop_length - CHUNK_MARGINS.get(info.codec, 0))
