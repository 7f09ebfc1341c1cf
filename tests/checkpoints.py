"""Checkpoints of the official architectures and file layouts, with seeded random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from acomp.backends import dac, encodec


def encodec_model(name: str) -> Any:
    """An `encodec.EncodecModel` of full size; its codebooks, zeros when new, are filled."""
    torch.manual_seed(0)
    model = encodec._architecture(name)
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
    return _lively(dac._architecture(name))


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
