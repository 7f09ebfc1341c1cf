"""Compares quantisers in the same network, on speech that noise is to be taken out of.

    python examples/quantisers/run.py [--vq-type rvq] [--epochs 6] [--results-dir results]

Without `--vq-type` all of them are trained, each from several seeds (`--seeds`), for equally many
steps on the same segments, at the same bit rate: `vq`, with one codebook, has as many times the
frames as the others have stages. RESULTS/NAME-SEED/ holds `checkpoints/`, `audio/`, `plots/`,
`metrics.csv` and the best weights; RESULTS/evaluation/ what `acomp eval` measured of all of them,
with a page to look at and listen to; RESULTS/table.md the means and spreads over the seeds.
Interrupted, the same command goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import yaml
from recordings import SNR, prepare

QUANTISERS = ("vq", "rvq", "gumbel", "factorised", "fsq")
SAMPLE_RATE = 8_000
STRIDES = {"residual": [5, 12], "single": [4, 5]}
"""Frames of 60 samples, and of a third of that: one stage has the bits of three."""
LOSSES = {"mel": 1.0, "commitment": 1.0}
FACTORISED = {**LOSSES, "commitment": 1 / 15}
"""As DAC weighs it beside the mel distance; with more, latents and entries meet at nothing."""
EPOCHS = 6
STEPS_AN_EPOCH = 100
SEGMENTS = {"segment": 0.5, "validation": 32}
METRICS = ("si_sdr", "pesq", "stoi")
USAGE = ("utilisation", "perplexity")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vq-type", choices=QUANTISERS, help="only this one")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of {STEPS_AN_EPOCH} steps")
    parser.add_argument("--batch-size", type=int, default=8, help="segments of half a second")
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--num-stages", type=int, default=3)
    parser.add_argument("--codebook-size", type=one_size, default=512, help="of each stage")
    parser.add_argument("--embedding-dim", type=int, default=64)
    parser.add_argument("--stage-dims", type=one_size, help="numbers of a factorised codebook")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data-dir", type=Path, default=Path("build/quantisers/data"))
    parser.add_argument("--results-dir", type=Path, default=Path("build/quantisers/results"))
    return parser.parse_args()


def one_size(text: str) -> int:
    """A number, or a list such as 256,256,256, as all stages of a codec are of one size."""
    sizes = {int(part) for part in text.split(",")}
    if len(sizes) != 1:
        raise argparse.ArgumentTypeError("the stages of a codec are all of one size")
    return sizes.pop()


def shape(quantiser: str, asked: argparse.Namespace) -> dict[str, object]:
    single = quantiser == "vq"
    return {
        "family": "encodec",
        "quantiser": quantiser,
        "sample_rate": SAMPLE_RATE,
        "strides": STRIDES["single" if single else "residual"],
        "filters": 8,
        "lstm_layers": 1,
        "dimension": asked.embedding_dim,
        "codebooks": 1 if single else asked.num_stages,
        "codebook_size": asked.codebook_size,
        "codebook_dimension": asked.stage_dims or 8,
    }


def settings(quantiser: str, seed: int, asked: argparse.Namespace) -> dict[str, object]:
    steps = asked.epochs * STEPS_AN_EPOCH
    return {
        "shape": shape(quantiser, asked),
        "losses": FACTORISED if quantiser == "factorised" else LOSSES,
        "balance": False,
        "adversary": {"discriminators": []},
        "data": {"noise": str(asked.data_dir / "noise/train"), "snr": [*SNR], **SEGMENTS},
        "optimiser": {"rate": asked.lr, "warm_up": 20, "schedule": "cosine", "clip": 1.0},
        "dropout": 0.5,
        "batch": asked.batch_size,
        "steps": steps,
        "seed": seed,
        "validate_every": max(1, steps // 3),
        "save_every": max(1, steps // 3),
    }


def acomp(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "acomp", *map(str, arguments)], check=True)


def train(quantiser: str, seed: int, asked: argparse.Namespace) -> Path:
    """One run, unless it is done; returns its folder."""
    folder: Path = asked.results_dir / f"{quantiser}-{seed}"
    if (folder / "plots").exists():
        return folder
    config = asked.results_dir / f"{quantiser}-{seed}.yaml"
    config.write_text(yaml.safe_dump(settings(quantiser, seed, asked), sort_keys=False))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    if (folder / "checkpoints").exists():
        acomp("train", "--resume", "--out", folder)
    else:
        speech = asked.data_dir / "speech/train"
        acomp(*("train", "--from-scratch", "--config", config), "--data", speech, "--out", folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    with (asked.results_dir / "seconds.csv").open("a") as file:
        file.write(f"{folder.name},{after.ru_utime - before.ru_utime:.1f}\n")
    (folder / "samples").rename(folder / "audio")
    plots = folder / "plots.part"
    plots.mkdir(exist_ok=True)
    for picture in folder.glob("*.png"):
        shutil.move(picture, plots)
    plots.rename(folder / "plots")
    config.unlink()
    return folder


def evaluate(folders: Sequence[Path], asked: argparse.Namespace) -> dict[str, Any]:
    """What `acomp eval` says of each setting, by its label."""
    test, output = asked.data_dir / "test", asked.results_dir / "evaluation"
    codecs = [
        word for folder in folders for word in ("-c", f"custom:{folder / 'best.safetensors'}")
    ]
    choice = ("--content", "speech", "--metrics", ",".join(METRICS))
    acomp("eval", test / "clean", "--noisy", test / "noisy", *codecs, *choice, "-o", output)
    acomp("report", output, "--overwrite")
    found = json.loads((output / "summary.json").read_text())
    return {each["setting"]: each for each in found["settings"]}


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds."""
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def label(folder: Path) -> str:
    """Of a run, as `acomp eval` has it."""
    return f"custom:{folder / 'best.safetensors'}"


