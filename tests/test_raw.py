"""PCM without a header: read and written in every format, from files and through pipes."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import soundfile
from codes_samples import Pipe
from commands import Cli, assert_done, assert_refused, assert_wrong_usage, files_in

from acomp.audio import AudioWriter, open_audio, read_audio
from acomp.audio.pcm import FORMATS
from acomp.audio.samples import Samples
from acomp.errors import AudioError
from acomp.formats import read_codes

NANO = ("-b", "nano")
SUBTYPES = {
    "u8": "PCM_U8",
    "s16": "PCM_16",
    "s24": "PCM_24",
    "s32": "PCM_32",
    "f32": "FLOAT",
    "f64": "DOUBLE",
}
"""What libsndfile calls the formats."""
LOUD = np.array([[1, -1, 1.5, -1.5, 1e30, 0.99999999, 0, 0.3]], np.float32)


class Slow(Pipe):
    """A stream that gives few bytes at a time, and no whole frames."""

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read1(min(size or 0, 7))


def form(name: str) -> dict[str, Any]:
    """How libsndfile is told of raw PCM."""
    endian = "BIG" if name.endswith("be") else "LITTLE"
    subtype = SUBTYPES[name.removesuffix("le").removesuffix("be")]
    return {"samplerate": 44_100, "format": "RAW", "subtype": subtype, "endian": endian}


def noise(channels: int, length: int) -> Samples:
    return np.random.default_rng(0).uniform(-1, 1, (channels, length)).astype(np.float32)


def read_all(source: Path | BinaryIO, raw: str, most: int = 1000) -> Samples:
    with open_audio(source, raw=raw) as reader:
        return np.concatenate(list(reader.blocks(most)), axis=1)


# Formats


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("name", FORMATS)
def test_raw_is_read_as_libsndfile_reads_it(tmp_path: Path, name: str, channels: int) -> None:
    path = tmp_path / "a.raw"
    soundfile.write(path, noise(channels, 999).T, **form(name))
    expected, _ = soundfile.read(
        path, channels=channels, dtype="float32", always_2d=True, **form(name)
    )
    raw = f"44100:{channels}:{name}"
    np.testing.assert_array_equal(read_all(path, raw), expected.T)
    np.testing.assert_array_equal(read_all(Pipe(path.read_bytes()), raw), expected.T)
    np.testing.assert_array_equal(read_all(Slow(path.read_bytes()), raw), expected.T)


@pytest.mark.parametrize("name", FORMATS)
def test_raw_is_written_as_libsndfile_reads_it(tmp_path: Path, name: str) -> None:
    path, stream = tmp_path / "a.any", io.BytesIO()
    samples = 0.9 * noise(2, 999)
    for target in (path, stream):
        with AudioWriter(target, 44_100, 2, raw=name) as writer:
            writer.write(samples[:, :500])
            writer.write(samples[:, 500:])
    assert path.read_bytes() == stream.getvalue()
    found, _ = soundfile.read(path, channels=2, dtype="float32", always_2d=True, **form(name))
    # Half a step of 8, 16 or 24 bits; float32 has no finer ones near full scale.
    bits = min(8 * FORMATS[name].width, 24)
    np.testing.assert_allclose(found.T, samples, rtol=0, atol=2.0**-bits)
    if FORMATS[name].kind == "f":
        np.testing.assert_array_equal(found.T, samples)


def test_raw_in_a_stream_is_flushed_with_each_block() -> None:
    class Flushed(io.BytesIO):
        def flush(self) -> None:
            flushed.append(len(self.getvalue()))

    flushed = [0]
    with AudioWriter(Flushed(), 44_100, 2, raw="s16le") as writer:
        for length in (1, 700):
            writer.write(noise(2, length))
            assert flushed[-1] == 4 * length + flushed[0]
            flushed[0] = flushed[-1]


@pytest.mark.parametrize("name", FORMATS)
def test_too_loud_is_clipped_and_does_not_wrap(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.raw"
    with AudioWriter(path, 44_100, 1, raw=name) as writer:
        writer.write(LOUD)
    found = read_all(path, f"44100:1:{name}")
    expected = LOUD if name.startswith("f") else np.clip(LOUD, -1, 1)
    np.testing.assert_allclose(found, expected, atol=1 / 128)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("44100:2", "RATE:CHANNELS:FORMAT"),
        ("44100:2:s16le:", "RATE:CHANNELS:FORMAT"),
        ("", "RATE:CHANNELS:FORMAT"),
        ("44.1k:2:s16le", "RATE:CHANNELS:FORMAT"),
        ("-1:2:s16le", "RATE:CHANNELS:FORMAT"),
        ("٤:2:s16le", "RATE:CHANNELS:FORMAT"),
        ("9" * 5000 + ":2:s16le", "RATE:CHANNELS:FORMAT"),
        ("0:2:s16le", "0 Hz"),
        ("2000000:2:s16le", "2000000 Hz"),
        ("44100:0:s16le", "0 channels"),
        ("44100:99:s16le", "99 channels"),
        ("44100:2:mp3", "s16le"),
        ("44100:2:S16_LE", "s16le"),
        ("44100:2:", "s16le"),
        ("44100:2:s16le\n", "s16le"),
    ],
)
def test_a_wrong_description_is_wrong_usage(cli: Cli, tmp_path: Path, raw: str, words: str) -> None:
    run = cli("encode", "a.raw", "--raw", raw, *NANO)
    assert_wrong_usage(run, "--raw", words)
    assert files_in(tmp_path) == {}


def test_a_wrong_format_to_decode_to_is_wrong_usage(cli: Cli) -> None:
    assert_wrong_usage(cli("decode", "a.nac", "--raw", "s17le"), "--raw", "s17le", "s16le")


# Ends


@pytest.mark.parametrize("left", [1, 5])
def test_an_end_within_a_frame_is_an_error(cli: Cli, tmp_path: Path, left: int) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(6 * 1000 + left))
    run = cli("encode", "a.raw", "--raw", "24000:2:s24le", *NANO)
    assert_refused(run, "a.raw", f"{left} bytes into a sample frame of 6")
    assert list(files_in(tmp_path)) == ["a.raw"]


def test_an_end_within_a_frame_of_a_pipe_is_found_when_it_comes() -> None:
    for stream in (Pipe(bytes(4 * 1000 + 3)), Slow(bytes(4 * 1000 + 3))):
        given = 0
        with open_audio(stream, raw="24000:2:s16le") as reader:
            assert reader.length is None
            with pytest.raises(
                AudioError, match=r"the stream .* ends 3 bytes into a sample frame of 4"
            ):
                for block in reader.blocks(300):
                    given += block.shape[1]
        assert given == 1000


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts bytes on the standard input of this process."""

    def give(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Pipe(content)))

    return give


