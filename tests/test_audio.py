"""Reading and writing audio: every form, whole and damaged, from files and from pipes."""

from __future__ import annotations

import array
import fcntl
import io
import os
import shutil
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import tracemalloc
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pytest
import soundfile
from commands import limited_file_size
from hypothesis import given, settings, strategies as st
from material import material

from acomp.audio import (
    Audio,
    AudioWriter,
    is_audio_name,
    open_audio,
    read_audio,
    streams as streams_module,
    to_channels,
    write_audio,
    writing as writing_module,
)
from acomp.audio.pcm import FORMATS, Pcm
from acomp.audio.samples import Samples
from acomp.audio.wav import build_header
from acomp.errors import AcompError, AudioError

WAV_SUBTYPES = ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]
OTHER_FORMS = ["FLAC", "AIFF", "CAF", "W64", "AU", "RF64", "WAVEX"]
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
needs_sox = pytest.mark.skipif(shutil.which("sox") is None, reason="needs sox")


def music(channels: int, length: int, sample_rate: int = 24000) -> Samples:
    """A chord, a different one in each channel."""
    time = np.arange(length) / sample_rate
    notes = [np.sin(2 * np.pi * 220 * (channel + 1) * time) for channel in range(channels)]
    return (0.5 * np.array(notes, np.float32)).reshape(channels, length)


def make(path: Path, samples: Samples, sample_rate: int = 24000, **form: str) -> Path:
    soundfile.write(path, samples.T, sample_rate, **form)
    return path


def reference(path: Path) -> Samples:
    samples: Samples = soundfile.read(path, dtype="float32", always_2d=True)[0].T
    return samples


