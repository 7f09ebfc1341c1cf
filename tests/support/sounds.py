"""Small files of sound of every form that can be made here, in memory."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import soundfile

from acomp.audio.samples import Samples

LIBSNDFILE = {
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "FLOAT"),
    "caf": ("CAF", "PCM_24"),
    "flac": ("FLAC", "PCM_16"),
    "ima": ("WAV", "IMA_ADPCM"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "opus": ("OGG", "OPUS"),
    "rf64": ("RF64", "PCM_16"),
    "vorbis": ("OGG", "VORBIS"),
    "voc": ("VOC", "PCM_16"),
    "w64": ("W64", "PCM_16"),
    "wav": ("WAV", "PCM_16"),
}
"""Container and subtype of what libsndfile makes, by a name of ours."""


@dataclass(frozen=True)
class Made:
    """How ffmpeg's libraries make a file."""

    container: str
    codec: str
    rate: int = 16000
    bit_rate: int | None = None


FFMPEG = {
    "aac": Made("adts", "aac"),
    "ac3": Made("ac3", "ac3", 48000),
    "alac": Made("ipod", "alac"),
    "alac in mkv": Made("matroska", "alac"),
    "amr": Made("amr", "libopencore_amrnb", 8000, 12200),
    "avi": Made("avi", "mp2"),
    "eac3": Made("eac3", "eac3", 48000),
    "flac in mkv": Made("matroska", "flac"),
    "flac in ogg": Made("ogg", "flac"),
    "flv": Made("flv", "aac"),
    "low mp3": Made("mp3", "libmp3lame", 16000, 16000),
    "m4a": Made("ipod", "aac"),
    "mka": Made("matroska", "aac"),
    "mkv": Made("matroska", "pcm_s16le"),
    "mp2": Made("mp2", "mp2", 48000),
    "mp3 in wav": Made("wav", "libmp3lame"),
    "mpeg": Made("mpeg", "mp2", 48000),
    "opus in mp4": Made("mp4", "libopus"),
    "transport": Made("mpegts", "aac"),
    "tta": Made("tta", "tta"),
    "webm": Made("webm", "libopus"),
    "wma": Made("asf", "wmav2", 44100, 64000),
    "wv": Made("wv", "wavpack"),
}
ALL = (*LIBSNDFILE, *FFMPEG)


def tone(length: int, rate: int = 16000) -> Samples:
    """A tone with a little noise, `[1, length]`."""
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, length)
    samples: Samples = (0.4 * np.sin(np.arange(length) * 2 * np.pi * 440 / rate) + noise)[
        np.newaxis
    ].astype(np.float32)
    return samples


def sound(name: str, seconds: float = 0.5) -> bytes:
    """A file of one of the forms."""
    if name in LIBSNDFILE:
        container, subtype = LIBSNDFILE[name]
        return written(tone(round(seconds * 16000)), 16000, container, subtype)
    made = FFMPEG[name]
    return encoded(tone(round(seconds * made.rate), made.rate), made)


def written(samples: Samples, rate: int, container: str, subtype: str) -> bytes:
    """A file by libsndfile."""
    file = io.BytesIO()
    soundfile.write(file, samples.T, rate, format=container, subtype=subtype)
    return file.getvalue()


def encoded(samples: Samples, made: Made) -> bytes:
    """A file by ffmpeg's libraries, of one channel."""
    file = io.BytesIO()
    with av.open(file, "w", format=made.container) as container:
        stream: Any = container.add_stream(made.codec, rate=made.rate, layout="mono")
        if made.bit_rate:
            stream.bit_rate = made.bit_rate
        resampler: Any = av.AudioResampler(stream.format, "mono", made.rate)
        frame: Any = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        frame.rate = made.rate
        fifo: Any = av.AudioFifo()
        for part in resampler.resample(frame):
            fifo.write(part)
        size = stream.codec_context.frame_size or 1024
        while (part := fifo.read(size) or fifo.read(0, partial=True)) is not None:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()


def video() -> bytes:
    """An MP4 of pictures without sound."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("mpeg4", rate=5)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for _ in range(3):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 32), np.uint8), format="yuv420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return file.getvalue()
