"""DAC, the Descript Audio Codec (https://arxiv.org/abs/2306.06546), on `descript-audio-codec`.

The network is one channel wide; stereo is coded as two streams. Its convolutions see a finite
stretch on both sides, so it is run in blocks with that much context, and the codes are those of
`DAC.encode` on the whole file. The layers next to the samples see little of that stretch and are
most of the work, those next to the latents see the rest; so each half is run in two parts with
blocks and context of their own. The audio is coded at the level it has.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.backends.base import Codec, CodecSpec, Samples
from acomp.backends.checkpoint import load_weights
from acomp.codes import Block, CodesInfo, join
from acomp.engines import Array, Engine, Input, Runner
from acomp.engines.blocks import InBlocks
from acomp.engines.rewriting import fold_weight_norm, replace_parts, without_transposed
from acomp.engines.torch import TorchEngine
from acomp.engines.torchaudio import ensure_torchaudio
from acomp.errors import CodecError

ENCODER_LATENT_CONTEXT = 7
"""Frames that the encoder's last layers see on either side; they reach 6.4."""
DECODER_LATENT_CONTEXT = 9
"""Frames that the decoder's first layers see on either side."""
LATENT_BLOCK = 128
"""Frames that these layers take at a time."""
EXAMPLE_STEPS = 320
"""Length of the example that a part is converted by."""
SAMPLE_BLOCK = 32
"""Frames that the layers next to the samples, most of the work, take at a time: few enough for what
lies between them to stay in the CPU's cache."""


def _sample_context(hop_length: int) -> int:
    """Frames that the layers next to the samples see on either side; they reach 1 frame of 512
    samples and 1.5 of 320.
    """
    return 1 if hop_length == 512 else 2


def _spec(
    name: str, sample_rate: int, hop_length: int, codebooks: int, bandwidths: dict[float, int]
) -> CodecSpec:
    return CodecSpec(
        name=name,
        sample_rate=sample_rate,
        channels=1,
        hop_length=hop_length,
        codebooks=codebooks,
        codebook_size=1024,
        codebook_dim=8,
        bandwidths=bandwidths,
        stereo_streams=True,
        delay=(
            2 * (SAMPLE_BLOCK + LATENT_BLOCK + _sample_context(hop_length))
            + ENCODER_LATENT_CONTEXT
            + DECODER_LATENT_CONTEXT
        )
        * hop_length
        / sample_rate,
    )


# A model is published for one bandwidth; the others are what its quantiser dropout was trained
# for, rounded down to whole codebooks.
SPECS = {
    spec.name: spec
    for spec in (
        _spec("dac-16khz", 16_000, 320, 12, {1: 2, 2: 4, 3: 6, 4: 8, 6: 12}),
        _spec("dac-24khz", 24_000, 320, 32, {1.5: 2, 3: 4, 6: 8, 12: 16, 24: 32}),
        _spec("dac-44khz", 44_100, 512, 9, {1: 1, 2: 2, 4: 4, 6: 6, 8: 9}),
        _spec("dac-44khz-16kbps", 44_100, 512, 18, {2: 2, 4: 4, 8: 9, 12: 13, 16: 18}),
    )
}

_RATES_320 = {"encoder_rates": [2, 4, 5, 8], "decoder_rates": [8, 5, 4, 2]}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "dac-16khz": {"sample_rate": 16_000, "n_codebooks": 12, **_RATES_320},
    "dac-24khz": {"sample_rate": 24_000, "n_codebooks": 32, **_RATES_320},
    "dac-44khz": {"sample_rate": 44_100, "n_codebooks": 9},
    "dac-44khz-16kbps": {"sample_rate": 44_100, "n_codebooks": 18, "latent_dim": 128},
}
"""Arguments of `dac.DAC` where they differ from its defaults; from the configurations (conf/final)
that the models were published with."""


def load(name: str, weights: Path, engine: Engine) -> Codec:
    """The codec `name` of SPECS with the weights of a file in the official or acomp's own layout.

    Raises:
        WeightsError: the file cannot be read or holds other weights than this codec's.
        CodecError: the extra is not installed.
    """
    model, fingerprint = _official(name, weights)
    official = cache(lambda: _official(name, weights)[0])
    network = without_transposed(fold_weight_norm(model))
    if engine.name == "openvino":
        replace_parts(network, lambda part: type(part).__name__ == "Snake1d", PolynomialSnake)
    return Dac(SPECS[name], network, official, fingerprint, engine)