def wav(data: bytes, data_bytes: int, riff_bytes: int, between: bytes = b"") -> bytes:
    """A 24 kHz mono 16-bit WAV whose sizes may lie."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 24000, 48000, 2, 16)
    start = struct.pack("<4sI4s", b"RIFF", riff_bytes, b"WAVE") + form + between
    return start + struct.pack("<4sI", b"data", data_bytes) + data


class Pipe(io.RawIOBase):
    """A stream that cannot seek and gives a few bytes at a time."""

    def __init__(self, data: bytes, step: int = 1000) -> None:
        self._data = io.BytesIO(data)
        self._step = step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        view = memoryview(cast(bytearray, buffer))
        part = self._data.read(min(self._step, len(view)))
        view[: len(part)] = part
        return len(part)


def pipe(data: bytes, step: int = 1000) -> BinaryIO:
    return cast(BinaryIO, Pipe(data, step))


def one_line(caught: pytest.ExceptionInfo[AudioError]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


# Reading files


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("subtype", WAV_SUBTYPES)
def test_wav_is_read_as_libsndfile_reads_it(tmp_path: Path, subtype: str, channels: int) -> None:
    for form in ("WAV", "WAVEX", "RF64"):
        path = make(tmp_path / "a.wav", music(channels, 999), subtype=subtype, format=form)
        np.testing.assert_array_equal(read_audio(path).samples, reference(path))
        from_pipe = read_audio(pipe(path.read_bytes(), 7))
        np.testing.assert_array_equal(from_pipe.samples, reference(path))


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("form", OTHER_FORMS)
def test_every_form_and_rate_is_read(tmp_path: Path, form: str, rate: int) -> None:
    path = make(tmp_path / "a", music(2, 3000), rate, format=form, subtype="PCM_16")
    with open_audio(path) as reader:
        assert (reader.sample_rate, reader.channels, reader.length) == (rate, 2, 3000)
        blocks = list(reader.blocks(1000))
    assert [block.shape for block in blocks] == [(2, 1000)] * 3
    np.testing.assert_allclose(np.concatenate(blocks, axis=1), music(2, 3000), atol=1e-4)
    assert read_audio(pipe(path.read_bytes())).length == 3000


@pytest.mark.parametrize("form", [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
@pytest.mark.parametrize("channels", [1, 2])
def test_lossy_forms_are_read_whole(tmp_path: Path, form: tuple[str, str], channels: int) -> None:
    source = music(channels, 50_001)
    path = make(tmp_path / "a", source, format=form[0], subtype=form[1])
    audio = read_audio(path)
    assert audio.samples.shape == source.shape
    assert np.abs(audio.samples - source).mean() < 0.01
    assert read_audio(pipe(path.read_bytes())).samples.shape == source.shape


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM"])
def test_compressed_wav_is_read_from_files_and_pipes(tmp_path: Path, subtype: str) -> None:
    path = make(tmp_path / "a.wav", music(1, 4096), subtype=subtype)
    np.testing.assert_array_equal(read_audio(path).samples, reference(path))
    np.testing.assert_array_equal(read_audio(pipe(path.read_bytes())).samples, reference(path))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(AudioError, match="is truncated"):
        read_audio(path)


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("form", ["WAV", "RF64", "AIFF", "OGG"])
def test_no_samples_and_one(tmp_path: Path, form: str, length: int) -> None:
    path = make(tmp_path / "a", music(2, length), format=form)
    with open_audio(path) as reader:
        assert (reader.channels, reader.length) == (2, length)
        assert [block.shape for block in reader.blocks(100)] == [(2, 1)] * length


@pytest.mark.parametrize("name", ["speech_48k_mono", "speech_16k_mono", "music_48k_stereo"])
def test_real_recordings(name: str) -> None:
    path = material(f"audio/{name}.wav")
    np.testing.assert_array_equal(read_audio(path).samples, reference(path))
    with path.open("rb") as file:
        np.testing.assert_array_equal(read_audio(file).samples, reference(path))


@pytest.mark.parametrize(
    ("data_bytes", "riff_bytes"),
    [
        pytest.param(0, 0, id="both zero"),
        pytest.param(0, 36, id="gstreamer"),
        pytest.param(0xFFFFFFFF, 0xFFFFFFFF, id="ffmpeg"),
        pytest.param(0x7FFFF000, 0x7FFFF024, id="sox"),
        pytest.param(0x80000000, 0x80000024, id="arecord"),
    ],
)
def test_a_size_that_was_never_filled_in_means_up_to_the_end(
    tmp_path: Path, data_bytes: int, riff_bytes: int
) -> None:
    data = np.arange(1000, dtype="<i2").tobytes()
    path = tmp_path / "a.wav"
    path.write_bytes(wav(data, data_bytes, riff_bytes))
    with open_audio(path) as reader:
        assert reader.length == 1000
    with open_audio(pipe(path.read_bytes())) as reader:
        assert reader.length is None
    for audio in (read_audio(path), read_audio(pipe(path.read_bytes()))):
        np.testing.assert_array_equal(audio.samples[0] * 32768, np.arange(1000))


def test_a_wav_of_no_samples_is_not_continued_by_what_follows() -> None:
    data = wav(b"LIST\x04\x00\x00\x00abcd", 0, 36 + 12)
    assert read_audio(pipe(data)).length == 0


def test_other_chunks_are_passed_over(tmp_path: Path) -> None:
    odd = b"junk" + struct.pack("<I", 100_001) + bytes(100_002)
    samples = np.arange(10, dtype="<i2").tobytes()
    path = tmp_path / "a.wav"
    path.write_bytes(wav(samples, 20, 36 + len(odd) + 20 + 12, odd) + b"LIST\x04\0\0\0abcd")
    np.testing.assert_array_equal(read_audio(path).samples, reference(path))
    assert read_audio(pipe(path.read_bytes())).length == 10


# Pipes


def test_a_slow_pipe_gives_samples_before_its_end() -> None:
    reading, writing = os.pipe()
    heard = threading.Event()
    stalled: list[bool] = []
    samples = np.arange(1, 301, dtype="<i2").tobytes()

    def send() -> None:
        with os.fdopen(writing, "wb", buffering=0) as stream:
            stream.write(wav(samples[:201], 0xFFFFFFFF, 0xFFFFFFFF))
            stalled.append(not heard.wait(10))
            stream.write(samples[201:])

    sender = threading.Thread(target=send)
    sender.start()
    with os.fdopen(reading, "rb") as stream, open_audio(stream) as reader:
        blocks = reader.blocks(24000)
        first = next(blocks)
        heard.set()
        rest = list(blocks)
    sender.join()
    assert stalled == [False]
    assert first.shape == (1, 100)
    heard_all = np.concatenate([first, *rest], axis=1)[0] * 32768
    np.testing.assert_array_equal(heard_all, np.arange(1, 301))


def test_a_little_that_arrives_is_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    # As long as the test may take, so that nothing hangs on how fast the sender is.
    monkeypatch.setattr(streams_module, "PATIENCE", 600)
    reading, writing = os.pipe()
    os.write(writing, wav(b"", 0xFFFFFFFF, 0xFFFFFFFF))

    def send() -> None:
        with os.fdopen(writing, "wb", buffering=0) as stream:
            for _ in range(300):
                time.sleep(0.001)
                stream.write(b"ab")

    sender = threading.Thread(target=send)
    with os.fdopen(reading, "rb") as stream, open_audio(stream) as reader:
        sender.start()
        blocks = [block.shape[1] for block in reader.blocks(200)]
    sender.join()
    assert blocks == [200, 100]


def test_what_a_fast_sender_has_sent_is_one_block() -> None:
    reading, writing = os.pipe()
    header, samples = wav(b"", 0xFFFFFFFF, 0xFFFFFFFF), bytes(2 * 24_000)
    os.write(writing, header)
    with os.fdopen(reading, "rb") as stream, open_audio(stream) as reader:
        blocks = reader.blocks(240_000)
        for _ in range(2):  # in all more than is read at a time, where a pipe can be widened
            os.write(writing, samples)
            if fcntl.fcntl(reading, fcntl.F_GETPIPE_SZ) < 2 * len(samples):
                break
        sent = array.array("i", [0])
        fcntl.ioctl(reading, termios.FIONREAD, sent)
        assert next(blocks).shape[1] == sent[0] // 2
        os.close(writing)
        assert list(blocks) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 500), st.integers(1, 3), st.integers(1, 300), st.integers(1, 200))
def test_a_pipe_gives_every_sample_once(length: int, channels: int, step: int, frames: int) -> None:
    samples = music(channels, length)
    stream = io.BytesIO()
    write_audio(stream, Audio(samples, 24000), subtype="FLOAT")
    with open_audio(pipe(stream.getvalue(), step)) as reader:
        blocks = list(reader.blocks(frames))
    assert all(1 <= block.shape[1] <= frames for block in blocks)
    nothing = np.zeros((channels, 0), np.float32)
    np.testing.assert_array_equal(np.concatenate([nothing, *blocks], axis=1), samples)


def test_a_named_pipe_is_read_as_a_pipe(tmp_path: Path) -> None:
    source = make(tmp_path / "a.wav", music(1, 5000))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    sender = threading.Thread(target=lambda: fifo.write_bytes(source.read_bytes()))
    sender.start()
    audio = read_audio(fifo)
    sender.join()
    np.testing.assert_array_equal(audio.samples, reference(source))


def test_a_spooled_stream_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make(tmp_path / "a.flac", music(1, 5000))
    spools = tmp_path / "spools"
    spools.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(spools))
    with open_audio(pipe(source.read_bytes())) as reader:
        next(reader.blocks(100))
    assert list(spools.iterdir()) == []
    with pytest.raises(AudioError, match="the stream"):
        open_audio(pipe(b"no audio at all"))
    assert list(spools.iterdir()) == []


# Damaged and missing files


def test_a_truncated_wav_is_refused_at_once(tmp_path: Path) -> None:
    path = make(tmp_path / "a.wav", music(2, 1000))
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(AudioError) as caught:
        open_audio(path)
    text = one_line(caught)
    assert f"{path} is truncated" in text
    assert "promises 1000 samples, 900 are there" in text


def test_a_pipe_that_ends_early_fails_at_its_end(tmp_path: Path) -> None:
    path = make(tmp_path / "a.wav", music(2, 1000))
    with open_audio(pipe(path.read_bytes()[:-402])) as reader:
        blocks = reader.blocks(100)
        given = 0
        with pytest.raises(AudioError, match="promises 1000 samples, 899 are there"):
            for block in blocks:
                given += block.shape[1]
    assert given == 899


@pytest.mark.parametrize("form", ["FLAC", "AIFF", "AU", "W64", "CAF", "MP3", "OGG", "OPUS"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.95])
def test_other_truncated_files_are_refused(tmp_path: Path, form: str, keep: float) -> None:
    container, subtype = ("OGG", "OPUS") if form == "OPUS" else (form, "")
    kind = {"subtype": subtype} if subtype else {}
    path = make(tmp_path / "a", music(1, 100_000), 24000, format=container, **kind)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    assert "truncated" in one_line(caught)


def test_a_text_file_called_wav(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_text("These are words, not sounds.\n" * 100)
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    assert f"cannot read {path}: it is text, not sound" in one_line(caught)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.sampled_from([0, 12, 24, 36, 40, 44]))
def test_a_damaged_header_is_an_audio_error_or_audio(noise: bytes, at: int) -> None:
    whole = wav(bytes(200), 200, 236)
    damaged = whole[:at] + noise + whole[at + len(noise) :]
    if not damaged.startswith((b"RIFF", b"RF64")):
        return  # a library's to judge
    try:
        audio = read_audio(pipe(damaged))
    except AcompError as failure:
        assert "\n" not in str(failure)
    else:
        assert audio.length <= len(damaged)


def test_impossible_formats_are_refused() -> None:
    whole = wav(bytes(200), 200, 236)
    for at, value, words in [
        (22, 0, "0 channels"),
        (22, 65, "65 channels"),
        (24, 0, "0 Hz"),
        (24, 2_000_000, "2000000 Hz"),
        (20, 0x1234, "cannot read"),
    ]:
        width = "<I" if at == 24 else "<H"
        damaged = bytearray(whole)
        struct.pack_into(width, damaged, at, value)
        with pytest.raises(AudioError, match=words):
            read_audio(pipe(bytes(damaged)))


@pytest.mark.parametrize("chunk", [bytes(8), b"junk\x00\x00\x00\x40", b"junk\xff\xff\xff\xff"])
def test_a_header_without_end_is_given_up(chunk: bytes) -> None:
    class Endless(Pipe):
        def readinto(self, buffer: object) -> int:
            view = memoryview(cast(bytearray, buffer))
            if view.nbytes == 8:
                view[:] = chunk
                return 8
            return super().readinto(buffer) or view.nbytes

    with pytest.raises(AudioError, match="is damaged: no samples"):
        open_audio(cast(BinaryIO, Endless(b"RIFF\0\0\0\0WAVE")))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("form", ["WAV", "AIFF"])
def test_samples_that_are_no_numbers_are_refused(tmp_path: Path, value: float, form: str) -> None:
    samples = music(1, 24000)
    samples[0, 12000] = value
    path = make(tmp_path / "a", samples, format=form, subtype="FLOAT")
    with open_audio(path) as reader, pytest.raises(AudioError) as caught:
        list(reader.blocks(6000))
    assert "not finite numbers, 0.5 s in" in one_line(caught)


def test_a_double_too_large_for_a_float_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([0.0, 1e300]), 24000, subtype="DOUBLE")
    with pytest.raises(AudioError, match="not finite"):
        read_audio(path)


def test_missing_empty_and_unreadable(tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    for path, words in [
        (tmp_path / "none.wav", "no such file"),
        (tmp_path, "it is a folder"),
        (empty / "a.wav", "Not a directory"),
        (empty, "is empty"),
    ]:
        with pytest.raises(AudioError, match=words) as caught:
            open_audio(path)
        assert str(path) in one_line(caught)
    with pytest.raises(AudioError, match="the stream is empty"):
        open_audio(pipe(b""))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path: Path) -> None:
    path = make(tmp_path / "a.wav", music(1, 10))
    path.chmod(0)
    with pytest.raises(AudioError, match="permission denied"):
        open_audio(path)


def test_a_stream_that_fails_while_it_is_read() -> None:
    class Failing(Pipe):
        def readinto(self, buffer: object) -> int:
            return super().readinto(buffer) or self._fail()

        def _fail(self) -> int:
            raise OSError(5, "Input/output error")

    start = wav(bytes(100), 0xFFFFFFFF, 0xFFFFFFFF)
    with (
        open_audio(cast(BinaryIO, Failing(start))) as reader,
        pytest.raises(AudioError, match="cannot read the stream: Input/output error"),
    ):
        list(reader.blocks(100))


# ffmpeg


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.m4a", "a.aac", "a.wma", "a.webm", "-i.m4a", "a:b.m4a"])
def test_ffmpeg_reads_what_libsndfile_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    source = make(tmp_path / "source.wav", music(2, 48_000, 48_000), 48_000)
    monkeypatch.chdir(tmp_path)
    subprocess.run(["ffmpeg", "-v", "error", "-i", source, f"file:{name}"], check=True)
    with open_audio(name) as reader:
        assert (reader.sample_rate, reader.channels) == (48_000, 2)
        samples = np.concatenate(list(reader.blocks(5000)), axis=1)
    assert 46_000 < samples.shape[1] < 53_000  # these forms count in frames of their own
    assert 0.2 < samples.std() < 0.5
    assert read_audio(pipe(Path(name).read_bytes())).length == samples.shape[1]


@needs_ffmpeg
def test_a_truncated_file_that_ffmpeg_reads_is_refused(tmp_path: Path) -> None:
    source = make(tmp_path / "source.wav", music(1, 200_000))
    path = tmp_path / "a.m4a"
    command = ["ffmpeg", "-v", "error", "-i", str(source), "-movflags", "+faststart", str(path)]
    subprocess.run(command, check=True)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(AudioError) as caught:
        open_audio(path)
    assert "is truncated: the header promises" in one_line(caught)


@needs_ffmpeg
@pytest.mark.parametrize("name", ["a.mp3", "a.flac"])
def test_a_file_that_does_not_tell_its_length_is_still_read_whole(
    tmp_path: Path, name: str
) -> None:
    rng = np.random.default_rng(0)
    quiet, loud = music(1, 480_000), rng.uniform(-1, 1, (1, 120_000)).astype(np.float32)
    source = make(tmp_path / "source.wav", np.concatenate([quiet, loud], axis=1))
    command = ["ffmpeg", "-v", "error", "-i", str(source), "-q:a", "4", "-write_xing", "0"]
    with (tmp_path / name).open("wb") as file:
        subprocess.run([*command, "-f", Path(name).suffix[1:], "-"], check=True, stdout=file)
    assert 600_000 <= read_audio(tmp_path / name).length < 604_000


def test_an_mp3_behind_a_tag_is_read_whole(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mp3", music(1, 30_000))
    tag = b"ID3\x04\x00\x00" + bytes([0, 0, 1, 72]) + bytes(200)
    path.write_bytes(tag + path.read_bytes())
    assert read_audio(path).length == 30_000


@needs_ffmpeg
def test_a_playlist_does_not_reach_the_network(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        path.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{address}\n#EXT-X-ENDLIST\n"
        )
        server.setblocking(False)
        hang_up = threading.Timer(5, lambda: server.shutdown(socket.SHUT_RDWR))
        hang_up.start()  # so that an ffmpeg which did call is not waited for
        with pytest.raises(AudioError) as caught:
            read_audio(path)
        hang_up.cancel()
        with pytest.raises(BlockingIOError):
            server.accept()
    one_line(caught)


@needs_ffmpeg
@needs_sox
@pytest.mark.parametrize(
    "command",
    [["sox", "{}", "-t", "wav", "-"], ["ffmpeg", "-v", "error", "-i", "{}", "-f", "wav", "-"]],
)
def test_pipes_of_other_programs(tmp_path: Path, command: list[str]) -> None:
    source = make(tmp_path / "a.flac", music(2, 100_000))
    arguments = [word.format(source) for word in command]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        audio = read_audio(cast(BinaryIO, process.stdout))
    np.testing.assert_array_equal(audio.samples, reference(source))


# Memory


def test_memory_does_not_grow_with_the_audio(tmp_path: Path) -> None:
    def peak(seconds: int) -> int:
        path = tmp_path / f"{seconds}.wav"
        tracemalloc.start()
        with AudioWriter(path, 48_000, 2) as writer:
            for _ in range(seconds):
                writer.write(block)
        with path.open("rb") as stream:
            for source in (path, stream):
                with open_audio(source) as reader:
                    assert sum(part.shape[1] for part in reader.blocks(9999)) == 48_000 * seconds
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    block = music(2, 48_000, 48_000)
    peak(2)
    assert peak(60) < 1.2 * peak(4)


# Writing


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_whole_numbers_come_back_exactly(
    tmp_path: Path, suffix: str, channels: int, subtype: str
) -> None:
    bits = int(subtype[-2:])
    rng = np.random.default_rng(1)
    whole = rng.integers(-(1 << (bits - 1)), 1 << (bits - 1), (channels, 1001))
    samples = (whole / (1 << (bits - 1))).astype(np.float32)
    path = tmp_path / f"a{suffix}"
    write_audio(path, Audio(samples, 44_100), subtype=subtype)
    assert soundfile.info(path).subtype == subtype
    np.testing.assert_array_equal(reference(path), samples)
    np.testing.assert_array_equal(read_audio(path).samples, samples)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24"])
def test_too_loud_is_clipped_and_does_not_wrap(tmp_path: Path, suffix: str, subtype: str) -> None:
    path = tmp_path / f"a{suffix}"
    loud = np.array([[1.0, -1.0, 1.5, -1.5, 1e30, -1e30, 0.99999999]], np.float32)
    write_audio(path, Audio(loud, 24000), subtype=subtype)
    step = 2.0 ** (1 - int(subtype[-2:]))
    expected = np.array([[1 - step, -1, 1 - step, -1, 1 - step, -1, 1 - step]])
    np.testing.assert_array_equal(reference(path), expected.astype(np.float32))


def test_float_wav_keeps_every_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.WAV"
    samples = music(2, 100) * 3
    write_audio(path, Audio(samples, 24000), subtype="FLOAT")
    np.testing.assert_array_equal(reference(path), samples)
    np.testing.assert_array_equal(read_audio(path).samples, samples)


@pytest.mark.parametrize("suffix", [".ogg", ".opus", ".mp3"])
def test_lossy_forms_are_written_whole(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    samples = music(2, 300_001)
    write_audio(path, Audio(samples, 24000))
    audio = read_audio(path)
    assert audio.samples.shape == samples.shape
    assert np.abs(audio.samples - samples).mean() < 0.01


@pytest.mark.parametrize("length", [0, 1])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
def test_short_wav_is_written(tmp_path: Path, length: int, subtype: str) -> None:
    path = tmp_path / "a.wav"
    write_audio(path, Audio(music(1, length), 24000), subtype=subtype)
    assert path.stat().st_size % 2 == 0
    assert reference(path).shape == (1, length)
    assert read_audio(path).samples.shape == (1, length)


@pytest.mark.parametrize("suffix", [".flac", ".ogg", ".opus", ".mp3"])
def test_only_wav_can_hold_nothing(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(AudioError, match=r"only \.wav can be empty"):
        write_audio(tmp_path / f"a{suffix}", Audio(music(1, 0), 24000))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_suffix_lists_the_known_ones(tmp_path: Path) -> None:
    for name in ("a.xyz", "a"):
        with pytest.raises(AudioError, match=r"\.wav, \.flac, \.ogg, \.opus, \.mp3"):
            AudioWriter(tmp_path / name, 24000, 1)


def test_what_a_form_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"\.flac has PCM_16, PCM_24"):
        AudioWriter(tmp_path / "a.flac", 24000, 1, subtype="FLOAT")
    with pytest.raises(AudioError, match=r"at 44100 Hz: \.opus has 8000.*--sample-rate 48000"):
        AudioWriter(tmp_path / "a.opus", 44_100, 1)
    for name, rate, channels in [
        ("a.mp3", 24_000, 6),
        ("a.flac", 24_000, 9),
    ]:
        with pytest.raises(AudioError, match=f"{channels} channels at {rate} Hz"):
            write_audio(tmp_path / name, Audio(music(channels, 10), rate))
    with pytest.raises(AudioError, match="not finite"):
        write_audio(tmp_path / "a.wav", Audio(np.full((1, 10), np.nan, np.float32), 24000))
    with (
        pytest.raises(AudioError, match="does not fit"),
        AudioWriter(tmp_path / "a.wav", 24000, 2) as writer,
    ):
        writer.write(music(1, 10))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
def test_a_failure_leaves_what_was_there(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"before")
    with pytest.raises(KeyError), AudioWriter(path, 24000, 1) as writer:
        writer.write(music(1, 50_000))
        raise KeyError("something else")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".opus", ".mp3"])
def test_a_full_disk_leaves_nothing(
    tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (1, 200_000)).astype(np.float32)
    with (
        limited_file_size(10_000),
        pytest.raises(AudioError, match=f"cannot write .*a{suffix}") as caught,
    ):
        write_audio(tmp_path / f"a{suffix}", Audio(noise, 24000))
    one_line(caught)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="cannot write"):
        write_audio(tmp_path / "none" / "a.wav", Audio(music(1, 10), 24000))


def test_a_wav_past_4_gib_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing_module, "MAX_DATA_BYTES", 1000)
    with pytest.raises(AudioError, match=r"4 GiB.*\.flac"):
        write_audio(tmp_path / "a.wav", Audio(music(1, 501), 24000))
    assert list(tmp_path.iterdir()) == []
    stream = io.BytesIO()
    write_audio(stream, Audio(music(1, 501), 24000))
    assert read_audio(io.BytesIO(stream.getvalue())).length == 501


# Writing to streams


class Sink(io.RawIOBase):
    """A stream that cannot seek, takes few bytes at a time and notes when it is flushed."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.flushed: list[int] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(memoryview(cast(bytes, data))[:1000])
        self.data += part
        return len(part)

    def flush(self) -> None:
        self.flushed.append(len(self.data))


