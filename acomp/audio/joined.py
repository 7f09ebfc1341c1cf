"""Reading files that were made by joining several, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from acomp.audio.base import AudioReader
from acomp.audio.findings import Findings
from acomp.audio.samples import Samples

Part = Callable[[float], AudioReader]
"""Opens a part, given the seconds of audio before it."""


class JoinedReader(AudioReader):
    """Reads the parts one after the other, each with a reader of its own.

    Raises:
        AudioError: the first part cannot be read.
    """

    def __init__(self, findings: Findings, parts: Sequence[Part]) -> None:
        self._parts = list(parts[1:])
        self._part = parts[0](0.0)
        super().__init__(findings, self._part.sample_rate, self._part.channels, None)
        self.resources.callback(lambda: self._part.close())

    def _read(self, count: int) -> Samples:
        block = self._part._next(count)
        while not block.shape[1] and self._go_on():
            block = self._part._next(count)
        return block

    def _go_on(self) -> bool:
        """Open the next part; False if there is none."""
        self._part._check_end()
        if not self._parts:
            return False
        self._part.close()
        before = self._position / self.sample_rate
        self._part = self._parts.pop(0)(before)
        rate, channels = self._part.sample_rate, self._part.channels
        if (rate, channels) != (self.sample_rate, self.channels):
            self._findings.lost(
                f"joined of parts that differ: {before:.2f} s in, {self.channels} channels at "
                f"{self.sample_rate} Hz become {channels} at {rate}"
            )
            self._parts.clear()
            return False
        return True
