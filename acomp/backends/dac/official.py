"""DAC as its own package, `descript-audio-codec`, has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acomp.audio import Audio
from acomp.audio.samples import Samples
from acomp.backends.dac.shape import DacShape
from acomp.codes import Codes
from acomp.errors import CodecError
from acomp.quiet import quiet
from acomp.torchaudio import ensure_torchaudio


def build(shape: DacShape) -> nn.Module:
    """A `dac.DAC` in eval mode, with weights drawn at random.

    Raises:
        CodecError: the package is not installed.
    """
    ensure_torchaudio()
    with quiet():  # of the packages that it pulls in
        try:
            from dac.model import DAC
        except ImportError as error:
            raise CodecError(
                f'DAC needs the package descript-audio-codec ({error}): pip install "acomp[dac]"'
            ) from None
        model: nn.Module = DAC(
            encoder_dim=shape.encoder_width,
            encoder_rates=list(shape.strides),
            latent_dim=shape.latent_dimension,
            decoder_dim=shape.decoder_width,
            decoder_rates=list(reversed(shape.strides)),
            n_codebooks=shape.codebooks,
            codebook_size=shape.codebook_size,
            codebook_dim=shape.codebook_dimension,
            sample_rate=shape.sample_rate,
        )
    return model.eval()


def opened(path: Path, name: str) -> nn.Module:  # noqa: ARG001
    """The package's model of a file."""
    ensure_torchaudio()
    with quiet():  # of the packages that it pulls in
        from dac import DAC

        model: nn.Module = DAC.load(str(path))
    return model.eval()


class Side:
    """The package timed: `encode` as its README has it, and its way from codes to samples."""

    def __init__(self, model: Any, audio: Audio, codes: Codes) -> None:
        self._model = model
        self._rate = audio.sample_rate
        self._samples = torch.from_numpy(audio.samples)[None]
        self._codes = torch.from_numpy(codes.data.astype(np.int64))

    @torch.no_grad()
    def encode(self) -> NDArray[np.integer[Any]]:
        x = self._model.preprocess(self._samples, self._rate)
        codes: NDArray[np.integer[Any]] = self._model.encode(x)[1].numpy()
        return codes

    @torch.no_grad()
    def decode(self) -> Samples:
        latents = self._model.quantizer.from_codes(self._codes)[0]
        samples: Samples = self._model.decode(latents)[0].numpy()
        return samples
