"""`acomp models` on the codecs that there are, and the README's table of them."""

from __future__ import annotations

import hashlib
import json
import re
import runpy
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, Cli, assert_done, assert_refused, make_home
from weights_server import WeightsServer, serving

import acomp
from acomp.backends.weights import cache as weights, places
from acomp.backends.weights.catalogue import CATALOGUE, lookup
from acomp.cli import models
from acomp.codecs import ALIASES, CUSTOM, SPECS, CodecSpec
from acomp.errors import CodecError, WeightsError

BODY = b"weights" * 100
SUM = hashlib.sha256(BODY).hexdigest()
SOUNDSTREAM = lookup("soundstream").parts
MODEL = "encodec-24khz-lm"
SNAC_FILE = "hub/models--hubertsiuzdak--snac_24khz/snapshots/{}/pytorch_model.bin"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of `cli`, which is acomp's cache too, with nothing of the machine's in sight."""
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    return make_home(tmp_path)


@pytest.fixture
def server(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:  # noqa: ARG001
    """A server of all of SoundStream's files and of a language model, which are all the same."""
    monkeypatch.delenv("ACOMP_OFFLINE")
    monkeypatch.setenv("NO_PROXY", "*")
    with serving(BODY) as server:
        for name in (*SOUNDSTREAM, MODEL):
            entry = replace(lookup(name), url=server.url, size=len(BODY), sha256=SUM)
            monkeypatch.setitem(CATALOGUE, name, entry)
        yield server


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> None:
    """`BODY` is the file that SNAC's authors published, as far as the catalogue knows."""
    entry = replace(lookup("snac-24khz"), size=len(BODY), sha256=SUM)
    monkeypatch.setitem(CATALOGUE, "snac-24khz", entry)


def listed(cli: Cli) -> dict[str, list[str]]:
    """The rows of the tables of `models list` by their first cells."""
    run = cli("models", "list")
    assert_done(run)
    rows = [re.split(" {2,}", line.strip()) for line in run.out.splitlines()]
    return {row[0]: row[1:] for row in rows if len(row) > 1}


def facts(cli: Cli) -> dict[str, dict[str, Any]]:
    """The objects of `models list --json` by their names."""
    run = cli("models", "list", "--json")
    assert_done(run)
    return {entry["name"]: entry for entry in json.loads(run.out)}


# The list


def test_list_names_all_codecs_and_language_models(cli: Cli) -> None:
    rows = listed(cli)
    assert set(rows) >= {*SPECS}
    assert rows["nano-2"] == ["24000", "1 or 2", "50", "24 x 1024", "1 1.5 3 6 12", "MIT", "here"]
    stereo = ["48000", "2", "150", "16 x 1024", "3 6 12 24", "MIT (code)", "not here"]
    assert rows["encodec-48khz"] == stereo
    levels = ["10.4", "1+2+4+8 x 4096", "0.13 0.38 0.88 1.9", "MIT", "not here"]
    assert rows["snac-32khz"] == ["32000", "1 or 2", *levels]
    assert rows["encodec-24khz"][1] == "1"
    assert rows["soundstream"][-2:] == ["Apache-2.0", "not here"]
    assert not set(rows) & set(SOUNDSTREAM)
    assert rows[MODEL] == ["not known", "MIT (code)", "not here"]


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_the_table_fits_a_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    for name, value in {"TTY_COMPATIBLE": "1", "TERM": "xterm", "COLUMNS": str(columns)}.items():
        monkeypatch.setenv(name, value)
    run = cli("models", "list")
    table, *_ = re.sub(r"\x1b\[[0-9;]*m", "", run.out).split("\n\n")
    lines = table.splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in table
    assert table.count("1.9") == 1
    if columns >= 100:
        assert len(lines) == 3 + len(SPECS)  # the heading takes three