def test_no_samples_at_all(cli: Cli, tmp_path: Path, given: Callable[[bytes], None]) -> None:
    (tmp_path / "a.raw").touch()
    for source in ("a.raw", "-"):
        given(b"")
        run = cli("encode", source, "-o", "a.nac", "--raw", "24000:1:s16le", *NANO)
        assert_refused(run, "no samples", "a.raw" if source == "a.raw" else "standard input")
    assert list(files_in(tmp_path)) == ["a.raw"]


def test_raw_samples_that_are_no_numbers(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(np.full(1000, np.nan, "<f4").tobytes())
    run = cli("encode", "a.raw", "--raw", "24000:1:f32le", *NANO)
    assert_refused(run, "a.raw", "not finite")


# Commands


def test_codes_of_raw_are_those_of_the_wav(
    cli: Cli, tmp_path: Path, speech: Path, given: Callable[[bytes], None]
) -> None:
    assert_done(cli("encode", speech, "-o", "wav.nac", *NANO))
    pcm = speech.read_bytes()[44:]
    (tmp_path / "a.raw").write_bytes(pcm)
    raw = ("--raw", "24000:1:s16le")
    assert_done(cli("encode", "a.raw", "-o", "file.nac", *raw, *NANO))
    given(pcm)
    assert_done(cli("encode", "-", "-o", "pipe.nac", *raw, *NANO))
    expected = (tmp_path / "wav.nac").read_bytes()
    assert (tmp_path / "file.nac").read_bytes() == expected
    assert (tmp_path / "pipe.nac").read_bytes() == expected


def test_raw_keeps_rate_and_channels(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(bytes(8 * 4410))
    assert_done(cli("encode", "a.raw", "--raw", "44100:2:s32be", *NANO))
    codes = read_codes(tmp_path / "a.nac")
    assert (codes.info.source_rate, codes.info.channels, codes.length) == (44_100, 2, 4410)


def test_a_folder_of_raw(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("one.raw", "two.PCM", "three.wav"):
        (tmp_path / "in" / name).write_bytes(bytes(2000))
    assert_done(cli("encode", "in", "--output-dir", "out", "--raw", "8000:1:u8", *NANO))
    assert sorted(files_in(tmp_path / "out")) == ["one.nac", "two.nac"]


def test_decode_writes_raw(cli: Cli, tmp_path: Path, speech: Path) -> None:
    assert_done(cli("encode", speech, *NANO))
    assert_done(cli("decode", "speech.nac", "-o", "a.wav"))
    assert_done(cli("decode", "speech.nac", "--raw", "s16le"))
    assert_done(cli("decode", "speech.nac", "-o", "a.pcm", "--raw", "f32be"))
    expected = read_audio(tmp_path / "a.wav").samples
    np.testing.assert_array_equal(
        np.frombuffer((tmp_path / "speech.raw").read_bytes(), "<i2") / 32768, expected[0]
    )
    found = np.frombuffer((tmp_path / "a.pcm").read_bytes(), ">f4")
    np.testing.assert_allclose(found, expected[0], atol=1 / 32768)


# Memory


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_raw_without_end_takes_no_memory() -> None:
    tracemalloc.start()
    with open_audio(Path("/dev/zero"), raw="1000000:64:f64le") as reader:
        blocks = reader.blocks(10_000)
        next(blocks)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(30):
            assert next(blocks).shape == (64, 10_000)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 1 << 16
