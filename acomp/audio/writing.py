"""Writing audio files and pipes, whole or in blocks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from acomp.audio.pcm import FORMATS, RAW_SUFFIXES, Pcm, encode_pcm, parse_format, quantise
from acomp.audio.samples import Audio, Samples, as_samples, check_audio, check_layout
from acomp.audio.wav import MAX_DATA_BYTES, build_header
from acomp.errors import AudioError
from acomp.files import atomic_write, check_place, is_stream
from acomp.scalars import whole_number

_PIECE = 1 << 16
_WAV_FORMATS = {"PCM_16": "s16le", "PCM_24": "s24le", "FLOAT": "f32le"}
"""The subtypes of WAV and their names in `FORMATS`."""


@dataclass(frozen=True)
class _Form:
    name: str
    """libsndfile's name of the form."""
    subtypes: tuple[str, ...]
    """The subtypes that the form can have; the first is the default."""
    rates: tuple[int, ...] = ()
    """The sample rates in Hz that the form can have, ascending; empty if it can have any."""


_FORMS = {
    ".wav": _Form("WAV", ("PCM_16", "PCM_24", "FLOAT")),
    ".flac": _Form("FLAC", ("PCM_16", "PCM_24")),
    ".ogg": _Form("OGG", ("VORBIS",)),
    ".opus": _Form("OGG", ("OPUS",), (8000, 12000, 16000, 24000, 48000)),
    ".mp3": _Form(
        "MP3",
        ("MPEG_LAYER_III",),
        (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    ),
}


AUDIO_FORMS = f"a form of audio that is written: {', '.join(_FORMS)}"
"""The suffixes, as messages say them."""


def is_writable_name(path: Path, *, raw: bool = False) -> bool:
    """Whether a file name has a suffix that can be written; with `raw`, as PCM without a header."""
    return path.suffix.lower() in (RAW_SUFFIXES if raw else _FORMS)


def fitting_rate(target: str | os.PathLike[str] | BinaryIO, sample_rate: int) -> int:
    """The sample rate in Hz to write `target` at.

    It is `sample_rate` where the form of the target's suffix can have it; otherwise the next higher
    rate that the form can have, or its highest.
    """
    suffix = Path(target).suffix.lower() if isinstance(target, str | os.PathLike) else ".wav"
    rates = _FORMS[suffix].rates if suffix in _FORMS else ()
    if not rates or sample_rate in rates:
        return sample_rate
    return next((rate for rate in rates if rate > sample_rate), rates[-1])


class AudioWriter:
    """Writes audio block by block.

    It is a context manager: the file appears complete at the end of the `with` block, or, after an
    error, not at all. The suffix chooses the form: .wav, .flac, .ogg, .opus or .mp3. A binary
    stream, or a path such as /dev/stdout, gets a WAV whose header leaves the length open; it need
    not be seekable, and each block is flushed. Samples beyond full scale are clipped, except in
    float WAV and raw float.

        >>> with acomp.AudioWriter("silence.wav", 24_000, 1) as writer:
        ...     writer.write(np.zeros((1, 2_400), np.float32))
        >>> acomp.read_audio("silence.wav")
        Audio(1 channel, 0.10 s at 24000 Hz)

    Args:
        target: a path, or a binary stream.
        sample_rate: sample rate in Hz.
        channels: number of channels.
        subtype: "PCM_16" (the default), "PCM_24" or, for WAV, "FLOAT".
        raw: write PCM without a header, whatever the suffix, in this format, for example "s16le";
            `open_audio` lists the formats.
        replace: whether an existing file is replaced.

    Raises:
        ExistsError: the file exists and `replace` is False.
        AudioError: the suffix is unknown, the form does not have the subtype, the sample rate or
            the number of channels, or writing fails. A stream's BrokenPipeError is passed on.
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        sample_rate: int,
        channels: int,
        *,
        subtype: str | None = None,
        raw: str | None = None,
        replace: bool = True,
    ) -> None:
        check_place(target, "write", AudioError)
        if isinstance(target, str | os.PathLike):
            self._target: Path | BinaryIO = Path(target)
            self._name = str(self._target)
            suffix = self._target.suffix.lower()
            with suppress(OSError):  # opening it will raise the same
                suffix = suffix or (".wav" if is_stream(self._target) else "")
        else:
            self._target, suffix = target, ".wav"
            is_stdout = getattr(target, "name", "") in ("<stdout>", 1)
            self._name = "standard output" if is_stdout else "the stream"
        self._raw = None if raw is None else parse_format(raw)
        self._replace = replace
        if raw is not None:
            suffix = ".wav"  # only the samples of which are written
        if suffix not in _FORMS:
            raise AudioError(f"cannot write {self._name}: the suffixes are {', '.join(_FORMS)}")
        self._form = _FORMS[suffix]
        self._subtype = subtype or self._form.subtypes[0]
        if self._subtype not in self._form.subtypes:
            known = ", ".join(self._form.subtypes)
            raise AudioError(f"cannot write {self._name} as {subtype}: {suffix} has {known}")
        sample_rate = whole_number(sample_rate, "the sample rate", AudioError)
        channels = whole_number(channels, "the number of channels", AudioError)
        check_layout(self._name, sample_rate, channels)
        if self._form.rates and sample_rate not in self._form.rates:
            rate = fitting_rate(f"a{suffix}", sample_rate)
            raise AudioError(
                f"cannot write {self._name} at {sample_rate} Hz: {suffix} has "
                f"{', '.join(map(str, self._form.rates))}; --sample-rate {rate} resamples"
            )
        self._sample_rate = sample_rate
        self._channels = channels
        self._resources = ExitStack()
        self._sink: _Sink | None = None

    def __repr__(self) -> str:
        channels = f"{self._channels} channel{'s' * (self._channels > 1)}"
        return f"<writer of {self._name}: {channels} at {self._sample_rate} Hz>"

    def __enter__(self) -> Self:
        with ExitStack() as resources:
            if isinstance(self._target, Path):
                file = resources.enter_context(
                    atomic_write(self._target, AudioError, replace=self._replace)
                )
                is_open = not file.seekable()
            else:
                file = resources.enter_context(_guarded(self._target, self._name))
                is_open = True
            sink = resources.enter_context(self._make_sink(file, is_open))
            self._resources = resources.pop_all()
            self._sink = sink
        return self

    def write(self, block: Samples) -> None:
        """Write the next samples, floats `[channels, n]`, full scale +-1.

        Raises:
            AudioError: the block has another number of channels or samples that are not finite, or
                writing fails, or the writer's `with` block has not begun or has ended.
        """
        if self._sink is None:
            raise AudioError(f"{self._name} is not open: write within `with` of its AudioWriter")
        block = as_samples(block, f"cannot write {self._name}: samples")
        if block.shape[0] != self._channels:
            raise AudioError(f"a block {block.shape} does not fit {self._channels} channels")
        for start in range(0, block.shape[1], _PIECE):
            self._sink.write(block[:, start : start + _PIECE])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        self._sink = None
        return self._resources.__exit__(kind, error, trace)

    def _make_sink(self, file: BinaryIO, is_open: bool) -> _Sink:
        if self._raw is not None:
            pcm = Pcm(self._sample_rate, self._channels, self._raw)
            return _RawSink(file, pcm, is_open=is_open)
        if self._form.name == "WAV":
            form = FORMATS[_WAV_FORMATS[self._subtype]]
            pcm = Pcm(self._sample_rate, self._channels, form)
            return _WavSink(file, self._name, pcm, is_open=is_open)
        if is_open:
            raise AudioError(f"cannot write {self._name}: a pipe takes .wav alone")
        layout = (self._sample_rate, self._channels, self._subtype)
        return _LibsndfileSink(file, self._name, *layout, form=self._form.name)


def write_audio(
    target: str | os.PathLike[str] | BinaryIO, audio: Audio, *, subtype: str | None = None
) -> None:
    """Write audio to a file, in the form that its suffix names, or as WAV to a binary stream.

    An existing file is replaced, as numpy and soundfile do; the command line asks for
    `--overwrite`.

        >>> acomp.write_audio("speech.wav", acomp.read_audio("speech.flac"), subtype="PCM_24")

    Args:
        target: a path with the suffix .wav, .flac, .ogg, .opus or .mp3, or a binary stream.
        audio: the audio to write.
        subtype: "PCM_16" (the default), "PCM_24" or, for WAV, "FLOAT".

    Raises:
        AudioError: the suffix is unknown, the form does not have the subtype, the sample rate or
            the number of channels, or writing fails.
    """
    check_audio(audio)
    with AudioWriter(target, audio.sample_rate, audio.channels, subtype=subtype) as writer:
        writer.write(audio.samples)


class _Sink(Protocol):
    """Turns samples into the bytes of a file, and completes the file unless an error ends it."""

    def __enter__(self) -> Self: ...

    def write(self, block: Samples) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class _RawSink:
    """Writes samples without a header."""

    def __init__(self, file: BinaryIO, pcm: Pcm, *, is_open: bool) -> None:
        self._file = file
        self._pcm = pcm
        self._is_open = is_open
        """Whether the length is left open because the file is not seekable."""

    def __enter__(self) -> Self:
        return self

    def write(self, block: Samples) -> None:
        self._put(encode_pcm(block, self._pcm.format))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def _put(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:  # an unbuffered pipe may take only a part
            rest = rest[self._file.write(rest) :]
        if self._is_open:
            self._file.flush()


class _WavSink(_RawSink):
    def __init__(self, file: BinaryIO, name: str, pcm: Pcm, *, is_open: bool) -> None:
        super().__init__(file, pcm, is_open=is_open)
        self._name = name
        self._data_bytes = 0

    def __enter__(self) -> Self:
        self._put(build_header(self._pcm, None if self._is_open else 0))
        return self

    def write(self, block: Samples) -> None:
        self._data_bytes += block.size * self._pcm.format.width
        if self._data_bytes > MAX_DATA_BYTES and not self._is_open:
            raise AudioError(f"{self._name} would exceed 4 GiB, which WAV cannot hold; write .flac")
        super().write(block)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and not self._is_open:
            self._put(bytes(self._data_bytes % 2))
            self._file.seek(0)
            self._put(build_header(self._pcm, self._data_bytes))


class _LibsndfileSink:
    def __init__(
        self,
        file: BinaryIO,
        name: str,
        sample_rate: int,
        channels: int,
        subtype: str,
        *,
        form: str,
    ) -> None:
        self._file = _Recorder(file)
        self._name = name
        self._layout = {"samplerate": sample_rate, "channels": channels}
        self._form = {"format": form, "subtype": subtype}
        self._length = 0

    def __enter__(self) -> Self:
        import soundfile

        try:
            self._sound: Any = soundfile.SoundFile(self._file, "w", **self._layout, **self._form)
        except soundfile.LibsndfileError as failure:
            raise AudioError(
                f"cannot write {self._name}: its form does not take "
                f"{self._layout['channels']} channels at {self._layout['samplerate']} Hz; "
                "write .wav"
            ) from failure
        return self

    def write(self, block: Samples) -> None:
        self._length += block.shape[1]
        subtype = self._form["subtype"]
        samples: NDArray[np.float32] | NDArray[np.int16] | NDArray[np.int32]
        if subtype == "PCM_16":
            samples = quantise(block, 16).astype(np.int16)
        elif subtype == "PCM_24":
            samples = quantise(block, 24) << 8
        else:
            samples = np.clip(block, -1, 1)
        with self._complaints():
            self._sound.write(samples.T)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            with suppress(AudioError, OSError), self._complaints():
                self._sound.close()
            return
        with self._complaints():
            self._sound.close()
        if not self._length:
            raise AudioError(
                f"cannot write {self._name}: there are no samples, and only .wav can be empty"
            )

    @contextmanager
    def _complaints(self) -> Iterator[None]:
        """Raise the error of the file if there was one, otherwise that of libsndfile."""
        import soundfile

        try:
            yield
        except soundfile.LibsndfileError as failure:
            self._file.check()
            reason = " ".join(failure.error_string.split())
            raise AudioError(f"cannot write {self._name}: libsndfile says: {reason}") from failure
        self._file.check()


class _Recorder:
    """A file for libsndfile, whose C code cannot pass on exceptions of Python.

    The first failure is kept; later calls pretend to succeed, and `check` raises the failure.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._failure: OSError | None = None

    def write(self, data: bytes) -> int:
        return self._try(lambda: self._file.write(data), len(data))

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._try(lambda: self._file.seek(offset, whence), 0)

    def tell(self) -> int:
        return self._try(self._file.tell, 0)

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _try(self, call: Callable[[], int], otherwise: int) -> int:
        if self._failure is None:
            try:
                return call()
            except OSError as failure:
                self._failure = failure
        return otherwise


@contextmanager
def _guarded(stream: BinaryIO, name: str) -> Iterator[BinaryIO]:
    """`stream`, with errors turned into AudioErrors, except BrokenPipeError."""
    try:
        yield stream
    except BrokenPipeError:
        raise
    except OSError as failure:
        reason = (failure.strerror or str(failure)).lower()
        raise AudioError(f"cannot write {name}: {reason}") from failure
