"""The training audio, all of it in the memory of the device, and random segments of it."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLE_RATE = 24_000
PITCHES = ((9, 8), (8, 9))
"""Speech is heard slower and faster too, at these ratios: other voices."""
QUIET = 0.004
"""Root mean square below which another segment is drawn."""
LOUDEST, QUIETEST = -12.0, -36.0
"""What segments are levelled to, in dB, at random; one in twenty is left as it is."""
UNTOUCHED, MIXED = 0.05, 0.12
"""Shares of segments that are not levelled, and that have another one quietly behind them."""

Job = tuple[str, "Future[NDArray[np.int16]]", bool]


class Store:
    """Int16 samples of each kind, which grow as files arrive: `{speech,music}.NAME.{ogg,flac}`."""

    def __init__(self, folder: Path, device: str, hours: dict[str, float], workers: int) -> None:
        self._folder, self._device = folder, device
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        self._seen: set[str] = set()
        self._jobs: list[Job] = []
        self.samples = {
            kind: torch.zeros(int(most * 3600 * SAMPLE_RATE), dtype=torch.int16, device=device)
            for kind, most in hours.items()
        }
        self.filled = dict.fromkeys(hours, 0)
        self._lengths = {
            kind: torch.zeros((), dtype=torch.float64, device=device) for kind in hours
        }

    def poll(self) -> None:
        """Start decoding what has arrived, and take in what is decoded."""
        for path in sorted({*self._folder.glob("*.ogg"), *self._folder.glob("*.flac")}):
            if path.name not in self._seen:
                self._seen.add(path.name)
                kind = path.name.split(".")[0]
                self._jobs.append((kind, self._pool.submit(decoded, path), kind == "speech"))
        waiting: list[Job] = []
        for kind, job, vary in self._jobs:
            if not job.done():
                waiting.append((kind, job, vary))
                continue
            self._put(kind, job.result())
            if vary:
                more = [self._pool.submit(stretched, job.result(), *pitch) for pitch in PITCHES]
                waiting += [(kind, each, False) for each in more]
        self._jobs = waiting

    def finish(self) -> None:
        """Wait until all that has arrived is taken in."""
        self.poll()
        while self._jobs:
            time.sleep(0.1)
            self.poll()

    def _put(self, kind: str, samples: NDArray[np.int16]) -> None:
        start, store = self.filled[kind], self.samples[kind]
        samples = samples[: len(store) - start]
        self.filled[kind] = start + len(samples)
        store[start : start + len(samples)] = torch.from_numpy(samples).to(self._device)
        self._lengths[kind].fill_(float(self.filled[kind]))

    def segments(self, batch: int, length: int, speech: float) -> Tensor:
        """Float32 `[batch, length]` on the device; a share `speech` of them of speech."""
        device = self._device

        def chance() -> Tensor:
            return torch.rand(batch, 1, device=device)

        pairs = torch.where(
            chance() < speech,
            self._pairs("speech", batch, length),
            self._pairs("music", batch, length),
        )
        loudness = pairs.square().mean(-1, keepdim=True).sqrt()
        first = loudness[0] > QUIET
        x, rms = torch.where(first, *pairs), torch.where(first, *loudness)
        goal = (chance() * (LOUDEST - QUIETEST) + QUIETEST) * (math.log(10) / 20)
        x = torch.where(chance() < UNTOUCHED, x, x * goal.exp() / (rms + 1e-3))
        behind = chance()
        gain = ((behind / MIXED * 20 + 6) * (-math.log(10) / 20)).exp()
        x = x + x.roll(1, 0) * torch.where(behind < MIXED, gain, torch.zeros_like(gain))
        return x / x.abs().amax(-1, keepdim=True).clamp(min=0.98) * 0.98

    def _pairs(self, kind: str, batch: int, length: int) -> Tensor:
        """Two segments for each example, `[2, batch, length]`."""
        device = self._device
        start = torch.rand(2 * batch, device=device, dtype=torch.float64)
        start = (start * (self._lengths[kind] - length - 1)).long()
        places = start[:, None] + torch.arange(length, device=device)
        return self.samples[kind][places].float().view(2, batch, length) / 32768

    def close(self) -> None:
        for process in list((self._pool._processes or {}).values()):
            process.kill()
        sys.stdout.flush()


@contextmanager
def filled(folder: Path, device: str, hours: Sequence[float]) -> Iterator[Store]:
    """A store of at most so many hours of speech and of music, which has some of both."""
    most = dict(zip(("speech", "music"), hours, strict=True))
    store = Store(folder, device, most, max(1, (os.cpu_count() or 2) - 2))
    try:
        while not all(store.filled.values()):
            store.poll()
            time.sleep(0.1)
        yield store
    finally:
        store.close()


def decoded(path: Path) -> NDArray[np.int16]:
    samples, rate = soundfile.read(path, dtype="int16")
    if rate != SAMPLE_RATE:
        raise ValueError(f"{path} has {rate} samples a second, not {SAMPLE_RATE}")
    result: NDArray[np.int16] = samples
    return result


def stretched(samples: NDArray[np.int16], up: int, down: int) -> NDArray[np.int16]:
    """As if played `up / down` times slower."""
    from scipy.signal import resample_poly

    longer = resample_poly(samples.astype(np.float32), up, down)
    whole: NDArray[np.int16] = np.clip(longer, -32768, 32767).astype(np.int16)
    return whole
