"""The Python of docs/, the names of its API pages, and the examples in public docstrings."""

from __future__ import annotations

import doctest
import re
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import SMALL, lively
from codes_samples import encodec_24khz
from commands import ROOT, make, sound

import acomp
from acomp import layouts
from acomp.backends.base import Codec
from acomp.torchaudio import ensure_torchaudio

DOCS = ROOT / "docs"
ELSEWHERE = {
    "backends.md",  # test_third_party.py and test_new_codec.py
    "nac.md",  # test_nac.py
}
"""Pages whose Python other tests run."""


def python(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (DOCS / page).read_text(), re.M | re.S)


def custom(name: str, folder: Path) -> Codec:
    """A small codec with random weights."""
    from acomp.backends.weights.checkpoint import save_weights

    path = folder / "small.safetensors"
    save_weights(path, lively(SMALL[name]).state_dict(), SMALL[name])
    return acomp.load("custom", weights=path, engine="torch")


def of_streaming(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    del folder, patch
    codec, clip = acomp.load("nano", engine="torch"), sound(0.3)
    codes = codec.encode_batch([clip], bandwidth=6)
    names = {"codec": codec, "format": clip, "samples": clip.samples, "codes": codes}
    return {**names, "clips": [clip, sound(0.2, 48_000, 2)]}


def of_datasets(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    from acomp.datasets.making import Order, tokenize
    from acomp.datasets.packing import Numbering, pack, recordings

    del patch
    pytest.importorskip("pyarrow")
    make(folder / "one.wav", 0.3)
    tokenize(Order(folder / "clips.codes", (str(folder / "one.wav"),), "nano"))
    pack(recordings([folder / "clips.codes"]), folder / "train", Numbering())
    return {}


def of_editing(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    del patch
    acomp.write_codes(folder / "talk.nac", encodec_24khz())
    acomp.write_codes(folder / "music.ecdc", encodec_24khz(frames=20))
    return {}


def of_latents(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    del patch
    make(folder / "speech.wav", 0.3)
    return {}


def of_tokens(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Small codecs stand for EnCodec and SNAC, arrays for what other packages give."""
    codecs = {"encodec-24khz": custom("causal", folder), "snac-24khz": SevenLevels()}
    patch.setattr(acomp, "load", codecs.__getitem__, raising=False)
    tokens = np.random.default_rng(0).integers(0, 256, (4, 35))
    np.savez(folder / "speaker.npz", fine_prompt=tokens)
    encoded = SimpleNamespace(audio_codes=torch.tensor(tokens)[None, None], audio_scales=[None])
    dac = SimpleNamespace(audio_codes=torch.tensor(tokens)[None])
    return {
        "tokens": tokens,
        "spoken": layouts.orpheus(np.zeros((7, 5), np.int64)),
        "model": SimpleNamespace(generate=lambda *_, **__: (None, np.stack([tokens, tokens]))),
        "texts": ["a song"],
        "encodec_model": SimpleNamespace(encode=lambda _: encoded),
        "dac_model": SimpleNamespace(encode=lambda _: dac),
        "values": None,
    }


class SevenLevels:
    """Takes what a SNAC of three levels takes."""

    def codes(self, tokens: Any) -> Any:
        assert tokens.shape[0] == 7
        return tokens


def of_training(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The official packages with small networks, and runs that trained them."""
    dac = pytest.importorskip("dac")
    ensure_torchaudio()
    encodec: Any = import_module("encodec")
    from safetensors.torch import save_file

    official = lively(SMALL["dac"])
    official.save(folder / "download.pth", package=False)
    patch.setattr(dac.utils, "download", lambda **_: folder / "download.pth")
    small = lively(SMALL["causal"])
    patch.setattr(encodec.EncodecModel, "encodec_model_24khz", lambda **_: small)
    for run, model in (("voice", small), ("songs", official)):
        (folder / "runs" / run).mkdir(parents=True)
        save_file(model.state_dict(), folder / "runs" / run / "best.safetensors")
    return {}


def of_evaluation(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    del folder, patch
    pytest.importorskip("rapidfuzz")
    return {"speech": sound(0.3), "decoded": sound(0.3)}


PAGES: dict[str, Callable[[Path, pytest.MonkeyPatch], dict[str, Any]]] = {
    "audio.md": lambda *_: {},
    "datasets.md": of_datasets,
    "editing.md": of_editing,
    "evaluation.md": of_evaluation,
    "latents.md": of_latents,
    "streaming.md": of_streaming,
    "tokens.md": of_tokens,
    "training.md": of_training,
}
"""The pages with Python, and what makes the names that their examples take to be there."""


def test_no_page_is_forgotten() -> None:
    pages = {path.name for path in DOCS.glob("*.md") if python(path.name)}
    assert pages == {*PAGES, *ELSEWHERE}
    unmarked = re.compile(r"^    (import |\w+ = \w+[.(])", re.M)
    assert [path.name for path in DOCS.glob("*.md") if unmarked.search(outside(path))] == []


def outside(path: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.M | re.S)


@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_works(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"acomp": acomp, "np": np, **PAGES[page](tmp_path, monkeypatch)}
    for block in python(page):
        exec(compile(block, page, "exec"), names)


def test_the_pages_of_the_interface_hold_every_name() -> None:
    pages = "".join(path.read_text() for path in (DOCS / "api").glob("*.md"))
    documented = set(re.findall(r"^::: acomp\.(\w+)$", pages, re.M)) - {"testing"}
    assert documented == set(acomp.__all__)


@pytest.mark.parametrize("name", ["acomp", *acomp.__all__])
def test_the_examples_of_docstrings_work(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder that holds the speech sample; `acomp` and `np` are imported."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "acomp" / "samples" / "speech.flac", tmp_path)
    value = acomp if name == "acomp" else getattr(acomp, name)
    finder = doctest.DocTestFinder(recurse=name != "acomp")
    names = {"acomp": acomp, "np": np}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    told: list[str] = []
    for test in finder.find(value, name, module=False, globs=names):
        runner.run(test, out=told.append)
    assert not runner.summarize(verbose=False).failed, "".join(told)
