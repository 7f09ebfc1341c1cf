"""Mimi as the package `transformers` has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.audio import Audio
from acomp.audio.samples import Samples
from acomp.backends.mimi.shape import MimiShape
from acomp.backends.weights.checkpoint import load_checkpoint
from acomp.codes import Codes
from acomp.engines.apart import apart_to_load
from acomp.errors import CodecError
from acomp.torchaudio import ensure_torchaudio


@apart_to_load()
def official_model(shape: MimiShape, state: Mapping[str, Tensor]) -> nn.Module:
    """A `transformers.MimiModel` of a shape, with the tensors of a checkpoint.

    Raises:
        CodecError: the package is missing or broken.
    """
    transformers = _import_transformers()
    config = _config(transformers, shape)
    with _quiet(transformers.utils.logging), torch.random.fork_rng(devices=[]):
        # With no name to load, nothing is looked up; the tensors only get the names that the
        # installed version has for them.
        model: nn.Module = transformers.MimiModel.from_pretrained(
            None, config=config, state_dict=dict(state)
        )
    return model.eval()


def load(shape: MimiShape, weights: Path, name: str) -> nn.Module:  # noqa: ARG001
    """As `official_model`, with the weights of a `model.safetensors`."""
    return official_model(shape, load_checkpoint(weights).state)


def _config(transformers: Any, shape: MimiShape) -> Any:
    fields = {**asdict(shape), "upsampling_ratios": list(shape.upsampling_ratios)}
    return transformers.MimiConfig(
        **fields,
        head_dim=shape.head_dim,
        num_key_value_heads=shape.num_attention_heads,
        upsample_groups=shape.hidden_size,
    )


def opened(path: Path, name: str) -> nn.Module:  # noqa: ARG001
    """The package's model of a folder."""
    transformers = _import_transformers()
    with _quiet(transformers.utils.logging):
        model: nn.Module = transformers.MimiModel.from_pretrained(path)
    return model


class Side:
    """The package timed, as its documentation has it."""

    def __init__(self, model: Any, audio: Audio, codes: Codes) -> None:
        self._model = model
        self._audio = torch.from_numpy(audio.samples)[:, None]
        self._codes = torch.from_numpy(codes.data.astype(np.int64))

    @torch.no_grad()
    def encode(self) -> NDArray[np.integer[Any]]:
        found = self._model.encode(self._audio, num_quantizers=self._codes.shape[1])
        codes: NDArray[np.integer[Any]] = found.audio_codes.numpy()
        return codes

    @torch.no_grad()
    def decode(self) -> Samples:
        samples: Samples = self._model.decode(self._codes).audio_values[:, 0].numpy()
        return samples


def _import_transformers() -> Any:
    try:
        ensure_torchaudio()  # which transformers imports too
        transformers = import_module("transformers")
        import_module("transformers.models.mimi")
    except ImportError as error:
        raise CodecError(
            "the module of mimi is one of the package transformers, which is missing or too old: "
            'pip install "acomp[mimi]"'
        ) from error
    return transformers


@contextmanager
def _quiet(logging: Any) -> Iterator[None]:
    """Keep transformers from showing progress and advice."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
