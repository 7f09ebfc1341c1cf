"""Reading with ffmpeg's libraries, through PyAV: all compressed audio except Ogg, and videos.

The format follows from the content of a file, never from its name, and only the demuxers in
`_DEMUXERS` are allowed. None of them opens other files, and none could, because they are given the
open file as their only source.

A frame in this module is a frame of the compressed audio, or of ffmpeg's decoder.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from acomp.audio.aac_ac3 import find_frames
from acomp.audio.base import AudioReader
from acomp.audio.findings import Findings
from acomp.audio.mpeg import counted_seconds, find_frame, frame_bytes, frame_seconds, is_summary
from acomp.audio.samples import Samples, check_layout, to_channels
from acomp.audio.streams import Window
from acomp.errors import AudioError

_DEMUXERS = (
    *("aac", "ac3", "aiff", "amr", "ape", "asf", "ast", "au", "avi", "avr", "caf", "dsf", "dts"),
    *("dtshd", "eac3", "epaf", "flac", "flv", "g722", "gsm", "gxf", "iff", "ilbc", "ircam", "loas"),
    *("matroska", "mlp", "mov", "mp3", "mpc", "mpc8", "mpeg", "mpegts", "mxf", "nistsphere"),
    *("nut", "ogg", "oma", "qcp", "qoa", "rka", "rm", "shn", "sox", "tak", "truehd", "tta", "voc"),
    *("vqf", "w64", "wav", "wsd", "wtv", "wv", "wve", "xwma"),
)
"""ffmpeg's names of the forms it may read; playlists, manifests and lists of files are not here."""
_EXACT = ("flac", "nistsphere", "tta", "wv", "wve")
"""Demuxers whose files state their length to the sample."""
_NEAR = ("aiff", "ape", "ast", "au", "dsf", "mpc", "mpc8", "ogg", "qoa", "shn", "tak", "w64", "wav")
"""Demuxers whose files state their length to about a frame."""
_ROUGH = ("flv", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "nut", "rm")
"""Demuxers of containers that state their length approximately."""
_BY_NAME = {".g722": "g722", ".gsm": "gsm"}
"""Demuxers of forms whose content cannot be recognised, by suffix."""
_NEAR_SECONDS, _ROUGH_SECONDS, _ROUGH_SHARE = 0.25, 1.0, 0.05
_SYNCS = {
    "aac": rb"\xff[\xf0\xf1\xf8\xf9]",
    "ac3": rb"\x0b\x77",
    "dts": rb"\x7f\xfe\x80\x01|\xfe\x7f\x01\x80|\x1f\xff\xe8\x00|\xff\x1f\x00\xe8",
    "eac3": rb"\x0b\x77",
    "loas": rb"\x56[\xe0-\xff]",
    "mp3": rb"",
}
"""Demuxers of bare frames, between which other bytes can stand, and how their frames begin; frames
of MPEG audio are recognised by `mpeg`."""
_PARSED = ("aac", "ac3", "eac3")
"""Demuxers of bare frames whose packets are cut here instead: ffmpeg's demuxer of ADTS skips the
frame that follows a stray byte, and its decoders lose a frame that a stray byte follows."""
_CHECKED = ("ape", "flac", "tak", "tta", "wavpack")
"""Decoders of forms whose frames have checksums, which ffmpeg ignores by default."""
_OPEN_ENDED = ("caf",)
"""Demuxers that call the last packet corrupt in a file whose header leaves the length open."""
_MPEG_SLACK, _MPEG_PADDING = 1.5, 5
"""Frames by which an MP3 may be shorter than its first frame states, if the length excludes the
encoder's padding before and after the audio, and if it includes it."""
_TIMED = ("asf", "flv", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "ogg")
"""Demuxers whose packets have timestamps that the file states."""
_GAP_SECONDS = 0.1
_AMR_SENT, _AMR_SECONDS = 9, 0.02
"""Lowest type of an AMR frame that holds no audio, and seconds of a frame."""
_OPUS_HEAD = b"OpusHead"
_OPUS_RATE = 48_000
_BUFFER_BYTES = 1 << 16


class UnknownFormError(AudioError):
    """The file is not of a form that ffmpeg may read."""


