"""What is timed: cases, and the audio and the weights of each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import save_file

from acomp.audio import Audio, read_audio, resample, to_channels
from acomp.backends import resolve
from acomp.backends.families import family_of, published_shape
from acomp.backends.weights.cache import find, remedy
from acomp.codecs import PUBLISHED, CodecSpec
from acomp.errors import CodecError

MAX_SECONDS = 3600
LONG_SECONDS = 60
"""A case as long as this takes minutes, and has three rounds instead of five."""
SAMPLES = ("speech", "music")
RANDOM_SECONDS = 2
"""Audio by which random codebooks are laid out."""


@dataclass(frozen=True)
class Case:
    """A codec and the audio that it is given.

    Attributes:
        codec: its name.
        seconds: duration of the audio.
    """

    codec: str
    seconds: int

    def __str__(self) -> str:
        return f"{self.codec}:{self.seconds}"

    @property
    def rounds(self) -> int:
        """Rounds that the case has where the user does not say."""
        return 3 if self.seconds >= LONG_SECONDS else 5

    @property
    def codebooks(self) -> int:
        """Codebooks that it is coded with: the codec's default, or those of the one bandwidth
        that the model was published for.
        """
        codec = PUBLISHED[self.codec]
        if codec.one_bandwidth:
            return codec.spec.codebooks
        return codec.spec.codebooks_for(None, None)


def parse_case(text: str) -> Case:
    """The case that `CODEC:SECONDS` names.

    Raises:
        CodecError: it is no such thing, acomp has no such codec, or its weights are not here and
            cannot be drawn at random.
        WeightsError: the codec's weights in acomp's cache are damaged.
    """
    name, _, seconds = text.rpartition(":")
    if not name or not re.fullmatch("[0-9]{1,9}", seconds):
        raise CodecError(f"{text!r} is no case: write CODEC:SECONDS, for example nano:20")
    if not 1 <= int(seconds) <= MAX_SECONDS:
        raise CodecError(f"{text!r} is no case: the seconds are 1 to {MAX_SECONDS}")
    codec = resolve(name)
    if codec not in PUBLISHED:
        raise CodecError(f"{codec} is not one of the codecs that acomp has: only those are timed")
    # Damaged or missing weights are better known before the long cases than after.
    if find(codec) is None and family_of(codec).random_weights is None:
        raise CodecError(f"{codec} is timed with its published weights: {remedy([codec])}")
    return Case(codec, int(seconds))


def audio_of(spec: CodecSpec, seconds: int) -> Audio:
    """The samples that ship with acomp, one after the other and again, as the codec takes them."""
    parts = []
    for sample in SAMPLES:
        with as_file(files("acomp") / "samples" / f"{sample}.flac") as path:
            recording = resample(read_audio(path), spec.sample_rate)
        parts.append(to_channels(recording.samples, spec.channels))
    both = np.concatenate(parts, axis=1)
    length = seconds * spec.sample_rate
    repeated = np.tile(both, -(-length // both.shape[1]))[:, :length]
    return Audio(np.ascontiguousarray(repeated), spec.sample_rate)


@contextmanager
def weights_of(codec: str) -> Iterator[tuple[Path, str]]:
    """A codec's file of weights, and whether they are `published` or `random` ones.

    Nothing is downloaded: how fast a network runs does not depend on the values of its weights.
    """
    codec = resolve(codec)
    published = find(codec)
    if published is not None:
        yield published, "published"
        return
    with TemporaryDirectory(prefix="acomp-") as folder:
        path = Path(folder) / f"{codec}.safetensors"
        state = random_weights(codec)
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
        yield path, "random"


def random_weights(codec: str) -> dict[str, torch.Tensor]:
    """Weights drawn with a seed, in the published architecture."""
    draw = family_of(codec).random_weights
    assert draw is not None  # `parse_case` sees to it
    samples = audio_of(PUBLISHED[codec].spec, RANDOM_SECONDS).samples
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return draw(published_shape(codec), samples)
