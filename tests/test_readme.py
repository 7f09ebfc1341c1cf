"""README's examples work in the order in which they stand, in one folder."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from codes_samples import encodec_24khz
from commands import ROOT, Cli, make, sound
from results_folder import make_results

import acomp
from acomp.codes import Codes
from acomp.formats import write_codes

README = (ROOT / "README.md").read_text()

NOTEBOOK = "acomp encode --input_file a.wav --embedding_file a.txt --bandwidth 6 --output_file"
WEIGHTS = {
    "acomp encode music.flac": None,
    "acomp encode music.flac music.txt -b dac": "music.txt",
    "acomp decode old.ecdc old.wav": None,
    "acomp codebooks -b encodec -o books.npy": None,
    f"{NOTEBOOK} check.wav": "a.txt",
    "acomp decode --embedding_file a.txt --output_file b.wav": None,
}
"""Commands that need weights which cannot be fetched here: they run as far as that, and what later
ones need of them is put in their place.
"""
ELSEWHERE = (
    "acomp eval ",  # takes long: test_eval.py
    "acomp listen --score ",  # of ratings from a browser: test_listen.py
    "acomp train ",  # takes long: test_train.py
)
"""How commands begin that other tests run."""


def blocks(text: str) -> list[list[str]]:
    """The indented blocks of README's text, without what is behind a `#`."""
    found = re.findall(r"(?:^    .*\n|^\n(?=    ))+", text, re.M)
    lines = [[line.split(" #")[0].strip() for line in block.splitlines()] for block in found]
    return [[line for line in block if line] for block in lines]


def commands() -> Iterator[str]:
    """The commands of acomp that take and give files alone, and so need no other program."""
    for block in blocks(README):
        yield from (line for line in block if line.startswith("acomp ") and "|" not in line)


def prepare(folder: Path) -> None:
    """The files that README takes to be there."""
    nano = acomp.load("nano", engine="torch")
    for name in ("my.wav", "speech.wav", "music.flac", "clips/one.wav", "clips/two.wav", "a.wav"):
        (folder / name).parent.mkdir(exist_ok=True)
        make(folder / name, 0.5)
    write_codes(folder / "old.ecdc", encodec_24khz(frames=20))
    seconds = 3006
    info = nano.info(sound(0.1), bandwidth=6)
    codes = np.zeros((1, info.codebooks, seconds * 50 + 1), np.uint16)
    write_codes(folder / "hour.nac", Codes(info, codes, seconds * info.source_rate))
    write_codes(folder / "damaged.nac", Codes(info, codes[..., :501], 10 * info.source_rate))
    damaged = bytearray((folder / "damaged.nac").read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (folder / "damaged.nac").write_bytes(damaged)
    (folder / "runs" / "voice").mkdir(parents=True)
    weights = Path(acomp.__file__).parent / "backends" / "nano" / "nano_2.safetensors"
    shutil.copy(weights, folder / "runs" / "voice" / "best.safetensors")
    make_results(folder / "results", 0.5)


def test_the_commands_work_in_order(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acomp.engines.find_spec", lambda _: None)  # nothing is to be compiled
    prepare(tmp_path)
    seen = set()
    for command in commands():
        seen.add(command)
        if command.startswith(ELSEWHERE):
            continue
        if command == "acomp decode talk.nac - --raw s16le":
            shutil.copy("speech.nac", "talk.nac")
        run = cli(*shlex.split(command)[1:])
        if command in WEIGHTS:
            assert run.code == 1, f"{command} works: it needs no exception"
            assert re.search("weights of .* are not here", run.err), (command, run.err)
            made = WEIGHTS[command]
            if made is not None:
                write_codes(tmp_path / made, encodec_24khz(frames=20))
        else:
            assert run.code == 0, (command, run.err)
    assert seen >= WEIGHTS.keys(), "an exception that README does not hold"
    for start in ELSEWHERE:
        assert any(command.startswith(start) for command in seen), start


def test_the_python_works_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("acomp.engines.find_spec", lambda _: None)
    make(tmp_path / "speech.wav", 0.5)
    section = README.split("## In Python\n")[1].split("\n##")[0]
    python = "".join(re.findall(r"^```python\n(.*?)^```", section, re.M | re.S))
    assert 'codec = acomp.load("encodec-24khz")' in python and "rest = [" in python
    audio = sound(0.5)
    program = python.replace('"encodec-24khz"', '"nano"')  # whose weights are here
    nano = acomp.load("nano")
    names = {
        "clips": [audio, replace(audio, samples=audio.samples[:, :4000])],
        "samples": audio.samples,
        "tokens": np.zeros((8, 5), np.int64),
        "info": nano.info(audio, bandwidth=6),
    }
    exec(program, names)
    assert len(names["sounds"]) == 2  # type: ignore[arg-type]
    assert (tmp_path / "out.wav").exists()
