"""nano: acomp's own small codec. 24 kHz mono, 75 frames/s, 1.5 to 12 kbps, causal.

    samples -> MDCT -> lines, levelled by the energies of 20 bands
            -> latents: a linear map plus what causal ConvNeXt blocks add
            -> residual vector quantisation, 16 codebooks of 1024
            -> lines and band energies: a linear map plus what causal ConvNeXt blocks add
            -> inverse MDCT -> samples

The two linear maps alone make a transform codec, which training starts from (principal components
and k-means) and the blocks learn to better. Frame i covers the samples (i - 1) * 320 to
(i + 1) * 320, so n samples take ceil(n / 320) + 1 frames, and sound comes out one frame (13.3 ms)
after the codes that complete it.

MDCT: J. Princen, A. Johnson, A. Bradley, "Subband/transform coding using filter bank designs based
on time domain aliasing cancellation", ICASSP 1987. ConvNeXt: https://arxiv.org/abs/2201.03545.
Residual vector quantisation: SoundStream, https://arxiv.org/abs/2107.03312.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.backends.base import Codec, CodecSpec, Samples
from acomp.backends.checkpoint import load_weights
from acomp.codes import Block, CodesInfo, empty_block
from acomp.engines.torch import pick_device, to_tensor

HOP = 320
WINDOW = 2 * HOP
BANDS = 20
LATENT = 128
WIDTH = 192
KERNEL = 7
LEVELLING = 0.5
"""How far the bands' energies are evened out before coding; 1 would be entirely."""
BAND_WEIGHT = 0.3
"""Weight of a band's log energy beside the lines."""

SPEC = CodecSpec(
    name="nano",
    sample_rate=24_000,
    channels=1,
    hop_length=HOP,
    codebooks=16,
    codebook_size=1024,
    codebook_dim=LATENT,
    bandwidths={1.5: 2, 3: 4, 6: 8, 12: 16},
    stereo_streams=True,
)

State = list[Tensor]
"""The last inputs of each block's convolution: what streaming carries over."""


