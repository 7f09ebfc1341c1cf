"""Decoded audio whose loudness only the whole tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

import numpy as np

from acomp.audio import AudioWriter
from acomp.audio.samples import Samples
from acomp.backends.streaming import Decoder
from acomp.errors import AudioError
from acomp.files import Closing, reason_of

_READ_VALUES = 1 << 22
"""Samples of all channels that are read back at a time, at most."""


class Level(Closing):
    """Samples that wait in a temporary file for the gains that the decoder ends with."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        with _keeping():
            self._file = TemporaryFile()  # noqa: SIM115 - `close` closes it

    def write(self, samples: Samples) -> None:
        with _keeping():
            self._file.write(samples.T.tobytes())

    def pass_on(self, sink: AudioWriter) -> None:
        """Write all samples to a sink at their own loudness, once the decoder has finished."""
        gains, channels = self._decoder.gains, self._decoder.info.channels
        assert gains is not None
        with _keeping():
            self._file.seek(0)
        while data := self._file.read(_READ_VALUES // channels * channels * 4):
            sink.write(np.frombuffer(data, np.float32).reshape(-1, channels).T * gains)

    def close(self) -> None:
        with _keeping():
            self._file.close()


@contextmanager
def _keeping() -> Iterator[None]:
    try:
        yield
    except OSError as failure:
        raise AudioError(
            "the decoded audio, which waits until its loudness is known, cannot be kept in "
            f"the folder for temporary files: {reason_of(failure)}"
        ) from failure
