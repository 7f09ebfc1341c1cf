"""Training audio: one flat array of 24 kHz mono samples, which any segment is cut from at once.

    python -m acomp.training.data speech ROOT 'PATTERN' ...

writes `speech.train.npy` and `speech.heldout.npy` (16-bit samples) from every audio file below
ROOT that a pattern (as of pathlib's glob) finds, decoded by the `ffmpeg` program. One file in
forty, chosen by the hash of its path below ROOT, is held out.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

SAMPLE_RATE = 24_000
SUFFIXES = {".flac", ".g722", ".mp3", ".oga", ".ogg", ".opus", ".wav"}
SHORTEST = SAMPLE_RATE // 10
HELD_OUT = 40


class Segments:
    """Random segments of several arrays, each array drawn with its own probability."""

    def __init__(self, arrays: dict[Path, float], seed: int) -> None:
        self._arrays = [np.load(path, mmap_mode="r") for path in arrays]
        weights = np.array(list(arrays.values()))
        self._probabilities = weights / weights.sum()
        self._random = np.random.default_rng(seed)

    def batch(self, size: int, length: int) -> torch.Tensor:
        """`[size, length]` samples, each segment's peak at a random level from -24 to 0 dB."""
        return torch.from_numpy(np.stack([self._segment(length) for _ in range(size)]))

    def _segment(self, length: int) -> NDArray[np.float32]:
        array = self._arrays[self._random.choice(len(self._arrays), p=self._probabilities)]
        while True:
            start = self._random.integers(len(array) - length)
            segment = array[start : start + length].astype(np.float32) / 32768
            peak = np.abs(segment).max()
            if peak > 0.01:  # silence teaches nothing
                break
        level = 10 ** (self._random.uniform(-24, 0) / 20)
        scaled: NDArray[np.float32] = (segment * (level / peak)).astype(np.float32)
        return scaled


def decode(path: Path) -> NDArray[np.int16]:
    """The samples of an audio file at 24 kHz, mixed down to mono."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path)]
    command += ["-ac", "1", "-ar", str(SAMPLE_RATE), "-f", "s16le", "-"]
    raw = subprocess.run(command, capture_output=True, check=False).stdout
    return np.frombuffer(raw, "<i2")


def is_held_out(relative: Path) -> bool:
    digest = hashlib.sha256(str(relative).encode()).hexdigest()
    return int(digest, 16) % HELD_OUT == 0


def prepare(name: str, root: Path, patterns: list[str]) -> None:
    """Write `name`.train.npy and `name`.heldout.npy, and print how much they hold."""
    found = {path for pattern in patterns for path in root.glob(pattern)}
    files = [path for path in sorted(found) if _is_audio(path)]
    parts: dict[str, list[NDArray[np.int16]]] = {"train": [], "heldout": []}
    with ThreadPoolExecutor() as pool:
        for path, samples in zip(files, pool.map(decode, files), strict=True):
            if len(samples) >= SHORTEST:
                parts["heldout" if is_held_out(path.relative_to(root)) else "train"].append(samples)
    for part, arrays in parts.items():
        joined = np.concatenate([np.zeros(0, np.int16), *arrays])
        np.save(f"{name}.{part}.npy", joined)
        hours = len(joined) / SAMPLE_RATE / 3600
        print(f"{name}.{part}.npy: {len(arrays)} files, {hours:.2f} h")


def _is_audio(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file() and not path.is_symlink()


if __name__ == "__main__":
    prepare(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
