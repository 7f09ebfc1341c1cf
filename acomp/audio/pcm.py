"""PCM: conversion between samples and the bytes of WAV files and of streams without a header."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from acomp.audio.samples import Samples, check_layout
from acomp.errors import AudioError, check_type

RAW_SUFFIXES = (".pcm", ".raw")
"""Suffixes by which files of PCM without a header are found in folders, with `--raw`."""


@dataclass(frozen=True)
class PcmFormat:
    """How one sample is written.

    Attributes:
        kind: unsigned, signed or float.
        width: bytes of a sample.
        order: little-endian (`<`) or big-endian (`>`).
    """

    kind: Literal["u", "s", "f"]
    width: int
    order: Literal["<", ">"] = "<"


FORMATS = {
    "u8": PcmFormat("u", 1),
    "s16le": PcmFormat("s", 2),
    "s16be": PcmFormat("s", 2, ">"),
    "s24le": PcmFormat("s", 3),
    "s24be": PcmFormat("s", 3, ">"),
    "s32le": PcmFormat("s", 4),
    "s32be": PcmFormat("s", 4, ">"),
    "f32le": PcmFormat("f", 4),
    "f32be": PcmFormat("f", 4, ">"),
    "f64le": PcmFormat("f", 8),
    "f64be": PcmFormat("f", 8, ">"),
}
"""PCM formats by ffmpeg's names (`ffmpeg -formats`)."""


@dataclass(frozen=True)
class Pcm:
    """PCM with interleaved channels.

    Attributes:
        sample_rate: sample rate in Hz.
        channels: number of channels.
        format: how one sample is written.
    """

    sample_rate: int
    channels: int
    format: PcmFormat

    @property
    def block_align(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * self.format.width


def parse_pcm(text: str) -> Pcm:
    """The PCM that a text `RATE:CHANNELS:FORMAT` describes, for example `44100:2:s16le`.

    Raises:
        AudioError: the text does not have this form, or a part of it is not possible.
    """
    check_type(text, str, AudioError, "for raw PCM, a text RATE:CHANNELS:FORMAT is")
    parts = re.fullmatch(r"([0-9]{1,9}):([0-9]{1,9}):([^:]*)", text)
    if parts is None:
        raise AudioError(f"{text!r} is not RATE:CHANNELS:FORMAT, for example 44100:2:s16le")
    pcm = Pcm(int(parts[1]), int(parts[2]), parse_format(parts[3]))
    check_layout(repr(text), pcm.sample_rate, pcm.channels)
    return pcm


def parse_format(name: str) -> PcmFormat:
    """The PCM format of a name, for example `s16le`.

    Raises:
        AudioError: there is no format of that name.
    """
    check_type(name, str, AudioError, "for raw PCM, the name of a format, such as 's16le', is")
    if name not in FORMATS:
        raise AudioError(f"there is no PCM format {name!r}; there are {', '.join(FORMATS)}")
    return FORMATS[name]


def decode_pcm(data: bytes, pcm: Pcm) -> Samples:
    """Bytes of PCM, whole samples of all channels, as float32 `[channels, time]`."""
    kind, width, order = pcm.format.kind, pcm.format.width, pcm.format.order
    samples: NDArray[np.float32]
    if kind == "f":
        # A float64 beyond float32 becomes infinite, which the reader refuses.
        with np.errstate(over="ignore"):
            samples = np.frombuffer(data, f"{order}f{width}").astype(np.float32)
    elif kind == "u":
        half = np.float32(128)
        samples = (np.frombuffer(data, np.uint8).astype(np.float32) - half) / half
    elif width == 3:
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, _upper_bytes(order)] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        samples = wide.reshape(-1).view(f"{order}i4").astype(np.float32) / np.float32(1 << 31)
    else:
        full = np.float32(1 << (8 * width - 1))
        samples = np.frombuffer(data, f"{order}i{width}").astype(np.float32) / full
    return np.ascontiguousarray(samples.reshape(-1, pcm.channels).T)


def encode_pcm(samples: Samples, form: PcmFormat) -> bytes:
    """Samples `[channels, time]` as bytes; clipped at full scale, unless the format is float."""
    interleaved = np.ascontiguousarray(samples.T)
    kind, width, order = form.kind, form.width, form.order
    if kind == "f":
        return interleaved.astype(f"{order}f{width}").tobytes()
    whole = quantise(interleaved, 8 * width)
    if kind == "u":
        return (whole + 128).astype(np.uint8).tobytes()
    if width == 3:
        wide = (whole << 8).astype(f"{order}i4").view(np.uint8).reshape(-1, 4)
        return wide[:, _upper_bytes(order)].tobytes()
    return whole.astype(f"{order}i{width}").tobytes()


def quantise(samples: Samples, bits: int) -> NDArray[np.int32]:
    """Samples rounded to the nearest integers of `bits` bits, clipped at full scale."""
    full = 1 << (bits - 1)
    # A float32 can hold no whole number just below 2**31.
    exact = np.float64 if bits > 24 else np.float32
    scaled = np.clip(samples, -1, 1).astype(exact, copy=False) * full
    whole: NDArray[np.int32] = np.minimum(np.rint(scaled), full - 1).astype(np.int32)
    return whole


def _upper_bytes(order: Literal["<", ">"]) -> slice:
    """The position of the upper three of four bytes."""
    return slice(1, 4) if order == "<" else slice(0, 3)
