"""Trains nano from scratch: reconstruction losses only, on one CPU.

    python -m acomp.training.nano speech.train.npy music.train.npy --out nano.safetensors

It begins with the principal components of the features and k-means codebooks, a transform codec,
and trains the whole network from there by gradient descent; codebooks follow by moving averages.
Every few minutes the weights so far are written to --out, as float16.
"""

from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from acomp.backends.nano import HOP, SPEC, WINDOW
from acomp.backends.nano_network import Network, overlap_add
from acomp.errors import WeightsError
from acomp.files import atomic_write
from acomp.training.data import Segments
from acomp.training.losses import complex_loss, mel_loss, relative_error
from acomp.training.quantiser import LearningQuantiser

SECOND = SPEC.sample_rate
BATCH = 12
ENCODER_RATE = 1e-4
"""Peak learning rate; the codebooks must be able to follow."""
DECODER_RATE = 5e-4
WARM_UP = 300
START_BATCH = 400
"""Segments that the principal components and k-means are made of."""
SAVE_SECONDS = 300


class Trainer:
    """The network, and what learns on it."""

    def __init__(self, data: Segments) -> None:
        self.network = Network()
        self._data = data
        self._quantiser = LearningQuantiser(self.network.codebooks)
        encoder = [*self.network.analysis.parameters(), *self.network.encoder.parameters()]
        decoder = [*self.network.synthesis.parameters(), *self.network.decoder.parameters()]
        self._optimiser = torch.optim.AdamW(
            [
                {"params": encoder, "peak": ENCODER_RATE},
                {"params": decoder, "peak": DECODER_RATE},
            ],
            betas=(0.8, 0.99),
            weight_decay=1e-3,
        )

    @torch.no_grad()
    def start(self) -> None:
        """Make the network a transform codec."""
        frames = windows(self._data.batch(START_BATCH, SECOND))
        features = self.network.features(frames)[0].flatten(0, 1)
        mean = features.mean(0)
        centred = features - mean
        components = torch.linalg.eigh(centred.T @ centred).eigenvectors
        basis = components[:, -self.network.codebooks.shape[-1] :]
        self.network.analysis.weight.copy_(basis.T)
        self.network.analysis.bias.copy_(-mean @ basis)
        self.network.synthesis.weight.copy_(basis)
        self.network.synthesis.bias.copy_(mean)
        self._quantiser.start(centred @ basis)

    def step(self, progress: float, number: int) -> dict[str, float]:
        """One step of gradient descent, `progress` from 0 to 1; returns the losses."""
        share = min(1.0, (number + 1) / WARM_UP)
        share *= 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        for group in self._optimiser.param_groups:
            group["lr"] = share * group["peak"]
        samples = self._data.batch(BATCH, SECOND)
        offered = list(SPEC.bandwidths.values())
        codebooks = torch.tensor([random.choice(offered) for _ in range(BATCH)])
        losses = self._losses(samples, codebooks)
        self._optimiser.zero_grad()
        torch.autograd.backward(torch.stack(list(losses.values())).sum())
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self._optimiser.step()
        return {name: loss.item() for name, loss in losses.items()}

    def _losses(self, samples: Tensor, codebooks: Tensor) -> dict[str, Tensor]:
        network = self.network
        features, sines = network.features(windows(samples))
        start = network.encoder.start(len(samples))
        latents, commitment = self._quantiser(network.encode(features, sines, start)[0], codebooks)
        decoded = network.decode(latents, network.decoder.start(len(samples)))[0]
        output = overlap_add(network.frames(decoded))
        return {
            "mel": mel_loss(samples, output),
            "complex": 0.5 * complex_loss(samples, output),
            "lines": 3.0 * relative_error(features[..., :HOP], decoded[..., :HOP]),
            "bands": (features[..., HOP:] - decoded[..., HOP:]).abs().mean(),
            "commitment": 5.0 * commitment,
        }


def windows(samples: Tensor) -> Tensor:
    """Samples `[batch, time]` to frames `[batch, frames, 640]`, silence around them."""
    return torch.nn.functional.pad(samples, (HOP, HOP)).unfold(-1, WINDOW, HOP)


def write_weights(path: Path, network: Network) -> None:
    """Write the weights as float16, half the size, which is what they then are."""
    state = {name: value.to(torch.float16) for name, value in network.state_dict().items()}
    with atomic_write(path, WeightsError) as file:
        file.write(save(state))


def main() -> None:
    parser = argparse.ArgumentParser(description="Train nano from scratch.")
    parser.add_argument("speech", type=Path, help="array of acomp.training.data")
    parser.add_argument("music", type=Path, help="array of acomp.training.data")
    parser.add_argument("--out", type=Path, default=Path("nano.safetensors"))
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    random.seed(options.seed)
    trainer = Trainer(Segments({options.speech: 0.6, options.music: 0.4}, options.seed))
    trainer.start()
    train(trainer, options.minutes * 60, options.out)


def train(trainer: Trainer, seconds: float, out: Path) -> None:
    """Train for so many seconds, printing the losses, averaged, and saving now and then."""
    began = saved = time.monotonic()
    averages: dict[str, float] = {}
    number = 0
    while (elapsed := time.monotonic() - began) < seconds:
        for name, loss in trainer.step(elapsed / seconds, number).items():
            averages[name] = 0.98 * averages.get(name, loss) + 0.02 * loss
        number += 1
        if number % 50 == 0:
            shown = " ".join(f"{name} {loss:.4f}" for name, loss in averages.items())
            print(f"step {number}, {elapsed:.0f} s: {shown}", flush=True)
        if time.monotonic() - saved > SAVE_SECONDS:
            write_weights(out, trainer.network)
            saved = time.monotonic()
    write_weights(out, trainer.network)


if __name__ == "__main__":
    main()
