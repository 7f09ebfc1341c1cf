from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import re
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file
from typer.testing import CliRunner
from weights_server import Fault, WeightsServer, serving

from acomp.backends.weights import cache as weights, catalogue, checkpoint, download
from acomp.backends.weights.catalogue import Weights
from acomp.backends.weights.checkpoint import fingerprint, load_checkpoint
from acomp.backends.weights.download import DownloadError
from acomp.cli.models import app
from acomp.errors import WeightsError
from acomp.files import cache_folder

served = pytest.mark.usefixtures("server")

HEADER = b'{"x":{"dtype":"U8","shape":[999929],"data_offsets":[0,999929]}}'
BODY = len(HEADER).to_bytes(8, "little") + HEADER + random.Random(0).randbytes(999_929)
"""A checkpoint, as safetensors."""
SUM = hashlib.sha256(BODY).hexdigest()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, so that nothing of the machine's own caches is seen."""
    for name in ("ACOMP_OFFLINE", "TORCH_HOME", "XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ACOMP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path / "home"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    """A server of `toy`, the only weights in the catalogue."""
    with serving(BODY) as server:
        toy = Weights(
            name="toy",
            file="toy.th",
            licence="MIT",
            page="https://example.org",
            url=server.url,
            sha256=SUM,
        )
        for name in reversed(list(catalogue.CATALOGUE)):  # what is undone comes back in order
            monkeypatch.delitem(catalogue.CATALOGUE, name)
        monkeypatch.setitem(catalogue.CATALOGUE, "toy", toy)
        yield server


@pytest.fixture
def cache() -> Path:
    """The cache folder, made."""
    folder = cache_folder()
    folder.mkdir()
    return folder


def change(monkeypatch: pytest.MonkeyPatch, **facts: Any) -> None:
    """Change what the catalogue says of `toy`."""
    entry = replace(catalogue.CATALOGUE["toy"], **facts)
    monkeypatch.setitem(catalogue.CATALOGUE, "toy", entry)


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def fails(name: str = "toy") -> str:
    """The line that a failing fetch gives."""
    with pytest.raises(WeightsError) as failure:
        weights.fetch(name)
    line = str(failure.value)
    assert "\n" not in line
    return line


def files(folder: Path) -> set[str]:
    """Names of all that is not bookkeeping."""
    return {path.name for path in folder.iterdir() if path.suffix != ".lock"}


# Fetching


@served
def test_fetch_downloads_verifies_and_then_needs_no_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[tuple[int, int | None]] = []
    path = weights.fetch("toy", lambda done, total: steps.append((done, total)))
    assert path == cache_folder() / "toy.th"
    assert path.read_bytes() == BODY
    assert files(path.parent) == {"toy.th", "verified.json"}
    assert steps[0] == (0, len(BODY)) and steps[-1] == (len(BODY), len(BODY))
    assert steps == sorted(steps)
    no_network(monkeypatch)
    assert weights.fetch("toy") == weights.find("toy") == path


def test_cache_folder_is_the_users_unless_overridden(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.setenv("ACOMP_CACHE", "~/weights")
    assert cache_folder() == home / "weights"
    monkeypatch.delenv("ACOMP_CACHE")
    assert cache_folder().is_relative_to(home)


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("404", "it answers HTTP 404"),
        ("break", f"the connection broke after .* of {len(BODY)} bytes"),
        ("no-length", "not the published file: its SHA-256 begins"),
        ("endless", "it sends more than the 2000000 bytes that are expected"),
    ],
)
def test_failing_server_gives_one_line_and_no_file(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch, fault: Fault, reason: str
) -> None:
    monkeypatch.setattr(weights, "MAX_SIZE", 2_000_000)
    server.fault = fault
    path = cache_folder() / "toy.th"
    with pytest.raises(
        WeightsError,
        match=f"^cannot fetch the weights of toy from {server.host}: .*{reason}.*; "
        f"put the file of http://{server.host}/.* at {path} or pass --weights FILE$",
    ):
        weights.fetch("toy")
    assert not path.exists()
    assert weights.find("toy") is None
    server.fault = "none"
    assert weights.fetch("toy").read_bytes() == BODY
    assert files(path.parent) == {"toy.th", "verified.json"}


def test_other_bytes_are_refused_and_not_kept(server: WeightsServer) -> None:
    server.body = BODY[:-1] + b"?"
    assert f"where {SUM[:8]} is expected" in fails()
    assert files(cache_folder()) == set()


@served
def test_other_size_is_refused_and_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, size=len(BODY) + 1, sha256=None)
    assert f"it has {len(BODY)} bytes where {len(BODY) + 1} are expected" in fails()
    assert files(cache_folder()) == set()


def test_silent_server_times_out(server: WeightsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT", (5.0, 0.05))
    server.fault = "mute"
    assert "it does not answer in time" in fails()
    server.fault = "hang"
    assert "the connection broke after" in fails()


@served
def test_unknown_host_and_closed_port(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    change(monkeypatch, url=f"http://127.0.0.1:{port}/toy.th")
    assert f"from 127.0.0.1:{port}: it cannot be reached" in fails()

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    change(monkeypatch, url="http://weights.invalid/toy.th")
    assert "the host weights.invalid cannot be found; is there a network?" in fails()


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_download_is_resumed(server: WeightsServer, ranges: bool) -> None:
    server.fault = "break"
    fails()
    (part,) = cache_folder().glob("*.part")
    kept = part.stat().st_size
    assert 0 < kept < len(BODY)
    server.fault, server.ranges = "none", ranges
    steps: list[int] = []
    path = weights.fetch("toy", lambda done, _: steps.append(done))
    assert path.read_bytes() == BODY
    assert server.requested == [None, f"bytes={kept}-"]
    assert steps[0] == (kept if ranges else 0)
    assert not part.exists()


@served
@pytest.mark.parametrize("stale", [b"something else", BODY + b"and more", BODY])
def test_stale_part_does_no_harm(cache: Path, stale: bytes) -> None:
    (cache / "toy.th.part").write_bytes(stale)
    assert weights.fetch("toy").read_bytes() == BODY
    assert files(cache) == {"toy.th", "verified.json"}


def test_part_is_not_resumed_where_no_sum_would_tell(
    cache: Path, server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch, size=len(BODY), sha256=None)
    (cache / "toy.th.part").write_bytes(b"something else")
    assert weights.fetch("toy").read_bytes() == BODY
    assert server.requested == [None]
    weights.fetch("toy").unlink()
    server.fault = "break"
    fails()
    assert not list(cache.glob("*.part"))


@served
@pytest.mark.parametrize("facts", [{"sha256": SUM[:8]}, {"sha256": None, "size": len(BODY)}])
def test_sum_seen_at_download_is_kept_where_it_is_not_published(
    monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any]
) -> None:
    change(monkeypatch, **facts)
    path = weights.fetch("toy")
    assert path.with_name("toy.th.sha256").read_text() == f"{SUM}  toy.th\n"
    assert weights.verify("toy") == weights.Status("toy", path, None, SUM)
    path.write_bytes(BODY[:-1] + b"?")
    assert weights.verify("toy").problem
    with pytest.raises(WeightsError, match="is not the published file"):
        weights.find("toy")
    assert weights.fetch("toy").read_bytes() == BODY


@served
def test_new_file_is_not_measured_by_the_old_ones_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch, sha256=SUM[:8])
    path = weights.fetch("toy")
    path.with_name("toy.th.sha256").write_text("0" * 64)

    def fails_to_write(*_: object) -> None:
        raise WeightsError("cannot write")

    with monkeypatch.context() as patch:
        patch.setattr(weights, "atomic_write", fails_to_write)
        fails()
    assert weights.find("toy") == path


@served
@pytest.mark.parametrize("value", ["1", "yes"])
def test_offline_never_touches_the_network(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    no_network(monkeypatch)
    monkeypatch.setenv("ACOMP_OFFLINE", value)
    assert fails().startswith("weights of toy are not here and ACOMP_OFFLINE is set: ")
    assert not cache_folder().exists()
    cache_folder().mkdir()
    (cache_folder() / "toy.th").write_bytes(b"damaged")
    assert "is not the published file" in fails()


@served
@pytest.mark.parametrize("value", ["", "0"])
def test_offline_can_be_off(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ACOMP_OFFLINE", value)
    assert weights.fetch("toy").exists()


@served
def test_cache_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert fails().startswith(f"cannot keep weights in {tmp_path / 'cache'}: ")


@served
def test_full_disk_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "no space is left on the device")

    monkeypatch.setattr(os, "fsync", full)
    assert "no space is left on the device" in fails()
    assert files(cache_folder()) == set()


def other_process(server: WeightsServer) -> subprocess.Popen[str]:
    """A process that fetches `toy`, and is about to take the lock or has it."""
    code = (
        "from acomp.backends.weights import cache as weights, catalogue, checkpoint, download\n"
        f"toy = catalogue.Weights('toy', 'toy.th', '', '', {server.url!r}, sha256={SUM!r})\n"
        "catalogue.CATALOGUE['toy'] = toy\n"
        "from filelock import FileLock\n"
        "acquire = FileLock.acquire\n"
        "def told(*args, **kwargs):\n"
        "    print('locking', flush=True)\n"
        "    return acquire(*args, **kwargs)\n"
        "FileLock.acquire = told\n"
        "weights.fetch('toy')\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "locking\n"
    return process


def wait_for_half(server: WeightsServer, process: subprocess.Popen[str], part: Path) -> None:
    """Wait until the download of `process` hangs in the middle with some of it on the disk."""
    while not (server.waiting.is_set() and part.exists() and part.stat().st_size):
        assert process.poll() is None
        time.sleep(0.01)


def test_killed_download_is_finished_by_the_next(cache: Path, server: WeightsServer) -> None:
    server.fault = "hang"
    with other_process(server) as process:
        wait_for_half(server, process, cache / "toy.th.part")
        process.send_signal(signal.SIGKILL)
    assert not (cache / "toy.th").exists()
    kept = (cache / "toy.th.part").stat().st_size
    server.fault = "none"
    assert weights.fetch("toy").read_bytes() == BODY
    assert server.requested == [None, f"bytes={kept}-"]
    assert files(cache) == {"toy.th", "verified.json"}


def test_two_processes_fetch_at_once(cache: Path, server: WeightsServer) -> None:
    server.fault = "hang"
    with other_process(server) as first:
        wait_for_half(server, first, cache / "toy.th.part")
        server.fault = "none"  # a second request would be answered at once
        with other_process(server) as second:
            server.release.set()
    assert (first.returncode, second.returncode) == (0, 0)
    assert (cache / "toy.th").read_bytes() == BODY
    assert server.requested == [None]
    assert files(cache) == {"toy.th", "verified.json"}


@pytest.mark.parametrize(
    "body", [b"<!DOCTYPE html><title>Sign in</title>", b"", b"PK\x03\x04", BODY[:5000]]
)
def test_what_is_no_checkpoint_is_not_kept_though_nothing_is_known_of_it(
    server: WeightsServer, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    change(monkeypatch, sha256=None)
    server.body = body
    assert "what it sent is not the published file" in fails()
    assert files(cache_folder()) == set()
    server.body = BODY
    assert weights.verify("toy").path is None
    assert weights.fetch("toy").read_bytes() == BODY


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({"Content-Type": "text/html; charset=utf-8"}, "it sends a web page"),
        ({"Content-Encoding": "gzip"}, "it sends compressed bytes"),
        ({"Location": "http://127.0.0.1:1/toy.th"}, "an address that is not https"),
        ({"Location": "file:///etc/passwd"}, "an address that is not https"),
        ({"Location": "https://weights.test/again"}, "it sends on and on"),
    ],
)
def test_answers_that_are_no_file_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], reason: str
) -> None:
    asked = []

    def get(url: str, **how: Any) -> requests.Response:
        assert not how["allow_redirects"]
        asked.append(url)
        response = requests.Response()
        response.status_code = 302 if "Location" in headers else 200
        response.headers.update(headers)
        response.raw = io.BytesIO(BODY)
        return response

    monkeypatch.setattr(requests, "get", get)
    with pytest.raises(DownloadError, match=reason):
        download.download("https://weights.test/toy.th", tmp_path / "part", 9, lambda *_: None)
    assert all(url.startswith("https://weights.test/") for url in asked)
    assert not (tmp_path / "part").exists()


# Finding and verifying


@pytest.mark.parametrize(
    ("package", "variables", "place"),
    [
        ("encodec", {}, ".cache/torch/hub/checkpoints/toy.th"),
        ("encodec", {"XDG_CACHE_HOME": "{home}/xdg"}, "xdg/torch/hub/checkpoints/toy.th"),
        ("encodec", {"TORCH_HOME": "~/models"}, "models/hub/checkpoints/toy.th"),
        ("dac", {}, ".cache/descript/dac/toy.th"),
    ],
)
def test_files_of_the_official_packages_are_found(
    server: WeightsServer,
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
    package: str,
    variables: dict[str, str],
    place: str,
) -> None:
    change(monkeypatch, package=package)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(home=home))
    path = home / place
    path.parent.mkdir(parents=True)
    path.write_bytes(b"damaged")
    assert weights.find("toy") is None
    assert weights.verify("toy").problem
    path.write_bytes(BODY)
    assert weights.find("toy") == weights.fetch("toy") == path
    assert server.requested == []
    path.write_bytes(b"damaged")
    assert weights.fetch("toy") == cache_folder() / "toy.th"
    assert weights.verify("toy").problem is None


def test_torch_agrees_where_its_downloads_are(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in [("HOME", home), ("XDG_CACHE_HOME", home / "x"), ("TORCH_HOME", "~/t")]:
        monkeypatch.setenv(variable, str(value))
        official = Path(torch.hub.get_dir()) / "checkpoints" / "encodec_24khz-d7cc33bc.th"
        official.parent.mkdir(parents=True)
        official.write_bytes(b"damaged")
        assert weights.status("encodec-24khz").path == official


def test_dac_names_are_those_of_its_package(home: Path) -> None:
    folder = home / ".cache" / "descript" / "dac"
    folder.mkdir(parents=True)
    names = {
        "dac-44khz": "weights_44khz_8kbps_0.0.1.pth",
        "dac-24khz": "weights_24khz_8kbps_0.0.4.pth",
        "dac-16khz": "weights_16khz_8kbps_0.0.5.pth",
        "dac-44khz-16kbps": "weights_44khz_16kbps_1.0.0.pth",
    }
    for name, file in names.items():
        (folder / file).write_bytes(b"damaged")
        assert weights.status(name).path == folder / file
        assert weights.find(name) is None


@served
def test_damaged_file_in_the_own_cache_is_refused_then_replaced(
    cache: Path,
) -> None:
    path = cache / "toy.th"
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError) as failure:
        weights.find("toy")
    line = str(failure.value)
    assert str(path) in line and line.endswith("replace it with: acomp models fetch toy")
    assert weights.fetch("toy") == path
    assert path.read_bytes() == BODY


@served
def test_passed_check_is_remembered_until_the_file_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights.fetch("toy")
    times = path.stat()

    def hashing(_: Path) -> str:
        raise AssertionError("the file was hashed")

    with monkeypatch.context() as patch:
        patch.setattr(weights, "file_sum", hashing)
        assert weights.find("toy") == path
        with pytest.raises(AssertionError, match="hashed"):
            weights.verify("toy")
    path.write_bytes(BODY[:-1] + b"?")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    with pytest.raises(WeightsError, match="is not the published file"):
        weights.find("toy")


@served
def test_mark_does_not_outlive_a_change_of_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    weights.fetch("toy")
    change(monkeypatch, sha256="0" * 64)
    assert weights.status("toy").problem


@served
@pytest.mark.parametrize("marks", [b"", b"{", b"[]", b'{"PATH": 1}', b"\xff", b'{"a":' * 10_000])
def test_damaged_marks_are_as_good_as_none(marks: bytes) -> None:
    path = weights.fetch("toy")
    marked = path.with_name("verified.json")
    marked.write_bytes(marks.replace(b"PATH", str(path).encode()))
    assert weights.find("toy") == path
    assert str(path) in json.loads(marked.read_bytes())


def test_nano_ships_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(weights.__file__).parents[1] / "nano" / "nano_2.safetensors"
    assert weights.status("nano-2").path in (path, None)
    entry = replace(catalogue.CATALOGUE["nano-2"], file="nothing.safetensors")
    monkeypatch.setitem(catalogue.CATALOGUE, "nano-2", entry)
    no_network(monkeypatch)
    assert weights.find("nano-2") is None
    assert "install acomp anew" in fails("nano-2")


# Loading


def toy_state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        "encoder.weight": torch.randn(4, 3, 5),
        "encoder.steps": torch.tensor(7),
        "codebook": torch.randn(8, 2).to(torch.bfloat16),
        "inited": torch.tensor([True]),
        "nothing": torch.zeros(0, 3),
    }


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as failure:
        load_checkpoint(path)
    line = str(failure.value)
    assert str(path) in line and "\n" not in line
    return line


def test_every_layout_gives_the_same_state_and_fingerprint(tmp_path: Path) -> None:
    state = toy_state()
    settings_ = {"encoder_rates": [2, 4], "latent_dim": None, "quantizer_dropout": 0.5}
    torch.save(state, tmp_path / "flat.th")
    torch.save(state, tmp_path / "old.th", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "state.safetensors")
    dac = {"state_dict": state, "metadata": {"kwargs": settings_, "logs": {"loss": [1.0]}}}
    torch.save(dac, tmp_path / "dac.pth")
    for name in ("flat.th", "old.th", "state.safetensors", "dac.pth"):
        checkpoint = load_checkpoint(tmp_path / name)
        assert same(checkpoint.state, state)
        assert checkpoint.kwargs == (settings_ if name == "dac.pth" else {})
        assert fingerprint(checkpoint.state) == fingerprint(state)


class Creates:
    """An object whose pickle creates a file as it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("layout", ["flat", "state_dict", "metadata", "old", "bare"])
def test_code_in_a_pickle_is_not_run(tmp_path: Path, layout: str) -> None:
    proof = tmp_path / "proof"
    evil, good = Creates(proof), toy_state()
    path = tmp_path / "evil.pth"
    if layout == "flat":
        torch.save({**good, "x": evil}, path)
    elif layout == "state_dict":
        torch.save({"state_dict": {**good, "x": evil}}, path)
    elif layout == "metadata":
        torch.save({"state_dict": good, "metadata": {"kwargs": {}, "x": evil}}, path)
    elif layout == "old":
        torch.save(evil, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps(evil, protocol=2))
    assert "nothing in it was run: it asks for" in refused(path)
    assert not proof.exists()
    # The same file does its harm where it is trusted, so the lines above show something.
    if layout == "bare":
        pickle.loads(path.read_bytes()).close()
    else:
        torch.load(path, weights_only=False)
    assert proof.exists()


@pytest.mark.parametrize("suffix", [".th", ".pth", ".safetensors"])
@pytest.mark.parametrize("contents", [b"", b"not weights\n" * 99, b"\0" * 64, b"\xff" * 16])
def test_what_is_no_weights_file_is_refused(tmp_path: Path, suffix: str, contents: bytes) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(contents)
    refused(path)


@pytest.mark.parametrize(
    "contents",
    [
        [1, 2],
        torch.zeros(3),
        {},
        {"a": 1},
        {1: torch.zeros(3)},
        {"state_dict": [1]},
        {"state_dict": {"a": {"b": torch.zeros(3)}}},
        {"state_dict": {"a": torch.zeros(3)}, "metadata": 3},
        {"state_dict": {"a": torch.zeros(3)}, "metadata": {"kwargs": 3}},
        {"state_dict": {"a": torch.zeros(3)}, "metadata": {"kwargs": {"b": torch.zeros(3)}}},
        {"a": torch.zeros(1).expand(1 << 40)},
        {"a": torch.zeros(1).expand(100)},
        {"a": torch.zeros(3).to_sparse()},
        {"a": torch.zeros(3, device="meta")},
        {"a": torch.zeros(3), "b": np.float64(1)},
    ],
)
def test_contents_of_another_kind_are_refused(tmp_path: Path, contents: object) -> None:
    path = tmp_path / "file.pth"
    torch.save(contents, path)
    refused(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert "there is no such file" in refused(tmp_path / "missing.th")
    assert "the folder holds neither" in refused(tmp_path)


def test_too_large_file_is_refused_unread(tmp_path: Path) -> None:
    for name in ("huge.th", "huge.safetensors"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(checkpoint.MAX_SIZE + 1)
        assert "larger than" in refused(tmp_path / name)


def test_archive_that_unpacks_to_more_than_its_size_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "stored.pth")
    with (
        zipfile.ZipFile(tmp_path / "stored.pth") as stored,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    assert "unpacks to" in refused(tmp_path / "packed.pth")


@given(data=st.data(), suffix=st.sampled_from([".th", ".safetensors"]))
@settings(max_examples=60, deadline=None)
def test_cut_file_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("cut") / f"file{suffix}"
    if suffix == ".th":
        torch.save(toy_state(), path)
    else:
        save_file(toy_state(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    refused(path)


@given(data=st.data(), suffix=st.sampled_from([".th", ".safetensors"]))
@settings(max_examples=60, deadline=None)
def test_altered_file_loads_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, suffix: str
) -> None:
    path = tmp_path_factory.mktemp("altered") / f"file{suffix}"
    if suffix == ".th":
        torch.save(toy_state(), path)
    else:
        save_file(toy_state(), path)
    contents = bytearray(path.read_bytes())
    contents[data.draw(st.integers(0, len(contents) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(contents)
    try:
        state = load_checkpoint(path).state
    except WeightsError as error:
        assert "\n" not in str(error)
    else:
        assert len(fingerprint(state)) == 16


def own_memory() -> int:
    """MiB of this process that are no pages of files."""
    found = re.search(r"^RssAnon:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) >> 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what memory is of")
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_are_mapped_into_memory_not_read(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"large{suffix}"
    state = {f"layer.{number}": torch.ones(1 << 20) for number in range(16)}
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    del state
    before = own_memory()
    found = load_checkpoint(path)
    assert len(fingerprint(found.state)) == 16
    assert own_memory() - before < 32  # of 64


def test_fingerprint_is_the_documented_sum() -> None:
    state = {"b": torch.tensor([[1.0], [2.0]]), "a": torch.tensor(3)}
    due = hashlib.sha256(
        b'["a", "int64", []]\n'
        + (3).to_bytes(8, "little")
        + b'["b", "float32", [2, 1]]\n'
        + np.array([1, 2], "<f4").tobytes()
    )
    assert fingerprint(state) == due.hexdigest()[:16]


def test_fingerprint_sees_values_shapes_types_and_names_but_not_order_or_strides() -> None:
    state = toy_state()
    due = fingerprint(state)
    assert fingerprint(dict(reversed(state.items()))) == due
    turned = state["encoder.weight"].permute(2, 1, 0).contiguous().permute(2, 1, 0)
    assert not turned.is_contiguous()
    assert fingerprint({**state, "encoder.weight": turned}) == due
    assert fingerprint({**state, "encoder.weight": torch.nn.Parameter(turned)}) == due
    others = [
        {**state, "encoder.steps": torch.tensor(8)},
        {**state, "encoder.steps": torch.tensor([7])},
        {**state, "encoder.steps": torch.tensor(7).to(torch.int32)},
        {**state, "encoder.weight": state["encoder.weight"].reshape(3, 4, 5)},
        {**state, "nothing": torch.zeros(3, 0)},
        {f"{name}_": tensor for name, tensor in state.items()},
    ]
    assert len({due, *map(fingerprint, others)}) == 1 + len(others)


# The command line


def run(*words: str, **variables: str) -> Any:
    return CliRunner().invoke(app, words, env=variables)


@served
def test_fetch_shows_a_bar_on_a_terminal_only() -> None:
    shown = run("fetch", "toy", FORCE_COLOR="1", TTY_COMPATIBLE="1")
    assert shown.exit_code == 0
    assert "1.0/1.0 MB" in shown.stderr
    path = cache_folder() / "toy.th"
    assert shown.stdout == f"toy: {path}\n"
    path.unlink()
    piped = run("fetch", "toy", FORCE_COLOR="", TTY_COMPATIBLE="0")
    assert piped.stdout == f"toy: {path}\n"
    size = "to download: toy, of sizes that only the server knows"
    assert piped.stderr == f"{size}\ndownloading toy: 1.0 MB\n"
    assert path.read_bytes() == BODY


def test_fetch_of_an_unknown_name_fetches_nothing(server: WeightsServer) -> None:
    result = run("fetch", "toy", "soy")
    assert isinstance(result.exception, WeightsError)
    assert "'soy'" in str(result.exception)
    assert server.requested == []


@served
def test_verify_fails_where_one_is_damaged_or_missing() -> None:
    assert run("verify").exit_code == 0
    assert isinstance(run("verify", "toy").exception, WeightsError)
    path = weights.fetch("toy")
    result = run("verify", "toy")
    assert result.exit_code == 0
    assert result.stdout == f"toy: good: sha256 {SUM}: {path}\n"
    times = path.stat()
    path.write_bytes(BODY[:-1] + b"?")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    result = run("verify")
    assert result.exit_code == 1
    assert isinstance(result.exception, WeightsError)
    assert result.stdout.startswith("toy: damaged: its SHA-256 begins")


@served
def test_path() -> None:
    assert run("path").stdout == f"{cache_folder()}\n"
    missing = run("path", "toy").exception
    assert isinstance(missing, WeightsError)
    assert str(missing).endswith("acomp models fetch toy")
    path = weights.fetch("toy")
    assert run("path", "toy").stdout == f"{path}\n"
