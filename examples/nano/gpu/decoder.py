"""Trains the decoder of nano-2 on a CPU, by the clock, while its codes stay.

    PYTHONPATH=. python examples/nano/gpu/decoder.py AUDIO RUN [--minutes 50] [--begin WEIGHTS]

AUDIO is what `pack.py` writes. Random segments of it are coded once, with the search that encoding
takes, into RUN; the decoder learns to make sound of these codes, sharpened, from spectral distances
and the distance of textures. `RUN/average.pt`, which is written every minute, is what `export.py`
makes a file of weights of; a run does not go on where it was.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from audio import SAMPLE_RATE, Store, filled
from losses import Distances, Textures
from network import Network
from numpy.typing import NDArray
from torch import Tensor, nn
from train import BETAS, CLIP, LINES, OFFERED, WEIGHT_DECAY, WEIGHTS, cooled

from acomp.backends.families import published_shape
from acomp.backends.nano.network import sharpened
from acomp.backends.nano.shape import CHOICES, PATHS, NanoShape
from acomp.backends.shared.quantisers import Search
from acomp.backends.weights.checkpoint import load_checkpoint, scaled
from acomp.backends.weights.places import shipped

FRAMES = 64
"""Of a segment; its codes have one more, in which it ends."""
SPEECH = 0.75
CODED_AT_ONCE = 32
BATCH = 16
RATE, FLAT, FLOOR = 3e-4, 0.5, 0.1
"""Learning rate, share of the time before it falls, and what is left of it at the end."""
TEXTURE = 16.0
SHARPENING = (150, 100)
"""Hz, as in `NanoShape.sharpening`: narrower than what is heard, which it would learn to undo."""
AVERAGE = 0.998
KEPT = 0.5
"""Share of the decoder before in the weights that are written: training takes away what adversarial
training had brought, and halfway most of both is there.
"""
TELL = 60.0
"""Seconds from one report, and one file of weights, to the next."""


@dataclass(frozen=True)
class Coded:
    """Segments, int16 `[count, samples]`, and their codes `[count, frames, 24]`, -1 beyond the
    codebooks that each was coded with.
    """

    samples: NDArray[np.int16]
    codes: NDArray[np.int16]

    @classmethod
    def make(cls, network: Network, store: Store, count: int, folder: Path) -> Coded:
        """Segments of the store, coded, in files of a folder."""
        length = FRAMES * network.shape.hop
        shapes = {"samples": (count, length), "codes": (count, FRAMES + 1, network.levels)}
        made = {
            name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.int16, shape)
            for name, shape in shapes.items()
        }
        for batch, start in enumerate(range(0, count, CODED_AT_ONCE)):
            codebooks = OFFERED[batch % len(OFFERED)]
            some = store.segments(min(CODED_AT_ONCE, count - start), length, SPEECH)
            search = Search(network.codebooks[:codebooks], paths=PATHS, choices=CHOICES)
            found = search(network.encode(*network.features(some))).transpose(1, 2)
            whole = slice(start, start + len(some))
            made["samples"][whole] = (some * 32767).round().short().numpy()
            made["codes"][whole] = -1
            made["codes"][whole, :, :codebooks] = found.short().numpy()
        return cls(**made)

    def some(self, count: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """So many of them, drawn at random: samples as float32, and codes."""
        chosen = np.sort(generator.choice(len(self.samples), count, replace=False))
        samples = torch.from_numpy(self.samples[chosen]).float() / 32768
        return samples, torch.from_numpy(self.codes[chosen]).long()


class Trainer:
    """The decoder, and a step of its training."""

    def __init__(self, network: Network, shape: NanoShape) -> None:
        self.network = network.requires_grad_(False)
        # For its sharpening, which has no weights.
        self.product = replace(shape, sharpening=SHARPENING).build()
        self.parameters = network.decoding()
        for parameter in self.parameters:
            parameter.requires_grad_(True)
        self.before = [parameter.detach().clone() for parameter in self.parameters]
        self.average = [parameter.detach().clone() for parameter in self.parameters]
        self.distances, self.textures = Distances(), Textures()
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=RATE, betas=BETAS, weight_decay=WEIGHT_DECAY
        )

    def losses(self, x: Tensor, codes: Tensor) -> dict[str, Tensor]:
        """Weighted, of samples `[batch, time]` and codes `[batch, frames, 24]`."""
        network, hop = self.network, self.network.shape.hop
        features, _ = network.features(x)
        with torch.autocast(x.device.type, dtype=torch.bfloat16):
            decoded = network.decode(self._latents(codes))
        y = sharpened(self.product, network.frames(decoded))[:, : x.shape[-1]]
        # Few codebooks cannot tell waveforms, and the mean of all that they may be is a blur.
        sure = ((codes[:, 0] >= 0).sum(-1) / 8).clamp(0.25, 1.0)
        error = (features - decoded)[..., :hop].square().mean((1, 2))
        level = features[..., :hop].square().mean((1, 2)) + 1e-4
        found = {
            "mel": WEIGHTS["mel"] * self.distances.mel(x, y),
            "complex": WEIGHTS["complex"] * self.distances.complex(x, y) * sure,
            "lines": LINES * error / level * sure,
            "bands": WEIGHTS["bands"] * (features - decoded)[..., hop:].abs().mean((1, 2)),
            "textures": TEXTURE * self.textures(x, y),
        }
        return {name: loss.mean() for name, loss in found.items()}

    def _latents(self, codes: Tensor) -> Tensor:
        total = torch.zeros(())
        for level, book in enumerate(self.network.codebooks):
            chosen = codes[..., level]
            total = total + book[chosen.clamp(min=0)] * (chosen >= 0)[..., None]
        return total

    def step(self, x: Tensor, codes: Tensor, number: int, part: float) -> dict[str, float]:
        """Step `number`, after this part of the time; returns the losses."""
        rate = RATE * min(1.0, (number + 1) / 100) * cooled(part, FLAT, FLOOR)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        losses = self.losses(x, codes)
        self.optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(self.parameters, CLIP)
        self.optimiser.step()
        keep = min(AVERAGE, 1 - 5 / (number + 10))
        with torch.no_grad():
            for mean, parameter in zip(self.average, self.parameters, strict=True):
                mean.lerp_(parameter, 1 - keep)
        return {name: loss.item() for name, loss in losses.items()}

    def save(self, target: Path) -> None:
        """Write the averaged weights, and `KEPT` of those before."""
        state = dict(self.network.state_dict())
        names = {id(parameter): name for name, parameter in self.network.named_parameters()}
        weights = zip(self.parameters, self.average, self.before, strict=True)
        for parameter, mean, before in weights:
            state[names[id(parameter)]] = mean.lerp(before, KEPT)
        torch.save(state, target)


def train(trainer: Trainer, coded: Coded, minutes: float, target: Path) -> None:
    generator = np.random.default_rng(0)
    begun = told = time.monotonic()
    number = 0
    while (spent := time.monotonic() - begun) < 60 * minutes:
        found = trainer.step(*coded.some(BATCH, generator), number, spent / (60 * minutes))
        number += 1
        if time.monotonic() - told > TELL:
            told = time.monotonic()
            values = {name: round(value, 3) for name, value in found.items()}
            print(f"[{spent:6.1f}]", number, values, flush=True)
            trainer.save(target)
    trainer.save(target)
    heard = number * BATCH * FRAMES * trainer.network.shape.hop / SAMPLE_RATE / 3600
    print(f"{number} steps, {heard:.1f} h heard")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("audio", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--begin", type=Path, help="weights to go on from; default: nano's")
    parser.add_argument("--segments", type=int, default=24_000, help="of 1.28 s, that are coded")
    arguments = parser.parse_args()
    arguments.run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    shape: NanoShape = published_shape("nano-2")
    network = Network(shape)
    network.begin(scaled(load_checkpoint(arguments.begin or shipped("nano-2")).state))
    with torch.no_grad(), filled(arguments.audio, "cpu", (40, 20)) as store:
        store.finish()
        coded = Coded.make(network, store, arguments.segments, arguments.run)
    train(Trainer(network, shape), coded, arguments.minutes, arguments.run / "average.pt")


if __name__ == "__main__":
    main()
