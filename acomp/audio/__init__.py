"""Audio: reading, writing, resampling, mono and stereo, whole or in blocks."""

from acomp.audio.base import AudioReader
from acomp.audio.pcm import parse_format, parse_pcm
from acomp.audio.reading import is_audio_name, open_audio, read_audio
from acomp.audio.resampling import Resampler, resample
from acomp.audio.samples import Audio, to_channels
from acomp.audio.writing import (
    AUDIO_FORMS,
    AudioWriter,
    fitting_rate,
    is_writable_name,
    write_audio,
)

__all__ = [
    "AUDIO_FORMS",
    "Audio",
    "AudioReader",
    "AudioWriter",
    "Resampler",
    "fitting_rate",
    "is_audio_name",
    "is_writable_name",
    "open_audio",
    "parse_format",
    "parse_pcm",
    "read_audio",
    "resample",
    "to_channels",
    "write_audio",
]
