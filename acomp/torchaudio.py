"""Makes `import torchaudio` work beside any torch.

`encodec` and `descript-audiotools` import torchaudio for its resampling and spectrograms, which are
plain Python. torchaudio's compiled part, which none of that needs, loads only beside the one torch
build it was made for; elsewhere it raises and takes the whole import down. So: try the plain
import, and only where that fails load torchaudio in its own no-extension mode, by putting a module
that says so in place of `torchaudio._extension`. A torchaudio that loads is left alone.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def ensure_torchaudio() -> bool:
    """Import torchaudio; whether its compiled part was loaded with it.

    Raises:
        ImportError: torchaudio is not installed.
    """
    try:
        torchaudio = importlib.import_module("torchaudio")
    except ModuleNotFoundError:
        raise
    except (ImportError, OSError, RuntimeError, AttributeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
            del sys.modules[name]
        sys.modules["torchaudio._extension"] = _no_extension()
        torchaudio = importlib.import_module("torchaudio")
    extension = sys.modules.get(f"{torchaudio.__name__}._extension")
    return bool(getattr(extension, "_IS_TORCHAUDIO_EXT_AVAILABLE", False))


def _no_extension() -> ModuleType:
    """What torchaudio's modules ask of `torchaudio._extension`, answered "not available"."""

    def fail_if_no_align(function: F) -> F:
        return function  # forced alignment, which nobody here calls, fails when it is called

    module = ModuleType("torchaudio._extension")
    vars(module).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=fail_if_no_align,
    )
    return module
