"""Weights from Hugging Face, and those that other programs have fetched: none is fetched twice."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import SMALL, lively
from commands import Cli, assert_done, assert_refused, make_home
from weights_server import WeightsServer, serving

import acomp
from acomp.backends.converting import convert
from acomp.backends.families import family_of
from acomp.backends.weights import cache as weights
from acomp.backends.weights.catalogue import CATALOGUE, lookup
from acomp.backends.weights.checkpoint import fingerprint, load_checkpoint, save_weights
from acomp.errors import WeightsError

BODY = bytes(range(256)) * 4096
SUM = hashlib.sha256(BODY).hexdigest()
SNAC = "snac-24khz"
TWIN = "encodec-24khz"
SHAPE = SMALL["causal"]
REVISION = "0123456789abcdef0123456789abcdef01234567"
VARIABLES = (
    *("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_TOKEN"),
    *("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"),
)


@pytest.fixture(autouse=True)
def home(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of `cli`, which is acomp's cache too, where the network is allowed."""
    del cli
    for name in (*VARIABLES, "ACOMP_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    return make_home(tmp_path)


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    """A mirror of the Hub, where every file is `BODY`; so is SNAC's, as the catalogue knows it."""
    entry = replace(lookup(SNAC), size=len(BODY), sha256=SUM)
    monkeypatch.setitem(CATALOGUE, SNAC, entry)
    with serving(BODY) as server:
        monkeypatch.setenv("HF_ENDPOINT", f"http://{server.host}/")
        yield server


def fails(name: str = SNAC) -> str:
    """The line that a failing fetch gives."""
    with pytest.raises(WeightsError) as failure:
        weights.fetch(name)
    line = str(failure.value)
    assert "\n" not in line
    return line


# From the Hub


def test_a_file_comes_from_the_mirror_at_the_pinned_revision(
    mirror: WeightsServer, home: Path
) -> None:
    path = weights.fetch(SNAC)
    assert path == home / "hubertsiuzdak--snac_24khz" / "pytorch_model.bin"
    assert path.read_bytes() == BODY
    hub = lookup(SNAC).hub
    assert hub is not None
    place = f"/{hub.repository}/resolve/{hub.revision}/pytorch_model.bin"
    assert mirror.asked == [("HEAD", place), ("GET", place)]
    assert weights.fetch(SNAC) == path
    assert (len(mirror.asked), len(mirror.requested)) == (2, 1)
    assert weights.verify(SNAC).problem is None


def test_a_token_opens_a_repository_and_stays_with_the_hub(
    mirror: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.token = "hf_right"
    line = fails()
    assert f"from {mirror.host}: it does not open hubertsiuzdak/snac_24khz" in line
    assert "set HF_TOKEN" in line
    monkeypatch.setenv("HF_TOKEN", mirror.token)
    assert weights.fetch(SNAC).read_bytes() == BODY
    assert mirror.tokens == [None]


def test_a_download_that_broke_off_is_resumed(mirror: WeightsServer) -> None:
    mirror.fault = "break"
    assert "the connection broke after" in fails()
    mirror.fault = "none"
    assert weights.fetch(SNAC).read_bytes() == BODY
    assert mirror.requested == [None, f"bytes={len(BODY) // 2}-"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (BODY[:-1], f"it has another file: of {len(BODY) - 1} bytes where {len(BODY)} are"),
        (BODY[::-1], f"it has another file: its SHA-256 begins .* where {SUM[:8]} is expected"),
    ],
)
def test_another_file_is_refused_before_it_is_fetched(
    mirror: WeightsServer, home: Path, body: bytes, reason: str
) -> None:
    mirror.body = body
    with pytest.raises(WeightsError, match=reason):
        weights.fetch(SNAC)
    assert mirror.requested == []
    assert not [path for path in home.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_what_the_hub_lacks_and_a_hub_that_is_away_are_said(
    mirror: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.fault = "404"
    assert f"from {mirror.host}: it answers HTTP 404; put the file of https://hugg" in fails()
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert "from 127.0.0.1:1: it cannot be reached; is there a network?" in fails()


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "ACOMP_OFFLINE"])
def test_each_variable_forbids_the_hub(
    cli: Cli, mirror: WeightsServer, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1")
    run = cli("models", "fetch", SNAC)
    assert_refused(run, f"not here and {variable} is set: unset it, put the file of https://hugg")
    assert "to download" not in run.err
    assert mirror.asked == []


def test_the_hubs_variable_does_not_forbid_other_hosts(
    mirror: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    entry = replace(lookup("encodec-24khz-lm"), url=mirror.url, size=len(BODY), sha256=SUM)
    monkeypatch.setitem(CATALOGUE, entry.name, entry)
    assert weights.fetch(entry.name).read_bytes() == BODY


def test_two_processes_fetch_once(mirror: WeightsServer) -> None:
    code = (
        "from dataclasses import replace\n"
        "from acomp.backends.weights import cache, catalogue\n"
        f"entry = replace(catalogue.lookup({SNAC!r}), size={len(BODY)}, sha256={SUM!r})\n"
        f"catalogue.CATALOGUE[{SNAC!r}] = entry\n"
        f"print(cache.fetch({SNAC!r}))\n"
    )
    mirror.fault = "hang"
    run = [sys.executable, "-c", code]
    processes = [subprocess.Popen(run, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert mirror.waiting.wait(20)
    mirror.release.set()
    paths = {process.communicate()[0] for process in processes}
    assert [process.returncode for process in processes] == [0, 0]
    assert len(paths) == 1
    assert mirror.requested == [None]


# Fetched by `transformers`


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small EnCodec with random weights: `official.th`, and `twin` in Hugging Face's layout."""
    folder = tmp_path_factory.mktemp("encodec")
    save_weights(folder / "own.safetensors", lively(SHAPE).state_dict(), SHAPE)
    torch.save(load_checkpoint(folder / "own.safetensors").state, folder / "official.th")
    convert(folder / "own.safetensors", folder / "twin", "huggingface")
    return folder


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """EnCodec 24 kHz was published as small as that."""
    family = replace(family_of(TWIN), shape_of=lambda _: SHAPE)
    monkeypatch.setattr("acomp.backends.families.family_of", lambda _: family)


def hub_folder(home: Path) -> Path:
    return home / ".cache" / "huggingface" / "hub" / "models--facebook--encodec_24khz"


def put(source: Path, hub: Path, revision: str = REVISION) -> Path:
    """A folder as Hugging Face's cache keeps it, `main` of its repository; the snapshot."""
    snapshot = hub / "snapshots" / revision
    for place in (hub / "blobs", hub / "refs", snapshot):
        place.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        data = file.read_bytes()
        sha256, sha1 = hashlib.sha256(data).hexdigest(), hashlib.sha1(data).hexdigest()
        blob = hub / "blobs" / (sha256 if file.suffix == ".safetensors" else sha1)
        if not blob.exists():
            blob.write_bytes(data)
        (snapshot / file.name).symlink_to(f"../../blobs/{blob.name}")
    (hub / "refs" / "main").write_text(revision)
    return snapshot


@pytest.mark.usefixtures("small")
def test_weights_in_the_layout_of_transformers_are_used(
    cli: Cli, home: Path, folder: Path, mirror: WeightsServer
) -> None:
    snapshot = put(folder / "twin", hub_folder(home))
    listed = cli("models", "list")
    assert f"\n{TWIN}: fetched by another program: {snapshot}\n" in listed.out
    codec = acomp.load(TWIN, engine="torch")
    assert codec.fingerprint == fingerprint(load_checkpoint(folder / "official.th").state)
    assert cli("models", "fetch", TWIN).out == f"{TWIN}: {snapshot}\n"
    assert cli("models", "path", TWIN).out == f"{snapshot}\n"
    run = cli("models", "verify", TWIN)
    assert_done(run)
    sha256 = (snapshot / "model.safetensors").resolve().name
    assert run.out == f"{TWIN}: good: sha256 {sha256}: {snapshot}\n"
    assert not mirror.asked and not mirror.requested


@pytest.mark.usefixtures("small")
def test_the_revision_that_was_taken_stays_and_another_file_is_not_taken(
    home: Path, folder: Path, tmp_path: Path, mirror: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = put(folder / "twin", hub_folder(home))
    assert weights.fetch(TWIN) == first
    taken = json.loads((home / "twins.json").read_text())
    sha256 = hashlib.sha256((first / "model.safetensors").read_bytes()).hexdigest()
    assert taken == {TWIN: {"revision": REVISION, "sha256": sha256}}
    # `main` moves on, to the same weights, and then to others.
    second = put(folder / "twin", hub_folder(home), REVISION[::-1])
    assert weights.fetch(TWIN) == first
    shutil.rmtree(first)
    assert weights.fetch(TWIN) == second
    shutil.copytree(folder / "twin", tmp_path / "other")
    state = load_checkpoint(folder / "own.safetensors").state
    path = tmp_path / "other" / "model.safetensors"
    save_weights(path, {name: 2 * tensor for name, tensor in state.items()})
    shutil.rmtree(second)
    third = put(tmp_path / "other", hub_folder(home), "f" * 40)
    monkeypatch.setenv("ACOMP_OFFLINE", "1")
    assert f"(not taken: {third}: its SHA-256 begins" in fails(TWIN)
    assert mirror.asked == []


def bad_sum(snapshot: Path) -> None:
    blob = (snapshot / "model.safetensors").resolve()
    blob.write_bytes(blob.read_bytes()[:-4] + b"none")


def half(snapshot: Path) -> None:
    path = snapshot / "model.safetensors"
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data[: len(data) // 2])


def other_config(snapshot: Path) -> None:
    path = snapshot / "config.json"
    config = json.loads(path.read_text())
    path.unlink()
    path.write_text(json.dumps({**config, "sampling_rate": 32_000}))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (bad_sum, "its SHA-256 begins"),
        (half, "as after a download that broke off"),
        (other_config, "its shape is another one (sample_rate is 32000, not 16000)"),
    ],
)
@pytest.mark.usefixtures("small")
def test_what_does_not_hold_is_passed_over_and_said_when_there_is_no_network(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, spoil: Any, reason: str
) -> None:
    snapshot = put(folder / "twin", hub_folder(home))
    spoil(snapshot)
    monkeypatch.setenv("ACOMP_OFFLINE", "1")
    line = fails(TWIN)
    assert line.startswith(f"weights of {TWIN} are not here (not taken: {snapshot}")
    assert reason in line
    monkeypatch.delenv("ACOMP_OFFLINE")
    official = (folder / "official.th").read_bytes()
    with serving(official) as server:
        entry = replace(lookup(TWIN), url=server.url, size=None, sha256=None)
        monkeypatch.setitem(CATALOGUE, TWIN, entry)
        assert weights.fetch(TWIN) == home / lookup(TWIN).file
        assert weights.fetch(TWIN) == home / lookup(TWIN).file
    assert server.requested == [None]


def test_folders_without_weights_are_none(home: Path, folder: Path) -> None:
    hub = hub_folder(home)
    (hub / "refs").mkdir(parents=True)
    assert weights.status(TWIN).path is None
    (hub / "refs" / "main").write_text("../../evil")
    assert weights.status(TWIN).path is None
    snapshot = put(folder / "twin", hub)
    (snapshot / "model.safetensors").unlink()
    assert weights.status(TWIN).path is weights.find(TWIN) is None


def test_the_packages_own_file_comes_before_a_twin(
    home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder / "twin", hub_folder(home))
    official = home / "hub" / "checkpoints" / lookup(TWIN).file  # of TORCH_HOME
    official.parent.mkdir(parents=True)
    shutil.copy(folder / "official.th", official)
    monkeypatch.setitem(CATALOGUE, TWIN, replace(lookup(TWIN), size=None, sha256=None))
    assert weights.find(TWIN) == official


def test_every_repository_that_transformers_fetches_is_known() -> None:
    twins = {name: entry.twin for name, entry in CATALOGUE.items() if entry.twin}
    assert twins == {
        "encodec-24khz": "facebook/encodec_24khz",
        "encodec-48khz": "facebook/encodec_48khz",
        "dac-44khz": "descript/dac_44khz",
        "dac-24khz": "descript/dac_24khz",
        "dac-16khz": "descript/dac_16khz",
    }
