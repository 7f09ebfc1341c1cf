"""Size of a 60 s `.nac` against its bare codes (a codec's segment scales are part of them).

python tests/benchmarks/bench_sizes.py
"""

from __future__ import annotations

import io

import numpy as np

from acomp.codecs import SPECS
from acomp.codes import Codes, CodesInfo, Segments
from acomp.formats import write_codes

SECONDS = 60


def codes_of(name: str, codebooks: int) -> Codes:
    """Random codes of a minute, in the segments that EnCodec 48 kHz has (1 s, 1 % overlap)."""
    spec = SPECS[name]
    info = CodesInfo(
        codec=name,
        sample_rate=spec.sample_rate,
        channels=spec.channels,
        streams=1,
        codebooks=codebooks,
        codebook_size=spec.codebook_size,
        hop_length=spec.hop_length,
        source_rate=44_100,
        fingerprint="0" * 16,
    )
    segments = None
    frames = int(SECONDS * spec.frame_rate)
    if name == "encodec-48khz":
        counts = np.array([150] * 60 + [90])  # 60 strides of 47520 samples, and what is left
        segments = Segments(counts, np.ones(len(counts), np.float32))
        frames = int(counts.sum())
    shape = (1, codebooks, frames)
    data = np.random.default_rng(0).integers(0, spec.codebook_size, shape, dtype=np.uint16)
    return Codes(info, data, SECONDS * 44_100, segments)


def main() -> None:
    print("codec             asked  kbps of codes  bare bytes  .nac bytes  1.01 x bare + 200")
    for name, spec in SPECS.items():
        for bandwidth, codebooks in spec.bandwidths.items():
            codes = codes_of(name, codebooks)
            file = io.BytesIO()
            write_codes(file, codes, form="nac")
            bare = codes.data.size * codes.info.bits // 8
            bare += 4 * len(codes.segments) if codes.segments is not None else 0
            size = len(file.getvalue())
            kbps = codes.info.bandwidth
            allowed = 1.01 * bare + 200
            print(f"{name:17} {bandwidth:5g} {kbps:14.3f} {bare:11} {size:11} {allowed:11.0f}")


if __name__ == "__main__":
    main()
