"""What `acomp export` writes, beside acomp's own engines: sizes and agreement, with 16 and 8 bits
too, and speed, streams in pieces of a second. Weights that are not in acomp's cache are drawn at
random, in the published shapes.

What computes has as many threads as the process has CPUs, so `taskset -c 0` is for one.

python tests/benchmarks/bench_export.py sizes CODEC...
taskset -c 0 python tests/benchmarks/bench_export.py speed CODEC... [--streaming] [--seconds N]
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch

import acomp
from acomp.backends import resolve
from acomp.backends.base import Codec
from acomp.bench.cases import audio_of, weights_of
from acomp.export import running
from acomp.export.bits import BITS, Bits
from acomp.export.checking import agreement
from acomp.export.folder import export
from acomp.export.running import Exported

ROUNDS = 5
CHECKED_SECONDS = 4
"""Of the speech that ships with acomp, and the beginning of the music."""
THREADS = len(os.sched_getaffinity(0))


def exported(
    codec: Codec, weights: Path, folder: Path, *, streaming: bool, bits: Bits | None
) -> int:
    """Bytes of a codec's folder."""
    codebooks = [codec.spec.codebooks_for(None, None)]
    files = export(codec, weights, folder, codebooks=codebooks, streaming=streaming, bits=bits)
    return sum(files.values())


def sizes(name: str) -> None:
    with weights_of(name) as (weights, kind), TemporaryDirectory() as place:
        codec, folder = acomp.load(name, weights=weights, engine="torch", device="cpu"), Path(place)
        samples = audio_of(codec.spec, CHECKED_SECONDS).samples
        codebooks = codec.spec.codebooks_for(None, None)
        for bits in (None, *BITS.values()):
            size = exported(codec, weights, folder, streaming=False, bits=bits)
            found = agreement(codec, Exported(folder), samples, codebooks)
            print(f"{name}, {kind} weights, bits {bits}: {size / 1e6:.1f} MB, {found}", flush=True)


def timed(work: Callable[[], object]) -> list[float]:
    """Seconds of the clock and of the processor."""
    clock, processor = time.perf_counter(), time.process_time()
    work()
    return [time.perf_counter() - clock, time.process_time() - processor]


def speed(name: str, seconds: int, *, streaming: bool) -> None:
    with weights_of(name) as (weights, kind), TemporaryDirectory() as place:
        own = acomp.load(name, weights=weights, engine="torch", device="cpu")
        exported(own, weights, Path(place), streaming=streaming, bits=None)
        codecs = {
            "torch": own,
            "openvino": acomp.load(name, weights=weights, engine="openvino"),
            "onnxruntime": Exported(Path(place), threads=THREADS),
        }
        # Frames of a stream's calls.
        vars(running).update(PIECES=(round(own.spec.frame_rate),))
        audio = audio_of(own.spec, seconds)
        codes = own.encode(audio)
        form = "streaming" if streaming else "whole"
        print(f"{name}, {form}, {kind} weights, {seconds} s, {THREADS} threads", flush=True)
        for codec in codecs.values():
            codec.decode(codec.encode(audio))
        times: dict[str, list[list[float]]] = {side: [] for side in codecs}
        for _ in range(ROUNDS):
            for side, codec in codecs.items():
                encoding = timed(partial(codec.encode, audio))
                times[side].append([*encoding, *timed(partial(codec.decode, codes))])
        for side, rounds in times.items():
            figures = [seconds / median(column) for column in zip(*rounds, strict=True)]
            print(
                f"  {side:11}  encode {figures[0]:6.2f}x of the clock, {figures[1]:6.2f}x of the "
                f"processor   decode {figures[2]:6.2f}x, {figures[3]:6.2f}x",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("sizes", "speed"))
    parser.add_argument("codecs", nargs="+", metavar="CODEC")
    parser.add_argument("--streaming", action="store_true")
    parser.add_argument("--seconds", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    for name in map(resolve, given.codecs):
        if given.what == "sizes":
            sizes(name)
        else:
            speed(name, given.seconds, streaming=given.streaming)
    print("load of the machine, of the last minute:", os.getloadavg()[0])


if __name__ == "__main__":
    main()
