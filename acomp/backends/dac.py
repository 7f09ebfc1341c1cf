"""DAC, the Descript Audio Codec (https://arxiv.org/abs/2306.06546), on `descript-audio-codec`.

The network is one channel wide; stereo is coded as two streams. Its convolutions see a finite
stretch on both sides, so it is run in blocks with that much context, and the codes are those of
`DAC.encode` on the whole file. The audio is coded at the level it has.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acomp.backends.base import Codec, CodecSpec, Samples
from acomp.backends.checkpoint import load_weights
from acomp.codes import Block, CodesInfo, join
from acomp.engines.torch import InBlocks, pick_device, to_tensor
from acomp.engines.torchaudio import ensure_torchaudio
from acomp.errors import CodecError


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

ENCODER_CONTEXT = 8
"""Frames that the encoder sees on either side: 3733 samples of 512 a frame at 44.1 kHz, 2476 of 320
at 16 and 24 kHz."""
DECODER_CONTEXT = 12
"""Frames that the decoder sees on either side; it reaches about 10."""
BLOCK_SECONDS = 2.0


def load(name: str, weights: Path, device: str) -> Codec:
    """The codec `name` of SPECS with the weights of a file in the official or acomp's own layout.

    Raises:
        WeightsError: the file cannot be read or holds other weights than this codec's.
        CodecError: the extra is not installed, or there is no such device.
    """
    target = pick_device(device)
    model = _architecture(name)
    fingerprint = load_weights(model, weights, name)
    return Dac(SPECS[name], model.to(target), fingerprint)


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

    def __init__(self, spec: CodecSpec, model: Any, fingerprint: str | None) -> None:
        super().__init__(spec, fingerprint)
        self._model = model.eval()
        self.device = next(model.parameters()).device

    @property
    def module(self) -> nn.Module:
        """The `dac.DAC`."""
        model: nn.Module = self._model
        return model

    def codebooks(self) -> NDArray[np.float32]:
        layers = self._model.quantizer.quantizers
        return np.stack([layer.codebook.weight.detach().cpu().numpy() for layer in layers])

    @torch.inference_mode()
    def latent_codebooks(self) -> NDArray[np.float32]:
        layers = self._model.quantizer.quantizers
        projected = [layer.out_proj(layer.codebook.weight.T[None])[0].T for layer in layers]
        return torch.stack(projected).cpu().numpy()

    def stream_encoder(self, info: CodesInfo) -> DacEncoder:
        return DacEncoder(self, info)

    def stream_decoder(self, info: CodesInfo) -> DacDecoder:
        return DacDecoder(self, info)


class DacEncoder:
    """Streaming encoder; the streams are the batch."""

    def __init__(self, codec: Dac, info: CodesInfo) -> None:
        self._codec = codec
        self._info = info
        self._ahead = 0
        self._run = InBlocks(
            codec._model.encoder,
            inputs=info.hop_length,
            outputs=1,
            left=ENCODER_CONTEXT,
            right=ENCODER_CONTEXT,
            block=int(BLOCK_SECONDS * info.frame_rate),
        )

    @torch.inference_mode()
    def push(self, samples: Samples) -> Block:
        self._ahead = (self._ahead + samples.shape[1]) % self._info.hop_length
        return self._blocks(self._run.push(self._tensor(samples)))

    @torch.inference_mode()
    def finish(self) -> Block:
        # DAC.preprocess: silence up to a whole number of frames.
        missing = -self._ahead % self._info.hop_length
        padding = np.zeros((self._info.streams, missing), np.float32)
        return self._blocks(self._run.push(self._tensor(padding)) + self._run.finish())

    def _tensor(self, samples: Samples) -> torch.Tensor:
        return to_tensor(samples, self._codec.device)[:, None]

    def _blocks(self, latents: list[torch.Tensor]) -> Block:
        return join(self._info, [self._quantise(z) for z in latents])

    def _quantise(self, latents: torch.Tensor) -> Block:
        codes = self._codec._model.quantizer(latents, self._info.codebooks)[1]
        return Block(codes.cpu().numpy().astype(np.uint16))


class DacDecoder:
    """Streaming decoder; the streams are the batch."""

    def __init__(self, codec: Dac, info: CodesInfo) -> None:
        self._codec = codec
        self._channels = info.channels
        self._run = InBlocks(
            codec._model.decoder,
            inputs=1,
            outputs=info.hop_length,
            left=DECODER_CONTEXT,
            right=DECODER_CONTEXT,
            block=int(BLOCK_SECONDS * info.frame_rate),
        )

    @torch.inference_mode()
    def push(self, block: Block) -> Samples:
        codes = torch.from_numpy(block.data.astype(np.int64)).to(self._codec.device)
        latents = self._codec._model.quantizer.from_codes(codes)[0]
        return self._samples(self._run.push(latents))

    @torch.inference_mode()
    def finish(self) -> Samples:
        return self._samples(self._run.finish())

    def _samples(self, audio: list[torch.Tensor]) -> Samples:
        if not audio:
            return np.zeros((self._channels, 0), np.float32)
        return torch.cat(audio, dim=-1)[:, 0].cpu().numpy()