def open_ffmpeg(window: Window, findings: Findings, before: float = 0.0) -> AudioReader:
    """Open the part of a file that a window shows.

    Args:
        window: the part, or all of the file.
        findings: takes what is wrong with it.
        before: seconds of the parts before this one, where files were joined.

    Raises:
        UnknownFormError: it is not of one of these forms.
        AudioError: it has no audio, or audio that cannot be decoded.
    """
    import av

    counted = counted_seconds(window)
    window.seek(0)
    try:
        container = av.open(
            window,
            "r",
            format=_BY_NAME.get(Path(findings.name).suffix.lower()),
            container_options={
                "format_whitelist": ",".join(_DEMUXERS),
                "codec_whitelist": _audio_decoders(),
                "protocol_whitelist": "none",
            },
            metadata_errors="replace",
            buffer_size=_BUFFER_BYTES,
            io_open=_refuse,
        )
    except (av.FFmpegError, ValueError) as failure:
        window.check()
        raise UnknownFormError(f"cannot read {findings.name}: {_reason(failure)}") from failure
    try:
        return FfmpegReader(window, container, findings, counted, before)
    except BaseException:
        container.close()
        raise


@cache
def _audio_decoders() -> str:
    """The names of all audio decoders; decoders of images and video are not allowed to run."""
    import av

    names = []
    for name in av.codecs_available:
        try:
            codec = av.codec.Codec(name, "r")
        except av.codec.codec.UnknownCodecError:
            continue  # it has only an encoder
        if codec.type == "audio":
            names.append(name)
    return ",".join(names)


def _refuse(*_: object) -> IO[bytes]:
    raise OSError("a file of audio opens no other")


