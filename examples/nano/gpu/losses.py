"""The losses of the training: distances of spectra and of textures, and small discriminators.

Discriminators: spectra as in DAC (https://arxiv.org/abs/2306.06546) and periods as in HiFi-GAN
(https://arxiv.org/abs/2010.05646), with a fraction of their channels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from audio import SAMPLE_RATE
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

MEL_BANDS = {64: 8, 128: 16, 256: 32, 512: 64, 1024: 128, 2048: 256}
"""Window length in samples and number of bands."""
COMPLEX_WINDOWS = (320, 960, 1920)
PATCHES = {2048: (4, 32), 1024: (8, 32), 512: (8, 16), 256: (16, 8)}
"""Window length in samples, and frames and frequencies of a patch whose texture is compared."""
WINDOWS_AT_ONCE = 2
"""Of `PATCHES`, drawn at random for each batch."""
INAUDIBLE = 5e-5
"""Times the square root of the window: floor of magnitudes, so that silence counts for little."""


class Spectra(nn.Module):
    """Spectra in windows of several lengths, a quarter of a window apart."""

    def __init__(self, windows: Iterable[int]) -> None:
        super().__init__()
        for window in windows:
            self.register_buffer(f"hann{window}", torch.hann_window(window))

    def forward(self, x: Tensor, window: int) -> Tensor:
        """Samples `[batch, time]` to a complex spectrum `[batch, window / 2 + 1, frames]`."""
        hann = self.get_buffer(f"hann{window}")
        return torch.stft(x, window, window // 4, window=hann, return_complex=True)


class Distances(nn.Module):
    """Of a target and an output `[batch, time]`, each `[batch]`."""

    def __init__(self) -> None:
        super().__init__()
        for window, bands in MEL_BANDS.items():
            self.register_buffer(f"mel{window}", mel_filters(window, bands))
        self.spectra = Spectra({*MEL_BANDS, *COMPLEX_WINDOWS})

    def mel(self, target: Tensor, output: Tensor) -> Tensor:
        """Multi-scale distance of log10 mel magnitudes, added up over the scales."""
        total = target.new_zeros(len(target))
        for window in MEL_BANDS:
            filters, floor = self.get_buffer(f"mel{window}"), INAUDIBLE * math.sqrt(window)
            with torch.no_grad():
                x = self.spectra(target, window).abs().transpose(1, 2) @ filters
            spectrum = self.spectra(output, window)
            y = (power(spectrum) + 1e-9).sqrt().transpose(1, 2) @ filters
            total = total + ((x + floor).log10() - (y + floor).log10()).abs().mean((1, 2))
        return total

    def complex(self, target: Tensor, output: Tensor) -> Tensor:
        """Distance of spectra with their phases, magnitudes to the power of 0.4."""
        total = target.new_zeros(len(target))
        for window in COMPLEX_WINDOWS:
            x, y = self.spectra(target, window), self.spectra(output, window)
            floor = 1e-4 * window / 960
            gain, other = (power(x) + floor).pow(-0.3), (power(y) + floor).pow(-0.3)
            real, imaginary = x.real * gain - y.real * other, x.imag * gain - y.imag * other
            with torch.no_grad():
                level = (power(x).sqrt() * gain).mean((1, 2)) + 0.02
            error = (real.square() + imaginary.square() + 1e-6).sqrt()
            total = total + error.mean((1, 2)) / level
        return total


class Textures(nn.Module):
    """Distance of the textures of a target and an output `[batch, time]`: `[batch]`.

    A texture is how much the logarithms of magnitudes, and their differences along time and
    frequency, vary within a patch of the spectrogram, as their standard deviation. Unlike an error
    it does not ask for the mean of all that a sound may have been, which is smoother than any of
    them: J. H. McDermott, E. P. Simoncelli, "Sound texture perception via statistics of the
    auditory periphery", Neuron 71, 2011.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spectra = Spectra(PATCHES)

    def forward(self, target: Tensor, output: Tensor) -> Tensor:
        total = target.new_zeros(len(target))
        for drawn in torch.randperm(len(PATCHES))[:WINDOWS_AT_ONCE].tolist():
            window, patch = list(PATCHES.items())[drawn]
            magnitudes = (power(self.spectra(torch.cat([target, output]), window)) + 1e-9).sqrt()
            logs = (magnitudes + 4 * INAUDIBLE * math.sqrt(window)).log10().transpose(1, 2)
            wide = logs[..., 2:] - logs[..., :-2]
            for change in (logs, logs.diff(dim=1), logs.diff(dim=2), wide):
                real, fake = deviations(change, patch).chunk(2)
                total = total + 0.5 * (real.detach() - fake).abs().mean((1, 2))
        return total


