"""torchaudio is usable whether or not its compiled part fits the torch that is here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

USE = """
import torch
from acomp.torchaudio import ensure_torchaudio
compiled = ensure_torchaudio()
import torchaudio
assert ensure_torchaudio() == compiled  # a second time changes nothing
low = torchaudio.functional.resample(torch.ones(1, 4800), 48_000, 24_000)
assert low.shape == (1, 2400) and abs(low[0, 1200] - 1) < 1e-3
assert torchaudio.transforms.MelSpectrogram(24_000)(torch.ones(1, 4800)).isfinite().all()
print("compiled" if compiled else "without")
"""

FAKE = """
from torchaudio._extension import _IS_TORCHAUDIO_EXT_AVAILABLE, fail_if_no_align
assert fail_if_no_align(len) is len
"""


def python(code: str, *folders: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a fresh process that looks for modules in `folders` first."""
    code = f"import sys; sys.path[:0] = {[str(folder) for folder in folders]!r}\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def fake_torchaudio(folder: Path, extension: str) -> Path:
    package = folder / "torchaudio"
    package.mkdir()
    (package / "__init__.py").write_text(FAKE)
    (package / "_extension.py").write_text(extension)
    return folder


def test_the_real_one_works_here() -> None:
    result = python(USE)
    assert result.returncode == 0, result.stderr
    plain = python("import torchaudio")
    assert result.stdout.strip() == ("without" if plain.returncode else "compiled")


@pytest.mark.parametrize("error", ["RuntimeError", "OSError", "ImportError"])
def test_without_the_compiled_part_it_loads_in_its_no_extension_mode(
    tmp_path: Path, error: str
) -> None:
    folder = fake_torchaudio(tmp_path, f"raise {error}('another CUDA')")
    result = python(
        "from acomp.torchaudio import ensure_torchaudio; print(ensure_torchaudio())", folder
    )
    assert result.stdout.strip() == "False", result.stderr


def test_one_that_loads_is_left_alone(tmp_path: Path) -> None:
    folder = fake_torchaudio(
        tmp_path, "_IS_TORCHAUDIO_EXT_AVAILABLE = True\nfail_if_no_align = lambda f: f\nmine = 1"
    )
    result = python(
        "from acomp.torchaudio import ensure_torchaudio; print(ensure_torchaudio())\n"
        "import torchaudio._extension; print(torchaudio._extension.mine)",
        folder,
    )
    assert result.stdout.split() == ["True", "1"], result.stderr


def test_one_that_is_not_installed_is_an_import_error(tmp_path: Path) -> None:
    result = python(
        "sys.modules['torchaudio'] = None\n"
        "from acomp.torchaudio import ensure_torchaudio; ensure_torchaudio()",
        tmp_path,
    )
    assert "ModuleNotFoundError" in result.stderr
