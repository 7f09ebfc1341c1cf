"""Discriminators by name, and the adversarial losses computed from their outputs.

Every discriminator consists of several networks that judge the same samples in different ways.
Discriminators for mono judge each channel alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from acomp.errors import TrainingError
from acomp.quiet import quiet
from acomp.torchaudio import ensure_torchaudio

PERIODS = (2, 3, 5, 7, 11)
ENCODEC_WINDOWS = (2048, 1024, 512, 256, 128)
DAC_SHORTEST = 2048
"""Fewest samples that DAC's longest window needs."""

Kind = Literal["hinge", "least-squares"]
"""The adversarial losses: EnCodec's; DAC's and HiFi-GAN's."""


class Judgement(NamedTuple):
    """The outputs of one network for a batch.

    Attributes:
        logits: high for real audio, low for the output of a codec.
        features: outputs of the layers before the last.
    """

    logits: Tensor
    features: list[Tensor]


class Discriminator(nn.Module):
    """Several discriminators, chosen by `NAMES`, as one module."""

    def __init__(self, names: Iterable[str], sample_rate: int, channels: int) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({name: build(name, sample_rate, channels) for name in names})

    def forward(self, samples: Tensor) -> list[Judgement]:
        """Judge samples `[batch, channels, time]`.

        Raises:
            TrainingError: the samples are shorter than a discriminator needs; 0.25 s is enough.
        """
        return [judgement for part in self.parts.values() for judgement in part(samples)]


def build(name: str, sample_rate: int, channels: int) -> nn.Module:
    """A discriminator with random weights, from samples `[batch, channels, time]` to a list of
    `Judgement`s.

    Raises:
        TrainingError: there is no such discriminator, or its package is not installed.
    """
    if name not in _BUILDERS:
        raise TrainingError(f"there is no discriminator {name!r}; there are {', '.join(NAMES)}")
    return _BUILDERS[name](sample_rate, channels)


class MultiScaleSTFT(nn.Module):
    """EnCodec's discriminator (https://arxiv.org/abs/2210.13438, section 3.4): convolutions over
    complex spectra of five window lengths, twice as long for full-band audio.

    Channels are judged together, as the package allows, so that it judges the stereo image too; the
    paper judges them one by one.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        super().__init__()
        ensure_torchaudio()
        from encodec.msstftd import MultiScaleSTFTDiscriminator

        windows = [window * (2 if sample_rate >= 44_100 else 1) for window in ENCODEC_WINDOWS]
        with quiet():  # of its old form of weight norm
            self.network = MultiScaleSTFTDiscriminator(
                filters=32,
                in_channels=channels,
                n_ffts=windows,
                win_lengths=windows,
                hop_lengths=[window // 4 for window in windows],
            )
        self._shortest = max(windows)

    def forward(self, samples: Tensor) -> list[Judgement]:
        _require_length("ms-stft", samples, self._shortest)
        return [Judgement(*judged) for judged in zip(*self.network(samples), strict=True)]


class MultiPeriodAndBand(nn.Module):
    """DAC's discriminator (https://arxiv.org/abs/2306.06546, section 3.3): HiFi-GAN's multi-period
    discriminator, and one over bands of complex spectra of three window lengths.

    It normalises each segment to the same peak, so its gradients are larger for quiet segments.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        ensure_torchaudio()
        with quiet():  # of the packages that it pulls in
            try:
                from dac.model.discriminator import Discriminator as Network
            except ImportError as error:
                raise TrainingError(
                    "the discriminator dac needs the package descript-audio-codec "
                    f'({error}): pip install "acomp[dac]"'
                ) from None
            self.network = Network(sample_rate=sample_rate, periods=list(PERIODS))

    def forward(self, samples: Tensor) -> list[Judgement]:
        _require_length("dac", samples, DAC_SHORTEST)
        return [
            Judgement(logits, features) for *features, logits in self.network(_as_mono(samples))
        ]


