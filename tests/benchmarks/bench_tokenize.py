"""What `acomp tokenize` costs and gives, on clips of 1 to 15 s.

    python tests/benchmarks/bench_tokenize.py workers nano encodec-24khz    # one and two processes
    python tests/benchmarks/bench_tokenize.py around nano encodec-24khz     # time around the codec
    python tests/benchmarks/bench_tokenize.py today encodec-24khz mimi      # beside datasets.map
    CLIPS=32 python tests/benchmarks/bench_tokenize.py today encodec-24khz  # 8 clips, not 32
    python tests/benchmarks/bench_tokenize.py memory 100000                 # clips of 50 ms
    python tests/benchmarks/bench_tokenize.py manifest 1000000              # lines

`today` is what people do: `datasets.map` with transformers' model in padded batches of 8, on the
same weights and, like acomp, on one thread, in the processor's time; with it the share of clips
whose codes the padding changed. Codecs whose published weights are not in the cache run with
seeded random ones. Sizes are those of Parquet beside the bare codes, packed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import numpy as np
import torch

import acomp
from acomp.audio import Audio
from acomp.backends.base import Codec
from acomp.bench.cases import weights_of
from acomp.datasets.making import Order, Outcomes, Share, tokenize
from acomp.datasets.sources.manifests import units_of_manifest
from acomp.datasets.summary import summarise
from acomp.settings import Coding, Running
from acomp.torchaudio import ensure_torchaudio

T = TypeVar("T")
CLIPS = int(os.environ.get("CLIPS", "128"))
RATE = 24_000
SAMPLE = Path(acomp.__file__).parent / "samples" / "speech.flac"


def make_clips(folder: Path, lengths: Sequence[float], rate: int = RATE) -> list[Path]:
    """Clips of these lengths in seconds, of speech over and over."""
    speech = acomp.resample(acomp.read_audio(SAMPLE), rate).samples
    loop = np.tile(speech, (1, 1 + int(max(lengths) * rate) // speech.shape[1]))
    folder.mkdir()
    paths = []
    for number, seconds in enumerate(lengths):
        begin = number * 997 % speech.shape[1]
        samples = np.roll(loop, -begin, axis=1)[:, : round(seconds * rate)]
        paths.append(folder / f"{number:06}.wav")
        acomp.write_audio(paths[-1], Audio(samples, rate))
    return paths


def lengths_of(count: int) -> list[float]:
    return list(np.random.default_rng(0).uniform(1, 15, count))


def order_of(clips: Path, folder: Path, name: str, weights: Path | None) -> Order:
    coding = Coding(codebooks=8)
    return Order(
        folder, (str(clips),), name, Running(weights, engine="torch", device="cpu"), coding
    )


def run(order: Order, **more: Any) -> tuple[float, Outcomes]:
    began = time.perf_counter()
    found = tokenize(order, Share(), **more)
    return time.perf_counter() - began, found


def seconds_of(found: Outcomes) -> float:
    assert found.totals is not None
    return found.totals.seconds


def workers(name: str, weights: Path, folder: Path) -> None:
    """One process and two, each with its start, and without: a second corpus of half the size."""
    clips, few = folder / "clips", folder / "few"
    make_clips(clips, lengths_of(CLIPS))
    make_clips(few, lengths_of(CLIPS // 4))
    rates = []
    for count in (1, 2):
        times = [
            run(order_of(each, folder / f"{each.name}-{count}", name, weights), workers=count)
            for each in (few, clips)
        ]
        audio = seconds_of(times[1][1]) - seconds_of(times[0][1])
        rates.append(audio / (times[1][0] - times[0][0]))
        print(f"{name}, {count} of them: {rates[-1]:.1f} times real time", flush=True)
    size = summarise(folder / "clips-1")["ratio"]
    print(f"{name}: {rates[1] / rates[0]:.2f} times; {size:.3f} times the bare codes", flush=True)


def around(name: str, weights: Path, folder: Path) -> None:
    """The processor's time of a whole run on files of 44.1 kHz, and of the codec alone on the same
    batches, in memory and at its own rate: the share of a run in which the codec works is what the
    rest leaves.
    """
    make_clips(folder / "clips", lengths_of(CLIPS), rate=44_100)
    torch.set_num_threads(1)
    order = order_of(folder / "clips", folder / "out", name, weights)
    batches: list[list[Audio]] = []
    encode_batch = Codec.encode_batch

    def encode_and_keep(codec: Codec, clips: Sequence[Audio], **more: Any) -> Any:
        batches.append([acomp.resample(clip, codec.spec.sample_rate) for clip in clips])
        return encode_batch(codec, clips, **more)

    with patch.object(Codec, "encode_batch", encode_and_keep):
        tokenize(order)
    codec = timed(order.load)[0]
    alone = sum(timed(partial(codec.encode_batch, clips, codebooks=8))[1] for clips in batches)
    loading = timed(order.load)[1]
    again = dataclasses.replace(order, folder=folder / "again")
    whole = timed(partial(tokenize, again))[1] - loading
    print(f"{name}: {whole:.1f} s, {100 * (whole - alone) / whole:.1f} % around the codec")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What a function gives, and the processor's seconds that it takes."""
    began = time.process_time()
    return work(), time.process_time() - began


