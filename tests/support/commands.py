"""What the tests of the command line share."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE

import numpy as np

from acomp.audio import Audio, read_audio, write_audio

ROOT = Path(__file__).parents[2]
Process = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Run:
    """What a run of the command line left."""

    code: int
    out: str
    err: str


Cli = Callable[..., Run]
"""`cli("encode", path, "-k", 6)` runs that command; the fixture is in conftest.py."""


def sound(seconds: float = 1.0, rate: int = 24_000, channels: int = 1) -> Audio:
    """Swept sines with a little noise, other ones in each channel."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(0).standard_normal((channels, len(time)))
    pitch = 200 * (1 + np.arange(channels))[:, None]
    samples = 0.4 * np.sin(2 * np.pi * (pitch * time + 50 * time**2)) + 0.02 * noise
    return Audio(samples.astype(np.float32), rate)


def make(path: Path, seconds: float = 1.0, rate: int = 24_000, channels: int = 1) -> Path:
    """A file of `sound`."""
    write_audio(path, sound(seconds, rate, channels))
    return path


def files_in(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`, hidden ones too, by its path from there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def assert_done(run: Run) -> None:
    assert run.code == 0, run.err


def assert_refused(run: Run, *words: str) -> None:
    """Exit code 1, and nothing but one line, which has these words."""
    assert run.code == 1, run
    assert run.out == ""
    assert run.err.startswith("error: ")
    assert run.err.count("\n") == 1
    assert run.err.endswith("\n")
    for word in words:
        assert word in run.err


def assert_wrong_usage(run: Run, *words: str) -> None:
    """Exit code 2, and a message that has these words, whatever the frame around them."""
    assert run.code == 2, run
    assert run.out == ""
    assert "Traceback" not in run.err
    said = " ".join(run.err.replace("│", " ").split())
    for word in words:
        assert word in said


def assert_same_sound(found: Path, expected: Path) -> None:
    """To the last of 16 bits, which may be rounded either way where blocks were cut elsewhere."""
    one, other = read_audio(found), read_audio(expected)
    assert one.sample_rate == other.sample_rate
    np.testing.assert_allclose(one.samples, other.samples, rtol=0, atol=1.5 / 32768)


def start(
    folder: Path,
    *arguments: object,
    stdin: int = DEVNULL,
    stdout: int = PIPE,
    stderr: int = PIPE,
    program: tuple[str, ...] = ("-m", "acomp"),
) -> Process:
    """A process of the command line in `folder`, offline; `program` is what Python runs."""
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(folder),
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        preexec_fn=_hear_interrupts,
    )


def _hear_interrupts() -> None:
    """A shell has what it runs in the background ignore SIGINT, and that is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finish(process: Process, given: bytes | None = None) -> Run:
    """Let a process end; its output is read as text."""
    out, err = process.communicate(given, timeout=300)
    return Run(process.returncode, (out or b"").decode(errors="replace"), err.decode())


def make_home(folder: Path) -> Path:
    """A home with an empty cache, but for the compiled networks, which take seconds to make."""
    home = folder / ".home"
    if not home.exists():
        home.mkdir()
        (home / "compiled").symlink_to(os.environ[COMPILED])
    return home


COMPILED = "ACOMP_TESTS_COMPILED"
"""A variable: the folder of the networks that this run of the tests has compiled."""


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Variables for a process that sees neither network nor cache."""
    home = str(make_home(folder))
    places = dict.fromkeys(("ACOMP_CACHE", "TORCH_HOME", "HOME"), home)
    settings = {"ACOMP_OFFLINE": "1", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    return {**os.environ, **places, **settings, **more}


@contextmanager
def limited_file_size(most: int) -> Iterator[None]:
    """A disk that is full after `most` bytes, as far as this process can tell."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
