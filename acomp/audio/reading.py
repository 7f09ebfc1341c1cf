"""Reading audio files and pipes, whole or in blocks.

WAV is read here, so that a pipe gives its samples as they arrive and a cut file is noticed;
libsndfile reads most other forms, and the `ffmpeg` program, where there is one, the rest.
"""

from __future__ import annotations

import os
import select
import shutil
import stat
import subprocess
import tempfile
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import IO, Any, BinaryIO

import numpy as np

from acomp.audio.pcm import RAW_SUFFIXES, Pcm, decode_pcm
from acomp.audio.samples import Audio, Samples, check_layout
from acomp.audio.wav import MAGIC_BYTES, UNKNOWN_SIZE, Read, is_wav, read_header
from acomp.errors import AudioError
from acomp.files import Closing

AUDIO_SUFFIXES = (
    *(".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp2", ".mp3", ".oga", ".ogg", ".opus"),
    *(".rf64", ".snd", ".w64", ".wav", ".wave"),
    # By ffmpeg:
    *(".aac", ".ac3", ".amr", ".ape", ".m4a", ".m4b", ".mka", ".spx", ".weba", ".wma", ".wv"),
)
"""Suffixes of the audio files in a folder; a file that is named itself may have any."""
_PIECE = 1 << 16
_PIPE_BYTES = 1 << 20
_PATIENCE = 0.02
"""Seconds of audio that are gathered from a pipe, and how long they are waited for."""
_HEAD_BYTES = 4096
_MAX_OGG_PAGE = 27 + 255 + 255 * 255
_SF_MALFORMED = 3
_SF_UNKNOWN_FRAMES = 1 << 62


class AudioReader(Closing):
    """Audio that is open for reading: a context manager, made by `open_audio`."""

    def __init__(self, name: str, sample_rate: int, channels: int, length: int | None) -> None:
        check_layout(name, sample_rate, channels)
        self._name = name
        self._position = 0
        self._resources = ExitStack()
        self.sample_rate = sample_rate
        """Sample rate in Hz."""
        self.channels = channels
        self.length = length
        """Samples per channel; None where that is not known before the end."""

    def blocks(self, frames: int) -> Iterator[Samples]:
        """The audio from here on, in blocks `[channels, n]` with n from 1 to `frames`.

        A pipe's blocks come as its samples arrive: all that is there, and where that is less than
        20 ms what else comes within 20 ms. Memory never grows with the length of the audio.

        Raises:
            AudioError: the audio is damaged, ends early, or has samples that are not finite.
        """
        if frames < 1:
            raise ValueError(f"blocks of {frames} samples")
        while True:
            try:
                block = self._read(frames)
            except OSError as failure:
                raise _unreadable(self._name, failure) from failure
            if not block.shape[1]:
                break
            if not np.isfinite(block).all():
                raise AudioError(
                    f"{self._name} has samples that are not finite numbers, "
                    f"{self._position / self.sample_rate:.1f} s in or later"
                )
            self._position += block.shape[1]
            yield block
        if self.length is not None and self._position < self.length:
            raise _truncated(self._name, self.length, self._position, "samples")

    def close(self) -> None:
        self._resources.close()

    @abstractmethod
    def _read(self, frames: int) -> Samples:
        """Up to `frames` samples per channel, `[channels, n]`; none at the end alone."""


def is_audio_name(path: Path, *, raw: bool = False) -> bool:
    """Whether a file's name is that of audio; `raw` asks for PCM without a header."""
    return path.suffix.lower() in (RAW_SUFFIXES if raw else AUDIO_SUFFIXES)


def read_audio(source: str | os.PathLike[str] | BinaryIO) -> Audio:
    """All of a file or stream.

    Raises:
        AudioError: it cannot be read, is damaged, or ends early.
    """
    with open_audio(source) as reader:
        nothing = np.zeros((reader.channels, 0), np.float32)
        samples = np.concatenate([nothing, *reader.blocks(_PIECE)], axis=1)
        return Audio(samples, reader.sample_rate)