def test_a_stream_gets_an_open_wav_flushed_with_each_block() -> None:
    sink = Sink()
    with AudioWriter(cast(BinaryIO, sink), 24000, 2) as writer:
        assert sink.flushed == [44]
        writer.write(music(2, 700))
        assert sink.flushed[-1] == 44 + 2800
        writer.write(music(2, 1))
    assert sink.data[:44] == build_header(Pcm(24000, 2, FORMATS["s16le"]), None)
    assert len(sink.data) == 44 + 2804
    samples, rate = soundfile.read(io.BytesIO(sink.data), always_2d=True)
    assert (samples.shape, rate) == ((701, 2), 24000)


def test_a_broken_pipe_is_passed_on() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with (
        os.fdopen(writing, "wb", buffering=0) as stream,
        pytest.raises(BrokenPipeError),
        AudioWriter(cast(BinaryIO, stream), 24000, 1) as writer,
    ):
        writer.write(music(1, 1000))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_device() -> None:
    with (
        Path("/dev/full").open("wb", buffering=0) as stream,
        pytest.raises(AudioError, match="cannot write the stream: no space"),
    ):
        write_audio(cast(BinaryIO, stream), Audio(music(1, 1000), 24000))
    with pytest.raises(AudioError, match="cannot write /dev/full"):
        write_audio(Path("/dev/full"), Audio(music(1, 1000), 24000))


