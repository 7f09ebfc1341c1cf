"""What imports what, and when: the commands that need no model start without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from codes_samples import encodec_24khz
from commands import environment

import acomp
from acomp.formats import write_codes

HEAVY = ("torch", "torchaudio", "encodec", "dac", "openvino", "soxr")


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
        "eval --help",
        "report --help",
        "listen --help",
        "info a.nac",
        "info --json a.nac",
        "tokenize --help",
        "pack --help",
        "pack a.nac -o packed",
        "convert a.nac b.txt",
        "convert a.nac b.npz",
        "-q cut a.nac --start 1",
        "-q join a.nac a.nac -o b.nac",
        "-q thin a.nac --codebooks 2",
        "models list",
        "models path",
    ],
)
def test_commands_that_need_no_model(tmp_path: Path, command: str) -> None:
    write_codes(tmp_path / "a.nac", encodec_24khz())
    assert imported(tmp_path, COMMAND, *command.split()) == set()


ROOMS = {
    "errors": set(),
    "settings": set(),
    "scalars": {"errors"},
    "values": {"errors"},
    "codecs": {"errors", "scalars"},
    "files": {"errors"},
    "plain": {"errors", "files"},
    "grid": {"errors", "scalars", "codecs"},
    "codes": {"errors", "plain", "values", "scalars", "codecs", "grid"},
    "lengths": {"codecs", "codes"},
    "audio": {"errors", "scalars", "values", "files"},
    "layouts": {"errors", "scalars", "values"},
    "bare": {"errors", "codecs", "codes", "lengths"},
    "tensors": {"plain", "quiet"},
    "signals": set(),
    "batch": {"errors", "files"},
    "quiet": set(),
    "torchaudio": set(),
    "engines": {"errors", "files", "quiet"},
    "formats": {
        *{"errors", "files", "plain", "codecs", "codes", "lengths", "entropy", "bare"},
        *{"grid", "scalars", "tensors"},
    },
    "entropy": {"errors", "files", "plain", "codecs", "codes", "engines", "backends", "torchaudio"},
    "backends": {
        *{"errors", "plain", "scalars", "values", "files", "codecs", "codes", "lengths"},
        *{"audio", "engines", "bare", "tensors", "quiet", "torchaudio"},
    },
    "bench": {"errors", "settings", "codecs", "codes", "bare", "audio", "engines", "backends"},
    "packages": {"errors"},
    "export": {"errors", "files", "plain", "codecs", "codes", "audio", "engines", "backends"},
    "metrics": {"errors", "audio", "torchaudio"},
    "drawing": {"errors"},
    "tables": {"errors", "plain"},
    "analysis": {
        *{"errors", "files", "packages", "codes", "formats", "backends", "batch", "drawing"},
    },
    "datasets": {
        *{"errors", "files", "plain", "packages", "scalars", "codecs", "codes", "audio"},
        *{"backends", "batch", "formats", "layouts"},
    },
    "evaluation": {
        *{"errors", "files", "plain", "packages", "codes", "audio", "formats", "backends"},
        *{"metrics", "analysis", "batch", "quiet", "tables", "torchaudio"},
        "export",  # whose folders are measured beside the codecs
    },
    "pages": {
        *{"errors", "files", "packages", "audio", "analysis"},
        *{"evaluation", "drawing", "quiet"},
    },
    "listening": {
        *{"errors", "files", "plain", "packages", "audio", "evaluation", "pages", "tables"},
    },
    "training": {
        *{"errors", "files", "plain", "packages", "codecs", "codes", "audio", "engines"},
        *{
            "backends",
            "entropy",
            "metrics",
            "drawing",
            "batch",
            "quiet",
            "signals",
            "tables",
            "torchaudio",
        },
    },
}
"""The rooms below the pipeline and the command line, and what each may import."""


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_one_way(room: str) -> None:
    package = Path(acomp.__file__).parent
    files = [package / f"{room}.py", *(package / room).rglob("*.py")]
    trees = [ast.parse(file.read_text()) for file in files if file.exists()]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = {f"{node.module}.{each.name}" for node in nodes for each in node.names}
    imports = {name.split(".")[1] for name in names if name.startswith("acomp.")} - {"__version__"}
    assert trees and imports - {room, "settings"} <= ROOMS[room]
