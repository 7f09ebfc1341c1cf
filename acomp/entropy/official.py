"""EnCodec's own entropy coding (https://arxiv.org/abs/2210.13438, section 3.3), for `.ecdc` files.

Language model, quantised probabilities and arithmetic coder are those of the `encodec` package,
called step by step as `encodec.compress` calls them, so the bytes are the same as the package
writes on the same machine. On another machine, with another version of torch or another number of
threads, the probabilities may be rounded differently; a single difference makes everything after it
undecodable.
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
"""Highest bit of the coder's range; `ArithmeticCoder` asserts it."""

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
        WeightsError: the weights cannot be downloaded, or are those of something else.
    """
    spec = SPECS[codec]
    name = f"{codec}-lm"
    # On the meta device, so that initialising weights that are replaced takes no time and draws no
    # random numbers.
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
    """Computes the quantised probabilities of the codes of each frame, given the frames before."""

    def __init__(self, model: nn.Module, codebooks: int, range_bits: int) -> None:
        self._model = model
        self._range_bits = range_bits
        self._states: list[Tensor] | None = None
        self._offset = 0
        self._before = torch.zeros(1, codebooks, 1, dtype=torch.long)

    def next(self) -> list[Tensor]:
        """The cumulative probabilities of the next frame, `[codebook_size]` for each codebook.

        Raises:
            WeightsError: the probabilities are not finite.
        """
        with torch.no_grad():
            chances, self._states, self._offset = self._model(
                self._before, self._states, self._offset
            )
        if not torch.isfinite(chances.sum()):
            raise WeightsError(
                "the probabilities of the language model are not finite: its weights are damaged"
            )
        return [
            build_stable_quantized_cdf(chances[0, :, level, 0], self._range_bits, check=False)
            for level in range(chances.shape[2])
        ]

    def follow(self, codes: list[int]) -> None:
        """Take the actual codes of the frame, one of each codebook."""
        self._before = 1 + torch.tensor(codes, dtype=torch.long).view(1, -1, 1)


class OfficialEncoder:
    """Encodes frames in order to a stream; each segment has an encoder of its own."""

    def __init__(self, model: nn.Module, codebooks: int, stream: IO[bytes]) -> None:
        self._coder = ArithmeticCoder(stream)
        self._predictor = _Predictor(model, codebooks, self._coder.total_range_bits)

    def push(self, codes: NDArray[np.uint16]) -> None:
        """Encode the next codes, `[codebooks, frames]`.

        Raises:
            FormatError: the coder cannot go on, once in a hundred billion codes.
            WeightsError: the probabilities are not finite.
        """
        for frame in codes.T.tolist():
            for code, cumulative in zip(frame, self._predictor.next(), strict=True):
                self._step(code, cumulative)
            self._predictor.follow(frame)

    def _step(self, code: int, cumulative: Tensor) -> None:
        try:
            self._coder.push(code, cumulative)
        except AssertionError as error:
            # The coder's range has straddled a power of two for too many bits.
            raise FormatError(
                "EnCodec's arithmetic coder cannot code these: take entropy none"
            ) from error
        _forget(self._coder)

    def finish(self) -> None:
        self._coder.flush()  # type: ignore[no-untyped-call]


class OfficialDecoder:
    """Decodes what an `OfficialEncoder` wrote, without reading a byte more."""

    def __init__(self, model: nn.Module, codebooks: int, source: Readable) -> None:
        self._source = source
        self._decoder = ArithmeticDecoder(cast(IO[bytes], source))
        self._predictor = _Predictor(model, codebooks, self._decoder.total_range_bits)

    def pull(self, frames: int) -> NDArray[np.uint16]:
        """The next codes, `[codebooks, frames]`.

        Raises:
            FormatError: the bytes end too early, or were coded with other probabilities, which
                often shows only at the end.
            WeightsError: the probabilities are not finite.
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
        # No encoder gets here; the coder's numbers would grow without bounds.
        if self._decoder.max_bit > MAX_BIT:
            raise FormatError(f"cannot be decoded: {_OTHERWISE}")
        _forget(self._decoder)
        return code

    def finish(self) -> None:
        """Check that the stream ends after the last code.

        Raises:
            FormatError: it does not.
        """
        if self._source.read(1):
            raise FormatError(f"has bytes after its last code: {_OTHERWISE}")


def _forget(coder: Any) -> None:
    """Drop the package's debugging notes on each code, so that memory does not grow."""
    coder._dbg.clear()
    coder._dbg2.clear()
