"""`Audio`: samples and their sample rate."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from acomp.errors import AudioError, check_type
from acomp.scalars import whole_number
from acomp.values import ByValue, as_array

MAX_CHANNELS = 64
MAX_SAMPLE_RATE = 1_000_000
MAX_PLAYED = 1 << 22
"""Most samples in the player that a notebook shows: 8 MB of 16-bit samples in the notebook."""

Samples = NDArray[np.float32]
"""Samples `[channels, time]`, full scale +-1."""


@dataclass(frozen=True, eq=False, repr=False)
class Audio(ByValue):
    """A recording in memory. A notebook displays it as a player.

    Samples may be arrays, tensors or nested lists of any float type, and are converted to float32;
    samples `[time]` are one channel. The sample rate may be a whole number of any type.

        >>> acomp.Audio(np.zeros(12_000), 24_000)
        Audio(1 channel, 0.50 s at 24000 Hz)

    Attributes:
        samples: float32 `[channels, time]`, full scale +-1.
        sample_rate: sample rate in Hz.

    Raises:
        AudioError: the samples are not finite floats `[channels, time]`, there are more than 64
            channels, or the sample rate is not 1 to 1000000 Hz.
    """

    samples: Samples
    sample_rate: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", as_samples(self.samples))
        rate = whole_number(self.sample_rate, "the sample rate", AudioError)
        object.__setattr__(self, "sample_rate", rate)
        check_layout("audio", self.sample_rate, self.channels)

    def __repr__(self) -> str:
        channels = f"{self.channels} channel{'s' * (self.channels > 1)}"
        return f"Audio({channels}, {self.duration:.2f} s at {self.sample_rate} Hz)"

    def _repr_html_(self) -> str:
        """A player for notebooks; for long audio, a player of its beginning."""
        from acomp.audio.pcm import FORMATS, Pcm, encode_pcm
        from acomp.audio.wav import build_header

        shown = self.samples[:, : MAX_PLAYED // self.channels]
        pcm = Pcm(self.sample_rate, self.channels, FORMATS["s16le"])
        wav = build_header(pcm, 2 * shown.size) + encode_pcm(shown, pcm.format)
        text = repr(self)
        if shown.shape[1] < self.length:
            text += f", the first {shown.shape[1] / self.sample_rate:.0f} s"
        source = f"data:audio/wav;base64,{base64.b64encode(wav).decode()}"
        return f'<div>{text}<br><audio controls src="{source}"></audio></div>'

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.samples.shape[0])

    @property
    def length(self) -> int:
        """Samples per channel."""
        return int(self.samples.shape[1])

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return self.length / self.sample_rate


def check_audio(value: object) -> None:
    """Check that `value` is an `Audio`.

    Raises:
        AudioError: it is none; the message says how to make one.
    """
    is_path = isinstance(value, str | PathLike)
    made = "acomp.Audio(samples, sample_rate) makes it from samples"
    hint = "acomp.read_audio(path) reads it" if is_path else made
    check_type(value, Audio, AudioError, "Audio is", hint)


def as_samples(value: object, what: str = "samples") -> Samples:
    """Samples as float32 `[channels, time]`; samples `[time]` become one channel.

    Samples that are float32 already are not copied.

    Raises:
        AudioError: the samples are not floats, not finite, or of too many channels; the message
            begins with `what`.
    """
    array = as_array(value, what, AudioError)
    if array.dtype.kind != "f" and array.size:
        raise AudioError(
            f"{what} are {array.dtype}; floats of full scale +-1 are expected: divide 16-bit "
            "samples by 32768"
        )
    if array.ndim == 1:
        array = array[np.newaxis]
    if array.ndim != 2:
        raise AudioError(f"{what} have {array.ndim} axes; [channels, time] is expected")
    if not 1 <= array.shape[0] <= MAX_CHANNELS:
        swapped = array.shape[0] and 1 <= array.shape[1] <= MAX_CHANNELS
        hint = "; [channels, time] is expected: transpose them" if swapped else ""
        raise AudioError(
            f"{what} have {array.shape[0]} channels, and 1 to {MAX_CHANNELS} can be used{hint}"
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite: refused below
        samples: Samples = array.astype(np.float32, copy=False)
    if not is_finite(samples):
        channel, at = np.argwhere(~np.isfinite(samples))[0]
        raise AudioError(
            f"{what} are not finite numbers: {samples[channel, at]} in channel {channel}, sample "
            f"{at}"
        )
    return samples


def is_finite(samples: Samples) -> bool:
    """Whether no sample is NaN or infinite; minimum and maximum show it without a mask's memory."""
    return not samples.size or bool(np.isfinite(samples.min()) and np.isfinite(samples.max()))


def check_layout(name: str, sample_rate: int, channels: int) -> None:
    """Check that a sample rate in Hz and a number of channels are within bounds.

    Raises:
        AudioError: one is not; the message begins with `name`.
    """
    if not 1 <= sample_rate <= MAX_SAMPLE_RATE:
        raise AudioError(f"{name} has {sample_rate} Hz; 1 to {MAX_SAMPLE_RATE} Hz can be used")
    if not 1 <= channels <= MAX_CHANNELS:
        raise AudioError(f"{name} has {channels} channels; 1 to {MAX_CHANNELS} can be used")


def to_channels(samples: Samples, channels: int) -> Samples:
    """Samples `[c, time]` as `[channels, time]`.

    Mono is the mean of all channels; a single channel is copied to all others.

    Raises:
        AudioError: neither `c` nor `channels` is 1, and they differ.
    """
    present = samples.shape[0]
    if present == channels:
        return samples
    if channels == 1:
        mono: Samples = samples.mean(axis=0, keepdims=True, dtype=np.float32)
        return mono
    if present == 1:
        return np.repeat(samples, channels, axis=0)
    raise AudioError(
        f"the audio has {present} channels, which cannot become {channels}; use --channels mono"
    )
