"""EnCodec as its own package, `encodec`, has it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.audio import Audio
from acomp.audio.samples import Samples
from acomp.backends.encodec.quantisers import build_quantiser
from acomp.backends.encodec.shape import EncodecShape
from acomp.codecs import SPECS
from acomp.codes import Codes
from acomp.quiet import quiet
from acomp.torchaudio import ensure_torchaudio


def build(shape: EncodecShape) -> nn.Module:
    """An `encodec.EncodecModel` in eval mode, with weights drawn at random and codebooks of zeros,
    which the package fills in training.
    """
    ensure_torchaudio()
    with quiet():  # torch's old weight_norm is deprecated
        from encodec.model import EncodecModel
        from encodec.modules.seanet import SEANetDecoder, SEANetEncoder
        from encodec.quantization.vq import ResidualVectorQuantizer

        layout: dict[str, Any] = {
            "channels": shape.channels,
            "dimension": shape.dimension,
            "n_filters": shape.filters,
            "n_residual_layers": shape.residual_layers,
            "ratios": list(reversed(shape.strides)),
            "norm": shape.norm,
            "causal": shape.causal,
            "lstm": shape.lstm_layers,
            "true_skip": not shape.shortcut,
            "pad_mode": {"reflect": "reflect", "zero": "constant"}[shape.padding],
        }
        model: nn.Module = EncodecModel(
            SEANetEncoder(**layout),
            SEANetDecoder(**layout),
            ResidualVectorQuantizer(shape.dimension, shape.codebooks, shape.codebook_size),
            target_bandwidths=_bandwidths(shape),
            sample_rate=shape.sample_rate,
            channels=shape.channels,
            normalize=shape.segment is not None,
            segment=None if shape.segment is None else _segment(shape),
        )
        own = build_quantiser(shape)
        if own is not None:
            quantizer: Any = model.quantizer
            quantizer.vq = own
    return model.eval()


def _bandwidths(shape: EncodecShape) -> list[float]:
    """Bandwidths in kbps by which the package's `set_target_bandwidth` finds each number of
    codebooks: it rounds the frame rate up, and what it divides by it down.
    """
    each = math.log2(shape.codebook_size) * math.ceil(shape.sample_rate / shape.hop_length) / 1000
    exact = ((count, count * each) for count in shape.offered_codebooks())
    return [x if x // each == count else math.nextafter(x, math.inf) for count, x in exact]


def _segment(shape: EncodecShape) -> float:
    """Seconds of which the package, which rounds down, makes `segment_length` samples."""
    seconds = shape.segment_length / shape.sample_rate
    exact = int(seconds * shape.sample_rate) == shape.segment_length
    return seconds if exact else math.nextafter(seconds, math.inf)


@torch.no_grad()
def random_weights(shape: EncodecShape, samples: Samples) -> dict[str, Tensor]:
    """Weights drawn at random, with codebooks by which each frame of real audio has its own codes.

    The entries lie where the untrained encoder's latents do, and get finer with each level, as
    training makes them. Elsewhere one code would be the nearest to every frame, and equal codes
    would tell nothing of what made them.

    Args:
        shape: the network's.
        samples: `[channels, time]`, a second or so of real audio at the network's rate.
    """
    model: Any = build(shape)
    level = samples.std() if model.normalize else 1
    latents = model.encoder(torch.from_numpy(samples / level)[None])[0]
    centre, spread = latents.mean(dim=-1), latents.std(dim=-1)
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_().mul_(spread).add_(centre)
        spread, centre = 0.8 * spread, torch.zeros_like(centre)
    return dict(model.state_dict())


def opened(path: Path, name: str) -> nn.Module:
    """The package's model of a published codec with the state dict of a file."""
    ensure_torchaudio()
    with quiet():  # torch's old weight_norm is deprecated
        from encodec.model import EncodecModel

        stereo = SPECS[name].channels == 2
        make = EncodecModel.encodec_model_48khz if stereo else EncodecModel.encodec_model_24khz
        model: nn.Module = make(pretrained=False)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model


class Side:
    """The package timed, as its README has it."""

    def __init__(self, model: Any, audio: Audio, codes: Codes) -> None:
        self._model = model
        self._audio = torch.from_numpy(audio.samples)[None]
        self._frames = _frames(codes)
        model.set_target_bandwidth(codes.info.bandwidth)

    @torch.no_grad()
    def encode(self) -> NDArray[np.integer[Any]]:
        frames = self._model.encode(self._audio)
        codes: NDArray[np.integer[Any]] = torch.cat([part for part, _ in frames], dim=-1).numpy()
        return codes

    @torch.no_grad()
    def decode(self) -> Samples:
        samples: Samples = self._model.decode(self._frames)[0].numpy()
        return samples


def _frames(codes: Codes) -> list[tuple[Tensor, Tensor | None]]:
    """The codes as `EncodecModel.decode` takes them: a part, and a scale, for each segment."""
    data = torch.from_numpy(codes.data.astype(np.int64))
    if codes.segments is None:
        return [(data, None)]
    parts = torch.split(data, [int(frames) for frames in codes.segments.frames], dim=-1)
    scales = torch.from_numpy(codes.segments.scales)
    return [(part, scale.view(1, 1)) for part, scale in zip(parts, scales, strict=True)]
