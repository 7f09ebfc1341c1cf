"""A hundred hostile files and more for most readers; `make fuzz` goes on as long as one likes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import fuzzing
import pytest
from fuzzing import Target, fault_of, fuzz

from acomp.errors import FormatError


def test_every_reader_reads_or_refuses_in_one_line(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "OMP_NUM_THREADS": "1"}  # no ffmpeg
    command = [sys.executable, fuzzing.__file__, "--runs", "160", "--kept", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    faults = [file.read_text() for file in tmp_path.glob("*.txt")]
    assert done.returncode == 0, (done.stdout, done.stderr, faults)


def refuses(message: str) -> Target:
    def read(_: bytes) -> None:
        raise FormatError(message)

    return Target(read, [b""])


def recurses(_: bytes) -> None:
    recurses(_)


def loops(_: bytes) -> None:
    while True:
        pass


def test_what_a_reader_does_wrong_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzzing, "CPU_SECONDS", 0.2)
    before = signal.signal(signal.SIGPROF, fuzzing.too_slow)
    try:
        assert fault_of(refuses("it is damaged"), b"") is None
        assert "two" in (fault_of(refuses("in\ntwo lines"), b"") or "")
        assert "xxx" in (fault_of(refuses("x" * 5000), b"") or "")
        assert "RecursionError" in (fault_of(Target(recurses, [b""]), b"") or "")
        assert "took more than 0.2 s" in (fault_of(Target(loops, [b""]), b"") or "")
    finally:
        signal.signal(signal.SIGPROF, before)


def test_a_reader_that_ends_its_process_is_noticed(tmp_path: Path) -> None:
    """The driver keeps the input, and goes on behind it."""
    worker = tmp_path / "worker.py"
    worker.write_text(
        "import os, sys\n"
        "first = int(sys.argv[sys.argv.index('--worker') + 1])\n"
        f"open({str(tmp_path / 'current')!r}, 'w').write(str(first))\n"
        "print(f'at\\t{first}\\tnac1', flush=True)\n"
        "if first < 2: os.kill(os.getpid(), 9)\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fuzzing, "__file__", str(worker))
        counts, faults = fuzz(0, 3, [], 60.0, tmp_path)
    assert (counts["nac1"], faults) == (3, 2)
    assert {file.read_text() for file in tmp_path.glob("nac1-*") if not file.suffix} == {"0", "1"}
