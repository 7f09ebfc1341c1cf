"""Checkpoints of the official architectures and file layouts, with seeded random weights."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acomp.backends.dac.shape import DacShape
from acomp.backends.encodec.quantisers import Residual
from acomp.backends.encodec.shape import QUANTISERS, EncodecShape
from acomp.backends.families import published_shape
from acomp.backends.shared.shape import Shape
from acomp.backends.weights.checkpoint import save_weights
from acomp.entropy.cascade import CascadeShape
from acomp.torchaudio import ensure_torchaudio
from acomp.training import descent
from acomp.training.cascade import CascadeNetwork

SMALL: dict[str, Shape] = {
    "causal": EncodecShape(
        sample_rate=16_000,
        filters=8,
        residual_layers=3,
        lstm_layers=1,
        dimension=32,
        codebooks=4,
        codebook_size=256,
    ),
    "causal stereo": EncodecShape(
        sample_rate=22_050, channels=2, filters=8, strides=(3, 2, 7), codebooks=3, dimension=16
    ),
    "segments": EncodecShape(
        sample_rate=32_000,
        filters=8,
        strides=(4, 4, 5),
        dimension=24,
        codebooks=5,
        codebook_size=64,
        causal=False,
        norm="time_group_norm",
        segment=0.2,
    ),
    "both sides": EncodecShape(
        sample_rate=16_000,
        filters=8,
        strides=(3, 4, 5),
        dimension=16,
        codebooks=3,
        codebook_size=64,
        lstm_layers=1,
        causal=False,
        shortcut=False,
    ),
    "dac": DacShape(
        sample_rate=16_000,
        strides=(2, 4, 8),
        encoder_width=8,
        decoder_width=64,
        codebooks=4,
        codebook_size=128,
    ),
    "dac of odd strides": DacShape(
        sample_rate=12_000,
        strides=(3, 5),
        encoder_width=8,
        decoder_width=32,
        latent_dimension=20,
        codebooks=2,
        codebook_size=32,
        codebook_dimension=4,
    ),
}
"""Shapes of one's own, of all kinds."""
QUANTISED: dict[str, Shape] = {
    name: EncodecShape(
        sample_rate=16_000,
        filters=8,
        lstm_layers=1,
        dimension=16,
        codebooks=1 if name == "vq" else 3,
        codebook_size=128,
        codebook_dimension=4,
        quantiser=name,
    )
    for name in QUANTISERS
}
"""The same shape with each quantiser."""


def encodec_model(name: str) -> Any:
    """An `encodec.EncodecModel` of full size; its codebooks, zeros when new, are filled."""
    torch.manual_seed(0)
    model: Any = published_shape(name).build()
    for level, layer in enumerate(model.quantizer.vq.layers):
        # Levels get finer, as they are in a trained model, so that all of them matter.
        layer._codebook.embed.normal_(std=0.3 * 0.8**level)
        layer._codebook.inited.fill_(1)
    # With no gain the latents of the 24 kHz network, which has no normalisation, are all but
    # constant, and so are its codes.
    return _lively(model, gain=1.7)


def dac_model(name: str) -> Any:
    """A `dac.DAC` of full size."""
    torch.manual_seed(0)
    return _lively(published_shape(name).build())


def lively(shape: Shape, seed: int = 0) -> Any:
    """The official module with random weights, whose codes vary."""
    torch.manual_seed(seed)
    model: Any = shape.build()
    if isinstance(shape, DacShape):
        return _lively(model)
    assert isinstance(shape, EncodecShape)
    _lively(model, gain=1.7)
    with torch.no_grad():
        if isinstance(model.quantizer.vq, Residual):
            sound = 0.3 * torch.randn(1, shape.channels, 8 * shape.sample_rate)
            descent.start(model.quantizer.vq, model.encoder(sound)[0].T)
            return model
        latents = model.encoder(0.3 * torch.randn(1, shape.channels, shape.sample_rate))[0]
        centre, spread = latents.mean(-1), latents.std(-1)
        for layer in model.quantizer.vq.layers:
            layer._codebook.embed.normal_().mul_(spread).add_(centre)
            layer._codebook.inited.fill_(1)
            spread, centre = 0.7 * spread, torch.zeros_like(centre)
    return model


@torch.no_grad()
def _lively(model: Any, gain: float = 1.0) -> Any:
    """A new model whose sound comes through and whose parts differ, as in a trained one."""
    for part in model.modules():
        if hasattr(part, "weight_g"):
            part.weight_g.mul_(gain)
        elif isinstance(part, nn.GroupNorm):
            part.weight.uniform_(0.5, 1.5)
            part.bias.normal_(std=0.1)
        elif type(part).__name__ == "Snake1d":
            part.alpha.uniform_(0.1, 4)
    return model.eval()


def save_encodec(model: Any, path: Path) -> Path:
    """A flat dictionary of tensors, as the official `.th` files are."""
    torch.save(model.state_dict(), path)
    return path


def save_dac(model: Any, path: Path) -> Path:
    """Tensors and the arguments they were made with, as the official `.pth` files are."""
    metadata = {"kwargs": {"sample_rate": model.sample_rate, "n_codebooks": model.n_codebooks}}
    torch.save({"state_dict": model.state_dict(), "metadata": metadata}, path)
    return path


def encodec_language_model(codebooks: int, past_context: int, seed: int = 0) -> Any:
    """An `encodec.model.LMModel` of full width that holds some entries far likelier than others."""
    ensure_torchaudio()
    from encodec.model import LMModel

    torch.manual_seed(seed)
    model: Any = LMModel(codebooks, 1024, num_layers=5, dim=200, past_context=past_context)
    with torch.no_grad():
        for linear in model.linears:
            linear.weight.mul_(8)
    return model.eval()


def cascade_network(shape: CascadeShape, seed: int = 0) -> CascadeNetwork:
    """Random weights that tell some entries as far likelier than others, each in other contexts."""
    torch.manual_seed(seed)
    network = CascadeNetwork(shape)
    with torch.no_grad():
        network.entries.mul_(10)
        for part in (network.before, network.within, network.second):
            part.mul_(3)
        for part in (network.number, network.first_bias, network.second_bias, network.narrow_bias):
            part.normal_(std=0.3)
        network.norm[:, 0].uniform_(0.5, 1.5)
        network.norm[:, 1].normal_(std=0.1)
        network.entries_bias.normal_()
    return network.eval()


def save_cascade(shape: CascadeShape, path: Path, seed: int = 0) -> Path:
    """The file of acomp's own language model."""
    save_weights(path, cascade_network(shape, seed).weights(), shape)
    return path


def asking_for_memory(made: str) -> bytes:
    """An archive as torch's, whose pickle calls a function of Python's with 64 GiB."""
    pickled = b"\x80\x02}X\x01\x00\x00\x00acbuiltins\n%s\n\x8a\x05%s\x85Rs." % (
        made.encode(),
        (1 << 36).to_bytes(5, "little"),
    )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        archive.writestr("x/padding", b" " * 999)
    return target.getvalue()