class FfmpegReader(AudioReader):
    """Reads one container, packet by packet.

    It never seeks, so the decoder sees all packets in order, and the samples do not depend on the
    block size.
    """

    def __init__(
        self,
        window: Window,
        container: Any,
        findings: Findings,
        counted: float | None,
        before: float,
    ) -> None:
        self._window = window
        self._container = container
        self._demuxer: str = container.format.name
        self._counted = counted if self._demuxer == "mp3" else None
        """Seconds according to the frame count of an MP3, without which ffmpeg only guesses."""
        self._before = before
        self._stream = _sound_of(container, findings.name)
        self._decoder = self._stream.codec_context
        self._decoder.thread_count = 1
        if self._decoder.name in _CHECKED:
            self._decoder.options = {"err_detect": "crccheck+explode"}
        self._findings = findings
        self._layout: tuple[int, int] | None = None
        """Sample rate and channels of the first frame."""
        self._decoded: deque[Samples] = deque()
        self._ready = 0
        """Samples in `_decoded`."""
        self._taken = 0
        """Samples decoded so far."""
        self._last = b""
        """The last packet, if it is a frame of MPEG audio."""
        self._usual = 0
        """Bytes of the last packet that was decoded."""
        self._next_at: int | None = None
        """Timestamp that the next packet should have; None if unknown."""
        self._steps = self._decoding()
        while self._layout is None and next(self._steps, False):
            pass
        if self._layout is None:
            raise AudioError(
                f"cannot read {findings.name}: it is damaged or truncated: it has no sound that is "
                "whole"
            )
        super().__init__(findings, *self._layout, self._stated())
        self.resources.callback(container.close)

    def _read(self, count: int) -> Samples:
        while self._ready < count and next(self._steps, False):
            pass
        parts, left = [np.zeros((self.channels, 0), np.float32)], min(count, self._ready)
        self._ready -= left
        while left:
            part = self._decoded.popleft()
            if part.shape[1] > left:
                self._decoded.appendleft(part[:, left:])
                part = part[:, :left]
            parts.append(part)
            left -= part.shape[1]
        return parts[1] if len(parts) == 2 else np.concatenate(parts, axis=1)

    def _check_end(self) -> None:
        there, expected = self._taken / self.sample_rate, self._least_seconds()
        if self._taken < round(expected * self.sample_rate):
            self._findings.lost(f"truncated: it ends after {there:.3f} s of {expected:.3f} or more")
        elif len(self._last) < (frame_bytes(self._last) or 0):
            self._findings.lost("truncated: it ends within a frame")

    def _decoding(self) -> Iterator[bool]:
        """Decode one more packet with each step."""
        import av

        failed_at: int | None = None
        """Samples decoded when the demuxer last failed; failing there again ends the file."""
        is_ended = False
        while not is_ended:
            try:
                for packet in self._packets():
                    if packet.size:  # an empty packet is the last one
                        self._take(packet)
                        yield True
                is_ended = True
            except EOFError:
                is_ended = True
            except av.FFmpegError:
                is_ended = failed_at == self._taken
                failed_at = self._taken
                if is_ended or self._demuxer in _SYNCS:
                    self._note_noise(at_end=is_ended)
            self._window.check()
        with suppress(av.FFmpegError):
            for frame in self._decoder.decode(None):
                self._keep(frame)
        yield self._ready > 0

    def _packets(self) -> Iterator[Any]:
        packets = self._container.demux(self._stream)
        if self._demuxer not in _PARSED:
            yield from packets
            return
        first = next(packets)  # behind what tags there are
        if not first.size:
            return
        self._window.seek(first.pos)
        while data := self._window.read(_BUFFER_BYTES):
            yield from self._decoder.parse(data)
        yield from self._decoder.parse(None)

    def _note_noise(self, *, at_end: bool) -> None:
        if self._demuxer in _SYNCS or (at_end and self._least_seconds()):
            # What is missing is seen at the end.
            self._findings.remark(f"has bytes that are no sound, {self._time} s in")
        else:
            self._findings.lost(f"damaged or truncated: it cannot be read {self._time} s in")

    def _take(self, packet: Any) -> None:
        import av

        if packet.is_corrupt and self._demuxer not in _OPEN_ENDED:
            self._lose_a_part()
        if self._demuxer in _TIMED:
            self._check_gap(packet)
        if self._demuxer == "mp3" and frame_bytes(data := bytes(packet)) is not None:
            self._last = data
        if self._demuxer in _PARSED:
            packet = self._without_strays(packet)
        try:
            frames = self._decoder.decode(packet)
            self._usual = packet.size
        except (av.FFmpegError, EOFError):
            frames = self._decoded_again(packet)
        for frame in frames:
            self._keep(frame)

    def _without_strays(self, packet: Any) -> Any:
        """The packet without bytes before and after its frames that are no audio."""
        import av

        data = bytes(packet)
        begin, end = find_frames(data)
        if end == 0 or end - begin == len(data):
            return packet
        self._note_strays(len(data) - (end - begin))
        return av.Packet(data[begin:end])

    def _note_strays(self, count: int) -> None:
        self._findings.remark(f"has {count} bytes that are no sound, {self._time} s in")

    def _decoded_again(self, packet: Any) -> list[Any]:
        """Decode a packet that the decoder refused, without the stray bytes that may be in it."""
        import av

        data = bytes(packet)
        if self._demuxer == "amr" and len(data) == 1:
            return self._amr_pause(data)
        sync = _SYNCS.get(self._demuxer)
        if sync is None:
            return self._undecodable()
        if self._demuxer == "mp3":
            begin = find_frame(data)
        else:
            found = re.search(sync, data)
            begin = found.start() if found else -1
        if begin < 0:
            self._note_strays(len(data))
            return []
        if self._demuxer == "mp3" and is_summary(data[begin:]):
            return []  # files were joined
        end = len(data) if begin else min(len(data), self._usual)
        strays = len(data) - (end - begin)
        if not strays:
            return self._undecodable()
        self._note_strays(strays)
        try:
            frames: list[Any] = self._decoder.decode(av.Packet(data[begin:end]))
        except (av.FFmpegError, EOFError):
            return self._undecodable()
        return frames

    def _amr_pause(self, data: bytes) -> list[Any]:
        """Silence for an AMR frame that says that nothing was sent (RFC 4867)."""
        if data[0] >> 3 & 15 < _AMR_SENT:
            self._findings.remark(f"has a byte that is no sound, {self._time} s in")
            return []
        rate = self._decoder.sample_rate
        self._layout = self._layout or (rate, 1)
        self._add(np.zeros((self._layout[1], int(rate * _AMR_SECONDS)), np.float32))
        return []

    def _undecodable(self) -> list[Any]:
        self._findings.lost(f"damaged or truncated: a part of it, {self._time} s in, is no sound")
        return []

    def _lose_a_part(self) -> None:
        if self._taken:
            self._findings.lost(f"damaged or truncated: a part is missing, {self._time} s in")
        else:  # a recording of what was on the air already
            self._findings.remark("begins within a packet")

    def _check_gap(self, packet: Any) -> None:
        """Report a gap between timestamps: in Ogg audio is missing; other forms may have gaps."""
        if packet.pts is None:
            return
        if self._next_at is not None:
            gap = float((packet.pts - self._next_at) * packet.time_base)
            if gap > _GAP_SECONDS and self._demuxer == "ogg":
                self._findings.lost(f"damaged: {gap:.2f} s are missing, {self._time} s in")
            elif gap > _GAP_SECONDS:
                self._findings.remark(f"leaves {gap:.2f} s out, {self._time} s in")
        self._next_at = packet.pts + packet.duration if packet.duration else None

    def _keep(self, frame: Any) -> None:
        if frame.is_corrupt:
            self._lose_a_part()
        samples = _samples_of(frame)
        layout = (int(frame.sample_rate), samples.shape[0])
        if self._layout is None:
            check_layout(self._findings.name, *layout)
            self._layout = layout
        if layout != self._layout:
            rate, channels = self._layout
            if layout[0] != rate or layout[1] != 1:
                self._findings.lost(
                    f"damaged, or joined of parts that differ: {self._time} s in, {channels} "
                    f"channels at {rate} Hz become {layout[1]} at {layout[0]}"
                )
                return
            samples = to_channels(samples, channels)
        if samples.shape[1]:
            self._add(samples)

    def _add(self, samples: Samples) -> None:
        self._decoded.append(samples)
        self._ready += samples.shape[1]
        self._taken += samples.shape[1]

    @property
    def _time(self) -> str:
        """The position of the decoder in seconds, for messages."""
        rate = self._layout[0] if self._layout else 1
        return f"{self._before + self._taken / rate:.2f}"

    def _stated(self) -> int | None:
        """Samples per channel according to the file; None if unknown or nothing is decoded yet."""
        if self._layout is None:
            return None
        rate, _ = self._layout
        if self._stream.duration is None or (self._demuxer in _SYNCS and self._counted is None):
            return None  # what ffmpeg says is a guess from the bit rate
        ticks = self._stream.duration
        if self._demuxer == "ogg":
            ticks -= max(0, self._stream.start_time or 0)
        length = round(ticks * self._stream.time_base * rate)
        head = bytes(self._decoder.extradata or b"")
        if self._demuxer == "ogg" and head.startswith(_OPUS_HEAD):  # RFC 7845, section 5.1
            length -= int.from_bytes(head[10:12], "little") * rate // _OPUS_RATE
        if self._counted is not None:  # where files were joined, ffmpeg guesses again
            length = min(length, round(self._counted * rate))
        return max(0, length) or None

    def _least_seconds(self) -> float:
        """The fewest seconds of audio that a complete file can have; 0 if that is unknown."""
        stated = self._stated()
        seconds = 0.0 if stated is None or self._layout is None else stated / self._layout[0]
        if self._demuxer in _EXACT:
            return seconds
        if self._counted is not None:
            frame = frame_seconds(self._last) if frame_bytes(self._last) is not None else 0.0
            padded = self._counted - _MPEG_PADDING * frame
            is_trimmed = padded <= seconds < self._counted
            return max(0.0, seconds - _MPEG_SLACK * frame if is_trimmed else padded)
        if self._demuxer in _NEAR:
            return max(0.0, seconds - _NEAR_SECONDS)
        if self._demuxer in _ROUGH and len(self._container.streams) == 1:
            seconds = seconds or (self._container.duration or 0) / 1_000_000
            return max(0.0, seconds * (1 - _ROUGH_SHARE) - _ROUGH_SECONDS)
        return 0.0


