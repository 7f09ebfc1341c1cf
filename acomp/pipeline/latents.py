"""Files of latents: from audio, and to codes, block by block.

They are `.npy` files of floats `[streams, dimension, frames]`, as `np.save` and `np.load` have
them. Those that acomp writes have the frames as the slowest axis (Fortran's order), so that a
block follows another in the file.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from acomp.audio import open_audio
from acomp.backends.base import Codec, info_for
from acomp.backends.latents import (
    LatentEncoder,
    blocks_of,
    check_shape,
    dimension_of,
    quantised,
)
from acomp.codes import Block
from acomp.errors import CodecError
from acomp.files import atomic_write, reason_of
from acomp.formats import Writing, writing_codes
from acomp.pipeline.clock import Clock
from acomp.pipeline.encoding import coded_channels, encoded
from acomp.pipeline.names import naming
from acomp.pipeline.settings import Progress, Recording, Result, Source, Target
from acomp.plain import NotPlainError, read_npy_header
from acomp.settings import Channels, Coding

SUFFIX = ".npy"


def is_latents_name(path: Path) -> bool:
    """Whether a file is one of latents, by its name."""
    return path.suffix.lower() == SUFFIX


def write_latents(
    codec_for: Callable[[int], Codec],
    source: Source,
    target: Path,
    channels: Channels | int = "auto",
    recording: Recording | None = None,
    *,
    replace: bool = True,
    progress: Progress | None = None,
) -> Result:
    """Write the latents of one audio file, before they are quantised.

    Args:
        codec_for: gives the codec for a number of channels to code.
        source: a path, or a stream that need not be seekable.
        target: the `.npy` file.
        channels: as for `encode_file`.
        recording: how the audio is read.
        replace: whether a file that exists is replaced.
        progress: told how far it is.

    Raises:
        AcompError: its message says what is wrong; the target is left as it was.
    """
    recording = recording or Recording()
    with naming(source), ExitStack() as files:
        reader = files.enter_context(
            open_audio(source, raw=recording.raw, recover=recording.recover)
        )
        codec = codec_for(coded_channels(reader, channels))
        fewest = codec.spec.codebook_counts[0]
        info = info_for(codec, reader, Coding(codebooks=fewest, channels=channels))
        encoder = LatentEncoder(codec, info)
        file = files.enter_context(atomic_write(target, CodecError, replace=replace))
        writer = _LatentsWriter(file, info.streams, dimension_of(codec))
        clock = Clock()
        for _ in encoded(encoder, reader, clock, progress):
            writer.write(encoder.take())
        writer.finish()
    seconds = encoder.length / info.source_rate
    return Result(info, seconds, clock.seconds, preparing_seconds=clock.preparing)


def quantise_file(
    codec_for: Callable[[int], Codec],
    source: Path,
    target: Target,
    coding: Coding | None = None,
    writing: Writing | None = None,
    *,
    progress: Progress | None = None,
) -> Result:
    """Quantise one file of latents into a file of codes.

    Args:
        codec_for: gives the codec for a number of channels to code.
        source: the `.npy` file.
        target: a path, whose suffix names the form, or a stream.
        coding: the bandwidth or the number of codebooks.
        writing: how the codes are written.
        progress: told how far it is.

    Raises:
        AcompError: its message says what is wrong; the target is left as it was.
    """
    coding, writing = coding or Coding(), writing or Writing()
    with naming(source), ExitStack() as files:
        latents = open_latents(source)
        codec = codec_for(len(latents))
        spec = codec.spec
        if spec.segment_frames is not None:
            raise CodecError(f"{spec.name} codes segments with a gain, which latents do not tell")
        frames = check_shape(spec, dimension_of(codec), latents.shape)
        count = spec.codebooks_for(coding.bandwidth, coding.codebooks)
        blank = codec.codes(np.zeros((len(latents), count, frames), np.uint16))
        writer = files.enter_context(writing_codes(target, blank.info, writing))
        clock, done = Clock(), 0
        for part in blocks_of(codec, latents):
            block = Block(clock(quantised, codec, part, count))
            clock.own(writer.write, block)
            done += block.frames
            if progress is not None:
                progress(done / spec.frame_rate, frames / spec.frame_rate)
        clock.own(writer.finish, blank.length)
    return Result(blank.info, blank.duration, clock.seconds, preparing_seconds=clock.preparing)


def open_latents(path: Path) -> NDArray[Any]:
    """The floats `[streams, dimension, frames]` of a `.npy` file, mapped into memory as they are
    read; of two axes there is one stream.

    Raises:
        CodecError: the file cannot be read, or holds something else.
    """
    try:
        with path.open("rb") as file:
            dtype, shape, fortran = read_npy_header(file)
            start, size = file.tell(), path.stat().st_size
    except NotPlainError as error:
        raise CodecError(f"{path} {error}: latents are one, of floats") from error
    except OSError as failure:
        raise CodecError(f"cannot read {path}: {reason_of(failure)}") from failure
    if dtype.kind != "f":
        raise CodecError(f"{path} holds an array of {dtype}, where latents are floats")
    if len(shape) not in (2, 3) or not prod(shape):
        raise CodecError(f"{path} is of shape {shape}, not [streams, dimension, frames]")
    if size != start + prod(shape) * dtype.itemsize:
        raise CodecError(f"{path} is cut short, or has bytes after its end")
    array = np.memmap(path, dtype, "r", start, shape, "F" if fortran else "C")
    return array if array.ndim == 3 else array[np.newaxis]


class _LatentsWriter:
    """Writes a `.npy` of latents that come in blocks; how many they are is known at the end."""

    def __init__(self, file: BinaryIO, streams: int, dimension: int) -> None:
        self._file = file
        self._shape = (streams, dimension)
        self._frames = 0
        self._write_header()

    def write(self, latents: NDArray[np.float32]) -> None:
        self._file.write(latents.astype("<f4").tobytes("F"))
        self._frames += latents.shape[2]

    def finish(self) -> None:
        self._file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        """As long for any number of frames: numpy leaves room for the longest."""
        shape = (*self._shape, self._frames)
        header = {"descr": "<f4", "fortran_order": True, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
