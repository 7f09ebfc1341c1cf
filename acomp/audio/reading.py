"""Reading audio files and pipes, whole or in blocks.

acomp reads WAV itself, so that samples of a pipe are available as they arrive and truncation is
noticed. libsndfile reads the other uncompressed forms and Ogg, ffmpeg's libraries read the rest.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, BinaryIO

import numpy as np

from acomp.audio.base import AudioReader, promised, unreadable
from acomp.audio.extents import check_extent, end_of_sound, ogg_is_ended, ogg_links
from acomp.audio.ffmpeg import UnknownFormError, open_ffmpeg
from acomp.audio.findings import Findings
from acomp.audio.joined import JoinedReader
from acomp.audio.pcm import RAW_SUFFIXES, Pcm, decode_pcm, parse_pcm
from acomp.audio.samples import Audio, Samples
from acomp.audio.sndfile import open_libsndfile
from acomp.audio.streams import Arriving, Tee, Window, spooled, stream_name
from acomp.audio.wav import MAGIC_BYTES, Read, is_wav, read_header
from acomp.errors import AudioError
from acomp.files import check_place

AUDIO_SUFFIXES = (
    *(".3gp", ".aac", ".ac3", ".aif", ".aifc", ".aiff", ".amr", ".ape", ".asf", ".au", ".avi"),
    *(".bw64", ".caf", ".dff", ".dsf", ".dts", ".eac3", ".flac", ".flv", ".m2ts", ".m4a", ".m4b"),
    *(".m4v", ".mka", ".mkv", ".mov", ".mp1", ".mp2", ".mp3", ".mp4", ".mpc", ".mpg", ".mts"),
    *(".mxf", ".oga", ".ogg", ".ogv", ".opus", ".ra", ".rf64", ".rm", ".shn", ".snd", ".sph"),
    *(".spx", ".tak", ".tta", ".voc", ".w64", ".wav", ".wave", ".weba", ".webm", ".wma", ".wmv"),
    ".wv",
)
"""Suffixes by which audio files in a folder are found; a file that is named may have any suffix."""
_PIECE = 1 << 16
_HEAD_BYTES = 4096
_OGG = b"OggS"
_LIBSNDFILE_MAGIC = (b"FORM", b".snd", b"caff", b"riff", _OGG)
"""First bytes of the files that libsndfile is tried on first: uncompressed forms, and Ogg, because
only libsndfile returns the exact length of Vorbis."""
_TAG = b"ID3"
_CODES = (b"NAC", b"ECDC")


def is_audio_name(path: Path, *, raw: bool = False) -> bool:
    """Whether a file name has a suffix of audio, or with `raw` a suffix of PCM without a header."""
    return path.suffix.lower() in (RAW_SUFFIXES if raw else AUDIO_SUFFIXES)


def read_audio(
    source: str | os.PathLike[str] | BinaryIO, *, raw: str | None = None, recover: bool = False
) -> Audio:
    """Read a whole audio file or binary stream.

    The format follows from the content, never from the name. An `AcompWarning` tells of each thing
    that is unusual about the file and, with `recover`, of each part that was lost.

        >>> acomp.read_audio("speech.flac")
        Audio(1 channel, 3.45 s at 48000 Hz)

    PCM without a header needs `raw`:

        >>> with acomp.AudioWriter("speech.pcm", 48_000, 1, raw="s16le") as writer:
        ...     writer.write(acomp.read_audio("speech.flac").samples)
        >>> acomp.read_audio("speech.pcm", raw="48000:1:s16le")
        Audio(1 channel, 3.45 s at 48000 Hz)

    Args:
        source: a path, or a binary stream such as `sys.stdin.buffer`, which need not be seekable.
        raw: what a source without a header holds, as for `open_audio`.
        recover: read what can be read of a damaged or truncated source, instead of raising.

    Raises:
        AudioError: the source cannot be read or, without `recover`, is damaged or truncated.
    """
    with open_audio(source, raw=raw, recover=recover) as reader:
        nothing = np.zeros((reader.channels, 0), np.float32)
        samples = np.concatenate([nothing, *reader.blocks(_PIECE)], axis=1)
        return Audio(samples, reader.sample_rate)


def open_audio(
    source: str | os.PathLike[str] | BinaryIO, *, raw: str | None = None, recover: bool = False
) -> AudioReader:
    """Open an audio file or binary stream, to read it block by block.

    Samples of a WAV or raw stream are available as they arrive; a stream of another form is copied
    to a temporary file first. A stream is not closed with the reader.

        >>> with acomp.open_audio("speech.flac") as reader:
        ...     loudest = max(abs(block).max() for block in reader.blocks(48_000))
        >>> reader
        <reader of speech.flac: 1 channel at 48000 Hz, 3.45 s>

    Args:
        source: a path, or a binary stream such as `sys.stdin.buffer`, which need not be seekable.
        raw: sample rate in Hz, channels and format of a source that is PCM without a header, as
            "RATE:CHANNELS:FORMAT", for example "44100:2:s16le". The formats are u8, s16le, s16be,
            s24le, s24be, s32le, s32be, f32le, f32be, f64le and f64be.
        recover: read what can be read of a damaged or truncated source, instead of raising; the
            reader's `damage`, and warnings, say what was lost and where.

    Raises:
        AudioError: the file does not exist, is of a form that cannot be read or, without `recover`,
            is damaged or truncated; or `raw` describes no PCM.
    """
    check_place(source, "read", AudioError)
    pcm = None if raw is None else parse_pcm(raw)
    name = str(source) if isinstance(source, str | os.PathLike) else stream_name(source)
    findings = Findings(name, recover=recover)
    with ExitStack() as resources:
        try:
            if isinstance(source, str | os.PathLike):
                reader = _open_path(Path(source), pcm, findings, resources)
            else:
                reader = _open_stream(source, pcm, findings, resources)
        except OSError as failure:
            raise unreadable(name, failure) from failure
        # The reader is closed first, and then the file that it reads from.
        resources.push(reader.resources.pop_all())
        reader.resources = resources.pop_all()
    return reader


def _open_path(
    path: Path, pcm: Pcm | None, findings: Findings, resources: ExitStack
) -> AudioReader:
    file = resources.enter_context(path.open("rb", buffering=0))
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        return _open_stream(file, pcm, findings, resources)
    if pcm is not None:
        return _RawReader(findings, pcm, file.read, status.st_size)
    return _open_file(file, findings)


def _open_stream(
    stream: BinaryIO, pcm: Pcm | None, findings: Findings, resources: ExitStack
) -> AudioReader:
    arriving = Arriving(stream)
    if pcm is not None:
        arriving.expect(pcm)
        return _RawReader(findings, pcm, arriving, None)
    tee = Tee(arriving)
    while len(tee.seen) < MAGIC_BYTES and tee(MAGIC_BYTES - len(tee.seen)):
        pass
    magic = bytes(tee.seen)
    if not magic:
        raise AudioError(f"{findings.name} is empty: no bytes came")
    if is_wav(magic):
        header = read_header(magic, tee, findings.name)
        if header.pcm is not None:
            arriving.expect(header.pcm)
            reader = _PcmReader(findings, header.pcm, arriving, header.data_bytes)
            reader.rest = arriving.rest
            return reader
    return _open_file(resources.enter_context(spooled(bytes(tee.seen), arriving)), findings)


def _open_file(file: IO[bytes], findings: Findings) -> AudioReader:
    """Open the regular file `file`."""
    head = file.read(_HEAD_BYTES)
    if not head:
        raise AudioError(f"{findings.name} is empty: it has 0 bytes")
    if is_wav(head) and (reader := _open_wav(file, head, findings)) is not None:
        return reader
    check_extent(file, head, findings)
    size = end_of_sound(head, os.fstat(file.fileno()).st_size)
    if not head.startswith(_OGG):
        return _open_part(Window(file, 0, size), head, findings)
    links = ogg_links(file, size, findings)
    if len(links) == 1:
        return _open_part(Window(file, 0, size), head, findings)
    parts = [partial(_open_part, Window(file, *link), head, findings) for link in links]
    return JoinedReader(findings, parts)


def _open_part(window: Window, head: bytes, findings: Findings, before: float = 0.0) -> AudioReader:
    """Open a file, or one of several that were joined to one, `before` seconds into the whole."""
    is_cut = head.startswith(_OGG) and not ogg_is_ended(window)  # libsndfile refuses such Opus
    if head.startswith(_LIBSNDFILE_MAGIC) and not is_cut:
        reader = open_libsndfile(window, findings)
        if reader is not None:
            return reader
    try:
        return open_ffmpeg(window, findings, before)
    except UnknownFormError as failure:
        # libsndfile would take such a file for an MP3 and print messages to stderr.
        is_mpeg = head.startswith(_TAG) or (head[0] == 0xFF and head[1:2] >= b"\xe0")
        reader = None if is_mpeg else open_libsndfile(window, findings)
        if reader is None:
            raise AudioError(f"cannot read {findings.name}: {_what_it_is(head)}") from failure
        return reader


def _open_wav(file: IO[bytes], head: bytes, findings: Findings) -> AudioReader | None:
    """A reader of a WAV of PCM; None where the samples are compressed."""
    file.seek(MAGIC_BYTES)
    header = read_header(head[:MAGIC_BYTES], file.read, findings.name)
    there = os.fstat(file.fileno()).st_size - file.tell()
    expected = header.promised(there)
    if expected > there:
        unit, width = ("samples", header.block_align) if header.pcm else ("bytes", 1)
        findings.lost(promised(expected // width, there // width, unit))
        expected = there
    if header.pcm is None:
        return None
    begin = file.tell()
    file.seek(begin + expected)
    _check_rest(file.read(MAGIC_BYTES + 1)[expected % 2 :], findings)
    file.seek(begin)
    return _PcmReader(findings, header.pcm, file.read, expected)


def _check_rest(rest: bytes, findings: Findings) -> None:
    """Check what follows the samples of a WAV: chunks are fine, but other audio would be lost."""
    kind = rest[:4]
    if is_wav(rest):
        findings.lost("two WAV files joined, of which only the first can be read")
    elif len(kind) == 4 and kind.strip(b"\0") and not kind.strip().isalnum():
        findings.remark("has bytes after its samples that are no chunk of a WAV")


def _what_it_is(head: bytes) -> str:
    """The reason why a file cannot be read, judged by its first bytes."""
    if head.startswith(_TAG):
        return "it has only tags, and no sound that is known here"
    if head.startswith(_CODES):
        return "it has codes, not sound: acomp decode makes sound of them"
    if head[4:8] == b"ftyp":
        return "it is damaged or truncated: its index (moov) is not there, or cannot be read"
    if _is_text(head):
        return "it is text, not sound; of a playlist, give the files that it names"
    return "it is damaged, or not of a form of audio that is known here"


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)


class _PcmReader(AudioReader):
    def __init__(self, findings: Findings, pcm: Pcm, read: Read, data_bytes: int | None) -> None:
        length = None if data_bytes is None else data_bytes // pcm.block_align
        super().__init__(findings, pcm.sample_rate, pcm.channels, length)
        self._pcm = pcm
        self._source = read
        self._due = data_bytes
        self._partial = b""
        """Bytes of an incomplete sample at the end of what was read so far."""
        self.rest: Read | None = None
        """Reads what follows the samples of a stream; None for files."""

    def _read(self, count: int) -> Samples:
        block_align = self._pcm.block_align
        data = self._partial
        while len(data) < block_align:
            wanted = count * block_align - len(data)
            if self._due is not None:
                wanted = min(wanted, self._due)
            part = self._source(wanted) if wanted else b""
            if not part:
                # What is left in a WAV is a pad byte, or a truncated sample of unknown length.
                self._partial = data
                return np.zeros((self.channels, 0), np.float32)
            if self._due is not None:
                self._due -= len(part)
            data += part
        whole = len(data) - len(data) % block_align
        self._partial = data[whole:]
        return decode_pcm(data[:whole], self._pcm)

    def _check_end(self) -> None:
        super()._check_end()
        if self.rest is not None and self._due == 0:
            odd = self._pcm.block_align * self._position % 2
            _check_rest(self.rest(MAGIC_BYTES + 1)[odd:], self._findings)


class _RawReader(_PcmReader):
    """PCM without a header; an incomplete sample at the end shows a wrong format or a cut."""

    def __init__(self, findings: Findings, pcm: Pcm, read: Read, data_bytes: int | None) -> None:
        super().__init__(findings, pcm, read, data_bytes)
        if data_bytes is not None and not findings.recover:
            self._check_rest(data_bytes % pcm.block_align)

    def _check_end(self) -> None:
        super()._check_end()
        self._check_rest(len(self._partial))

    def _check_rest(self, left: int) -> None:
        if left:
            self._findings.lost(
                f"cut short, or its format is another: it ends {left} bytes into a sample frame of "
                f"{self._pcm.block_align}"
            )