def _official(name: str, weights: Path) -> tuple[Any, str]:
    """The official model with the weights of a file, and their fingerprint."""
    model = _architecture(name)
    return model, load_weights(model, weights, name)


def _architecture(name: str) -> Any:
    """The official model without its weights, a `dac.DAC`."""
    ensure_torchaudio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages that it pulls in
        try:
            from dac.model import DAC
        except ImportError as error:
            raise CodecError(
                f'{name} needs the package descript-audio-codec ({error}): pip install "acomp[dac]"'
            ) from None
        return DAC(**ARCHITECTURES[name])


class Dac(Codec):
    """DAC at any of its sample rates."""

    def __init__(
        self,
        spec: CodecSpec,
        network: Any,
        official: Callable[[], Any],
        fingerprint: str | None,
        engine: Engine,
    ) -> None:
        super().__init__(spec, fingerprint, engine)
        self._network = network
        self._official = official
        self.encoder = _Half(network.encoder.block, 4, engine, f"{spec.name} {fingerprint} encoder")
        self.decoder = _Half(network.decoder.model, 2, engine, f"{spec.name} {fingerprint} decoder")
        self.between = (network.encoder_rates[-1], network.decoder_rates[0])
        """Steps of a frame between the parts of the encoder, and of the decoder."""
        # The quantiser is a small part of the work, and bf16 would spoil it.
        torch_engine = engine if isinstance(engine, TorchEngine) else TorchEngine("fp32")
        self._prepare = partial(torch_engine.prepare, inputs=(), key="", precise=True)
        self.quantiser = cache(self._quantiser_of)
        self.dequantiser = self._prepare(lambda: _Dequantiser(network.quantizer))

    @property
    def module(self) -> nn.Module:
        """A `dac.DAC` with the weights; not the one that runs, which is folded."""
        model: nn.Module = self._official().eval()
        return model

    def codebooks(self) -> NDArray[np.float32]:
        layers = self._network.quantizer.quantizers
        return np.stack([layer.codebook.weight.detach().cpu().numpy() for layer in layers])

    @torch.inference_mode()
    def latent_codebooks(self) -> NDArray[np.float32]:
        layers = self._network.quantizer.quantizers
        projected = [layer.out_proj(layer.codebook.weight.T[None])[0].T for layer in layers]
        return torch.stack(projected).cpu().numpy()

    def stream_encoder(self, info: CodesInfo) -> DacEncoder:
        return DacEncoder(self, info)

    def stream_decoder(self, info: CodesInfo) -> DacDecoder:
        return DacDecoder(self, info)

    def _quantiser_of(self, codebooks: int) -> Runner:
        return self._prepare(lambda: _Quantiser(self._network.quantizer, codebooks))


