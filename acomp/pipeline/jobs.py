"""Encoding and decoding as work on many files, which can go to several processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from acomp import backends
from acomp.backends.base import Codec
from acomp.batch.inputs import PIPE, stream_or_path
from acomp.batch.outputs import Job
from acomp.batch.watching import Watching
from acomp.codecs import BUILT_IN
from acomp.codes import CodesInfo
from acomp.errors import AcompError, WeightsError
from acomp.files import make_folder
from acomp.formats import Reading, Writing
from acomp.pipeline import (
    Progress,
    Recording,
    Result,
    Sound,
    Span,
    decode_file,
    encode_file,
)
from acomp.pipeline.latents import quantise_file, write_latents
from acomp.settings import Coding, Running

Latents = Literal["read", "written"]


def load_running(name: str, running: Running, weights: Path | None = None) -> Codec:
    """The codec of that name, run so; `weights` are those to take where none are asked for."""
    return backends.load(
        name,
        weights=running.weights or weights,
        engine=running.engine,
        precision=running.precision,
        device=running.device,
    )


@dataclass(frozen=True)
class Encoding:
    """How audio files are encoded; can be pickled.

    Attributes:
        backend: name of the codec; `encodec` is chosen by each file's channels.
        running: how it is run.
        coding: what is coded.
        writing: how the codes are written.
        recording: how the audio is read.
        check: where the decoded codes of a single file go, to listen to.
        latents: whether latents are read in the place of audio, or written in that of codes.
    """

    backend: str
    running: Running
    coding: Coding
    writing: Writing
    recording: Recording
    check: str | None = None
    latents: Latents | None = None

    def start(self, watching: Watching | None = None) -> Callable[[Job], Result]:
        """A function that encodes a file; each codec is loaded when the first file needs it."""
        watching = watching or Watching()
        load_named = cache(lambda name: self._load(name, watching))

        def encode(job: Job) -> Result:
            if job.makes_folder:
                make_folder(Path(job.target).parent, AcompError)
            with watching.follow(job) as progress:
                return self._encode(
                    lambda channels: load_named(backends.resolve(self.backend, channels)),
                    job,
                    progress,
                )

        return encode

    def _encode(
        self, codec_for: Callable[[int], Codec], job: Job, progress: Progress | None
    ) -> Result:
        source = stream_or_path(job.source)
        if self.latents == "written":
            return write_latents(
                codec_for,
                source,
                Path(job.target),
                self.coding.channels,
                self.recording,
                replace=self.writing.replace,
                progress=progress,
            )
        target, writing = stream_or_path(job.target, write=True), self._writing_to(job.target)
        if self.latents == "read":
            return quantise_file(
                codec_for, Path(job.source), target, self.coding, writing, progress=progress
            )
        return encode_file(
            codec_for,
            source,
            target,
            self.coding,
            writing,
            self.recording,
            check=self.check,
            progress=progress,
        )

    def _writing_to(self, target: str) -> Writing:
        if target != PIPE:
            return self.writing
        return replace(self.writing, live=True, form=self.writing.form or "nac")

    def _load(self, name: str, watching: Watching) -> Codec:
        fetch = self.running.weights is None
        try:
            return load_running(name, self.running, watching.fetch(name) if fetch else None)
        except WeightsError as error:
            if not fetch or name == BUILT_IN:
                raise
            raise WeightsError(f"{error}; or take -b {BUILT_IN}, which is built in") from error


@dataclass(frozen=True)
class Decoding:
    """How files of codes are decoded; can be pickled.

    Attributes:
        running: how their codecs are run.
        span: the stretch that is decoded of each.
        reading: how the codes are read.
        sound: how the audio is written.
    """

    running: Running
    span: Span
    reading: Reading
    sound: Sound

    def start(self, watching: Watching | None = None) -> Callable[[Job], Result]:
        """A function that decodes a file; each codec is loaded when the first file needs it."""
        watching = watching or Watching()
        load_named = cache(lambda name: self._load(name, watching))

        def codec_for(info: CodesInfo) -> Codec:
            return load_named(backends.resolve(info.codec, info.channels))

        def decode(job: Job) -> Result:
            if job.makes_folder:
                make_folder(Path(job.target).parent, AcompError)
            with watching.follow(job) as progress:
                return decode_file(
                    codec_for,
                    stream_or_path(job.source),
                    stream_or_path(job.target, write=True),
                    self.span,
                    self.reading,
                    self.sound,
                    progress=progress,
                )

        return decode

    def _load(self, name: str, watching: Watching) -> Codec:
        fetch = self.running.weights is None
        return load_running(name, self.running, watching.fetch(name) if fetch else None)