def open_audio(source: str | os.PathLike[str] | BinaryIO, *, raw: Pcm | None = None) -> AudioReader:
    """Open a file, or a binary stream such as `sys.stdin.buffer`, which need not seek.

    A stream that is neither WAV nor raw is first copied to a temporary file. The caller closes its
    stream.

    Args:
        source: a path, or a binary stream.
        raw: what is in there, where it is PCM without a header.

    Raises:
        AudioError: there is no such file, or it is of no form that can be read, or is truncated.
    """
    with ExitStack() as resources:
        try:
            if isinstance(source, str | os.PathLike):
                reader = _open_path(Path(source), raw, resources)
            else:
                reader = _open_stream(source, _stream_name(source), raw, resources)
        except OSError as failure:
            name = source if isinstance(source, str | os.PathLike) else _stream_name(source)
            raise _unreadable(str(name), failure) from failure
        reader._resources = resources.pop_all()
    return reader


def _open_path(path: Path, raw: Pcm | None, resources: ExitStack) -> AudioReader:
    file = resources.enter_context(path.open("rb"))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return _open_stream(file, str(path), raw, resources)
    if raw is not None:
        return _RawReader(str(path), raw, file.read, os.fstat(file.fileno()).st_size)
    return _open_file(file, path, str(path), resources)


def _open_stream(stream: BinaryIO, name: str, raw: Pcm | None, resources: ExitStack) -> AudioReader:
    arriving = _Arriving(stream)
    if raw is not None:
        arriving.expect(raw)
        return _RawReader(name, raw, arriving, None)
    tee = _Tee(arriving)
    while len(tee.seen) < MAGIC_BYTES and tee(MAGIC_BYTES - len(tee.seen)):
        pass
    magic = bytes(tee.seen)
    if not magic:
        raise AudioError(f"{name} is empty: no bytes came")
    if is_wav(magic):
        header = read_header(magic, tee, name)
        if header.pcm is not None:
            arriving.expect(header.pcm)
            return _PcmReader(name, header.pcm, arriving, header.data_bytes)
    file, path = resources.enter_context(_spooled(bytes(tee.seen), arriving))
    return _open_file(file, path, name, resources)


