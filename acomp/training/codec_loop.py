"""The training of a codec: its network, and discriminators that judge it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from acomp.metrics import si_sdr_of_samples
from acomp.training.balancer import Balancer
from acomp.training.config import AGAINST_DISCRIMINATORS, Config
from acomp.training.discriminators import (
    Discriminator,
    Judgement,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from acomp.training.fabric import Fabric
from acomp.training.families.base import Coded, Trainee
from acomp.training.loop import Loop, Losses, rate_factor, seed_of
from acomp.training.losses import RECONSTRUCTION


class CodecLoop(Loop):
    """Training of a codec: its network, and discriminators.

    Where noise is put behind the audio, samples are pairs `[n, 2, channels, time]`: the first is
    coded, the second is what is to come out.
    """

    def __init__(self, fabric: Fabric, config: Config, trainee: Trainee) -> None:
        self.trainee = trainee
        self.spec = trainee.spec
        if config.optimiser.encoder == 0:
            trainee.freeze()
        super().__init__(fabric, config, trainee, _groups(trainee, config))
        self._balancer = Balancer(self._weights(_of_output(config))) if config.balance else None
        if self._balancer is not None:
            self._others["balancer"] = self._balancer
        self._adversary, self._adversary_optimiser = self._set_up_adversary()
        offered = sorted(set(trainee.spec.bandwidths.values()))
        self._offered = torch.tensor(offered)
        self.compared = [name for name in config.losses if name in RECONSTRUCTION]
        """The losses that compare sounds."""

    def _set_up_adversary(self) -> tuple[Any, Any]:
        adversary, spec = self.config.adversary, self.trainee.spec
        if not adversary.discriminators:
            return None, None
        network = Discriminator(adversary.discriminators, spec.sample_rate, spec.channels)
        settings = self.config.optimiser
        optimiser = torch.optim.AdamW(
            network.parameters(), adversary.rate, settings.betas, weight_decay=settings.weight_decay
        )
        wrapped: tuple[Any, Any] = self.fabric.setup(network, optimiser)
        self._networks["discriminators"] = wrapped[0].module
        self._others["adversary"] = wrapped[1]
        return wrapped

    def _weights(self, names: list[str]) -> dict[str, float]:
        return {name: self.config.losses[name] for name in names}

    # A step

    def _begin(self) -> None:
        """As `Loop._begin`; the discriminators' learning rate falls as the codec's does."""
        super()._begin()
        self.trainee.part = self.step / self.config.steps
        if self._adversary is not None:
            rate = self.config.adversary.rate * rate_factor(self.config, self.step)
            for group in self._adversary_optimiser.param_groups:
                group["lr"] = rate

    def train(self, samples: Tensor) -> dict[str, Tensor]:
        """As `Loop.train`."""
        config = self.config
        self._begin()
        heard, samples = _sides(samples)
        with self._autocast():
            coded: Coded = self._network(heard, self._draw_codebooks(len(heard)))
        measured: dict[str, Tensor] = {}
        if self._adversary_is_on():
            measured |= self._train_adversary(samples, coded.output.detach())
        losses = self._losses(samples, coded)
        self._backward(losses, coded.output)
        measured |= losses
        measured["gradient"] = self._descend(self._optimiser, self._network, config.optimiser.clip)
        self.step += 1
        return {name: value.detach() for name, value in measured.items()}

    def _draw_codebooks(self, batch: int) -> Tensor:
        """How many codebooks each example is coded with."""
        drawn = self._offered[torch.randint(len(self._offered), (batch,))]
        dropped = torch.rand(batch) < self.config.dropout
        chosen = torch.where(dropped, drawn, torch.full_like(drawn, self.trainee.spec.codebooks))
        return chosen.to(self.fabric.device)

    def _adversary_is_on(self) -> bool:
        return self._adversary is not None and self.step >= self.config.adversary.start

    def _train_adversary(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        adversary = self.config.adversary
        # Drawn from the seed and the step alone, as all processes must do the same.
        draw = torch.rand(
            (), generator=torch.Generator().manual_seed(seed_of(self.config.seed, self.step))
        )
        if draw >= adversary.probability:
            return {}
        with self._autocast():
            judged = self._adversary(torch.cat([real, fake]))
        of_real, of_fake = _halves(judged)
        loss = discriminator_loss(of_real, of_fake, adversary.loss)
        self.fabric.backward(loss)
        self._descend(self._adversary_optimiser, self._adversary, adversary.clip)
        return {"discriminator": loss}

    def _losses(self, samples: Tensor, coded: Coded) -> Losses:
        """Every loss that the configuration weighs, unweighed."""
        losses = self.reconstruction(samples, coded.output)
        losses |= {
            name: value for name, value in coded.penalties.items() if name in self.config.losses
        }
        if self._adversary_is_on():
            losses |= self._adversarial(samples, coded.output)
        return losses

    def reconstruction(self, samples: Tensor, output: Tensor) -> Losses:
        """The losses that compare sounds."""
        rate = self.trainee.spec.sample_rate
        return {name: RECONSTRUCTION[name](samples, output, rate) for name in self.compared}

    def _adversarial(self, real: Tensor, fake: Tensor) -> Losses:
        adversary = self.config.adversary
        # Not through Fabric's wrapper, which would wait for gradients of the discriminators.
        judge = self._adversary.module
        judge.requires_grad_(False)
        with self._autocast():
            with torch.no_grad():
                of_real = judge(real)
            of_fake = judge(fake)
        judge.requires_grad_(True)
        return {
            "adversarial": generator_loss(of_fake, adversary.loss),
            "feature_matching": feature_matching(of_real, of_fake, relative=adversary.relative),
        }

    def _backward(self, losses: Losses, output: Tensor) -> None:
        weights = self.config.losses
        if self._balancer is None:
            weighed = [weights[name] * loss for name, loss in losses.items()]
            self.fabric.backward(torch.stack(weighed).sum())
            return
        of_output = _of_output(self.config)
        penalties = [weights[name] * loss for name, loss in losses.items() if name not in of_output]
        balanced = {name: loss for name, loss in losses.items() if name in of_output}
        self._balancer.backward(balanced, output, penalties)

    # Validation

    @torch.no_grad()
    def validate(self, samples: Tensor) -> dict[str, float]:
        """As `Loop.validate`, by bandwidth: each loss that compares sounds as `loss@kbps`, SI-SDR
        in dB, the utilisation of the codebooks; and the weighted sum of the losses averaged over
        the bandwidths.
        """
        measures: dict[str, float] = {}
        total = 0.0
        for kbps, codebooks in sorted(self.trainee.spec.bandwidths.items()):
            measured = self._measure(samples, codebooks)
            total += self.total(measured)
            measures |= {f"{name}@{kbps:g}": value for name, value in measured.items()}
        return {"validation": total / len(self.trainee.spec.bandwidths), **measures}

    def _measure(self, samples: Tensor, codebooks: int) -> dict[str, float]:
        sums: dict[str, float] = {}
        codes, ratios = [], []
        for part in torch.split(samples, self.config.batch):
            self._go_on()
            heard, real = _sides(part.to(self.fabric.device))
            coded = self._code(heard, codebooks)
            measured = self.reconstruction(real, coded.output)
            ratios.append(_si_sdr(real, coded.output))
            for name, value in measured.items():
                sums[name] = sums.get(name, 0.0) + value.item() * len(part) / len(samples)
            codes.append(coded.codes[:, :codebooks].cpu())
        size = self.trainee.spec.codebook_size
        return {
            **sums,
            "si_sdr": _mean_of_sound(np.concatenate(ratios)),
            "utilisation": _utilisation(torch.cat(codes), size),
        }

    def total(self, measured: Mapping[str, float]) -> float:
        """The weighted sum of the losses that compare sounds."""
        return sum(self.config.losses[name] * measured[name] for name in self.compared)

    def weights(self) -> dict[str, Tensor]:
        return self.trainee.weights()

    @torch.no_grad()
    def decoded(self, samples: Tensor) -> dict[str, list[NDArray[np.float32]]]:
        """As `Loop.decoded`, at each bandwidth; beside it what was noisy."""
        heard, _ = _sides(samples)
        found = {} if heard is samples else {"noisy": list(heard.numpy())}
        for kbps, codebooks in sorted(self.spec.bandwidths.items()):
            coded = self._code(heard.to(self.fabric.device), codebooks)
            found[f"{self.spec.name}@{kbps:g}"] = list(coded.output.cpu().numpy())
        return found

    def originals(self, samples: Tensor) -> Tensor:
        """As `Loop.originals`: of pairs, the clean ones."""
        return _sides(samples)[1]

    def _code(self, samples: Tensor, codebooks: int) -> Coded:
        self.trainee.eval()
        number = torch.full((len(samples),), codebooks, device=samples.device)
        coded: Coded = self.trainee(samples, number)
        return coded


def _sides(samples: Tensor) -> tuple[Tensor, Tensor]:
    """What is coded and what is to come out, each `[n, channels, time]`."""
    if samples.dim() == 3:
        return samples, samples
    heard, clean = samples.unbind(1)
    return heard, clean


def _of_output(config: Config) -> list[str]:
    """The losses that depend on nothing but the output."""
    return [name for name in config.losses if name in (*RECONSTRUCTION, *AGAINST_DISCRIMINATORS)]


def _groups(trainee: Trainee, config: Config) -> list[dict[str, Any]]:
    """The decoder's and the encoder's parameters, each at its rate."""
    settings = config.optimiser
    groups = [{"params": trainee.decoder(), "peak": settings.rate}]
    if settings.encoder:
        groups.append({"params": trainee.encoder(), "peak": settings.rate * settings.encoder})
    return groups


def _halves(judged: Any) -> tuple[list[Any], list[Any]]:
    """What was judged of one batch, as that of its first and of its second half."""
    split = [
        (logits.chunk(2), [feature.chunk(2) for feature in features]) for logits, features in judged
    ]
    real, fake = (
        [
            Judgement(logits[half], [feature[half] for feature in features])
            for logits, features in split
        ]
        for half in (0, 1)
    )
    return real, fake


def _si_sdr(target: Tensor, output: Tensor) -> NDArray[np.float64]:
    """The SI-SDR in dB of each segment of a batch, all channels together: `[batch]`."""
    sides = (each.flatten(1).float().cpu().numpy() for each in (target, output))
    return si_sdr_of_samples(*sides)


def _mean_of_sound(ratios: NDArray[np.float64]) -> float:
    """The mean over the segments that are not silent; NaN where all are."""
    known = ratios[~np.isnan(ratios)]
    return float(known.mean()) if known.size else float("nan")


def _utilisation(codes: Tensor, size: int) -> float:
    """Mean share of each codebook's entries that `[n, codebooks, frames]` name."""
    used = [len(torch.unique(level)) for level in codes.unbind(1)]
    return sum(used) / len(used) / size