class MultiPeriod(nn.Module):
    """HiFi-GAN's (https://arxiv.org/abs/2010.05646, section 2.3): each network sees the samples
    folded to rows of one period, and convolves along the columns.
    """

    def __init__(self) -> None:
        super().__init__()
        self.networks = nn.ModuleList(_period_network() for _ in PERIODS)

    def forward(self, samples: Tensor) -> list[Judgement]:
        mono = _as_mono(samples)
        return [
            network(_fold(mono, period))
            for network, period in zip(self.networks, PERIODS, strict=True)
        ]


class MultiScale(nn.Module):
    """Networks `[batch, 1, time]` over the samples as they are, halved and quartered in rate."""

    def __init__(self, networks: Iterable[nn.Module], halve: nn.Module) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.halve = halve

    def forward(self, samples: Tensor) -> list[Judgement]:
        scaled = _as_mono(samples)
        judgements = []
        for network in self.networks:
            judgements.append(network(scaled))
            scaled = self.halve(scaled)
        return judgements


class Convolutions(nn.Module):
    """Layers with leaky ReLUs between them; the last one's output is the logits."""

    def __init__(self, layers: Iterable[nn.Module], slope: float) -> None:
        super().__init__()
        *hidden, self.last = layers
        self.hidden = nn.ModuleList(hidden)
        self._slope = slope

    def forward(self, x: Tensor) -> Judgement:
        features = []
        for layer in self.hidden:
            x = leaky_relu(layer(x), self._slope)
            features.append(x)
        return Judgement(self.last(x), features)


def _period_network() -> Convolutions:
    """HiFi-GAN's, of columns `[batch, 1, rows, period]`."""
    channels = (1, 32, 128, 512, 1024)
    layers = [
        nn.Conv2d(before, after, (5, 1), (3, 1), padding=(2, 0))
        for before, after in pairwise(channels)
    ]
    layers.append(nn.Conv2d(1024, 1024, (5, 1), padding=(2, 0)))
    layers.append(nn.Conv2d(1024, 1, (3, 1), padding=(1, 0)))
    return Convolutions(map(weight_norm, layers), slope=0.1)


def _hifigan_scales() -> MultiScale:
    """HiFi-GAN's multi-scale discriminator (https://arxiv.org/abs/2010.05646, section 2.3):
    MelGAN's, with more layers and smaller strides, and spectral norm at the full rate.
    """

    def network(normalise: Callable[[nn.Module], nn.Module]) -> Convolutions:
        layers = [
            nn.Conv1d(1, 128, 15, padding=7),
            nn.Conv1d(128, 128, 41, 2, groups=4, padding=20),
            nn.Conv1d(128, 256, 41, 2, groups=16, padding=20),
            nn.Conv1d(256, 512, 41, 4, groups=16, padding=20),
            nn.Conv1d(512, 1024, 41, 4, groups=16, padding=20),
            nn.Conv1d(1024, 1024, 41, groups=16, padding=20),
            nn.Conv1d(1024, 1024, 5, padding=2),
            nn.Conv1d(1024, 1, 3, padding=1),
        ]
        return Convolutions(map(normalise, layers), slope=0.1)

    networks = [network(spectral_norm), network(weight_norm), network(weight_norm)]
    return MultiScale(networks, nn.AvgPool1d(4, 2, padding=2))


def _melgan_scales() -> MultiScale:
    """MelGAN's (https://arxiv.org/abs/1910.06711, section 2.2), which SoundStream takes as its
    wave-based one (https://arxiv.org/abs/2107.03312, section III-D): four grouped convolutions,
    each with four channels to a group, a stride of 4 and up to 4 times the channels.
    """

    def network() -> Convolutions:
        channels = (16, 64, 256, 1024, 1024)
        grouped = [
            nn.Conv1d(before, after, 41, 4, groups=before // 4, padding=20)
            for before, after in pairwise(channels)
        ]
        first = nn.Conv1d(1, 16, 15, padding=7)
        plain = [nn.Conv1d(1024, 1024, 5, padding=2), nn.Conv1d(1024, 1, 3, padding=1)]
        return Convolutions(map(weight_norm, [first, *grouped, *plain]), slope=0.2)

    halve = nn.AvgPool1d(4, 2, padding=1, count_include_pad=False)
    return MultiScale([network() for _ in range(3)], halve)


_BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "ms-stft": MultiScaleSTFT,
    "dac": lambda sample_rate, _: MultiPeriodAndBand(sample_rate),
    "hifigan-mpd": lambda *_: MultiPeriod(),
    "hifigan-msd": lambda *_: _hifigan_scales(),
    "multi-scale": lambda *_: _melgan_scales(),
}
"""Of a sample rate in Hz and a number of channels."""