def _open_file(file: IO[bytes], path: Path, name: str, resources: ExitStack) -> AudioReader:
    """Open the regular file `file`, which is at `path` and is called `name` in errors."""
    size = os.fstat(file.fileno()).st_size
    head = file.read(_HEAD_BYTES)
    if not head:
        raise AudioError(f"{name} is empty: it has 0 bytes")
    if is_wav(head):
        file.seek(MAGIC_BYTES)
        header = read_header(head[:MAGIC_BYTES], file.read, name)
        there = size - file.tell()
        promised = there if header.data_bytes is None else header.data_bytes
        if promised > there:
            unit, width = ("samples", header.frame_bytes) if header.pcm else ("bytes", 1)
            raise _truncated(name, promised // width, there // width, unit)
        if header.pcm is not None:
            return _PcmReader(name, header.pcm, file.read, promised)
    promised = _promised_bytes(head)
    if promised > size + 1:  # a missing pad byte is no loss
        raise _truncated(name, promised, size, "bytes")
    if head.startswith(b"OggS") and not _ogg_ends(file, size):
        raise AudioError(
            f"{name} is truncated: its last Ogg page is not there; fetch or make it again"
        )
    return _open_libsndfile(file, path, name, resources)


def _open_libsndfile(file: IO[bytes], path: Path, name: str, resources: ExitStack) -> AudioReader:
    import soundfile

    counted = _mp3_is_counted(file)
    file.seek(0)
    try:
        sound = resources.enter_context(soundfile.SoundFile(file))
    except (soundfile.LibsndfileError, TypeError) as failure:
        # TypeError: soundfile takes any file called .raw for samples without a header.
        if getattr(failure, "code", None) == _SF_MALFORMED:
            raise AudioError(f"{name} is damaged or truncated: {_reason(failure)}") from failure
        return _open_ffmpeg(path, name, "not a form libsndfile knows", resources)
    # libsndfile cannot read FLAC of unknown length, and stops at its guess of an MP3's.
    if sound.frames >= _SF_UNKNOWN_FRAMES or (sound.format == "MP3" and not counted):
        return _open_ffmpeg(path, name, "it does not say how long it is", resources)
    return _LibsndfileReader(name, sound)


def _open_ffmpeg(path: Path, name: str, why: str, resources: ExitStack) -> AudioReader:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        raise AudioError(f"cannot read {name}: {why}; install ffmpeg to read more")
    # The white list keeps a playlist that calls itself audio from reaching into the network.
    # -xerror: without it, what cannot be decoded is left out and the exit code is 0.
    command = [ffmpeg, "-v", "error", "-nostdin", "-xerror", "-protocol_whitelist", "file,pipe"]
    source = f"file:{path}"  # a path may begin like an option or hold a colon
    command += ["-i", source, "-map", "0:a:0", "-f", "wav", "-c:a", "pcm_f32le", "-"]
    program = resources.enter_context(_running(command, source))
    magic = program.read(MAGIC_BYTES)
    if not is_wav(magic):
        complaint = program.complaint() or "nothing"
        raise AudioError(f"cannot read {name}: {why}, and ffmpeg says: {complaint}")
    pcm = read_header(magic, program.read, name).pcm
    assert pcm is not None  # it was asked for
    return _FfmpegReader(name, pcm, program)


class _PcmReader(AudioReader):
    def __init__(self, name: str, pcm: Pcm, read: Read, data_bytes: int | None) -> None:
        length = None if data_bytes is None else data_bytes // pcm.frame_bytes
        super().__init__(name, pcm.sample_rate, pcm.channels, length)
        self._pcm = pcm
        self._source = read
        self._due = data_bytes
        self._partial = b""
        """Bytes of a frame that is not whole yet; at the end, of one that never will be."""

    def _read(self, frames: int) -> Samples:
        frame_bytes = self._pcm.frame_bytes
        data = self._partial
        while len(data) < frame_bytes:
            wanted = frames * frame_bytes - len(data)
            if self._due is not None:
                wanted = min(wanted, self._due)
            part = self._source(wanted) if wanted else b""
            if not part:
                # In a WAV what is left is a pad byte, or the cut of an unknown length.
                self._partial = data
                return np.zeros((self.channels, 0), np.float32)
            if self._due is not None:
                self._due -= len(part)
            data += part
        whole = len(data) - len(data) % frame_bytes
        self._partial = data[whole:]
        return decode_pcm(data[:whole], self._pcm)


class _RawReader(_PcmReader):
    """PCM without a header: only whole frames show that it is what it was said to be."""

    def __init__(self, name: str, pcm: Pcm, read: Read, data_bytes: int | None) -> None:
        super().__init__(name, pcm, read, data_bytes)
        if data_bytes is not None:
            self._check_end(data_bytes % pcm.frame_bytes)

    def _read(self, frames: int) -> Samples:
        block = super()._read(frames)
        if not block.shape[1]:
            self._check_end(len(self._partial))
        return block

    def _check_end(self, left: int) -> None:
        if left:
            raise AudioError(
                f"{self._name} ends {left} bytes into a sample frame of {self._pcm.frame_bytes}: "
                "it is cut short, or its format is another"
            )


class _LibsndfileReader(AudioReader):
    def __init__(self, name: str, sound: Any) -> None:
        super().__init__(name, sound.samplerate, sound.channels, sound.frames)
        self._sound = sound

    def _read(self, frames: int) -> Samples:
        import soundfile

        try:
            block = self._sound.read(frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as failure:
            raise AudioError(
                f"{self._name} is damaged or truncated: {_reason(failure)}"
            ) from failure
        samples: Samples = np.ascontiguousarray(block.T)
        return samples


class _FfmpegReader(_PcmReader):
    def __init__(self, name: str, pcm: Pcm, program: _Program) -> None:
        super().__init__(name, pcm, program.read, None)
        self._program = program

    def _read(self, frames: int) -> Samples:
        block = super()._read(frames)
        if not block.shape[1] and (complaint := self._program.complaint()):
            raise AudioError(f"{self._name} is damaged or truncated: ffmpeg says: {complaint}")
        return block


class _Arriving:
    """Reads from a stream what has arrived, and does not wait for all that is asked for."""

    def __init__(self, stream: BinaryIO) -> None:
        # `read1` gives what is there; `read` would wait for more, save on an unbuffered stream.
        self._read: Read = getattr(stream, "read1", stream.read)
        self._stream = stream
        self._enough = 0
        # A wider pipe lets a fast writer get ahead. Where there is no such thing, it does not.
        with suppress(ImportError, AttributeError, OSError, TypeError):
            import fcntl

            fcntl.fcntl(stream, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def expect(self, pcm: Pcm) -> None:
        """From now on wait a moment, where less PCM than that moment's is there.

        A block costs the codec some time, and the file of codes some bytes, however short it is.
        """
        self._enough = int(_PATIENCE * pcm.sample_rate) * pcm.frame_bytes

    def __call__(self, count: int) -> bytes:
        data = self._read(min(count, _PIECE))
        parts, size = [data], len(data)
        deadline = monotonic() + _PATIENCE
        while data and size < count:
            patience = max(0.0, deadline - monotonic()) if size < self._enough else 0.0
            if not self._has_more(patience):
                break
            data = self._read(min(count - size, _PIECE))
            parts.append(data)
            size += len(data)
        return b"".join(parts)

    def _has_more(self, patience: float) -> bool:
        """Whether a read would not wait, or not longer than `patience` seconds."""
        try:
            ready, _, _ = select.select([self._stream], [], [], patience)
        except (OSError, TypeError, ValueError):  # it is no file, or none that can be asked
            return False
        return bool(ready)


class _Tee:
    """Reads, and keeps what it read for whoever must start again."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.seen = bytearray()

    def __call__(self, count: int) -> bytes:
        part = self._read(count)
        self.seen += part
        return part


@contextmanager
def _spooled(start: bytes, read: Read) -> Iterator[tuple[IO[bytes], Path]]:
    """A temporary file of `start` and all that `read` gives, and its path."""
    with tempfile.NamedTemporaryFile(prefix="acomp-") as spool:
        spool.write(start)
        while part := read(_PIECE):
            spool.write(part)
        spool.seek(0)
        yield spool.file, Path(spool.name)


class _Program:
    """A running program whose output is read; it calls its input `source` in its messages."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes], source: str) -> None:
        assert process.stdout is not None
        self._process = process
        self._errors = errors
        self._source = source
        self.read: Read = process.stdout.read

    def complaint(self) -> str:
        """Once its output has ended: "", or where it failed its last line of standard error."""
        code = self._process.wait()
        if code == 0:
            return ""
        self._errors.seek(max(self._errors.seek(0, os.SEEK_END) - _HEAD_BYTES, 0))
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), f"exit code {code}")
        return last.strip().removeprefix(f"{self._source}: ")


@contextmanager
def _running(command: list[str], source: str) -> Iterator[_Program]:
    # Standard error goes to a file: nobody reads it meanwhile, and a full pipe would block.
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
        ) as process,
    ):
        try:
            yield _Program(process, errors, source)
        finally:
            process.kill()


