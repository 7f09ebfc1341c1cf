"""Packing speed against the `encodec` package's bit packer.

Run as `python tests/benchmarks/bench_packing.py`.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from acomp.formats.bits import pack, unpack

BITS = 10
COUNT = 200_000
ROUNDS = 5


def encodec_binary() -> ModuleType:
    """`encodec.binary`, loaded by its path: the package itself would import torchaudio."""
    package = importlib.util.find_spec("encodec")
    if package is None or package.origin is None:
        sys.exit("error: the encodec package is not installed")
    path = Path(package.origin).with_name("binary.py")
    spec = importlib.util.spec_from_file_location("encodec_binary", path)
    if spec is None or spec.loader is None:
        sys.exit(f"error: {path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def megabytes_per_second(work: Callable[[], object], size: int) -> float:
    """Packed megabytes per second, best of `ROUNDS`."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return size / min(times) / 1e6


def main() -> None:
    binary = encodec_binary()
    codes = np.random.default_rng(0).integers(0, 1 << BITS, COUNT, np.uint16)
    plain = codes.tolist()
    packed = pack(codes, BITS)

    def pack_theirs() -> bytes:
        stream = io.BytesIO()
        packer = binary.BitPacker(BITS, stream)
        for code in plain:
            packer.push(code)
        packer.flush()
        return stream.getvalue()

    their_bytes = pack_theirs()

    def unpack_theirs() -> list[int]:
        unpacker = binary.BitUnpacker(BITS, io.BytesIO(their_bytes))
        return [unpacker.pull() for _ in range(COUNT)]

    assert pack(codes, BITS, "lsb") == their_bytes
    assert unpack_theirs() == plain
    print(f"{COUNT} codes of {BITS} bits; packed MB/s, best of {ROUNDS}")
    pairs: list[tuple[str, Callable[[], object], Callable[[], object]]] = [
        ("packing", lambda: pack(codes, BITS), pack_theirs),
        ("unpacking", lambda: unpack(packed, BITS, COUNT), unpack_theirs),
    ]
    for name, ours, theirs in pairs:
        fast = megabytes_per_second(ours, len(packed))
        slow = megabytes_per_second(theirs, len(packed))
        print(f"{name:10} acomp {fast:7.1f}   encodec {slow:5.2f}   ratio {fast / slow:6.1f}")


if __name__ == "__main__":
    main()
