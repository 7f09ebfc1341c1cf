"""How nano sounds: SI-SDR, log-mel distance and STOI of files at its bandwidths.

python tests/benchmarks/bench_quality.py FILE...
"""

from __future__ import annotations

import sys

from pystoi import stoi

import acomp
from acomp.metrics import log_mel_distance, si_sdr


def main() -> None:
    codec = acomp.load("nano")
    print("file                            kbps  SI-SDR dB  log-mel   STOI")
    for name in sys.argv[1:]:
        original = acomp.read_audio(name)
        for bandwidth in codec.spec.bandwidths:
            decoded = codec.decode(codec.encode(original, bandwidth=bandwidth))
            intelligibility = stoi(original.samples[0], decoded.samples[0], original.sample_rate)
            print(
                f"{name[-30:]:30} {bandwidth:5g} {si_sdr(original, decoded):10.2f} "
                f"{log_mel_distance(original, decoded):8.3f} {intelligibility:6.3f}"
            )


if __name__ == "__main__":
    main()
