"""How long `acomp eval` takes for 100 files of ten seconds, one job and one for each core.

    python tests/benchmarks/bench_eval.py [SETTING...]

The files are cut from acomp's own samples, each from another place and at another level: half of
them speech, in mono, half music, in stereo. Without settings: nano at its four bandwidths, Opus.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import acomp

SAMPLES = Path(acomp.__file__).parent / "samples"
FILES = 100
SECONDS = 10
SETTINGS = ["nano@1.5", "nano@3", "nano@6", "nano@12", "opus@12"]


def make_files(folder: Path) -> None:
    random = np.random.default_rng(0)
    sounds = [acomp.read_audio(SAMPLES / f"{name}.flac") for name in ("speech", "music")]
    for index in range(FILES):
        sound = sounds[index % len(sounds)]
        rolled = np.roll(sound.samples, int(random.integers(sound.length)), axis=1)
        loops = -(-SECONDS * sound.sample_rate // sound.length)
        samples = np.tile(rolled, loops)[:, : SECONDS * sound.sample_rate]
        level = np.float32(random.uniform(0.3, 1))
        acomp.write_audio(
            folder / f"{index:02}.wav", acomp.Audio(level * samples, sound.sample_rate)
        )


def main() -> None:
    settings = [part for name in sys.argv[1:] or SETTINGS for part in ("-c", name)]
    with tempfile.TemporaryDirectory() as name:
        audio = Path(name) / "audio"
        audio.mkdir()
        make_files(audio)
        for jobs in sorted({1, os.cpu_count() or 1}):
            command = ["eval", str(audio), *settings, "--jobs", str(jobs)]
            began = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "acomp", *command, "-o", str(Path(name) / f"{jobs}")],
                check=True,
            )
            print(f"--jobs {jobs}: {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main()
