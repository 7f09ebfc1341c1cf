"""Coding a recording into a file and back by a codec of acomp's."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from acomp.audio import Audio
from acomp.backends.base import Codec
from acomp.evaluation.yardsticks import Coder
from acomp.formats import read_codes, write_codes


class NeuralCoder(Coder):
    """A codec of acomp's. Its times are those of the codec, without reading and writing files."""

    def __init__(self, codec: Codec, bandwidth: float | None) -> None:
        self._codec = codec
        self._bandwidth = bandwidth
        codec.warm_up(bandwidth)

    def encode(self, audio: Audio, target: Path) -> float:
        began = perf_counter()
        codes = self._codec.encode(audio, bandwidth=self._bandwidth)
        seconds = perf_counter() - began
        write_codes(target, codes)
        return seconds

    def decode(self, source: Path, sample_rate: int) -> tuple[Audio, float]:
        codes = read_codes(source)
        began = perf_counter()
        audio = self._codec.decode(codes, sample_rate=sample_rate)
        return audio, perf_counter() - began