class PolynomialSnake(nn.Module):
    """DAC's activation x + sin(a x)^2 / a in steps that OpenVINO fuses; its sine is a slow one.

    a x less the nearest multiple of pi, which its square does not change, goes into the sine's
    Taylor series up to the 11th power: off by less than 6e-8.
    """

    def __init__(self, snake: Any) -> None:
        super().__init__()
        self.alpha: Tensor = snake.alpha.detach()
        self.inverse: Tensor = (self.alpha + 1e-9).reciprocal()

    def forward(self, x: Tensor) -> Tensor:
        """`[batch, channels, time]` to the same shape."""
        phase = self.alpha * x
        turns = torch.round(phase * (1 / math.pi))
        # Pi in two parts, the first of few digits, so that the product with it is exact.
        rest = phase - turns * 3.140625 - turns * (math.pi - 3.140625)
        square = rest * rest
        series = torch.full((), -1 / math.factorial(11))
        for power in (9, 7, 5, 3, 1):
            series = series * square + (-1) ** (power // 2) / math.factorial(power)
        sine = rest * series
        return x + self.inverse * (sine * sine)


class _Quantiser(nn.Module):
    def __init__(self, quantiser: Any, codebooks: int) -> None:
        super().__init__()
        self._quantiser = quantiser
        self._codebooks = codebooks

    def forward(self, latents: Tensor) -> Tensor:
        codes: Tensor = self._quantiser(latents, self._codebooks)[1]
        return codes


class _Dequantiser(nn.Module):
    def __init__(self, quantiser: Any) -> None:
        super().__init__()
        self._quantiser = quantiser

    def forward(self, codes: Tensor) -> Tensor:
        latents: Tensor = self._quantiser.from_codes(codes)[0]
        return latents


class _Half:
    """The encoder or the decoder, cut in two parts."""

    def __init__(self, layers: nn.Sequential, cut: int, engine: Engine, key: str) -> None:
        self.first = self._part(layers[:cut], engine, f"{key} first")
        self.second = self._part(layers[cut:], engine, f"{key} second")

    def _part(self, layers: Any, engine: Engine, key: str) -> Runner:
        opening = next(part for part in layers.modules() if hasattr(part, "in_channels"))
        example = Input((1, opening.in_channels, EXAMPLE_STEPS), free=(0, 2))
        return engine.prepare(lambda: layers, [example], key)


def _through(first: InBlocks, second: InBlocks, x: Array) -> Iterator[Array]:
    """What comes out of two parts in a row for the next `x`."""
    for y in first.push(x):
        yield from second.push(y)


def _finish(first: InBlocks, second: InBlocks) -> Iterator[Array]:
    for y in first.finish():
        yield from second.push(y)
    yield from second.finish()


class DacEncoder:
    """Streaming encoder; the streams are the batch."""

    def __init__(self, codec: Dac, info: CodesInfo) -> None:
        self._info = info
        self._ahead = 0
        self._quantise = codec.quantiser(info.codebooks)
        self._parts = (
            InBlocks(
                codec.encoder.first,
                inputs=info.hop_length,
                outputs=codec.between[0],
                context=_sample_context(info.hop_length),
                block=SAMPLE_BLOCK,
            ),
            InBlocks(
                codec.encoder.second,
                inputs=codec.between[0],
                outputs=1,
                context=ENCODER_LATENT_CONTEXT,
                block=LATENT_BLOCK,
            ),
        )

    def push(self, samples: Samples) -> Block:
        self._ahead = (self._ahead + samples.shape[1]) % self._info.hop_length
        return self._blocks(_through(*self._parts, samples[:, np.newaxis]))

    def finish(self) -> Block:
        # DAC.preprocess: silence up to a whole number of frames.
        missing = -self._ahead % self._info.hop_length
        padding = np.zeros((self._info.streams, 1, missing), np.float32)
        rest = chain(_through(*self._parts, padding), _finish(*self._parts))
        return self._blocks(rest)

    def _blocks(self, latents: Iterator[Array]) -> Block:
        codes = [self._quantise(z)[0].astype(np.uint16) for z in latents]
        return join(self._info, [Block(data) for data in codes])


class DacDecoder:
    """Streaming decoder; the streams are the batch."""

    def __init__(self, codec: Dac, info: CodesInfo) -> None:
        self._channels = info.channels
        self._dequantise = codec.dequantiser
        self._parts = (
            InBlocks(
                codec.decoder.first,
                inputs=1,
                outputs=codec.between[1],
                context=DECODER_LATENT_CONTEXT,
                block=LATENT_BLOCK,
            ),
            InBlocks(
                codec.decoder.second,
                inputs=codec.between[1],
                outputs=info.hop_length,
                context=_sample_context(info.hop_length),
                block=SAMPLE_BLOCK,
            ),
        )

    def push(self, block: Block) -> Samples:
        (latents,) = self._dequantise(block.data.astype(np.int64))
        return self._samples(_through(*self._parts, latents))

    def finish(self) -> Samples:
        return self._samples(_finish(*self._parts))

    def _samples(self, parts: Iterator[Array]) -> Samples:
        empty = np.zeros((self._channels, 0), np.float32)
        return np.concatenate([empty, *(audio[:, 0] for audio in parts)], axis=1)
