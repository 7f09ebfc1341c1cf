"""A new built-in codec: a folder, a record and an entry in the catalogue; nothing else knows of it.

docs/backends.md describes these steps; here they are taken.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from commands import ROOT, Cli, assert_done, assert_refused, make
from safetensors.numpy import save_file

import acomp
import acomp.backends
from acomp.backends.families import family_called
from acomp.backends.weights.catalogue import CATALOGUE, Weights
from acomp.codecs import PUBLISHED, SPECS, CodecSpec, Published
from acomp.testing import CodecConformance

FAMILIES = Path(__file__).parent / "support" / "new_family"

RECORD = Published(
    spec=CodecSpec(
        name="toy-8khz",
        sample_rate=8_000,
        channels=1,
        hop_length=16,
        codebooks=16,
        codebook_size=64,
        codebook_dim=1,
        bandwidths={24: 8, 48: 16},
        stereo_streams=True,
        delay=16 / 8_000,
        extra_frames=1,
    ),
    family="toy",
)
NAME = RECORD.spec.name


def write_weights(path: Path) -> Weights:
    """The weights of the codec, and the entry of the catalogue that tells them."""
    save_file({"gain": np.ones(1, np.float32)}, path)
    return Weights(
        name=NAME,
        file=path.name,
        licence="MIT",
        page="https://example.org/toy",
        url=f"https://example.org/{path.name}",
        size=path.stat().st_size,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The weights of the codec, for as long as it is one of acomp's."""
    path = tmp_path_factory.mktemp("weights") / "toy.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acomp.backends, "__path__", [*acomp.backends.__path__, str(FAMILIES)])
        patch.setitem(PUBLISHED, NAME, RECORD)
        patch.setitem(SPECS, NAME, RECORD.spec)
        patch.setitem(CATALOGUE, NAME, write_weights(path))
        yield path
    family_called.cache_clear()


@pytest.fixture
def fetched(cli: Cli, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line, with the weights in acomp's cache."""
    monkeypatch.setenv("ACOMP_CACHE", str(weights.parent))
    return cli


class TestToy(CodecConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def codec(cls, weights: Path) -> acomp.Codec:
        return acomp.load(NAME, weights=weights)

    def lets_latents_out(self, codec: acomp.Codec) -> bool:  # noqa: ARG002
        return False


def documented() -> list[str]:
    """The blocks of Python in the steps of docs/backends.md."""
    text = (ROOT / "docs" / "backends.md").read_text()
    steps = text.partition("## A codec inside acomp")[2]
    return re.findall(r"^```python\n(.*?)^```$", steps, re.DOTALL | re.MULTILINE)


def test_the_documented_record_and_family_are_these() -> None:
    record, family = documented()
    names: dict[str, object] = {}
    exec(record, names)
    assert names["RECORD"] == RECORD
    assert family == (FAMILIES / "toy" / "__init__.py").read_text()


def test_it_is_one_of_the_names(weights: Path) -> None:  # noqa: ARG001
    assert NAME in acomp.names()


@pytest.mark.parametrize("form", ["nac", "txt", "npz"])
def test_it_encodes_and_decodes_in_every_form(fetched: Cli, tmp_path: Path, form: str) -> None:
    sound = make(tmp_path / "a.wav", 0.5, 8_000, 2)
    assert_done(fetched("encode", sound, f"a.{form}", "-b", NAME, "-k", 24))
    codes = acomp.read_codes(tmp_path / f"a.{form}")
    assert (codes.info.codec, codes.data.shape) == (NAME, (2, 8, 251))
    run = fetched("info", f"a.{form}", "--json")
    assert_done(run)
    assert json.loads(run.out)["codec"] == NAME
    assert_done(fetched("decode", f"a.{form}", "b.wav"))
    assert acomp.read_audio(tmp_path / "b.wav").length == 4_000


def test_bare_codes_of_it_last_as_long_as_they_should(weights: Path) -> None:
    codes = acomp.load(NAME, weights=weights).codes(np.zeros((16, 251), np.int64))
    assert codes.length == 4_000


def test_it_is_listed_with_its_weights(fetched: Cli) -> None:
    run = fetched("models", "list", "--json")
    assert_done(run)
    (entry,) = [entry for entry in json.loads(run.out) if entry["name"] == NAME]
    assert (entry["kind"], entry["licence"], entry["problem"]) == ("codec", "MIT", None)
    assert entry["path"].endswith("toy.safetensors")
    assert NAME in fetched("models", "list").out
    assert_done(fetched("models", "verify", NAME))


def test_its_weights_are_asked_for_where_they_are_missing(cli: Cli, weights: Path) -> None:
    assert weights.exists()
    make(Path("a.wav"), 0.1)
    assert_refused(cli("encode", "a.wav", "-b", NAME), f"weights of {NAME} are not here")


def test_doctor_looks_at_its_weights(fetched: Cli) -> None:
    run = fetched("doctor")
    assert f"weights of {NAME}" in run.out


def test_bench_times_it_alone_and_says_so(fetched: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    # A process of its own does not know the codec, which is acomp's in this one alone.
    monkeypatch.setattr("acomp.bench.loading._start", lambda *_: (1.0, 1.0, 1.0))
    run = fetched("bench", f"{NAME}:1", "--rounds", 1, "--json")
    assert_done(run)
    (row,) = json.loads(run.out)["rows"]
    assert row["encode"]["official"] is None
    assert row["encode"]["fp32"]["times_real_time"] > 0
    assert any("acomp alone" in note for note in row["notes"])


def test_it_cannot_be_trained_and_says_so(fetched: Cli, tmp_path: Path) -> None:
    run = fetched("train", "-b", NAME, "--data", tmp_path, "--out", "run")
    assert_refused(run, f"{NAME} cannot be trained")
