"""The command line in pipes: real processes, closed readers, interrupts and terminals."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest
from codes_samples import Pipe
from commands import (
    Cli,
    Process,
    assert_done,
    assert_refused,
    environment,
    files_in,
    finish,
    make,
    sound,
    start,
)

import acomp
from acomp.audio.pcm import FORMATS, Pcm
from acomp.audio.wav import build_header
from acomp.codes import Codes
from acomp.formats import read_codes, write_codes

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


def wait_for(path: Path, pattern: str) -> Path:
    """The file that appears in a folder."""
    for _ in range(3000):
        found = list(path.glob(pattern))
        if found:
            return found[0]
        time.sleep(0.01)
    raise AssertionError(f"no {pattern} appeared in {path}")


def test_standard_input_alone_goes_to_standard_output(tmp_path: Path) -> None:
    wav = make(tmp_path / "a.wav").read_bytes()
    process = start(tmp_path, "encode", "-", *NANO, stdin=PIPE)
    coded, told = process.communicate(wav, timeout=300)
    assert read_codes(io.BytesIO(coded)).length == 24_000, told
    process = start(tmp_path, "decode", "-", stdin=PIPE)
    decoded, told = process.communicate(coded, timeout=300)
    assert acomp.read_audio(io.BytesIO(decoded)).length == 24_000, told


@pytest.mark.parametrize("form", ["nac", "txt", "npz"])
def test_codes_of_every_form_go_through_pipes(tmp_path: Path, nac: Path, form: str) -> None:
    process = start(tmp_path, "convert", "-", "-", "--format", form, stdin=PIPE)
    out, _ = process.communicate(nac.read_bytes(), timeout=300)
    assert read_codes(io.BytesIO(out)).length == 480_000
    run = finish(start(tmp_path, "info", "-", stdin=PIPE), out)
    assert_done(run)
    assert f"form       {form}" in run.out


COMMANDS = {
    "encode": ("a.wav", "-", *NANO),
    "decode": ("a.nac", "-"),
    "convert": ("a.nac", "-", "--format", "txt"),
    "info": ("a.nac", "a.nac"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("nac")
def test_a_reader_that_leaves_is_no_error(tmp_path: Path, command: str) -> None:
    """Exit code 1, as Python's documentation has it, and nothing is said.

    A program that knows no SIGPIPE handler would die of it, which a shell calls 141: neither is 0,
    and only a shell with pipefail looks.
    """
    make(tmp_path / "a.wav")
    read_end, write_end = os.pipe()
    os.close(read_end)
    run = finish(start(tmp_path, command, *COMMANDS[command], stdout=write_end))
    os.close(write_end)
    assert (run.code, run.err) == (1, "")


@pytest.mark.parametrize(
    "command", ["encode long.wav - -b nano -k 12 --output-file check.wav", "decode a.nac -"]
)
@pytest.mark.usefixtures("nac")
def test_a_reader_that_leaves_half_way(tmp_path: Path, command: str) -> None:
    """More is written than a pipe holds, so that the writer is in the middle of its work."""
    make(tmp_path / "long.wav", 120)
    before = sorted(files_in(tmp_path))
    script = f'{{ "$0" -m acomp {command}; echo "exit code $?" >&2; }} | head -c 1000 | wc -c'
    shell = subprocess.run(
        ["sh", "-c", script, sys.executable],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert (shell.stdout.strip(), shell.stderr) == ("1000", "exit code 1\n")
    assert sorted(files_in(tmp_path)) == before


@pytest.mark.parametrize("command", ["convert", "info"])
@pytest.mark.usefixtures("nac")
def test_a_full_standard_output_is_one_line(tmp_path: Path, command: str) -> None:
    with Path("/dev/full").open("wb") as full:
        run = finish(start(tmp_path, command, *COMMANDS[command], stdout=full.fileno()))
    assert_refused(run, "standard output", "no space")


@pytest.mark.parametrize(
    "command",
    [
        "encode in.wav - -b nano > out.nac <&- 2>&-",
        "convert a.nac out.nac <&- >&- 2>&-",
        "info a.nac >&- && cp a.nac out.nac",
    ],
)
@pytest.mark.usefixtures("nac")
def test_streams_that_were_closed_spoil_nothing(tmp_path: Path, command: str) -> None:
    """What would be said there must neither end the run nor land in a file."""
    make(tmp_path / "in.wav", 20)
    shell = ["sh", "-c", f'"$0" -m acomp {command}', sys.executable]
    subprocess.run(shell, cwd=tmp_path, env=environment(tmp_path), check=True)
    assert read_codes(tmp_path / "out.nac").length == 480_000


@pytest.mark.parametrize("content", [b"", b"no sound\n" * 100])
def test_standard_input_without_sound(tmp_path: Path, content: bytes) -> None:
    process = start(tmp_path, "encode", "-", "-o", "a.nac", *NANO, stdin=PIPE)
    assert_refused(finish(process, content), "standard input")
    process = start(tmp_path, "decode", "-", "-o", "a.wav", stdin=PIPE)
    assert_refused(finish(process, content), "standard input")
    assert files_in(tmp_path) == {}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Puts bytes on the standard input of this process."""

    def give(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(Pipe(content)))

    return give


def test_flac_through_a_pipe(cli: Cli, tmp_path: Path, given: Callable[[bytes], None]) -> None:
    given(make(tmp_path / "in.flac").read_bytes())
    assert_done(cli("encode", "-", "-o", "a.nac", *NANO))
    assert read_codes(tmp_path / "a.nac").length == 24_000


def test_a_cut_wav_in_a_pipe(cli: Cli, tmp_path: Path, given: Callable[[bytes], None]) -> None:
    given(build_header(PCM, 0x70000000) + bytes(48_000))
    assert_refused(cli("encode", "-", "-o", "a.nac", *NANO), "truncated", "24000 are there")
    assert files_in(tmp_path) == {}


def test_a_damaged_nac_in_a_pipe(
    cli: Cli, tmp_path: Path, nac: Path, given: Callable[[bytes], None]
) -> None:
    content = nac.read_bytes()
    for place in range(0, len(content), len(content) // 8):
        damaged = bytearray(content)
        damaged[place] ^= 4
        given(bytes(damaged))
        assert_refused(cli("decode", "-", "-o", "out.wav"))
        given(content[:place])
        assert_refused(cli("decode", "-", "-o", "out.wav"))
    assert list(files_in(tmp_path)) == [nac.name]


# Interrupts


def working(folder: Path) -> Process:
    """An encoder in the middle of its work, on a pipe that stays open, with an old `a.nac`."""
    (folder / "a.nac").write_bytes(b"old")
    process = start(folder, "encode", "-", "-o", "a.nac", "--overwrite", *NANO, stdin=PIPE)
    assert process.stdin
    process.stdin.write(build_header(PCM, None) + bytes(480_000))
    process.stdin.flush()
    wait_for(folder, ".a.nac.*")
    return process


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_an_interrupt_leaves_nothing_half_done(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process = working(tmp_path)
    process.send_signal(number)
    run = finish(process)
    assert run.code == code
    assert run.err == ("" if number == signal.SIGINT else f"ended by {number.name}\n")
    assert files_in(tmp_path) == {"a.nac": b"old"}


def test_a_kill_leaves_the_old_file_whole(tmp_path: Path) -> None:
    process = working(tmp_path)
    process.kill()
    finish(process)
    assert (tmp_path / "a.nac").read_bytes() == b"old"