class CausalBlock(nn.Module):
    """ConvNeXt block on `[batch, time, width]` that sees the past only."""

    def __init__(self) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(WIDTH, WIDTH, KERNEL, groups=WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.expand = nn.Linear(WIDTH, 4 * WIDTH)
        self.contract = nn.Linear(4 * WIDTH, WIDTH)
        self.scale = nn.Parameter(torch.full((WIDTH,), 0.3))

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the output, and the last inputs, which are the next call's `past`."""
        seen = torch.cat([past, x], dim=1)
        y = self.depthwise(seen.transpose(1, 2)).transpose(1, 2)
        y = self.contract(F.gelu(self.expand(self.norm(y))))
        return x + self.scale * y, seen[:, -(KERNEL - 1) :]


class Refiner(nn.Module):
    """Causal blocks between two linear maps; it begins by adding nothing."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, WIDTH)
        self.blocks = nn.ModuleList(CausalBlock() for _ in range(depth))
        self.norm = nn.LayerNorm(WIDTH)
        self.last = nn.Linear(WIDTH, outputs)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def start(self, batch: int) -> State:
        """The state before the first frame."""
        weight = self.last.weight
        return [weight.new_zeros(batch, KERNEL - 1, WIDTH) for _ in self.blocks]

    def forward(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        x = self.first(x)
        after = []
        for block, past in zip(self.blocks, state, strict=True):
            x, past = block(x, past)
            after.append(past)
        return self.last(self.norm(x)), after


class Network(nn.Module):
    """The network of nano, on frames of 640 samples that overlap by half.

    Shapes: frames `[batch, time, 640]`, latents `[batch, time, 128]`, codes
    `[batch, codebooks, time]`.
    """

    codebooks: Tensor
    cosines: Tensor
    sines: Tensor
    to_bands: Tensor
    to_lines: Tensor

    def __init__(self) -> None:
        super().__init__()
        features = HOP + BANDS
        self.analysis = nn.Linear(features, LATENT)
        self.encoder = Refiner(features + HOP, LATENT, depth=4)
        self.register_buffer("codebooks", torch.zeros(SPEC.codebooks, 1024, LATENT))
        self.synthesis = nn.Linear(LATENT, features)
        self.decoder = Refiner(LATENT, features, depth=6)
        for name, constant in _constants().items():
            self.register_buffer(name, constant, persistent=False)

    def features(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """What is coded, levelled lines and weighted log energies `[batch, time, 340]`; and the
        levelled sine lines `[batch, time, 320]`, which tell the encoder about phase.
        """
        lines, sines = frames @ self.cosines, frames @ self.sines
        energies = (0.5 * (lines.square() + sines.square()) @ self.to_bands + 1e-8).log()
        gain = torch.exp(-LEVELLING / 2 * (energies @ self.to_lines))
        return torch.cat([lines * gain, energies * BAND_WEIGHT], dim=-1), sines * gain

    def encode(self, features: Tensor, sines: Tensor, state: State) -> tuple[Tensor, State]:
        """Features to latents."""
        refined, state = self.encoder(torch.cat([features, sines], dim=-1), state)
        return self.analysis(features) + refined, state

    def quantise(self, latents: Tensor, codebooks: int) -> Tensor:
        """Latents to codes: each codebook takes what the ones before it left."""
        codes = []
        for book in self.codebooks[:codebooks]:
            distances = book.square().sum(-1) - 2 * latents @ book.T
            codes.append(distances.argmin(-1))
            latents = latents - book[codes[-1]]
        return torch.stack(codes, dim=1)

    def dequantise(self, codes: Tensor) -> Tensor:
        """Codes to latents."""
        books = zip(self.codebooks, codes.unbind(1), strict=False)
        return torch.stack([book[indices] for book, indices in books]).sum(0)

    def decode(self, latents: Tensor, state: State) -> tuple[Tensor, State]:
        """Latents to features."""
        refined, state = self.decoder(latents, state)
        return self.synthesis(latents) + refined, state

    def frames(self, features: Tensor) -> Tensor:
        """Features to windowed frames, which `overlap_add` makes samples of."""
        # Beyond these no recording lies, and the exponential would overflow.
        energies = (features[..., HOP:] / BAND_WEIGHT).clamp(-20, 8)
        gain = torch.exp(LEVELLING / 2 * (energies @ self.to_lines))
        return (features[..., :HOP] * gain) @ self.cosines.T


def overlap_add(frames: Tensor) -> Tensor:
    """Frames `[batch, time, 640]` to samples `[batch, (time - 1) * 320]`."""
    return (frames[:, 1:, :HOP] + frames[:, :-1, HOP:]).flatten(1)


def _constants() -> dict[str, Tensor]:
    """The MDCT and its sine twin with a sine window, and the bands, triangles along the lines."""
    time = torch.arange(WINDOW, dtype=torch.float64)[:, None] + 0.5
    line = torch.arange(HOP, dtype=torch.float64)
    phase = math.pi / HOP * (time + HOP / 2) * (line + 0.5)
    window = torch.sin(math.pi / WINDOW * time) * math.sqrt(2 / HOP)
    # Half of the bands below 2.6 kHz, evenly spaced; the others evenly up to 12 kHz.
    edges = torch.cat([torch.linspace(0, 70, BANDS // 2 + 1), torch.linspace(70, HOP, 12)[1:]])
    edges = edges.to(torch.float64)
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


def load(name: str, weights: Path, device: str) -> Codec:
    """Nano with the weights of a safetensors file; those that ship with acomp by default.

    Raises:
        WeightsError: the file cannot be read or holds other weights than nano's.
        CodecError: there is no such device.
    """
    target = pick_device(device)
    network = Network()
    fingerprint = load_weights(network, weights, name)  # float16 in the file, float32 in there
    return Nano(network.to(target), fingerprint)


class Nano(Codec):
    """The codec on its network."""

    preroll = 0.6
    """The decoder's blocks see 36 frames back."""

    def __init__(self, network: Network, fingerprint: str | None) -> None:
        super().__init__(SPEC, fingerprint)
        self._network = network.eval()
        self.device = network.codebooks.device

    @property
    def module(self) -> Network:
        return self._network

    def codebooks(self) -> NDArray[np.float32]:
        return self._network.codebooks.cpu().numpy()

    def stream_encoder(self, info: CodesInfo) -> NanoEncoder:
        return NanoEncoder(self, info)

    def stream_decoder(self, info: CodesInfo) -> NanoDecoder:
        return NanoDecoder(self, info)


class NanoEncoder:
    """Streaming encoder; the streams are the batch."""

    def __init__(self, codec: Nano, info: CodesInfo) -> None:
        self._codec = codec
        self._info = info
        self._state = codec.module.encoder.start(info.streams)
        self._buffer = np.zeros((info.streams, HOP), np.float32)

    @torch.inference_mode()
    def push(self, samples: Samples) -> Block:
        self._buffer = np.concatenate([self._buffer, samples], axis=1)
        hops = self._buffer.shape[1] // HOP
        if hops < 2:
            return empty_block(self._info)
        frames = to_tensor(self._buffer[:, : hops * HOP], self._codec.device)
        self._buffer = self._buffer[:, (hops - 1) * HOP :]
        network = self._codec.module
        features, sines = network.features(frames.unfold(-1, WINDOW, HOP))
        latents, self._state = network.encode(features, sines, self._state)
        codes = network.quantise(latents, self._info.codebooks)
        return Block(codes.cpu().numpy().astype(np.uint16))

    def finish(self) -> Block:
        # Silence up to a whole hop, and one hop more for the last frame's second half.
        missing = -self._buffer.shape[1] % HOP + HOP
        return self.push(np.zeros((self._info.streams, missing), np.float32))


class NanoDecoder:
    """Streaming decoder; the streams are the batch."""

    def __init__(self, codec: Nano, info: CodesInfo) -> None:
        self._codec = codec
        self._state = codec.module.decoder.start(info.streams)
        self._last = torch.zeros(info.streams, 0, WINDOW, device=codec.device)

    @torch.inference_mode()
    def push(self, block: Block) -> Samples:
        codes = torch.from_numpy(block.data.astype(np.int64)).to(self._codec.device)
        network = self._codec.module
        features, self._state = network.decode(network.dequantise(codes), self._state)
        frames = torch.cat([self._last, network.frames(features)], dim=1)
        self._last = frames[:, -1:]
        return overlap_add(frames).cpu().numpy()

    def finish(self) -> Samples:
        return np.zeros((len(self._last), 0), np.float32)
