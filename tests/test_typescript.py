"""The reader and writer of `.nac` in TypeScript, where node and its packages are installed."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from commands import ROOT

BROWSER = ROOT / "examples" / "browser"


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
@pytest.mark.skipif(not (BROWSER / "node_modules").is_dir(), reason="npm ci was not run")
def test_typescript_reads_and_writes_the_corpus() -> None:
    done = subprocess.run(["npm", "test"], cwd=BROWSER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