def today(name: str, _: Path, folder: Path) -> None:
    """`datasets.map` with transformers, and acomp, on the same weights."""
    ensure_torchaudio()  # which transformers imports too
    import datasets
    from transformers import EncodecConfig, EncodecModel, MimiConfig, MimiModel

    torch.manual_seed(0)
    torch.set_num_threads(1)
    datasets.disable_progress_bars()
    model: Any = MimiModel(MimiConfig()) if name == "mimi" else EncodecModel(EncodecConfig())
    model.eval()
    more: Any = {"num_quantizers": 8} if name == "mimi" else {"bandwidth": 6.0}
    model.save_pretrained(folder / "weights")
    paths = make_clips(folder / "clips", lengths_of(CLIPS // 4))

    @torch.no_grad()
    def encode(clips: list[Any]) -> list[Any]:
        longest = max(clip.shape[1] for clip in clips)
        values = np.stack([np.pad(clip, ((0, 0), (0, longest - clip.shape[1]))) for clip in clips])
        mask = [[step < clip.shape[1] for step in range(longest)] for clip in clips]
        padding = torch.tensor(mask)
        padding = padding if name != "mimi" else padding[:, None]
        codes = model.encode(torch.from_numpy(values), padding, **more).audio_codes.numpy()
        return list(codes.reshape(-1, *codes.shape[-2:]))

    def of_rows(rows: dict[str, list[str]]) -> dict[str, list[Any]]:
        return {"codes": encode([acomp.read_audio(path).samples for path in rows["path"]])}

    table = datasets.Dataset.from_dict({"path": [str(path) for path in paths]})
    began = time.process_time()
    table = table.map(of_rows, batched=True, batch_size=8, load_from_cache_file=False)
    theirs = time.process_time() - began
    began = time.process_time()
    found = run(order_of(folder / "clips", folder / "out", name, folder / "weights"))[1]
    ours = time.process_time() - began
    changed = 0
    for row in table:
        alone = encode([acomp.read_audio(row["path"]).samples])[0]
        changed += not np.array_equal(np.array(row["codes"])[:, : alone.shape[1]], alone)
    seconds = seconds_of(found)
    print(
        f"{name}: datasets.map {seconds / theirs:.1f}, acomp {seconds / ours:.1f} times real time, "
        f"{theirs / ours:.2f} times as fast; padding changed the codes of {changed} of "
        f"{len(paths)} clips",
        flush=True,
    )


def memory(count: int, folder: Path) -> None:
    """Peak memory of two processes as they make a dataset of very many clips."""
    make_clips(folder / "clips", [0.05] * count)

    def tell(step: Any) -> None:
        if step.done % max(1, step.parts // 8) == 0:
            peaks = sorted(_peak(process.pid) for process in active_children())
            own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print(f"{step.done} of {step.parts} parts: {own} MiB, workers {peaks}", flush=True)

    tokenize(order_of(folder / "clips", folder / "out", "nano", None), workers=2, tell=tell)


def _peak(process: int | None) -> int:
    """MiB that a process has had at most."""
    with suppress(FileNotFoundError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    return 0


def manifest(count: int, folder: Path) -> None:
    """Time until a manifest of so many lines is cut into parts, and peak memory."""
    path = folder / "m.jsonl"
    with path.open("w") as file:
        for number in range(count):
            line = {
                "audio_filepath": f"clips/{number:09}.wav",
                "duration": 7.5,
                "text": "word " * 12,
            }
            file.write(json.dumps(line) + "\n")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    units = units_of_manifest(str(path))
    took = time.perf_counter() - began
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{count} lines: {len(units)} parts in {took:.2f} s, {more / 1024:.1f} MiB more")


def main() -> None:
    kind, *arguments = sys.argv[1:]
    for argument in arguments:
        with tempfile.TemporaryDirectory() as folder:
            if kind in ("memory", "manifest"):
                {"memory": memory, "manifest": manifest}[kind](int(argument), Path(folder))
                continue
            with weights_of(argument) as (weights, _):
                measure = {"workers": workers, "around": around, "today": today}[kind]
                measure(argument, weights, Path(folder))


if __name__ == "__main__":
    main()
