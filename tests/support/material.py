"""Recordings and weights that are too large, or not ours, to lie in the repository.

`ACOMP_TEST_MATERIAL` names their folder; without it, a folder `shared` beside the clone is taken.
Tests of what is not there are skipped, and `pytest -rs` says why.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from commands import ROOT

VARIABLE = "ACOMP_TEST_MATERIAL"
MATERIAL = Path(os.environ.get(VARIABLE) or ROOT.parent / "shared")
LYRA = "models/lyra-1.3.2"
"""The folder of SoundStream's three networks, as Lyra 1.3.2 published them."""


def material(path: str) -> Path:
    """A file or folder of the material; the test, or all tests of a module, are skipped without."""
    found = MATERIAL / path
    if not found.exists():
        reason = f"{path} is not in {MATERIAL}: {VARIABLE} names the folder that holds it"
        pytest.skip(reason, allow_module_level=True)
    return found