def test_json_holds_what_is_fixed_and_what_is_known_of_the_weights(cli: Cli) -> None:
    found = facts(cli)
    assert [name for name, entry in found.items() if entry["kind"] == "codec"] == [*SPECS]
    snac = found["snac-24khz"]
    assert (snac["sample_rate"], snac["channels"], snac["stereo_streams"]) == (24_000, 1, True)
    assert (snac["levels"], snac["codebooks"], snac["codebook_size"]) == ([1, 2, 4], 7, 4096)
    assert snac["bandwidths"] == {"0.14": 1, "0.42": 3, "0.98": 7}
    assert snac["frame_rate"] == 24_000 / 2048
    encodec = found["encodec-24khz"]
    entry = lookup("encodec-24khz")
    for key in ("file", "licence", "page", "url", "size", "sha256", "package"):
        assert encodec[key] == getattr(entry, key)
    assert (encodec["path"], encodec["problem"], encodec["files"]) == (None, None, [])
    folder = found["soundstream"]
    assert [part["name"] for part in folder["files"]] == [*SOUNDSTREAM]
    assert folder["size"] == sum(part["size"] for part in folder["files"])
    assert {part["sha256"] for part in folder["files"]} == {
        lookup(part).sha256 for part in SOUNDSTREAM
    }
    assert found[MODEL]["kind"] == "language model"
    assert found["nano-2"]["path"].endswith("nano_2.safetensors")


def test_damage_is_listed_with_its_reason(cli: Cli, home: Path) -> None:
    path = home / lookup("dac-44khz").file
    path.write_bytes(b"damaged")
    assert listed(cli)["dac-44khz"][-1] == "damaged"
    out = cli("models", "list").out
    assert f"\ndac-44khz: damaged: it has 7 bytes where 306717287 are expected: {path}; mend" in out
    assert facts(cli)["dac-44khz"]["problem"].startswith("it has 7 bytes")


def test_codecs_of_other_packages_are_listed(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "tiny" not in facts(cli)
    monkeypatch.delitem(sys.modules, "tiny_codec", raising=False)  # of other tests
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "support" / "third_party"))
    assert listed(cli)["tiny"] == ["tiny-codec 1.0"]
    assert facts(cli)["tiny"] == {
        "kind": "codec of another package",
        "name": "tiny",
        "distribution": "tiny-codec 1.0",
        "entry_point": "tiny_codec:load",
    }
    assert "tiny_codec" not in sys.modules


# Weights of several files, and those of language models


def test_a_folder_is_fetched_verified_and_named(
    cli: Cli, home: Path, server: WeightsServer
) -> None:
    folder = home / "lyra-1.3.2"
    assert_refused(cli("models", "path", "soundstream"), "acomp models fetch soundstream")
    assert cli("models", "fetch", "soundstream").out == f"soundstream: {folder}\n"
    names = {"soundstream_encoder.tflite", "quantizer.tflite", "lyragan.tflite"}
    assert {path.name for path in folder.glob("*.tflite")} == names
    assert all((folder / name).read_bytes() == BODY for name in names)
    assert cli("models", "fetch", "soundstream").code == 0
    assert server.requested == [None] * 3
    run = cli("models", "verify", "soundstream")
    assert (run.code, run.out) == (0, f"soundstream: good: 3 files: {folder}\n")
    assert cli("models", "path", "soundstream").out == f"{folder}\n"
    assert listed(cli)["soundstream"][-1] == "here"
    assert facts(cli)["soundstream"]["path"] == str(folder)


def test_part_of_a_folder_is_not_here_and_is_completed(
    cli: Cli, home: Path, server: WeightsServer
) -> None:
    assert_done(cli("models", "fetch", *SOUNDSTREAM[:2]))
    assert listed(cli)["soundstream"][-1] == "not here"
    run = cli("models", "verify", "soundstream")
    assert (run.code, run.out) == (1, "soundstream: not here\n")
    found = facts(cli)["soundstream"]
    assert [bool(part["path"]) for part in found["files"]] == [True, True, False]
    assert found["path"] is None
    assert_done(cli("models", "fetch", "soundstream"))
    assert len(server.requested) == 3
    assert cli("models", "path", "soundstream").out == f"{home / 'lyra-1.3.2'}\n"


def test_one_damaged_file_spoils_a_folder_and_is_replaced(
    cli: Cli, home: Path, server: WeightsServer
) -> None:
    assert_done(cli("models", "fetch", "soundstream"))
    bad = home / "lyra-1.3.2" / "quantizer.tflite"
    bad.write_bytes(BODY[::-1])
    assert listed(cli)["soundstream"][-1] == "damaged"
    run = cli("models", "verify", "soundstream")
    assert run.code == 1
    assert run.out.startswith("soundstream: damaged: its SHA-256 begins")
    assert run.out.endswith(f"{bad}\n")
    assert_refused(cli("models", "path", "soundstream"), str(bad), "acomp models fetch soundstream")
    assert_done(cli("models", "fetch", "soundstream"))
    assert bad.read_bytes() == BODY
    assert len(server.requested) == 4


