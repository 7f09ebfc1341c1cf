"""Seconds that a whole process takes: `import acomp`, `acomp --help`, `acomp info`; medians.

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
        commands = {
            "python -c pass": ("-c", "pass"),
            "import acomp": ("-c", "import acomp"),
            "acomp --help": ("-m", "acomp", "--help"),
            "acomp info": ("-m", "acomp", "info", path),
        }
        for name, arguments in commands.items():
            print(f"{name:16} {seconds(*arguments):.3f} s")


if __name__ == "__main__":
    main()
