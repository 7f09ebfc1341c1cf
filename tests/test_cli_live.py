"""Sound and codes flow: real processes give what they have before their input has ended."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import BinaryIO, cast

import numpy as np
import pytest
from commands import Process, sound, start

import acomp
from acomp.audio import read_audio
from acomp.audio.pcm import FORMATS, Pcm, encode_pcm
from acomp.audio.wav import build_header
from acomp.codes import Codes
from acomp.formats import open_codes, write_codes
from acomp.formats.base import block_frames

NANO = ("-b", "nano")
PCM = Pcm(24_000, 1, FORMATS["s16le"])
"""What `write_audio` writes of `sound`."""


@pytest.fixture(scope="module")
def codes() -> Codes:
    """Nano's codes of 20 s."""
    return acomp.load("nano").encode(sound(20), bandwidth=12)


@pytest.fixture
def nac(tmp_path: Path, codes: Codes) -> Path:
    path = tmp_path / "a.nac"
    write_codes(path, codes)
    return path


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Starts commands, and ends those that are still there when the test is over or hangs."""
    processes: list[Process] = []

    def end() -> None:
        for process in processes:
            process.kill()

    def begin_one(*arguments: object, stdin: int = PIPE) -> Process:
        processes.append(start(tmp_path, *arguments, stdin=stdin))
        return processes[-1]

    guard = threading.Timer(120, end)
    guard.start()
    yield begin_one
    guard.cancel()
    end()
    for process in processes:
        process.wait()


HEADERS = {
    # What ffmpeg writes to a pipe: sizes that it cannot know.
    "wav": (build_header(PCM, None), ()),
    "raw": (b"", ("--raw", "24000:1:s16le")),
}


@pytest.mark.parametrize("form", ["nac", "txt"])
@pytest.mark.parametrize("source", HEADERS)
def test_codes_come_out_while_sound_goes_in(
    begin: Callable[..., Process], source: str, form: str
) -> None:
    header, options = HEADERS[source]
    process = begin("encode", "-", "-", *options, "--format", form, *NANO)
    assert process.stdin and process.stdout
    pieces = pieces_of(encode_pcm(sound(2).samples, PCM.format))
    process.stdin.write(header)
    for _ in range(5):
        process.stdin.write(next(pieces))
    process.stdin.flush()
    # 0.1 s is in, of which 5 frames are certain; and the input is open and gives no more.
    if form == "txt":
        head = [process.stdout.readline() for _ in range(2 + 5)]
        assert head[:2] == [b"1\n", b"06\n"]
    else:
        reader = open_codes(cast(BinaryIO, process.stdout))
        blocks = reader.blocks()
        frames = 0
        while frames < 5:
            frames += next(blocks)[1].frames
    assert process.poll() is None
    for piece in pieces:
        process.stdin.write(piece)
        process.stdin.flush()
    process.stdin.close()
    if form == "txt":
        lines = process.stdout.readlines()
        assert lines[-1] == b"# frames: 101\n"
    else:
        assert frames + sum(block.frames for _, block in blocks) == 101
        assert reader.length == 48_000
    assert close(process) == 0


def pieces_of(data: bytes) -> Iterator[bytes]:
    """20 ms at a time."""
    for place in range(0, len(data), 960):
        yield data[place : place + 960]


def test_sound_comes_out_while_codes_go_in(
    begin: Callable[..., Process], nac: Path, codes: Codes
) -> None:
    content = nac.read_bytes()
    process = begin("decode", "-", "-", "--raw", "f32le")
    assert process.stdin and process.stdout
    process.stdin.write(content[: len(content) // 2])
    process.stdin.flush()
    # Half of the codes are in, and a block of them may be in the midst of the cut.
    block = block_frames(codes.info) / codes.info.frame_rate
    out = process.stdout.read(int((9.5 - block) * 24_000) * 4)
    assert process.poll() is None
    process.stdin.write(content[len(content) // 2 :])
    process.stdin.close()
    out += process.stdout.read()
    assert close(process) == 0
    expected = acomp.load("nano").decode(codes).samples
    np.testing.assert_allclose(np.frombuffer(out, "<f4")[np.newaxis], expected, atol=1e-4)


def test_sound_flows_from_pipe_to_pipe(begin: Callable[..., Process], codes: Codes) -> None:
    """What was sent comes out again while both commands still wait for more."""
    encoder = begin("encode", "-", "-", "-k", 12, *NANO)
    assert encoder.stdin and encoder.stdout
    decoder = begin("decode", "-", "-", stdin=encoder.stdout.fileno())
    assert decoder.stdout
    pieces = pieces_of(encode_pcm(sound(20).samples, PCM.format))
    encoder.stdin.write(build_header(PCM, None))
    for _ in range(50):
        encoder.stdin.write(next(pieces))
        encoder.stdin.flush()
    # The first second, save the little that encoder and decoder must keep back.
    out = decoder.stdout.read(44 + 2 * 22_500)
    assert len(out) == 44 + 2 * 22_500
    assert encoder.poll() is None
    encoder.stdin.write(b"".join(pieces))
    encoder.stdin.close()
    out += decoder.stdout.read()
    assert (close(encoder), close(decoder)) == (0, 0)
    found, expected = read_audio(io.BytesIO(out)), acomp.load("nano").decode(codes)
    assert found.samples.shape == expected.samples.shape
    # Not the same bits: blocks cut elsewhere round differently, and now and then a code with them.
    assert np.corrcoef(found.samples[0], expected.samples[0])[0, 1] > 0.99


def close(process: Process) -> int:
    """Wait for the end of a process whose output was read; its exit code."""
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream:
            stream.close()
    return process.wait(60)
