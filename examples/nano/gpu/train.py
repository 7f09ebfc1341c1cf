"""Trains the second generation of nano on one GPU, by the clock.

    PYTHONPATH=. python examples/nano/gpu/train.py AUDIO RUN [--minutes 4 24 12] [--begin WEIGHTS]

AUDIO is what `pack.py` writes; files that arrive later are taken in. First everything learns from
spectral distances, then everything against discriminators too, then the decoder alone, while the
codes stay. `--begin` goes on from a file of weights, whose decoder may have fewer blocks. RUN gets
the averaged weights, the optimisers' state and the discriminators every minute, and a run that was
interrupted goes on from there. `export.py` makes a file of weights of it. Without a GPU it takes
smaller batches (`--batch 4 --few 3`), and days.

A whole step is one CUDA graph: the kernels are small, and launching them one by one takes several
times as long as running them.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from audio import SAMPLE_RATE, Store, filled
from losses import (
    Discriminators,
    Distances,
    feature_distance,
    parted,
    taken_for_real,
    told_apart,
)
from network import Network
from torch import Tensor, nn

from acomp.backends.families import published_shape
from acomp.backends.nano.shape import NanoShape
from acomp.backends.weights.checkpoint import load_checkpoint, scaled

OFFERED = (2, 3, 3, 6, 6, 6, 12, 12, 12, 24, 24)
"""Codebooks that an example is coded with; one in seven with any number."""
SECONDS = 1.28
BATCHES = {"reconstruct": 64, "joint": 32, "decoder": 32}
SPEECH = 0.65
RATES = {"reconstruct": 8e-4, "joint": 4e-4, "decoder": 4e-4}
COOLING = {"reconstruct": (1.0, 1.0), "joint": (0.6, 0.3), "decoder": (0.3, 0.04)}
"""Share of a phase before its learning rate falls, and what is left of it at the end."""
ENCODER = 0.4
"""Of the decoder's learning rate: codebooks follow slowly, and the encoder must not run away."""
BETAS, WEIGHT_DECAY, CLIP = (0.8, 0.99), 0.01, 5.0
WEIGHTS = {"mel": 2.0, "complex": 0.5, "bands": 1.0, "lines": 3.0, "commitment": 5.0}
LINES, RECONSTRUCTION, FEATURES = 0.5, 6.0, 2.0
"""In the adversarial phase: weight of the lines, of all distances together, and of features."""
AVERAGE = 0.999
SAVE, TELL = {"cuda": 60.0, "cpu": 900.0}, {"cuda": 10.0, "cpu": 60.0}
"""Seconds from one to the next."""


