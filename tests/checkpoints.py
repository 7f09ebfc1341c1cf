"""Checkpoints of the official architectures and file layouts, with seeded random weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from acomp.backends import dac, encodec


def encodec_model(name: str) -> Any:
    """An `encodec.EncodecModel` of full size; its codebooks, zeros when new, are filled."""
    torch.manual_seed(0)
    model = encodec._architecture(name)
    for level, layer in enumerate(model.quantizer.vq.layers):
        # Levels get finer, as they are in a trained model, so that all of them matter.
        layer._codebook.embed.normal_(std=0.3 * 0.8**level)
        layer._codebook.inited.fill_(1)
    return model.eval()


def dac_model(name: str) -> Any:
    """A `dac.DAC` of full size."""
    torch.manual_seed(0)
    return dac._architecture(name).eval()


def save_encodec(model: Any, path: Path) -> Path:
    """A flat dictionary of tensors, as the official `.th` files are."""
    torch.save(model.state_dict(), path)
    return path


def save_dac(model: Any, path: Path) -> Path:
    """Tensors and the arguments they were made with, as the official `.pth` files are."""
    metadata = {"kwargs": {"sample_rate": model.sample_rate, "n_codebooks": model.n_codebooks}}
    torch.save({"state_dict": model.state_dict(), "metadata": metadata}, path)
    return path
