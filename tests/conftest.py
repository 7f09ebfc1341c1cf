"""Fixtures of the tests of the command line."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import pytest
import typer
from commands import COMPILED, Cli, Run, make, make_home
from hypothesis import settings

from acomp.cli import main

# How long an example takes says more of the machine and what else it does than of acomp.
settings.register_profile("acomp", deadline=None)
settings.load_profile("acomp")


IN_MEMORY = Path("/dev/shm")
ROOM = 6 << 30
"""Bytes that the files of all tests fit in with ease."""


def pytest_configure(config: pytest.Config) -> None:
    """Choose the folders of temporary files, which the workers of pytest-xdist inherit.

    acomp waits for the disk after each file that it writes; in memory, where there is room, there
    is nothing to wait for. Compiled networks are shared by all tests: an entry is written under
    another name first, so that no worker reads a half.
    """
    if IN_MEMORY.is_dir() and shutil.disk_usage(IN_MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(IN_MEMORY))
    if COMPILED not in os.environ:
        place = os.environ.get("PYTEST_DEBUG_TEMPROOT")
        os.environ[COMPILED] = folder = tempfile.mkdtemp(prefix="acomp-tests-", dir=place)
        config.add_cleanup(partial(shutil.rmtree, folder, ignore_errors=True))


@pytest.fixture(scope="session", autouse=True)
def no_reports() -> Iterator[None]:
    """OpenVINO's telemetry, once imported, starts hundreds of processes (engines_here.py)."""
    yield
    assert "openvino_telemetry" not in sys.modules


SLOWEST = (
    *("notebook", "train", "conformance", "seeds", "eval", "browser_page", "bench", "custom"),
    *("cli_encode_decode", "examples", "engines", "export", "export_families", "dac", "quantisers"),
    *("codebook_plots", "report", "training_losses", "surroundings", "encodec", "ecdc", "snac"),
    *("tokenize", "cli_streams", "cli_live", "listen", "metrics_of_ears"),
)
"""Files of tests that begin first, so that none of pytest-xdist's workers ends long after the
others (with --no-loadscope-reorder)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {f"test_{name}": number for number, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(scope="session")
def one_tree_of_commands() -> Iterator[None]:
    """Typer's commands are made of acomp's functions once, and not at each call of `cli`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("typer.main.get_command", cache(typer.main.get_command))
        yield


@pytest.fixture
def cli(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    one_tree_of_commands: None,  # noqa: ARG001
) -> Cli:
    """Runs `acomp ARGUMENTS...` in this process, in `tmp_path`, with no network and no cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACOMP_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    for name in ("ACOMP_CACHE", "TORCH_HOME", "HOME"):
        monkeypatch.setenv(name, str(make_home(tmp_path)))

    def run(*arguments: object) -> Run:
        monkeypatch.setattr(sys, "argv", ["acomp", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        code = end.value.code
        assert isinstance(code, int)
        return Run(code, *capfd.readouterr())

    return run


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    """One second of mono at 24 kHz."""
    return make(tmp_path / "speech.wav")


@pytest.fixture(scope="session")
def encodec_24khz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of EnCodec 24 kHz in the official layout."""
    return _encodec("encodec-24khz", tmp_path_factory)


@pytest.fixture(scope="session")
def encodec_48khz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights of EnCodec 48 kHz in the official layout."""
    return _encodec("encodec-48khz", tmp_path_factory)


def _encodec(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from checkpoints import encodec_model, save_encodec  # imports torch

    return save_encodec(encodec_model(name), tmp_path_factory.mktemp("weights") / f"{name}.th")