class Trainer:
    """All that learns, and a step of each phase."""

    def __init__(
        self,
        store: Store,
        device: str,
        shape: NanoShape,
        batches: Mapping[str, int],
        few: int | None,
    ) -> None:
        """`few` is how many discriminators, drawn at random, judge a step; None: all of them."""
        torch.manual_seed(0)
        self.store, self.device, self.batches, self.few = store, device, batches, few
        self.network, self.average = Network(shape).to(device), Network(shape).to(device)
        self.average.requires_grad_(False)
        self.judges = Discriminators().to(device)
        self.distances = Distances().to(device)
        self.judges.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = self._optimiser([self.network.decoding(), self.network.encoding()])
        self.judging = self._optimiser([list(self.judges.parameters())])
        self.length = round(SECONDS * SAMPLE_RATE / shape.hop) * shape.hop
        self.offered = torch.tensor(OFFERED, device=device)
        self.keep = torch.tensor(0.0, device=device)
        self.told = torch.zeros(5, device=device)
        self._graphs: dict[str, torch.cuda.CUDAGraph] = {}

    def _optimiser(self, groups: list[list[nn.Parameter]]) -> torch.optim.AdamW:
        on_gpu = self.device == "cuda"
        return torch.optim.AdamW(
            [{"params": group, "lr": torch.tensor(0.0, device=self.device)} for group in groups],
            betas=BETAS,
            weight_decay=WEIGHT_DECAY,
            capturable=on_gpu,
            foreach=on_gpu or None,
        )

    def rates(self, decoder: float, judges: float) -> None:
        """Set the learning rates."""
        for group, rate in zip(
            self.optimiser.param_groups, (decoder, decoder * ENCODER), strict=True
        ):
            group["lr"].fill_(rate)
        self.judging.param_groups[0]["lr"].fill_(judges)

    @torch.no_grad()
    def start(self, weights: Mapping[str, Tensor] | None) -> None:
        """Begin with weights, or without them as a transform codec."""
        if weights is None:
            self.network.start(self.store.segments(512, self.length, SPEECH))
        else:
            self.network.begin(weights)
        self.average.load_state_dict(self.network.state_dict())

    @torch.no_grad()
    def settle(self) -> None:
        """Go on from the averaged weights."""
        for weight, mean in zip(self.network.parameters(), self.average.parameters(), strict=True):
            weight.copy_(mean)

    def step(self, phase: str) -> None:
        """One step: replayed from a graph on a GPU, which the first one records."""
        function: Callable[[], None] = getattr(self, f"_{phase}")
        if self.device != "cuda":
            function()
            return
        if phase not in self._graphs:
            self._graphs[phase] = self._record(function)
        self._graphs[phase].replay()

    def _record(self, function: Callable[[], None]) -> torch.cuda.CUDAGraph:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(4):
                function()
        torch.cuda.current_stream().wait_stream(side)
        self.optimiser.zero_grad(set_to_none=True)
        self.judging.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            function()
        return graph

    def _reconstruct(self) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        _, _, losses = self._code(frozen=False, judged=False)
        loss = (
            self._weighed(losses, WEIGHTS["lines"]) + WEIGHTS["commitment"] * losses["commitment"]
        )
        self._descend(loss, [*self.network.decoding(), *self.network.encoding()])
        self.told.copy_(torch.stack([losses["mel"].mean().detach(), *[loss.detach() * 0] * 4]))

    def _joint(self) -> None:
        self._judged(frozen=False)

    def _decoder(self) -> None:
        self._judged(frozen=True)

    def _judged(self, *, frozen: bool) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        self.judging.zero_grad(set_to_none=True)
        x, y, losses = self._code(frozen=frozen)
        heard = y.detach().requires_grad_()
        every = len(self.judges.each)
        judges = list(self.judges.each) if self.few is None else self.judges.some(self.few)
        with self._autocast():
            judged = [judge(torch.cat([x, heard])) for judge in judges]
        real, fake = parted(judged, len(x))
        apart, taken = told_apart(real, fake), taken_for_real(fake)
        features = feature_distance(fake, real)
        # One judgement serves both: its gradients are taken before either side moves.
        parameters = [parameter for judge in judges for parameter in judge.parameters()]
        gradients = torch.autograd.grad(apart, parameters, retain_graph=True)
        (pull,) = torch.autograd.grad(every / len(judges) * (taken + FEATURES * features), heard)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, CLIP)
        self.judging.step()
        distance = self._weighed(losses, LINES)
        loss, learning = RECONSTRUCTION * distance, self.network.decoding()
        if not frozen:
            loss = loss + RECONSTRUCTION * WEIGHTS["commitment"] * losses["commitment"]
            learning = learning + self.network.encoding()
        self._descend(loss + (y * pull).sum(), learning)
        told = [losses["mel"].mean(), distance, apart, taken, features]
        self.told.copy_(torch.stack([value.detach() for value in told]))

    def _autocast(self) -> torch.autocast:
        # What autocast keeps from one call to the next does not outlive a recording.
        return torch.autocast(self.device, dtype=torch.bfloat16, cache_enabled=False)

    def _code(
        self, *, frozen: bool, judged: bool = True
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        batch = self.batches["decoder" if frozen else "joint" if judged else "reconstruct"]
        x = self.store.segments(batch, self.length, SPEECH)
        offered = self.offered[torch.randint(len(OFFERED), (batch,), device=self.device)]
        anyhow = torch.randint(1, self.network.levels + 1, (batch,), device=self.device)
        any_number = torch.rand(batch, device=self.device) < 1 / 7
        codebooks = torch.where(any_number, anyhow, offered)
        with self._autocast():
            y, _, losses = self.network(x, codebooks, learn=not frozen, frozen=frozen)
        losses["mel"] = self.distances.mel(x, y)
        losses["complex"] = self.distances.complex(x, y)
        if judged:  # few codebooks cannot tell waveforms, and the mean of all of them is a blur
            weight = (codebooks.float() / 8).clamp(0.25, 1.0)
            losses["complex"], losses["lines"] = (
                losses["complex"] * weight,
                losses["lines"] * weight,
            )
        return x, y, losses

    def _weighed(self, losses: dict[str, Tensor], lines: float) -> Tensor:
        weights = {**WEIGHTS, "lines": lines}
        names = ("mel", "complex", "bands", "lines")
        return torch.stack([weights[name] * losses[name].mean() for name in names]).sum()

    def _descend(self, loss: Tensor, parameters: list[nn.Parameter]) -> None:
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, CLIP)
        self.optimiser.step()
        with torch.no_grad():
            means = list(self.average.parameters())
            change = torch._foreach_sub([p.detach() for p in self.network.parameters()], means)
            torch._foreach_mul_(change, 1 - self.keep)
            torch._foreach_add_(means, change)

    @torch.no_grad()
    def validate(self, clips: Tensor) -> dict[int, tuple[float, float]]:
        """Mel distance and SI-SDR in dB of the averaged weights, by number of codebooks."""
        self.average.codebooks.copy_(self.network.codebooks)
        found = {}
        for codebooks in sorted({*OFFERED}):
            with self._autocast():
                y, _, _ = self.average(clips, torch.full((len(clips),), codebooks).to(self.device))
            scale = (clips * y).sum(1, keepdim=True) / y.square().sum(1, keepdim=True).clamp(1e-9)
            noise = (clips - scale * y).square().sum(1).clamp(1e-9)
            ratio = 10 * (clips.square().sum(1) / noise + 1e-9).log10().mean()
            found[codebooks] = (
                round(self.distances.mel(clips, y).mean().item(), 3),
                round(ratio.item(), 2),
            )
        return found

    def save(self, run: Path, progress: dict[str, float]) -> None:
        self.average.codebooks.copy_(self.network.codebooks)
        parts = {
            "average": self.average.state_dict(),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "judges": self.judges.state_dict(),
            "judging": self.judging.state_dict(),
        }
        for name, state in parts.items():
            torch.save(state, run / f"{name}.part")
        for name in parts:  # together, as nearly as can be
            (run / f"{name}.part").replace(run / f"{name}.pt")
        (run / "progress.json").write_text(json.dumps(progress))

    def load(self, run: Path) -> dict[str, float]:
        for name in ("average", "network", "optimiser", "judges", "judging"):
            getattr(self, name).load_state_dict(
                torch.load(run / f"{name}.pt", map_location=self.device)
            )
        progress: dict[str, float] = json.loads((run / "progress.json").read_text())
        return progress


