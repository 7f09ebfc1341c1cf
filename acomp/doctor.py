"""What is installed, what fits together, and what is missing."""

from __future__ import annotations

import importlib
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Literal

from acomp.backends import names
from acomp.backends.families import families
from acomp.backends.weights.catalogue import CATALOGUE
from acomp.codecs import BUILT_IN, SPECS
from acomp.engines import pick_engine
from acomp.errors import AcompError
from acomp.packages import EVALUATION, PAGES, TRAINING
from acomp.quiet import quiet

PACKAGES = ("torch", "numpy", "soundfile", "soxr", "av", "safetensors")

State = Literal["ok", "not here", "not in order"]
"""`not here` is something optional that is missing; `not in order` is something to mend."""


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        name: what was checked.
        state: ok, not here, or not in order.
        detail: what was found; or what is wrong, and how to mend it.
    """

    name: str
    state: State
    detail: str


class _NotHereError(Exception):
    """Something optional is missing; the message says how to get it."""


def examine() -> Iterator[Finding]:
    """Check everything that acomp needs or can use, in order of importance."""
    enough = sys.version_info >= (3, 11)
    yield Finding("python", "ok" if enough else "not in order", platform.python_version())
    for package in PACKAGES:
        yield _package(package)
    yield _attempt("torchaudio", _torchaudio)
    for family in families():
        for check in family.checks:
            yield _attempt(check.title, check.look, optional=check.advice)
    yield _attempt(f"{BUILT_IN}'s language model", _language_model)
    yield _attempt("GPU", _gpu)
    yield _attempt("engine on the CPU", _engine)
    yield _attempt("measuring, reports", _evaluation, optional='pip install "acomp[eval]"')
    yield _attempt("training", _training, optional='pip install "acomp[train]"')
    yield _attempt("ffmpeg", _ffmpeg)
    for name in [name for name, entry in CATALOGUE.items() if not entry.is_part]:
        yield _attempt(f"weights of {name}", partial(_weights, name))
    yield Finding("codecs", "ok", ", ".join(names()))


def _package(name: str) -> Finding:
    try:
        importlib.import_module(name)
        return Finding(name, "ok", version(name))
    except Exception as error:  # importing another package can raise anything
        detail = f"does not load ({_in_words(error)}); pip install {name}"
        return Finding(name, "not in order", detail)


def _attempt(name: str, look: Callable[[], str], optional: str | None = None) -> Finding:
    """The result of `look`, or why it failed; `optional` says how to get a missing package."""
    try:
        with quiet():
            return Finding(name, "ok", look())
    except _NotHereError as error:
        return Finding(name, "not here", str(error))
    except ModuleNotFoundError as error:
        if optional is not None:
            return Finding(name, "not here", f"{error}; {optional}")
        return Finding(name, "not in order", str(error))
    except AcompError as error:
        return Finding(name, "not in order", str(error))
    except Exception as error:  # a package that does not fit the others can raise anything
        return Finding(name, "not in order", _in_words(error))


def _in_words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())


def _torchaudio() -> str:
    from acomp.torchaudio import ensure_torchaudio

    compiled = ensure_torchaudio()
    how = "with its compiled part" if compiled else "without its compiled part, which is not needed"
    return f"{version('torchaudio')}, {how}"


def _evaluation() -> str:
    from acomp.evaluation.metrics import METRICS, packages

    for package in dict.fromkeys((*EVALUATION, *packages(METRICS.values())["eval"], *PAGES)):
        importlib.import_module(package)
    return "what acomp eval, report and listen need is here"


def _training() -> str:
    for package in ("acomp.training.fabric", *TRAINING):  # the way that training imports Fabric
        importlib.import_module(package)
    return "what acomp train needs is here"


def _language_model() -> str:
    from acomp.entropy.loading import load_language_model

    model = load_language_model(BUILT_IN, SPECS[BUILT_IN].frame_rate)
    return f"loads, weights {model.fingerprint}"


def _gpu() -> str:
    import torch

    if not torch.cuda.is_available():
        raise _NotHereError("no CUDA GPU that torch can use: codecs run on the CPU")
    return torch.cuda.get_device_name()


def _engine() -> str:
    engine = pick_engine()
    if engine.name == "torch":
        return 'torch; OpenVINO is faster: pip install "acomp[fast]"'
    return f"{engine.name} {version(engine.name)}"


def _weights(name: str) -> str:
    from acomp.backends.weights.cache import find, remedy

    path = find(name)
    if path is None:
        raise _NotHereError(remedy([name]))
    return str(path)


def _ffmpeg() -> str:
    path = shutil.which("ffmpeg")
    if path is None:
        raise _NotHereError("acomp eval can have no opus@KBPS")
    return path
