"""What each metric costs: seconds of one core for a second of audio.

    python tests/benchmarks/bench_metrics.py [METRIC...]

The reference is acomp's sample of speech, twelve seconds of it in mono at 48 kHz, and what is
compared with it has noise. Loading, and compiling where a package compiles itself, is done before
and told in the last column, in seconds. Metrics whose packages are not installed are named at the
end.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

import acomp
from acomp.audio import Audio, resample
from acomp.evaluation.metrics import METRICS, Method, Metric, choose, measure

SPEECH = Path(acomp.__file__).parent / "samples" / "speech.flac"
SECONDS = 12
ROUNDS = 3


def main() -> None:
    metrics = choose(",".join(sys.argv[1:]) or "full")
    by_method: dict[Method, list[Metric]] = {}
    for metric in metrics:
        by_method.setdefault(metric.method, []).append(metric)
    reference, decoded = _pair()
    print("| metric | seconds for a second | loading |\n|---|---|---|")
    for method, members in by_method.items():
        if not method.is_installed:
            continue
        took = []
        for _ in range(1 + ROUNDS):
            began = time.process_time()
            measure(reference, decoded, "speech", members)
            took.append(time.process_time() - began)
        cost = float(np.median(took[1:]))
        names = ", ".join(f"`{metric.name}`" for metric in members)
        print(f"| {names} | {cost / SECONDS:.3f} | {max(0, took[0] - cost):.1f} |", flush=True)
    missing = [name for name in METRICS if not METRICS[name].method.is_installed]
    if missing:
        print(f"not installed: {', '.join(missing)}")


def _pair() -> tuple[Audio, Audio]:
    speech = resample(acomp.read_audio(SPEECH), 48_000).samples[:1]
    samples = np.resize(speech, (1, SECONDS * 48_000))
    noise = np.random.default_rng(0).standard_normal(samples.shape)
    return Audio(samples, 48_000), Audio((samples + 0.01 * noise).astype(np.float32), 48_000)


if __name__ == "__main__":
    main()
