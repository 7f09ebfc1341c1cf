"""Reading with libsndfile: uncompressed samples in many kinds of files, and Ogg Vorbis and Opus."""

from __future__ import annotations

from typing import Any

import numpy as np

from acomp.audio.base import AudioReader
from acomp.audio.findings import Findings
from acomp.audio.samples import Samples
from acomp.audio.streams import Window


def open_libsndfile(window: Window, findings: Findings) -> AudioReader | None:
    """Open the part of a file that a window shows.

    Returns None if libsndfile does not know the form or calls it malformed; ffmpeg may read it.
    """
    import soundfile

    window.seek(0)
    try:
        sound: Any = soundfile.SoundFile(window)
    except soundfile.LibsndfileError:
        window.check()
        return None
    reader = _LibsndfileReader(findings, sound, window)
    reader.resources.callback(sound.close)
    return reader


class _LibsndfileReader(AudioReader):
    def __init__(self, findings: Findings, sound: Any, window: Window) -> None:
        super().__init__(findings, sound.samplerate, sound.channels, sound.frames)
        if sound.format == "OGG":
            # Without a seek the first read returns the pre-skip of Opus too (libsndfile 1.2).
            sound.seek(0)
        # soundfile would seek after each read, which changes some samples of Opus after it.
        sound.seekable = lambda: False
        self._sound = sound
        self._window = window

    def _read(self, count: int) -> Samples:
        import soundfile

        try:
            block = self._sound.read(count, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as failure:
            self._window.check()
            reason = " ".join(failure.error_string.split()).removeprefix("Error : ").rstrip(".")
            self._findings.lost(f"damaged or truncated: libsndfile says: {reason}")
            block = np.zeros((0, self.channels), np.float32)
        self._window.check()
        samples: Samples = np.ascontiguousarray(block.T)
        return samples
