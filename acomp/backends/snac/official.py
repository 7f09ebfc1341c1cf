"""SNAC as its own package, `snac`, has it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from acomp.audio import Audio
from acomp.audio.samples import Samples
from acomp.backends.shared.levels import fold, unfold
from acomp.backends.snac.shape import SnacShape
from acomp.codes import Codes
from acomp.errors import CodecError


def build(shape: SnacShape) -> nn.Module:
    """A `snac.SNAC` in eval mode, with weights drawn at random.

    Raises:
        CodecError: the package is not installed.
    """
    try:
        from snac import SNAC
    except ImportError as error:
        raise CodecError(
            f'SNAC needs the package snac ({error}): pip install "acomp[snac]"'
        ) from None
    model: nn.Module = SNAC(**shape.config)
    return model.eval()


def opened(path: Path, name: str) -> nn.Module:  # noqa: ARG001
    """The package's model of a folder."""
    from snac import SNAC

    model: nn.Module = SNAC.from_pretrained(str(path))
    return model


class Side:
    """The package timed, as its README has it, with codes of all levels; it draws new noise for
    each sound.
    """

    def __init__(self, model: Any, audio: Audio, codes: Codes) -> None:
        self._model = model
        self._audio = torch.from_numpy(audio.samples)[:, None]
        coarsest, *_ = model.vq_strides
        levels = unfold(codes.data, [coarsest // stride for stride in model.vq_strides])
        self._codes = [torch.from_numpy(level) for level in levels]

    @torch.inference_mode()
    def encode(self) -> NDArray[np.integer[Any]]:
        return fold([level.numpy() for level in self._model.encode(self._audio)])

    @torch.inference_mode()
    def decode(self) -> Samples:
        samples: Samples = self._model.decode(self._codes)[:, 0].numpy()
        return samples
