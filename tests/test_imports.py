"""What is imported when: the commands that need no model start without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from codes_samples import encodec_24khz
from commands import environment

from acomp.formats import write_codes

HEAVY = ("torch", "torchaudio", "encodec", "dac", "soxr")


def imported(folder: Path, program: str, *arguments: str) -> set[str]:
    """The heavy packages that a program leaves imported; it may end by `sys.exit(0)`."""
    watched = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print(*(set({HEAVY}) & set(sys.modules)), file=sys.stderr))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", watched + program, *arguments],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=True,
    )
    return set(result.stderr.split())


COMMAND = "from acomp.cli import main; main()"


def test_the_package(tmp_path: Path) -> None:
    assert imported(tmp_path, "import acomp; acomp.AcompError; acomp.Codes") == set()


def test_the_watch_sees_torch(tmp_path: Path) -> None:
    assert "torch" in imported(tmp_path, "import torch")


@pytest.mark.parametrize(
    "command",
    [
        "--help",
        "--version",
        "encode --help",
        "info a.nac",
        "info --json a.nac",
        "convert a.nac b.txt",
        "convert a.nac b.npz",
        "models list",
        "models path",
    ],
)
def test_commands_that_need_no_model(tmp_path: Path, command: str) -> None:
    write_codes(tmp_path / "a.nac", encodec_24khz())
    assert imported(tmp_path, COMMAND, *command.split()) == set()