def _sound_of(container: Any, name: str) -> Any:
    """The first audio stream that there is a decoder for."""
    sounds = list(container.streams.audio)
    if not sounds:
        kinds = sorted({stream.type for stream in container.streams} & {"video", "subtitle"})
        raise AudioError(
            f"cannot read {name}: it has no sound, only {' and '.join(kinds) or 'data'}"
        )
    for stream in sounds:
        if stream.codec_context is not None:
            return stream
    raise AudioError(
        f"cannot read {name}: its sound is encrypted, or of a codec that is not known here"
    )


def _samples_of(frame: Any) -> Samples:
    """The samples of one of ffmpeg's frames, float32 `[channels, time]`."""
    try:
        values = frame.to_ndarray()
    except ValueError as failure:
        raise AudioError(f"samples of the form {frame.format.name} cannot be used") from failure
    if not frame.format.is_planar:
        values = values.reshape(-1, frame.layout.nb_channels).T
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        samples = values.astype(np.float32)
    if values.dtype.kind == "u":
        samples -= np.float32(128)
    if values.dtype.kind != "f":
        samples /= np.float32(1 << (8 * values.dtype.itemsize - 1))
    return np.ascontiguousarray(samples)


def _reason(failure: Exception) -> str:
    return getattr(failure, "strerror", None) or str(failure)