def deviations(x: Tensor, patch: tuple[int, int]) -> Tensor:
    """Standard deviations within patches of `[batch, time, frequency]` that overlap by half."""
    step = (patch[0] // 2, patch[1] // 2)
    moments = F.avg_pool2d(torch.stack([x, x.square()], 1), patch, step)
    return ((moments[:, 1] - moments[:, 0].square()).clamp(min=0) + 1e-4).sqrt()


def power(spectrum: Tensor) -> Tensor:
    return spectrum.real.square() + spectrum.imag.square()


def mel_filters(window: int, bands: int) -> Tensor:
    """Triangles of unit height on HTK's mel scale, `[frequencies, bands]`."""
    frequency = torch.linspace(0, SAMPLE_RATE / 2, window // 2 + 1)[:, None]
    highest = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, highest, bands + 2) / 2595) - 1)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (frequency - low) / (centre - low), (high - frequency) / (high - centre)
    return torch.minimum(rising, falling).clamp(min=0)


Judged = tuple[Tensor, list[Tensor]]
"""A discriminator's output and its layers' features."""


class SpectralDiscriminator(nn.Module):
    """Convolutions over a complex spectrum, each band of frequencies with its own."""

    EDGES = (0, 0.1, 0.25, 0.5, 1.0)
    STRIDES = (2, 2, 2, 2, 1)

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.window = window
        self.register_buffer("hann", torch.hann_window(window), persistent=False)
        self.edges = [int(edge * (window // 2 + 1)) for edge in self.EDGES]
        self.bands = nn.ModuleList(self._band(width) for _ in self.EDGES[1:])
        self.last = weight_norm(nn.Conv2d(width, 1, 3, padding=1))

    def _band(self, width: int) -> nn.ModuleList:
        kernels = [9, 9, 9, 9, 3]
        inputs = [2, *[width] * 4]
        return nn.ModuleList(
            weight_norm(nn.Conv2d(number, width, (3, k), (1, stride), (1, k // 2)))
            for number, k, stride in zip(inputs, kernels, self.STRIDES, strict=True)
        )

    def forward(self, x: Tensor) -> Judged:
        with torch.autocast(x.device.type, enabled=False):
            spectrum = torch.stft(
                x.float(), self.window, self.window // 4, window=self.hann, return_complex=True
            )
            y = torch.view_as_real(spectrum).permute(0, 3, 2, 1) / self.window**0.5 * 4
            y = y * (y.square().sum(1, keepdim=True) + 1e-3).pow(-0.25)
            y = y.contiguous(memory_format=torch.channels_last)
        features, ends = [], []
        for (low, high), band in zip(pairwise(self.edges), self.bands, strict=True):
            z = y[..., low:high]
            for layer in band:
                z = F.leaky_relu(layer(z), 0.1)
                features.append(z)
            ends.append(z)
        return self.last(torch.cat(ends, -1)), features


class PeriodDiscriminator(nn.Module):
    """Convolutions over every `period`-th sample."""

    def __init__(self, period: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.period = period
        ends = [*widths, widths[-1]]
        strides = [*[3] * len(widths), 1]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(inputs, outputs, (5, 1), (stride, 1), (2, 0)))
            for inputs, outputs, stride in zip([1, *ends[:-1]], ends, strides, strict=True)
        )
        self.last = weight_norm(nn.Conv2d(ends[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor) -> Judged:
        whole = x[:, : x.shape[1] - x.shape[1] % self.period]
        y, features = whole.reshape(len(x), 1, -1, self.period) * 3, []
        for layer in self.layers:
            y = F.leaky_relu(layer(y), 0.1)
            features.append(y)
        return self.last(y), features


class Discriminators(nn.Module):
    def __init__(self, width: int = 32, widths: tuple[int, ...] = (32, 64, 128, 256)) -> None:
        super().__init__()
        spectra = [SpectralDiscriminator(window, width) for window in (2048, 512)]
        periods = [PeriodDiscriminator(period, widths) for period in (2, 3, 5, 7, 11)]
        self.each = nn.ModuleList([*spectra, *periods])

    def some(self, number: int) -> list[nn.Module]:
        """So many of them, drawn at random."""
        return [self.each[i] for i in torch.randperm(len(self.each))[:number].tolist()]


def parted(judged: list[Judged], real: int) -> tuple[list[Judged], list[Judged]]:
    """The first `real` examples, and the others."""
    first = [(output[:real], [x[:real] for x in features]) for output, features in judged]
    others = [(output[real:], [x[real:] for x in features]) for output, features in judged]
    return first, others


def told_apart(real: list[Judged], fake: list[Judged]) -> Tensor:
    """Least squares: real ones are to be 1, the others 0."""
    return torch.stack(
        [
            (1 - output.float()).square().mean() + other.float().square().mean()
            for (output, _), (other, _) in zip(real, fake, strict=True)
        ]
    ).sum()


def taken_for_real(judged: list[Judged]) -> Tensor:
    return torch.stack([(1 - output.float()).square().mean() for output, _ in judged]).sum()


def feature_distance(judged: list[Judged], real: list[Judged]) -> Tensor:
    return torch.stack(
        [
            F.l1_loss(x, y.detach()).float()
            for (_, features), (_, others) in zip(judged, real, strict=True)
            for x, y in zip(features, others, strict=True)
        ]
    ).sum()
