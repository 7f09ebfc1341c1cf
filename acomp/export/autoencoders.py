"""DAC's and SNAC's networks as they are exported: of whole recordings, as they see both sides."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acomp.backends.dac.codec import Dac
from acomp.backends.shared.layers import Row
from acomp.backends.shared.quantisers import DirectionBook, DirectionDequantiser, DirectionQuantiser
from acomp.backends.snac.codec import Snac
from acomp.backends.snac.network import Attention, NoiseBlock, noise
from acomp.backends.snac.shape import SnacShape
from acomp.export.streams import (
    FACTS,
    Decoder,
    Parts,
    codes_port,
    dequantised,
    half,
    samples_port,
    whole_rules,
)


def dac_parts(codec: Dac, codebooks: int) -> Parts:
    """A DAC as it is exported."""
    network, samples, hop = codec.network, samples_port(1), codec.spec.hop_length
    books = network.books
    encoder = Encoder(network.encoder_layers, Quantiser(books[:codebooks]), hop)
    return Parts(
        half(encoder, samples, codes_port(codebooks), streaming=False),
        half(
            Decoder(network.decoder_layers, Dequantiser(books)),
            codes_port("codebooks"),
            samples,
            streaming=False,
        ),
        whole_rules(hop),
        FACTS,
    )


def snac_parts(codec: Snac, codebooks: int) -> Parts:
    """A SNAC as it is exported; both halves have the same levels."""
    shape, network, samples = codec.shape, codec.network, samples_port(1)
    hop, unit, levels = codec.spec.hop_length, codec.spec.unit, codec.levels(codebooks)
    books = network.books[: len(levels)]
    encoding = [_windowed(layer, shape.window) for layer in network.encoder_layers]
    decoding = [_windowed(layer, shape.window) for layer in network.decoder_layers]
    encoder = Encoder(nn.Sequential(*encoding), LevelQuantiser(books, levels), hop * unit)
    decoder = Decoder(_with_noise(decoding, shape), LevelDequantiser(books, levels))
    multiple = "" if unit == 1 else f", up to a multiple of {unit}"
    return Parts(
        half(encoder, samples, codes_port(codebooks), streaming=False),
        half(decoder, codes_port(codebooks), samples, streaming=False),
        {
            "encode": f"Any length: n samples give ceil(n / {hop}) frames{multiple}.",
            "decode": f"n frames{multiple} give n * {hop} samples; drop what exceeds the length "
            "of the recording.",
            "codes": f"A frame has {', '.join(map(str, levels))} codes of the levels, the coarsest "
            "level first, and those of a level in order of time.",
        },
        {**FACTS, "levels": levels, "frames_multiple": unit},
    )


class Encoder(nn.Module):
    """A recording to codes, its end padded with silence to a multiple of `unit` samples."""

    def __init__(self, network: nn.Module, quantise: nn.Module, unit: int) -> None:
        super().__init__()
        self.network = network
        self.quantise = quantise
        self._unit = unit

    def forward(self, samples: Tensor) -> Tensor:
        length = samples.shape[1]
        silence = torch.zeros(samples.shape[0], self._unit - 1)
        whole = length + -length % self._unit
        samples = torch.cat([samples, silence], dim=1)[:, None, :whole]
        codes: Tensor = self.quantise(self.network(samples))
        return codes


class Quantiser(nn.Module):
    """Latents `[batch, width, frames]` to codes `[batch, codebooks, frames]`."""

    def __init__(self, books: list[DirectionBook]) -> None:
        super().__init__()
        self.books = DirectionQuantiser(books)

    def forward(self, latents: Tensor) -> Tensor:
        return torch.stack(self.books(latents), dim=1)


class Dequantiser(nn.Module):
    """Codes of any number of codebooks to latents."""

    def __init__(self, books: list[DirectionBook]) -> None:
        super().__init__()
        self.books = nn.ModuleList(books)
        self._levels = [book.decode for book in books]

    def forward(self, codes: Tensor) -> Tensor:
        return dequantised(self._levels, codes)


class LevelQuantiser(nn.Module):
    """Latents `[batch, width, steps]` to codes `[batch, codebooks, frames]`, level by level."""

    def __init__(self, books: list[DirectionBook], levels: tuple[int, ...]) -> None:
        super().__init__()
        self.books = DirectionQuantiser(books)
        self._levels = levels

    def forward(self, latents: Tensor) -> Tensor:
        found = zip(self.books(latents), self._levels, strict=True)
        slots = [codes.reshape(codes.shape[0], -1, count).transpose(1, 2) for codes, count in found]
        return torch.cat(slots, dim=1)


class LevelDequantiser(nn.Module):
    """The reverse."""

    def __init__(self, books: list[DirectionBook], levels: tuple[int, ...]) -> None:
        super().__init__()
        self.books = DirectionDequantiser(books)
        self._levels = levels

    def forward(self, codes: Tensor) -> Tensor:
        slots = torch.split(codes, list(self._levels), dim=1)
        latents: Tensor = self.books(*(part.transpose(1, 2).flatten(1) for part in slots))
        return latents


class Windows(nn.Module):
    """Attention within windows that follow one another: `[batch, width, steps]` to the same."""

    def __init__(self, attention: Attention, window: int) -> None:
        super().__init__()
        self.attention = attention
        self._window = window

    def forward(self, x: Tensor) -> Tensor:
        batch, width = x.shape[:2]
        windows = x.reshape(batch, width, -1, self._window).transpose(1, 2)
        y = self.attention(windows.reshape(-1, width, self._window))
        y = y.reshape(batch, -1, width, self._window).transpose(1, 2)
        attended: Tensor = y.reshape(batch, width, -1)
        return attended


def _windowed(layer: nn.Module, window: int | None) -> nn.Module:
    if window is None or not isinstance(layer, Attention):
        return layer
    return Windows(layer, window)


class Noisy(nn.Module):
    """A block that mixes noise in, which repeats from the beginning of the recording on."""

    noise: Tensor

    def __init__(self, block: NoiseBlock, noise: Tensor) -> None:
        super().__init__()
        self.block = block
        self.register_buffer("noise", noise)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[2]) % len(self.noise)
        mixed: Tensor = self.block(x, self.noise[places])
        return mixed


def _with_noise(layers: list[nn.Module], shape: SnacShape) -> nn.Sequential:
    """The decoder's layers in a row, each block with its noise."""
    flat: list[nn.Module] = []
    for layer in layers:
        flat += layer.block if isinstance(layer, Row) else [layer]
    blocks = 0
    for index, layer in enumerate(flat):
        if isinstance(layer, NoiseBlock):
            flat[index] = Noisy(layer, torch.from_numpy(noise(shape, blocks)))
            blocks += 1
    return nn.Sequential(*flat)
