"""Trains the language model of nano-2's codes on one GPU, by the clock.

    PYTHONPATH=. python examples/nano/gpu/language_model.py AUDIO WEIGHTS MODEL [--minutes 2]

AUDIO is what `pack.py` writes, WEIGHTS what `export.py` writes, and MODEL the file to be written.
The audio is coded as nano-2 codes it, with a search, at a bandwidth that is drawn for each batch.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from audio import Store, filled
from network import Network
from torch import Tensor
from train import SPEECH, cooled

from acomp.backends.families import published_shape
from acomp.backends.nano.shape import CHOICES, PATHS, NanoShape
from acomp.backends.shared.quantisers import Search
from acomp.backends.weights.checkpoint import load_checkpoint, save_weights, scaled
from acomp.entropy.cascade import CascadeShape
from acomp.training.cascade import CascadeNetwork

EMBEDDING, NARROW = 48, 64
"""Of the model: smaller than usual, because 24 codebooks make the most of its weights."""
SECONDS, BATCH = 8.0, 32
RATE, WARM, CLIP = 3e-3, 50, 1.0
TELL = 10.0
"""Seconds from one line to the next."""


class Coder:
    """Codes segments as nano-2 does."""

    def __init__(self, weights: Path, device: str) -> None:
        shape: NanoShape = published_shape("nano-2")
        self.spec = shape.spec
        self._network = Network(shape)
        self._network.begin(scaled(load_checkpoint(weights).state))
        self._network.to(device)

    @torch.no_grad()
    def __call__(self, x: Tensor, codebooks: int) -> Tensor:
        """Samples `[batch, time]` to codes `[batch, codebooks, frames]`."""
        latents = self._network.encode(*self._network.features(x))
        search = Search(self._network.codebooks[:codebooks], paths=PATHS, choices=CHOICES)
        return search(latents)


def batches(store: Store, coder: Coder) -> Iterator[Tensor]:
    offered = sorted(coder.spec.bandwidths.values())
    hop = coder.spec.hop_length
    length = round(SECONDS * coder.spec.sample_rate / hop) * hop
    while True:
        codebooks = offered[int(torch.randint(len(offered), ()))]
        yield coder(store.segments(BATCH, length, SPEECH), codebooks)


@torch.no_grad()
def savings(model: CascadeNetwork, coder: Coder, clips: Tensor) -> dict[float, float]:
    """Share of the bits that the model saves on clips, by bandwidth in kbps."""
    plain = math.log2(coder.spec.codebook_size)
    return {
        kbps: round(1 - model(coder(clips, codebooks)).mean().item() / plain, 4)
        for kbps, codebooks in coder.spec.bandwidths.items()
    }


def train(store: Store, coder: Coder, device: str, minutes: float, clips: Tensor) -> CascadeNetwork:
    torch.manual_seed(0)
    spec = coder.spec
    shape = CascadeShape(spec.codebooks, spec.codebook_size, embedding=EMBEDDING, narrow=NARROW)
    model = CascadeNetwork(shape).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.98), weight_decay=0.01)
    begun = told = time.monotonic()
    for step, codes in enumerate(batches(store, coder), start=1):
        part = (time.monotonic() - begun) / (60 * minutes)
        if part >= 1:
            break
        for group in optimiser.param_groups:
            group["lr"] = RATE * min(1.0, step / WARM) * cooled(part, 0.1, 0.01)
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(device, dtype=torch.bfloat16):
            bits = model(codes).mean()
        bits.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimiser.step()
        store.poll()
        if time.monotonic() - told > TELL:
            told = time.monotonic()
            print(f"[{told - begun:6.1f}] {step} {bits.item():.3f}", flush=True)
    print("saved", savings(model, coder, clips), flush=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("audio", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--hours", type=float, nargs=2, default=(40, 20), help="of speech, music")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    coder = Coder(arguments.weights, device)
    clips = torch.from_numpy(np.load(arguments.audio / "held-out.npy")).to(device).float() / 32768
    with filled(arguments.audio, device, arguments.hours) as store:
        model = train(store, coder, device, arguments.minutes, clips)
    save_weights(arguments.model, model.weights(), model.shape)


if __name__ == "__main__":
    main()
