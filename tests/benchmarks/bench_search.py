"""What nano's search for codes is worth: paths and choices, how near speech comes, and how fast.

python tests/benchmarks/bench_search.py FILE...
"""

from __future__ import annotations

import sys
import time

import numpy as np

import acomp
from acomp.backends.nano import codec, search
from acomp.evaluation.metrics import measure

KBPS = 6
CASES = ((1, 1), (2, 2), (4, 2), (8, 2), (16, 16))
METRICS = ("si_sdr", "pesq", "stoi", "log_mel")


def run(recordings: list[acomp.Audio]) -> tuple[list[float], float]:
    """Means of `METRICS`, and how many times real time encoding was."""
    codec = acomp.load("nano")
    codec.warm_up(KBPS)
    figures, seconds = [], 0.0
    for recording in recordings:
        began = time.perf_counter()
        codes = codec.encode(recording, bandwidth=KBPS)
        seconds += time.perf_counter() - began
        measured, _ = measure(recording, codec.decode(codes), "speech")
        figures.append([measured.get(name, np.nan) for name in METRICS])
    duration = sum(recording.duration for recording in recordings)
    return np.nanmean(figures, axis=0).tolist(), duration / seconds


def main() -> None:
    recordings = [acomp.read_audio(name) for name in sys.argv[1:]]
    print("paths  choices  encode  " + "  ".join(METRICS))
    for paths, choices in CASES:
        for module in (codec, search):  # the one of torch, and that of OpenVINO
            vars(module).update(PATHS=paths, CHOICES=choices)
        means, speed = run(recordings)
        shown = "  ".join(f"{mean:.3f}" for mean in means)
        print(f"{paths:5}  {choices:7}  {speed:5.0f}x  {shown}", flush=True)


if __name__ == "__main__":
    main()
