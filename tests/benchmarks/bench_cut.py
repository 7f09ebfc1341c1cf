"""How long a cut of codes decodes to other samples than the whole, for want of what was before.

    python tests/benchmarks/bench_cut.py nano nano-2 encodec-24khz

Of each codec acomp's speech sample is coded, and cut at five places. The table has the level of the
difference to the whole, in dB below the sound of the same time, in windows after the cut, and the
time from which on the samples are those of the whole to 1e-4 of full scale, the worst of the five.
Codecs whose published weights are not in the cache run with seeded random ones.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

import acomp
from acomp.bench.cases import weights_of

SAMPLE = Path(acomp.__file__).parent / "samples" / "speech.flac"
PLACES = (0.5, 0.9, 1.3, 1.7, 2.1)
"""Seconds."""
WINDOWS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Bounds of the windows, in seconds."""
SAME = 1e-4


def main() -> None:
    names = sys.argv[1:] or ["nano-1", "nano-2"]
    heads = [f"{begin * 1000:g}-{end * 1000:g} ms" for begin, end in pairwise(WINDOWS)]
    print(f"{'codec':14}", *(f"{head:>11}" for head in heads), "same after")
    for name in names:
        with weights_of(name) as (weights, kind):
            codec = acomp.load(name, weights=weights, engine="torch")
            print(f"{name:14}", *measure(codec), f"({kind} weights)", flush=True)


def measure(codec: acomp.Codec) -> list[str]:
    """The cells of a codec's row."""
    codes = codec.encode(acomp.resample(acomp.read_audio(SAMPLE), codec.spec.sample_rate))
    whole = codec.decode(codes).samples
    rate, same = codec.spec.sample_rate, 0.0
    off, sound = np.zeros(len(WINDOWS) - 1), np.zeros(len(WINDOWS) - 1)
    for place in PLACES:
        found = codec.decode(codes[place:]).samples
        kept = whole[:, -found.shape[1] :]
        difference = found - kept
        differs = np.flatnonzero(np.abs(difference).max(axis=0) > SAME)
        same = max(same, (differs[-1] + 1) / rate if len(differs) else 0)
        for number, begin in enumerate(WINDOWS[:-1]):
            window = slice(int(begin * rate), int(WINDOWS[number + 1] * rate))
            off[number] += np.square(difference[:, window]).sum()
            sound[number] += np.square(kept[:, window]).sum()
    levels = 10 * np.log10((off + 1e-20) / (sound + 1e-20))
    return [*(f"{max(level, -99):8.1f} dB" for level in levels), f"{same * 1000:6.0f} ms"]


if __name__ == "__main__":
    main()