def test_a_language_model_is_fetched(cli: Cli, home: Path, server: WeightsServer) -> None:
    path = home / lookup(MODEL).file
    assert cli("models", "fetch", MODEL).out == f"{MODEL}: {path}\n"
    assert server.requested == [None]
    assert listed(cli)[MODEL] == ["0.0 MB", "MIT (code)", "here"]


@pytest.mark.parametrize("command", ["fetch", "verify", "path"])
def test_an_unknown_name_is_one_line(cli: Cli, command: str) -> None:
    run = cli("models", command, "encodec-96khz")
    assert_refused(run, "'encodec-96khz'; did you mean encodec-48khz")
    assert_refused(cli("models", command, "zzz"), "'zzz'; there are ", "encodec", "nano-2")


def test_what_is_fetched_is_told_beforehand(
    cli: Cli, home: Path, server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, size in (("encodec-24khz", len(BODY)), ("encodec-48khz", None)):
        entry = replace(lookup(name), url=server.url, size=size, sha256=SUM)
        monkeypatch.setitem(CATALOGUE, name, entry)
    run = cli("models", "fetch", "encodec", "encodec-48khz", "nano")
    assert_done(run)
    paths = [home / lookup(name).file for name in ("encodec-24khz", "encodec-48khz")]
    names = ("encodec-24khz", "encodec-48khz")
    fetched = [f"{name}: {path}" for name, path in zip(names, paths, strict=True)]
    assert run.out.splitlines()[:2] == fetched
    first, *others = run.err.splitlines()
    assert first == "to download: 0.0 MB; and encodec-48khz, of sizes that only the server knows"
    assert others == [f"downloading {name}: 0.0 MB" for name in names]
    assert cli("models", "path", "encodec").out.split() == [*map(str, paths)]
    again = cli("models", "fetch", "encodec")
    assert (again.code, again.err) == (0, "")
    assert cli("models", "fetch", "encodec", "-q").out == ""


def test_all_are_fetched(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def fetch(name: str, _: object) -> Path:
        asked.append(name)
        return Path(name)

    monkeypatch.setattr(weights, "fetch", fetch)
    assert_done(cli("models", "fetch", "all"))
    models = {name for name in CATALOGUE if name.endswith("-lm")}
    in_source = {name for name, entry in CATALOGUE.items() if entry.source}
    assert len(asked) == len({*asked})
    assert {*asked} == ({*SPECS} | models) - in_source


def test_packages_are_asked_for_before_anything_is_fetched(
    cli: Cli, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setattr(weights, "fetch", lambda *_: pytest.fail("a download"))
    assert_refused(cli("encode", speech, "-b", "soundstream"), 'pip install "acomp[soundstream]"')
    with pytest.raises(CodecError, match=r"acomp\[soundstream\]"):
        acomp.load("soundstream")


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("soundstream", "--weights FOLDER"),
        (MODEL, "--language-model FILE"),
        ("mimi", "--weights FILE"),
    ],
)
def test_what_cannot_be_fetched_names_the_option_instead(cli: Cli, name: str, option: str) -> None:
    assert_refused(cli("models", "fetch", name), "ACOMP_OFFLINE is set", f"pass {option}")


# Hugging Face's cache


@pytest.mark.usefixtures("published")
@pytest.mark.parametrize(
    ("variable", "value", "place"),
    [
        ("HF_HOME", "{home}/hf", "hf"),
        ("HF_HOME", "~/hf", "hf"),
        ("XDG_CACHE_HOME", "{home}/xdg", "xdg/huggingface"),
        ("HF_HUB_CACHE", "{home}/all/hub", "all"),
        ("ANYTHING", "else", ".cache/huggingface"),
    ],
)
def test_what_hugging_face_has_downloaded_is_used(
    cli: Cli,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    place: str,
) -> None:
    monkeypatch.delenv("ACOMP_OFFLINE")
    monkeypatch.setenv(variable, value.format(home=home))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a download"))
    path = home / place / SNAC_FILE.format("0123abcd")
    path.parent.mkdir(parents=True)
    # What it holds is a link into the folder `blobs`; one that leads nowhere is passed over.
    (path.parents[2] / "blobs").mkdir()
    (path.parents[2] / "blobs" / "body").write_bytes(BODY)
    path.symlink_to("../../blobs/body")
    older = path.parents[1] / "0000" / path.name
    older.parent.mkdir()
    older.symlink_to("../../blobs/gone")
    assert cli("models", "path", "snac-24khz").out == f"{path}\n"
    assert cli("models", "fetch", "snac-24khz").out == f"snac-24khz: {path}\n"
    assert listed(cli)["snac-24khz"][-1] == "here"
    assert listed(cli)["snac-32khz"][-1] == "not here"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HF_HOME", "~/hf"), ("XDG_CACHE_HOME", "/xdg"), ("HF_HUB_CACHE", "~/hub"), ("A", "a")],
)
def test_hugging_face_agrees_where_its_cache_is(
    home: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv(variable, value.replace("/xdg", str(home / "xdg")))
    spec = find_spec("huggingface_hub.constants")
    assert spec and spec.origin
    hub = Path(runpy.run_path(spec.origin)["HF_HUB_CACHE"])
    path = hub.parent / SNAC_FILE.format("0123abcd").replace("hub", hub.name, 1)
    path.parent.mkdir(parents=True)
    path.write_bytes(BODY)
    assert weights.status("snac-24khz").path == path


# The README


def read_table() -> dict[str, list[str]]:
    """The rows of the README's table of codecs, by their first name that is no alias."""
    text = (ROOT / "README.md").read_text()
    _, table = text.split("| codec | sample rate |", 1)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.split("\n\n")[0].splitlines()
        if line.startswith("| `")
    ]
    return {row[0].split(", ")[-1].strip("`"): row for row in rows}


