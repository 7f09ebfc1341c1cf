"""How acomp is installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from commands import ROOT, files_in


def test_an_editable_install_is_found_from_the_folder_above_a_clone(tmp_path: Path) -> None:
    """Where the clone, a folder called acomp without an `__init__.py`, is nearer on the path."""
    pytest.importorskip("setuptools", minversion="77")
    clone, wheels, site = (tmp_path / name for name in ("acomp", "wheels", "site"))
    (clone / "acomp").mkdir(parents=True)
    wheels.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "acomp/__init__.py"):
        shutil.copy(ROOT / name, clone / name)
    build = "import sys, setuptools.build_meta as backend; backend.build_editable(sys.argv[1])"
    _python("-c", build, str(wheels), folder=clone)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    look = "import site, sys; site.addsitedir(sys.argv[1]); import acomp; print(acomp.__file__)"
    found = _python("-S", "-c", look, str(site), folder=tmp_path)  # -S: not the tests' own acomp
    assert found.strip() == str(clone / "acomp" / "__init__.py")


def test_every_file_of_the_package_is_installed() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    package = ROOT / "acomp"
    taken = {
        path for pattern in settings["package-data"]["acomp"] for path in package.glob(pattern)
    }
    there = {
        path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in there - taken if path.suffix != ".py"} == set()


def _python(*arguments: str, folder: Path) -> str:
    """What Python prints in `folder`, which is the first place that it imports from."""
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env={}, check=True, capture_output=True, text=True
    ).stdout


def test_cleaning_leaves_what_was_trained(tmp_path: Path) -> None:
    for name in ("build/nano/run/best.safetensors", "build/ci/venv/pyvenv.cfg", "demo/a.nac"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    make = shutil.which("make") or pytest.skip("make is not installed")
    subprocess.run([make, "-s", "-f", ROOT / "Makefile", "clean"], cwd=tmp_path, check=True)
    assert list(files_in(tmp_path)) == ["build/nano/run/best.safetensors"]


def test_the_extra_all_has_all_but_what_does_not_go_with_others() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (every,) = extras["all"]
    named = set(every.removeprefix("acomp[").removesuffix("]").split(","))
    assert named == set(extras) - {"all", "dac", "dev", "docs", "eval-full", "pages", "ray"}
