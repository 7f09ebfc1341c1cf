"""The network of nano.

    samples -> MDCT -> lines, levelled by the energies of 20 bands
            -> latents: a linear map plus what causal ConvNeXt blocks add
            -> residual vector quantisation, 16 codebooks of 1024
            -> lines and band energies: a linear map plus what causal ConvNeXt blocks add
            -> inverse MDCT -> samples, whose spectrum is sharpened

The two linear maps alone make a transform codec, which training starts from (principal components
and k-means) and the blocks learn to better. Frame i covers the samples (i - 1) * 320 to
(i + 1) * 320, so n samples take ceil(n / 320) + 1 frames. A hop of sound comes out with the frame
that begins where it ends: a frame's second half takes the next frame, and sharpening the next hop.

MDCT: J. Princen, A. Johnson, A. Bradley, "Subband/transform coding using filter bank designs based
on time domain aliasing cancellation", ICASSP 1987. ConvNeXt: https://arxiv.org/abs/2201.03545.
Residual vector quantisation: SoundStream, https://arxiv.org/abs/2107.03312.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from torch import Tensor, nn

from acomp.backends.nano.shape import MEMORY, NanoShape
from acomp.backends.shared.hollow import fill, hollow
from acomp.backends.weights.checkpoint import fingerprint, load_checkpoint, scaled
from acomp.engines.apart import apart_to_load
from acomp.engines.torch import SteadyLinear, steady_linear, steady_map
from acomp.errors import WeightsError

KERNEL = MEMORY + 1
LEVELLING = 0.5
"""How far the bands' energies are evened out before coding; 1 would be entirely."""
BAND_WEIGHT = 0.3
"""Weight of a band's log energy beside the lines."""
SHARPENING = 0.4
"""How far decoded lines are moved from the mean around them, as a share of their distance from it,
both as logarithms of power."""
SILENCE = 1e-10
"""Power that is added to each line's, so that it has a logarithm."""
State = list[Tensor]
"""The last inputs of each block's convolution: what streaming carries over."""


