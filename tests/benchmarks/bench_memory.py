"""Peak memory and speed of whole `acomp` processes on long stereo sound at 44.1 kHz.

    python tests/benchmarks/bench_memory.py nano:1 nano:10 encodec-24khz:1 dac-44khz:0.05

Each argument is a codec and hours. The sound, acomp's music sample over and over, comes through a
pipe; the codes go to a file, and what is decoded from it to nowhere. Codecs whose published weights
are not in the cache run with seeded random ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import acomp
from acomp.bench.cases import weights_of

RATE = 44_100
SAMPLE = Path(acomp.__file__).parent / "samples" / "music.flac"


def pour(pipe: IO[bytes], hours: float) -> None:
    """Write so much 16-bit stereo into `pipe`, and close it."""
    sound = acomp.resample(acomp.read_audio(SAMPLE), RATE)
    loop = (sound.samples.T * 32767).astype("<i2").tobytes()
    left = int(hours * 3600 * RATE) * 4
    while left > 0:
        pipe.write(loop[:left])
        left -= len(loop)
    pipe.close()


def run(arguments: list[str], hours: float | None = None) -> tuple[float, float]:
    """Seconds and peak mebibytes of one `acomp`, whose input are so many hours of sound, if any."""
    began = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "acomp", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdin is not None
        pour(process.stdin, hours or 0)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"acomp {' '.join(arguments)} failed")
    return time.perf_counter() - began, usage.ru_maxrss / 1024


def measure(name: str, hours: float, folder: Path, weights: Path) -> None:
    given = ["--weights", str(weights)]
    codes = folder / "codes.nac"
    raw = ["--raw", f"{RATE}:2:s16le", "--overwrite"]
    run(["encode", "-", "-o", str(codes), "-b", name, *raw, *given], 0.001)  # compiles
    run(["decode", str(codes), "-", *given])
    seconds, peak = run(["encode", "-", "-o", str(codes), "-b", name, *raw, *given], hours)
    line = f"{name}, {hours:g} h of stereo: encode {peak:.0f} MiB, {hours * 3600 / seconds:.1f}x"
    seconds, peak = run(["decode", str(codes), "-", *given])
    print(f"{line}; decode {peak:.0f} MiB, {hours * 3600 / seconds:.1f}x", end="", flush=True)
    start = str(hours * 3600 * 0.8)
    seconds, _ = run(["decode", str(codes), "-", "--start", start, "--duration", "5", *given])
    print(f"; 5 s from {start} s on in {seconds:.2f} s, the whole process", flush=True)


def main() -> None:
    for case in sys.argv[1:]:
        name, hours = case.rsplit(":", 1)
        with tempfile.TemporaryDirectory() as folder, weights_of(name) as (weights, _):
            measure(name, float(hours), Path(folder), weights)


if __name__ == "__main__":
    main()