def test_a_named_pipe_gets_an_open_wav(tmp_path: Path) -> None:
    fifo = tmp_path / "a.wav"
    os.mkfifo(fifo)
    got: list[bytes] = []
    receiver = threading.Thread(target=lambda: got.append(fifo.read_bytes()))
    receiver.start()
    write_audio(fifo, Audio(music(1, 1000), 24000))
    receiver.join()
    assert got[0][:44] == build_header(Pcm(24000, 1, FORMATS["s16le"]), None)
    assert len(got[0]) == 44 + 2000


# Values


def test_audio_says_what_it_is() -> None:
    audio = Audio(music(2, 12_000), 24_000)
    assert (audio.channels, audio.length, audio.duration) == (2, 12_000, 0.5)


@pytest.mark.parametrize(
    ("samples", "rate"),
    [
        (np.zeros((1, 1, 10), np.float32), 24000),
        (np.zeros((1, 10), np.int16), 24000),
        (np.full((1, 10), np.inf, np.float32), 24000),
        (np.zeros((0, 10), np.float32), 24000),
        (np.zeros((65, 10), np.float32), 24000),
        (np.zeros((1, 10), np.float32), 0),
        (np.zeros((1, 10), np.float32), 1_000_001),
    ],
)
def test_what_is_no_audio_is_refused(samples: Samples, rate: int) -> None:
    with pytest.raises(AudioError):
        Audio(samples, rate)


def test_to_channels() -> None:
    stereo = np.array([[0.5, -1.0], [0.25, 1.0]], np.float32)
    mono = to_channels(stereo, 1)
    np.testing.assert_array_equal(mono, np.array([[0.375, 0.0]], np.float32))
    assert mono.dtype == np.float32
    np.testing.assert_array_equal(to_channels(mono, 2), np.concatenate([mono, mono]))
    assert to_channels(stereo, 2) is stereo
    with pytest.raises(AudioError, match=r"6 channels.*use --channels mono"):
        to_channels(music(6, 10), 2)


@pytest.mark.parametrize("name", ["a.wav", "A.FLAC", "b.c.opus", "talk.m4a"])
def test_names_of_audio(name: str) -> None:
    assert is_audio_name(Path(name))
    assert not is_audio_name(Path(name + ".nac"))
    assert not is_audio_name(Path("wav"))


def test_importing_is_cheap() -> None:
    code = "import sys, acomp.audio; print(*{'soundfile', 'soxr', 'torch'} & set(sys.modules))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert answer.stdout.split() == []