class CausalBlock(nn.Module):
    """ConvNeXt block on `[batch, time, width]` that sees the past only."""

    def __init__(self, width: int, expansion: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, KERNEL, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = SteadyLinear(width, expansion * width)
        self.contract = SteadyLinear(expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the output, and the last inputs, which are the next call's `past`."""
        seen = torch.cat([past, x], dim=1)
        y = self.depthwise(seen.transpose(1, 2)).transpose(1, 2)
        y = self.contract(steady_map(F.gelu, self.expand(self.norm(y))))
        return x + self.scale * y, seen[:, -MEMORY:]


class Refiner(nn.Module):
    """Causal blocks between two linear maps; it begins by adding nothing."""

    def __init__(self, inputs: int, outputs: int, blocks: tuple[int, int], expansion: int) -> None:
        """`blocks` tells their width and number."""
        super().__init__()
        self.width, depth = blocks
        self.first = SteadyLinear(inputs, self.width)
        self.blocks = nn.ModuleList(CausalBlock(self.width, expansion) for _ in range(depth))
        self.norm = nn.LayerNorm(self.width)
        self.last = SteadyLinear(self.width, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def start(self, batch: int) -> State:
        """The state before the first frame."""
        weight = self.last.weight
        return [weight.new_zeros(batch, MEMORY, self.width) for _ in self.blocks]

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        x = self.first(x)
        after = []
        for block, past in zip(self.blocks, state, strict=True):
            x, past = block(x, past)
            after.append(past)
        return self.last(self.norm(x)), after


class Network(nn.Module):
    """The network of a nano, on frames of two hops that overlap by half.

    Shapes: frames `[batch, time, 2 * hop]`, latents `[batch, time, 128]`.
    """

    codebooks: Tensor
    cosines: Tensor
    sines: Tensor
    to_bands: Tensor
    to_lines: Tensor

    def __init__(self, shape: NanoShape) -> None:
        super().__init__()
        self.hop = shape.hop
        self.around, self.near = (round(hertz * shape.hop / 12_000) for hertz in shape.sharpening)
        features, latent, wider = shape.features, shape.latent, shape.expansion
        self.analysis = SteadyLinear(features, latent)
        self.encoder = Refiner(features + shape.hop, latent, shape.encoder, wider)
        books = torch.zeros(shape.spec.codebooks, shape.spec.codebook_size, latent)
        self.register_buffer("codebooks", books)
        self.synthesis = SteadyLinear(latent, features)
        self.decoder = Refiner(latent, features, shape.decoder, wider)
        with torch.device("cpu"):  # whatever device the weights are made on
            made = constants(shape.hop, shape.bands)
        for name, constant in made.items():
            self.register_buffer(name, constant, persistent=False)

    def features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What is coded, levelled lines and weighted log energies, together `[batch, time,
        features]`; and the levelled sine lines, which tell the encoder about phase.
        """
        lines, sines = _times(frames, self.cosines), _times(frames, self.sines)
        powers = 0.5 * (lines.square() + sines.square())
        energies = steady_map(torch.log, _times(powers, self.to_bands) + 1e-8)
        gain = steady_map(torch.exp, -LEVELLING / 2 * _times(energies, self.to_lines))
        return torch.cat([lines * gain, energies * BAND_WEIGHT], dim=-1), sines * gain

    def encode(self, features: Tensor, sines: Tensor, state: State) -> tuple[Tensor, State]:
        """Features to latents."""
        refined, state = self.encoder(torch.cat([features, sines], dim=-1), state)
        return self.analysis(features) + refined, state

    def decode(self, latents: Tensor, state: State) -> tuple[Tensor, State]:
        """Latents to features."""
        refined, state = self.decoder(latents, state)
        return self.synthesis(latents) + refined, state

    def frames(self, features: Tensor) -> Tensor:
        """Features to windowed frames, which `overlap_add` makes samples of."""
        # Beyond these no recording lies, and the exponential would overflow.
        energies = (features[..., self.hop :] / BAND_WEIGHT).clamp(-20, 8)
        gain = steady_map(torch.exp, LEVELLING / 2 * _times(energies, self.to_lines))
        return _times(features[..., : self.hop] * gain, self.cosines.T)

    def sharpen(self, pairs: Tensor) -> Tensor:
        """Decoded hops, two by two `[batch, time, 2 * hop]`, to windowed frames, which
        `overlap_add` makes samples of: the spectrum's peaks higher and its valleys deeper, while
        the energy around each line stays. What a few codes do not say becomes noise, which is heard
        most in the valleys: J.-H. Chen, A. Gersho, "Adaptive postfiltering for quality enhancement
        of coded speech", IEEE Transactions on Speech and Audio Processing 3, 1995.
        """
        lines, sines = _times(pairs, self.cosines), _times(pairs, self.sines)
        powers = lines.square() + sines.square() + SILENCE
        logs = steady_map(torch.log, powers)
        gains = steady_map(torch.exp, SHARPENING * (logs - _mean(logs, self.around)))
        gains = gains * _mean(powers, self.near) / _mean(powers * gains, self.near)
        gains = gains.sqrt()
        whole = _times(lines * gains, self.cosines.T) + _times(sines * gains, self.sines.T)
        return 0.5 * whole


def _mean(x: Tensor, reach: int) -> Tensor:
    """Of each line and so many to each side of it, as far as there are, `[batch, time, lines]`."""
    return F.avg_pool1d(x, 2 * reach + 1, 1, padding=reach, count_include_pad=False)


def _times(x: Tensor, matrix: Tensor) -> Tensor:
    """`x @ matrix`, whose rows do not depend on how many there are."""
    return steady_linear(x, matrix.T)


def overlap_add(frames: Tensor) -> Tensor:
    """Frames `[batch, time, 2 * hop]` to samples `[batch, (time - 1) * hop]`."""
    hop = frames.shape[-1] // 2
    return (frames[:, 1:, :hop] + frames[:, :-1, hop:]).flatten(1)


def sharpened(network: Network, frames: Tensor) -> Tensor:
    """Windowed frames of whole recordings `[batch, time, 2 * hop]` to samples as they are heard,
    `[batch, (time - 1) * hop]`.
    """
    hops = overlap_add(F.pad(frames, (0, 0, 1, 1)))
    pairs = hops.unfold(-1, 2 * network.hop, network.hop)
    return overlap_add(network.sharpen(pairs))


def constants(hop: int, bands: int) -> dict[str, Tensor]:
    """The MDCT and its sine twin with a sine window, and the bands, triangles along the lines."""
    time = torch.arange(2 * hop, dtype=torch.float64)[:, None] + 0.5
    line = torch.arange(hop, dtype=torch.float64)
    phase = math.pi / hop * (time + hop / 2) * (line + 0.5)
    window = torch.sin(math.pi / (2 * hop) * time) * math.sqrt(2 / hop)
    # Half of the bands below 2.6 kHz, evenly spaced; the others evenly up to 12 kHz.
    knee, half = hop * 70 // 320, bands // 2
    low_edges = torch.linspace(0, knee, half + 1, dtype=torch.float32)
    high_edges = torch.linspace(knee, hop, half + 2, dtype=torch.float32)
    edges = torch.cat([low_edges, high_edges[1:]]).to(torch.float64)
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    x = line[:, None]
    triangles = torch.minimum((x - low) / (centre - low), (high - x) / (high - centre)).clamp(min=0)
    inside = x.clamp(float(centre[0]), float(centre[-1]))
    hats = torch.minimum((inside - low) / (centre - low), (high - inside) / (high - centre))
    return {
        "cosines": (window * torch.cos(phase)).float(),
        "sines": (window * torch.sin(phase)).float(),
        "to_bands": (triangles / triangles.sum(0)).float(),
        "to_lines": hats.clamp(min=0).T.float(),
    }


class Step(nn.Module):
    """One of the network's functions as a module; the state is its last inputs and outputs."""

    def __init__(self, network: Network, name: str) -> None:
        super().__init__()
        self.network = network
        self.name = name

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        network = self.network
        if self.name == "analyse":
            return network.features(*inputs)
        if self.name == "encode":
            features, sines, *state = inputs
            latents, state = network.encode(features, sines, state)
            return (latents, *state)
        if self.name == "decode":
            latents, *state = inputs
            features, state = network.decode(latents, state)
            return (features, *state)
        return (network.sharpen(*inputs) if self.name == "sharpen" else network.frames(*inputs),)


@apart_to_load()
def load_network(shape: NanoShape, weights: Path) -> tuple[Network, str]:
    """The network with the weights of a file, float16 or whole numbers with a scale for each row,
    and their fingerprint.

    Raises:
        WeightsError: the file cannot be read or holds other weights than this nano's.
    """
    with hollow():  # so that no weights are drawn, which takes random numbers
        network = Network(shape).float()
    for constant, value in constants(shape.hop, shape.bands).items():
        network.register_buffer(constant, value, persistent=False)
    state = load_checkpoint(weights).state
    try:
        fill(network, scaled(state))
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{weights} does not hold weights of {shape.spec.name}") from error
    return network.eval(), fingerprint(state)