def table(folders: Sequence[Path], found: Mapping[str, Any], asked: argparse.Namespace) -> str:
    """Means and spreads over the seeds, one line for each quantiser, in Markdown."""
    seconds = spent(asked.results_dir / "seconds.csv")
    runs: dict[str, list[Path]] = defaultdict(list)
    for folder in folders:
        runs[folder.name.rpartition("-")[0]].append(folder)
    metrics = [f"{name}, {side} in" for side in ("clean", "noisy") for name in METRICS]
    lines = [
        ["quantiser", "kbps", "mel, held out", *metrics, "entries used", "perplexity", "CPU s"]
    ]
    lines.append(["---"] * len(lines[0]))
    noisy = [f"{figure(found['noisy'], name):.3f}" for name in METRICS]
    lines.append(["none: noisy as it is", "", "", *[""] * len(METRICS), *noisy, "", "", ""])
    for quantiser, each in runs.items():
        clean = [found[label(folder)] for folder in each]
        coded = [found[f"{label(folder)}+noise"] for folder in each]
        cells = [
            spread([figure(one, name) for one in side])
            for side in (clean, coded)
            for name in METRICS
        ]
        cells += [spread([usage(one, name) for one in clean]) for name in USAGE]
        cost = spread([seconds[folder.name] for folder in each])
        loss = spread([lowest(folder) for folder in each])
        lines.append([quantiser, f"{mean(one['kbps'] for one in clean):.2f}", loss, *cells, cost])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def lowest(folder: Path) -> float:
    """Mel distance of the weights that were kept, on segments held out, at the full bit rate."""
    with (folder / "metrics.csv").open(newline="") as lines:
        found = [row for row in csv.DictReader(lines) if row["name"].startswith("mel@")]
    step = min(found, key=lambda row: float(row["value"]))["step"]
    return float([row for row in found if row["step"] == step][-1]["value"])


def spent(file: Path) -> dict[str, float]:
    """Seconds of the processor that each run took, all its sittings together."""
    total: dict[str, float] = defaultdict(float)
    with file.open(newline="") as lines:
        for name, seconds in csv.reader(lines):
            total[name] += float(seconds)
    return total


def figure(summary: Mapping[str, Any], metric: str) -> float:
    mean_of_files: float = summary["metrics"][metric]["mean"]
    return mean_of_files


def usage(summary: Mapping[str, Any], name: str) -> float:
    """Mean over the codebooks."""
    (codebooks,) = summary["codebooks"].values()
    return mean(codebook[name] for codebook in codebooks)


def main() -> None:
    asked = parse()
    prepare(asked.data_dir)
    asked.results_dir.mkdir(parents=True, exist_ok=True)
    chosen = [asked.vq_type] if asked.vq_type else QUANTISERS
    # Seed after seed, so that all of them can be compared before the last one is done.
    folders = [train(name, seed, asked) for seed in range(asked.seeds) for name in chosen]
    found = evaluate(folders, asked)
    text = table(folders, found, asked)
    (asked.results_dir / "table.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