def cooled(part: float, flat: float, floor: float) -> float:
    """A learning rate that stays for a while and then falls as a cosine; `part` of the phase."""
    fall = 0.5 * (1 + math.cos(math.pi * max(0.0, (part - flat) / max(1e-9, 1 - flat))))
    return floor + (1 - floor) * fall


def train(
    trainer: Trainer,
    run: Path,
    minutes: dict[str, float],
    clips: Tensor,
    begin: Mapping[str, Tensor] | None,
) -> None:
    """Each phase for so many minutes, less what an earlier run did of it."""
    done = trainer.load(run) if (run / "progress.json").exists() else dict.fromkeys(minutes, 0.0)
    begun = time.monotonic()

    def say(*words: object) -> None:
        print(f"[{time.monotonic() - begun:6.1f}]", *words, flush=True)

    if not any(done.values()):
        trainer.start(begin)
    say("validation", trainer.validate(clips))
    for phase, length in minutes.items():
        steps, last, told, saved = 0, time.monotonic(), time.monotonic(), time.monotonic()
        if phase == "decoder" and not done[phase]:
            trainer.settle()
        while done[phase] < 60 * length:
            warm = min(1.0, (steps + 1) / 300)
            cool = cooled(done[phase] / (60 * length), *COOLING[phase])
            smaller = math.sqrt(trainer.batches[phase] / BATCHES[phase])
            rate = RATES[phase] * cool * smaller
            trainer.rates(rate * warm, rate)
            trainer.keep.fill_(min(AVERAGE, 1 - 5 / (steps + 10)))
            trainer.step(phase)
            steps += 1
            if steps % 10 == 0:
                if trainer.device == "cuda":
                    torch.cuda.synchronize()
                trainer.store.poll()
            now = time.monotonic()
            done[phase], last = done[phase] + now - last, now
            if now - told > TELL[trainer.device]:
                told = now
                say(phase, steps, [round(value, 3) for value in trainer.told.tolist()])
            if now - saved > SAVE[trainer.device]:
                trainer.save(run, done)
                say("validation", trainer.validate(clips))
                saved = last = time.monotonic()
        trainer.save(run, done)
        say("validation", trainer.validate(clips))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("audio", type=Path)
    parser.add_argument("run", type=Path)
    parser.add_argument("--minutes", type=float, nargs=3, default=(4, 24, 12), help="of each phase")
    parser.add_argument("--begin", type=Path, help="a file of weights to go on from")
    parser.add_argument("--blocks", type=int, help="of the decoder, if other than nano-2's")
    parser.add_argument("--few", type=int, help="discriminators that judge a step; default: all")
    parser.add_argument("--batch", type=int, help="segments in a batch against discriminators")
    parser.add_argument("--hours", type=float, nargs=2, default=(40, 20), help="of speech, music")
    arguments = parser.parse_args()
    arguments.run.mkdir(parents=True, exist_ok=True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    clips = torch.from_numpy(np.load(arguments.audio / "held-out.npy")).to(device).float() / 32768
    minutes = dict(zip(BATCHES, arguments.minutes, strict=True))
    batch = arguments.batch or BATCHES["joint"]
    batches = {"reconstruct": 2 * batch, "joint": batch, "decoder": batch}
    shape: NanoShape = published_shape("nano-2")
    if arguments.blocks:
        shape = replace(shape, decoder=(shape.decoder[0], arguments.blocks))
    begin = arguments.begin and scaled(load_checkpoint(arguments.begin).state)
    torch.backends.cudnn.benchmark = True
    with filled(arguments.audio, device, arguments.hours) as store:
        trainer = Trainer(store, device, shape, batches, arguments.few)
        train(trainer, arguments.run, minutes, clips, begin)


if __name__ == "__main__":
    main()