def channels(spec: CodecSpec) -> str:
    if spec.channels == 2:
        return "2, coded jointly"
    return f"1; stereo {'as two streams' if spec.stereo_streams else 'is mixed down'}"


@pytest.mark.parametrize("spec", SPECS.values(), ids=lambda spec: spec.name)
def test_the_readme_says_of_a_codec_what_the_code_says(spec: CodecSpec) -> None:
    names = [alias for alias, name in ALIASES.items() if name == spec.name] + [spec.name]
    codebooks = "+".join(map(str, spec.levels)) if spec.levels else str(spec.codebooks)
    assert read_table()[spec.name][:7] == [
        ", ".join(f"`{name}`" for name in names),
        f"{spec.sample_rate / 1000:g} kHz",
        channels(spec),
        f"{spec.frame_rate:.3g}",
        f"{codebooks} x {spec.codebook_size}",
        ", ".join(f"{kbps:g}" for kbps in sorted(spec.bandwidths)),
        lookup(spec.name).licence,
    ]


def test_the_readme_has_no_other_codecs() -> None:
    assert [*read_table()] == [*SPECS, CUSTOM]


@pytest.mark.parametrize("name", SPECS)
def test_the_readme_names_the_extra_that_a_codec_needs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("dac", "snac", "ai_edge_litert", "transformers"):
        for module in [package, *(each for each in sys.modules if each.startswith(f"{package}."))]:
            monkeypatch.setitem(sys.modules, module, None)
    extra = read_table()[name][7].strip("`")
    if extra:
        with pytest.raises(CodecError, match=re.escape(f'pip install "acomp{extra}"')):
            acomp.load(name, weights=tmp_path / "nothing", engine="torch")
        assert f'pip install ".{extra}' in (ROOT / "README.md").read_text().replace(",fast", "")
    else:
        with pytest.raises(WeightsError):
            acomp.load(name, weights=tmp_path / "nothing", engine="torch")


def test_weights_of_the_source_are_fetched_by_nobody(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where acomp is installed: the file is not beside it."""
    monkeypatch.setattr(places, "__file__", str(tmp_path / "a" / "b" / "c" / "d" / "places.py"))
    target = tmp_path / "cache" / "nano-1.safetensors"
    monkeypatch.setenv("ACOMP_CACHE", str(target.parent))
    assert "nano-1" not in models._meant(["all"])
    by_hand = f"weights/nano-1.safetensors of acomp's source, put at {target}"
    assert_refused(cli("models", "path", "nano-1"), by_hand)
    run = cli("models", "verify", "nano-1")
    assert run.code == 1
    assert by_hand in run.err
    assert_refused(cli("models", "fetch", "nano-1"), "do not ship with acomp", str(target))
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"half")
    assert_refused(cli("models", "fetch", "nano-1"), "4 bytes", by_hand)
