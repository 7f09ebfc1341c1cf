"""Seconds that a whole process takes: `import acomp`, `acomp --help`, `acomp info`, and
`acomp encode` of a second of audio with nano, its network compiled by an earlier run; medians.

python tests/benchmarks/bench_startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from bench_sizes import codes_of

import acomp
from acomp.audio import Audio, read_audio, write_audio
from acomp.formats import write_codes

RUNS = 11


def seconds(*arguments: str) -> float:
    """Median over RUNS runs, after one that fills the caches."""
    times = []
    for _ in range(RUNS + 1):
        began = perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        times.append(perf_counter() - began)
    return statistics.median(times[1:])


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "minute.nac")
        write_codes(path, codes_of("encodec-24khz", 8))
        clip, codes = str(Path(folder) / "clip.wav"), str(Path(folder) / "clip.nac")
        speech = read_audio(Path(acomp.__file__).parent / "samples" / "speech.flac")
        write_audio(clip, Audio(speech.samples[:, : speech.sample_rate], speech.sample_rate))
        commands = {
            "python -c pass": ("-c", "pass"),
            "import acomp": ("-c", "import acomp"),
            "acomp --help": ("-m", "acomp", "--help"),
            "acomp info": ("-m", "acomp", "info", path),
            "acomp encode": ("-m", "acomp", "encode", clip, "-o", codes, "-b", "nano"),
        }
        for name, arguments in commands.items():
            print(f"{name:16} {seconds(*arguments):.3f} s")


if __name__ == "__main__":
    main()
