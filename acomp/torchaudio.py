"""Makes `import torchaudio` work beside any torch.

`encodec` and `descript-audiotools` import torchaudio for its resampling and spectrograms, which are
plain Python. torchaudio's compiled part, which none of that needs, loads only beside the torch
build that it was made for; elsewhere the whole import fails. If it fails, torchaudio is imported
again in its own mode without the compiled part, which a module in place of `torchaudio._extension`
selects. A torchaudio that loads is left alone.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TypeVar

F = TypeVar("F", bound=Callable[..., object])


def ensure_torchaudio() -> bool:
    """Import torchaudio, and return whether its compiled part was loaded with it.

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
    """A replacement of `torchaudio._extension` that says that the compiled part is missing."""

    def fail_if_no_align(function: F) -> F:
        return function  # forced alignment, which acomp does not use, fails when it is called

    module = ModuleType("torchaudio._extension")
    vars(module).update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=fail_if_no_align,
    )
    return module
