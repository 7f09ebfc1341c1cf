"""How nano sounds: SI-SDR, log-mel distance and STOI (which means something for speech alone).

python tests/benchmarks/bench_quality.py FILE...

prints a line for each file and bandwidth, and with several files their means.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
from numpy.typing import NDArray
from pystoi import stoi

import acomp
from acomp.metrics import log_mel_distance, si_sdr


def measure(codec: acomp.Codec, original: acomp.Audio, bandwidth: float) -> NDArray[np.float64]:
    """SI-SDR, log-mel distance and STOI of one recording at one bandwidth."""
    decoded = codec.decode(codec.encode(original, bandwidth=bandwidth))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too little speech in a file for STOI to mean anything
        intelligibility = stoi(original.samples[0], decoded.samples[0], original.sample_rate)
    return np.array(
        [si_sdr(original, decoded), log_mel_distance(original, decoded), intelligibility]
    )


def show(name: str, bandwidth: float, figures: NDArray[np.float64]) -> None:
    print(f"{name[-30:]:30} {bandwidth:5g} {figures[0]:10.2f} {figures[1]:8.3f} {figures[2]:6.3f}")


def main() -> None:
    codec = acomp.load("nano")
    print(f"{'file':30}  kbps  SI-SDR dB  log-mel   STOI")
    all_figures: dict[float, list[NDArray[np.float64]]] = {k: [] for k in codec.spec.bandwidths}
    for name in sys.argv[1:]:
        original = acomp.read_audio(name)
        for bandwidth, of_files in all_figures.items():
            of_files.append(measure(codec, original, bandwidth))
            show(name, bandwidth, of_files[-1])
    if len(sys.argv) > 2:
        for bandwidth, of_files in all_figures.items():
            show(f"mean of {len(of_files)} files", bandwidth, np.mean(of_files, axis=0))


if __name__ == "__main__":
    main()