def _promised_bytes(head: bytes) -> int:
    """Length that the header of an AIFF, AU or Wave64 file gives; 0 where it gives none.

    libsndfile takes what is there for the whole of such a file.
    """
    if head.startswith(b"FORM"):
        size, before = int.from_bytes(head[4:8]), 8
    elif head.startswith(b".snd"):
        size, before = int.from_bytes(head[8:12]), int.from_bytes(head[4:8])
    elif head.startswith(b"riff"):
        size, before = int.from_bytes(head[16:24], "little"), 0
    else:
        return 0
    return 0 if size in (UNKNOWN_SIZE, (1 << 64) - 1) else before + size


def _ogg_ends(file: IO[bytes], size: int) -> bool:
    """Whether the last page is whole and is marked as its stream's end (RFC 3533, section 6)."""
    file.seek(max(size - _MAX_OGG_PAGE, 0))
    tail = file.read()
    page = tail[max(tail.rfind(b"OggS"), 0) :]
    if len(page) < 27:
        return False
    segments = page[27 : 27 + page[26]]
    return bool(page[5] & 4) and len(page) >= 27 + page[26] + sum(segments)


def _mp3_is_counted(file: IO[bytes]) -> bool:
    """Whether an MP3's first frame says how many there are (the Xing, Info and VBRI headers)."""
    file.seek(0)
    tag = file.read(10)
    if tag.startswith(b"ID3"):  # ID3v2.4, section 3.1: 28 bits, seven to a byte
        size = sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=True))
        file.seek(10 + size)
    else:
        file.seek(0)
    start = file.read(_HEAD_BYTES)
    return any(mark in start for mark in (b"Xing", b"Info", b"VBRI"))


def _stream_name(stream: BinaryIO) -> str:
    return "standard input" if getattr(stream, "name", "") in ("<stdin>", 0) else "the stream"


def _reason(failure: Exception) -> str:
    """What libsndfile says."""
    text = str(getattr(failure, "error_string", failure)).removeprefix("Error : ")
    return f"libsndfile says: {' '.join(text.split()).rstrip('.') or 'no reason'}"


def _truncated(name: str, promised: int, there: int, unit: str) -> AudioError:
    return AudioError(
        f"{name} is truncated: the header promises {promised} {unit}, {there} are there; "
        "fetch or make it again"
    )


def _unreadable(name: str, failure: OSError) -> AudioError:
    reason = (failure.strerror or str(failure)).lower()
    return AudioError(f"cannot read {name}: {reason}")
