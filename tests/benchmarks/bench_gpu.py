"""Codecs on a GPU beside the CPU: speed, and how far their codes agree.

    python tests/benchmarks/bench_gpu.py [--weights FOLDER] [CODEC...]

nano needs nothing but acomp. For others the folder holds their weights, `CODEC.th`, `.pth` or
`.safetensors`; those that are missing are left out.
Prints a table and, as the last line, the same as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch

import acomp
from acomp.backends.base import Codec

SECONDS = 20
"""Of a clip that is coded alone."""
CLIPS = 32
"""Of `CLIP_SECONDS` in a batch, each a bit longer than the one before."""
CLIP_SECONDS = 5.0
ROUNDS = 3


def clip(codec: Codec, seconds: float, seed: int) -> acomp.Audio:
    """Swept tones and noise."""
    rate, channels = codec.spec.sample_rate, codec.spec.channels
    time = np.arange(int(seconds * rate)) / rate
    random = np.random.default_rng(seed)
    tones = np.sin(2 * np.pi * (110 + seed) * (time + 0.2 * time**2))
    noise = random.standard_normal((channels, len(time)))
    return acomp.Audio((0.2 * tones + 0.1 * noise).astype(np.float32), rate)


def fastest(action: Callable[[], object]) -> float:
    """Seconds of the fastest of some runs, after one that is not counted."""
    action()
    taken = []
    for _ in range(ROUNDS):
        began = perf_counter()
        action()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        taken.append(perf_counter() - began)
    return min(taken)


def measure(codec: Codec, *, batches: bool) -> dict[str, float]:
    """Times real time of each kind of work."""
    whole = clip(codec, SECONDS, 0)
    codes = codec.encode(whole)
    figures = {
        "encode": SECONDS / fastest(lambda: codec.encode(whole)),
        "decode": SECONDS / fastest(lambda: codec.decode(codes)),
    }
    if batches:
        clips = [clip(codec, CLIP_SECONDS + 0.05 * index, index) for index in range(CLIPS)]
        total = sum(each.duration for each in clips)
        coded = codec.encode_batch(clips)
        figures["encode_batch"] = total / fastest(lambda: codec.encode_batch(clips))
        figures["decode_batch"] = total / fastest(lambda: codec.decode_batch(coded))
    return figures


def agreement(one: Codec, other: Codec) -> dict[str, float]:
    """The share of codes that are the same, and how far the sound of the same codes differs."""
    sound = clip(one, 5.0, 1)
    codes, others = one.encode(sound), other.encode(sound)
    difference = np.abs(one.decode(codes).samples - other.decode(codes).samples).max()
    return {"codes": float((codes.data == others.data).mean()), "samples": float(difference)}


def weights_of(folder: Path | None, name: str) -> Path | None:
    found = [] if folder is None else sorted(folder.glob(f"{name}.*"))
    return found[0] if found else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path)
    parser.add_argument("codecs", nargs="*", default=["nano", "encodec-24khz", "dac-44khz"])
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no GPU that torch finds")
    print(torch.cuda.get_device_name(), "torch", torch.__version__)
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name in options.codecs:
        file = weights_of(options.weights, name)
        if name != "nano" and file is None:
            print(f"{name}: no weights, left out")
            continue
        gpu = acomp.load(name, weights=file, device="cuda")
        cpu = acomp.load(name, weights=file, device="cpu", engine="torch")
        results[name] = {
            "cuda": measure(gpu, batches=True),
            "cpu": measure(cpu, batches=False),
            "agreement": agreement(cpu, gpu),
        }
        for where, figures in results[name].items():
            line = ", ".join(f"{what} {value:.4g}" for what, value in figures.items())
            print(f"{name} {where}: {line}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
