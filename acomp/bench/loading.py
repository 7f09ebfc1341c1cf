"""Loading: from a cold process to the first codes, acomp and the official package in turn."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import acomp
from acomp.backends.converting import convert
from acomp.backends.families import family_of
from acomp.bench import cold
from acomp.bench.result import Loading
from acomp.errors import CodecError


def measure(codec: str, weights: Path, engine: str, rounds: int) -> dict[str, Loading]:
    """What each side takes, by its name.

    Both load the same file, in the official package's own layout. The start is cold as that of a
    program that ran before: files are in the system's memory, what OpenVINO compiled in its cache.

    Args:
        codec: its name.
        weights: its weights, in any layout.
        engine: acomp's.
        rounds: how often each side starts.

    Raises:
        CodecError: a side fails.
    """
    official = family_of(codec).official
    with TemporaryDirectory(prefix="acomp-") as folder:
        if official is None or not official.package.is_installed:
            path, sides = weights, ["acomp"]
        else:
            path, sides = Path(folder) / "weights", ["official", "acomp"]
            convert(weights, path, official.layout)
        starts = [
            {side: _start(side, codec, path, engine) for side in sides} for _ in range(rounds)
        ]
    return {side: Loading.of([start[side] for start in starts]) for side in sides}


def _start(side: str, codec: str, path: Path, engine: str) -> tuple[float, float, float | None]:
    """Seconds, CPU seconds and MiB of one process."""
    # As a file, and from where acomp is now: its package would be imported whole with `-m`.
    command = [sys.executable, "-P", str(cold.__file__), side, codec, str(path), engine]
    root = str(Path(acomp.__file__).parents[1])
    places = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    began = time.monotonic()
    run = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": places}, capture_output=True, text=True
    )
    try:
        taken = json.loads(run.stdout)
    except ValueError as error:
        last = run.stderr.strip().splitlines()[-1:] or ["it says nothing"]
        raise CodecError(f"{codec} does not load in a new process ({side}): {last[0]}") from error
    return taken["end"] - began, taken["cpu_seconds"], taken["mib"]
