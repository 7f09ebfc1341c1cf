"""What a terminal shows while the command line works."""

from __future__ import annotations

import os
import pty
import re
from pathlib import Path
from subprocess import PIPE

import pytest
from commands import make, start

from acomp.audio.pcm import FORMATS, Pcm
from acomp.audio.wav import build_header
from acomp.cli.progress import progress_state

TORCH = ("--engine", "torch")
NANO = ("-b", "nano", *TORCH)
PCM = Pcm(24_000, 1, FORMATS["s16le"])


def on_a_terminal(folder: Path, *arguments: object, given: bytes = b"") -> str:
    """What a terminal shows of the standard error of a command."""
    main_end, terminal = pty.openpty()
    process = start(folder, *arguments, stdin=PIPE, stderr=terminal)
    os.close(terminal)
    process.communicate(given, timeout=300)
    shown = read_terminal(main_end)
    assert process.returncode == 0, shown
    return shown


def test_a_terminal_gets_a_bar(tmp_path: Path) -> None:
    content = build_header(PCM, None) + bytes(25 * 48_000)
    shown = on_a_terminal(tmp_path, "encode", "-", "-o", "b.nac", *NANO, given=content)
    assert "times real time" in shown
    assert "25 s" in shown
    assert "inf" not in shown
    assert "left" not in shown, "nobody knows"


def test_a_bar_shows_the_time_left_of_each_input(tmp_path: Path) -> None:
    # The second looks like rich's markup.
    names = ["one", "two[red]"]
    for name in names:
        make(tmp_path / f"{name}.wav", 16)
    files = [f"{name}.wav" for name in names]
    shown = on_a_terminal(tmp_path, "encode", *files, "--output-dir", "codes", *NANO)
    shown += on_a_terminal(tmp_path, "decode", "codes", "--output-dir", "out", *TORCH)
    for name in names:
        for suffix in ("wav", "nac"):
            assert re.search(rf"{re.escape(name)}\.{suffix}[^\n]* of 16 s, [0-9.]+ times", shown)
    assert re.search(r"real time, 0:00:[0-9]{2} left", shown)


def test_no_bar_where_the_next_command_has_one(tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 20)
    shown = on_a_terminal(tmp_path, "encode", "a.wav", "-", *NANO)
    assert shown.count("\n") == 1
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("done", "total", "elapsed", "state"),
    [
        (0, 3600, 0, "0 of 3600 s"),
        (0, None, 0, "0 s"),
        (900, 3600, 10, "900 of 3600 s, 90.0 times real time, 0:00:30 left"),
        (900, 3600, 1800, "900 of 3600 s, 0.5 times real time, 1:30:00 left"),
        (900, None, 10, "900 s, 90.0 times real time"),
        (3600, 3600, 40, "3600 of 3600 s, 90.0 times real time, 0:00:00 left"),
    ],
)
def test_what_a_bar_says(done: float, total: float | None, elapsed: float, state: str) -> None:
    assert progress_state(done, total, elapsed) == state


def read_terminal(descriptor: int) -> str:
    shown = b""
    while True:
        try:
            part = os.read(descriptor, 4096)
        except OSError:  # how a terminal says that its other end was closed
            part = b""
        if not part:
            os.close(descriptor)
            return shown.decode()
        shown += part