NAMES = tuple(_BUILDERS)
"""Names of the discriminators."""


def generator_loss(made: Sequence[Judgement], kind: Kind) -> Tensor:
    """The adversarial loss of the codec, given the judgements of its output.

    `hinge` is the mean over the networks (https://arxiv.org/abs/2210.13438, section 3.4),
    `least-squares` the sum (https://arxiv.org/abs/2010.05646, equation 2, as in DAC and HiFi-GAN).
    """
    return _join([_from_real(judgement.logits, kind) for judgement in made], kind)


def discriminator_loss(real: Sequence[Judgement], made: Sequence[Judgement], kind: Kind) -> Tensor:
    """The loss of the discriminators, given the judgements of real audio and of the codec's output.

    It is averaged or summed as in `generator_loss`. The output must be detached; otherwise the
    gradients would also reach the codec.
    """
    losses = [
        _from_real(of_real.logits, kind) + _from_made(of_made.logits, kind)
        for of_real, of_made in zip(real, made, strict=True)
    ]
    return _join(losses, kind)


def feature_matching(
    real: Sequence[Judgement], made: Sequence[Judgement], relative: bool
) -> Tensor:
    """Mean absolute difference of the networks' features; those of real audio get no gradient.

    If `relative`, it is divided by the mean magnitude of the real features, and averaged over all
    layers (EnCodec, https://arxiv.org/abs/2210.13438, equation 2). Otherwise it is summed
    over all layers (DAC).
    """
    pairs = [
        (of_real.detach(), of_made)
        for judged_real, judged_made in zip(real, made, strict=True)
        for of_real, of_made in zip(judged_real.features, judged_made.features, strict=True)
    ]
    distances = torch.stack([(of_real - of_made).abs().mean() for of_real, of_made in pairs])
    if not relative:
        return distances.sum()
    sizes = torch.stack([of_real.abs().mean() for of_real, _ in pairs])
    return (distances / sizes.clamp(min=1e-8)).mean()


def _from_real(logits: Tensor, kind: Kind) -> Tensor:
    return ((1 - logits).relu() if kind == "hinge" else (1 - logits).square()).mean()


def _from_made(logits: Tensor, kind: Kind) -> Tensor:
    return ((1 + logits).relu() if kind == "hinge" else logits.square()).mean()


def _join(losses: Sequence[Tensor], kind: Kind) -> Tensor:
    stacked = torch.stack(list(losses))
    return stacked.mean() if kind == "hinge" else stacked.sum()


def _as_mono(samples: Tensor) -> Tensor:
    """`[batch, channels, time]` to `[batch * channels, 1, time]`."""
    return samples.flatten(0, 1)[:, None]


def _fold(samples: Tensor, period: int) -> Tensor:
    """`[batch, 1, time]` to `[batch, 1, rows, period]`, the last row filled up by reflection."""
    padded = pad(samples, (0, -samples.shape[-1] % period), mode="reflect")
    return padded.reshape(*samples.shape[:-1], -1, period)


def _require_length(name: str, samples: Tensor, shortest: int) -> None:
    if samples.shape[-1] < shortest:
        raise TrainingError(
            f"the discriminator {name} needs segments of at least {shortest} samples, "
            f"not {samples.shape[-1]}: train on longer ones"
        )
