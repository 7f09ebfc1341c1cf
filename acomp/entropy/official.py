"""EnCodec's own entropy coding (https://arxiv.org/abs/2210.13438, section 3.3), for `.ecdc` files.

Language model, quantised probabilities and arithmetic coder are the `encodec` package's, called
step by step as `encodec.compress` calls them: what is written here is to the last bit what it
writes on the same machine. On another one, with another version of torch or another number of
threads, the probabilities may round otherwise, and one that does spoils all that follows it.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import IO, Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from acomp.backends.weights.cache import fetch
from acomp.backends.weights.checkpoint import load_weights
from acomp.codecs import SPECS
from acomp.entropy.encodec import CONTEXT_SECONDS, LAYERS, WIDTH
from acomp.errors import FormatError, WeightsError
from acomp.torchaudio import ensure_torchaudio

ensure_torchaudio()

from encodec.model import LMModel  # noqa: E402 - it imports torchaudio
from encodec.quantization.ac import (  # noqa: E402
    ArithmeticCoder,
    ArithmeticDecoder,
    build_stable_quantized_cdf,
)

MAX_BIT = 61
"""Highest bit of the range that the coder works in; `ArithmeticCoder` asserts it."""

_OTHERWISE = (
    "it is damaged, or was written with another language model, or where probabilities round "
    "otherwise (another machine, version of torch or number of threads)"
)


class Readable(Protocol):
    """Bytes to decode."""

    def read(self, count: int, /) -> bytes: ...


def load_language_model(codec: str, file: Path | None) -> nn.Module:
    """The official language model of `codec`, with its published weights or those of `file`.

    Raises:
        WeightsError: they are not here and cannot be fetched, or are of something else.
    """
    spec = SPECS[codec]
    name = f"{codec}-lm"
    # On no device: neither time nor torch's random numbers go into weights that are replaced.
    with torch.device("meta"):
        model: nn.Module = LMModel(
            spec.codebooks,
            spec.codebook_size,
            num_layers=LAYERS,
            dim=WIDTH,
            past_context=int(CONTEXT_SECONDS * math.ceil(spec.frame_rate)),
        )
    model = model.to_empty(device="cpu")
    load_weights(model, file or fetch(name), name)
    return model.eval()


class _Predictor:
    """The quantised probabilities of each frame's codes, given the frames before."""

    def __init__(self, model: nn.Module, codebooks: int, range_bits: int) -> None:
        self._model = model
        self._range_bits = range_bits
        self._states: list[Tensor] | None = None
        self._offset = 0
        self._before = torch.zeros(1, codebooks, 1, dtype=torch.long)

    def next(self) -> list[Tensor]:
        """Cumulative, `[codebook_size]`, for each codebook.

        Raises:
            WeightsError: the model gives no numbers.
        """
        with torch.no_grad():
            chances, self._states, self._offset = self._model(
                self._before, self._states, self._offset
            )
        if not torch.isfinite(chances.sum()):
            raise WeightsError("the language model gives no probabilities: its weights are no good")
        return [
            build_stable_quantized_cdf(chances[0, :, level, 0], self._range_bits, check=False)
            for level in range(chances.shape[2])
        ]

    def follow(self, codes: list[int]) -> None:
        """Take the codes that the frame did have."""
        self._before = 1 + torch.tensor(codes, dtype=torch.long).view(1, -1, 1)


class OfficialEncoder:
    """Codes frames, in order, into a stream; `encodec` begins anew with each segment."""

    def __init__(self, model: nn.Module, codebooks: int, stream: IO[bytes]) -> None:
        self._coder = ArithmeticCoder(stream)
        self._predictor = _Predictor(model, codebooks, self._coder.total_range_bits)

    def push(self, codes: NDArray[np.uint16]) -> None:
        """Take `[codebooks, frames]`.

        Raises:
            FormatError: the coder cannot go on, once in a hundred billion codes.
            WeightsError: the model gives no numbers.
        """
        for frame in codes.T.tolist():
            for code, cumulative in zip(frame, self._predictor.next(), strict=True):
                self._step(code, cumulative)
            self._predictor.follow(frame)

    def _step(self, code: int, cumulative: Tensor) -> None:
        try:
            self._coder.push(code, cumulative)
        except AssertionError as error:
            # Its range has come to lie around a power of two for too many bits.
            raise FormatError(
                "EnCodec's arithmetic coder cannot code these: take entropy none"
            ) from error
        _forget(self._coder)

    def finish(self) -> None:
        self._coder.flush()  # type: ignore[no-untyped-call]


class OfficialDecoder:
    """Decodes what an `OfficialEncoder` wrote, and takes not one byte more."""

    def __init__(self, model: nn.Module, codebooks: int, source: Readable) -> None:
        self._source = source
        self._decoder = ArithmeticDecoder(cast(IO[bytes], source))
        self._predictor = _Predictor(model, codebooks, self._decoder.total_range_bits)

    def pull(self, frames: int) -> NDArray[np.uint16]:
        """The next codes, `[codebooks, frames]`.

        Raises:
            FormatError: they end too early, or were coded with other probabilities; often only
                their end tells.
            WeightsError: the model gives no numbers.
        """
        return np.array([self._frame() for _ in range(frames)], np.uint16).T

    def _frame(self) -> list[int]:
        codes = [self._step(cumulative) for cumulative in self._predictor.next()]
        self._predictor.follow(codes)
        return codes

    def _step(self, cumulative: Tensor) -> int:
        try:
            code: int | None = self._decoder.pull(cumulative)
        except (AssertionError, RuntimeError) as error:
            raise FormatError(f"cannot be decoded: {_OTHERWISE}") from error
        if code is None:
            raise FormatError(f"ends before its last code: {_OTHERWISE}")
        # Numbers beyond, which no encoder lets come, would grow and grow.
        if self._decoder.max_bit > MAX_BIT:
            raise FormatError(f"cannot be decoded: {_OTHERWISE}")
        _forget(self._decoder)
        return code

    def finish(self) -> None:
        """See that the stream ends after the last code of all.

        Raises:
            FormatError: it does not.
        """
        if self._source.read(1):
            raise FormatError(f"has bytes after its last code: {_OTHERWISE}")


def _forget(coder: Any) -> None:
    """Drop what the package notes of each code for debugging: memory must not grow."""
    coder._dbg.clear()
    coder._dbg2.clear()
