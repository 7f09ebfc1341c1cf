"""The corpus in tests/golden, which programs in other languages can be held to as well."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from codes_samples import Pipe, assert_same
from commands import ROOT

from acomp.codes import Codes, Segments
from acomp.errors import FormatError
from acomp.formats import read_codes
from acomp.formats.base import info_from_dict

FOLDER = ROOT / "tests" / "golden"
MODEL = FOLDER / golden.LANGUAGE_MODEL
DAMAGED: dict[str, str] = json.loads((FOLDER / "damaged.json").read_text())
COMPLAINTS = {
    "cut": "ends in the middle|ends after|does not end with an index|index at the end",
    "checksum": "damaged",
    "magic": "does not begin with NAC|not a file of codes",
    "version": r"is \.nac version 9",
    "bounds": "damaged|ends in the middle|more than|not a number of samples|index at the end",
    "metadata": "metadata lacks|codec is|fingerprint is|sample_rate",
    "trailing": "has bytes after its end|does not end with an index",
}
"""What acomp says of each kind of damage; a size too large looks like an end too early."""


def names(folder: Path) -> list[str]:
    paths = folder.rglob("*")
    return sorted(path.relative_to(folder).as_posix() for path in paths if path.is_file())


WHOLE = [name.removesuffix(".json") for name in names(FOLDER) if name.count(".") == 2]


def expected(name: str) -> Codes:
    values: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    parts = None
    if values["segments"] is not None:
        frames, scales = values["segments"]
        parts = Segments(np.array(frames, np.int64), np.array(scales, np.float32))
    info = info_from_dict(values["info"])
    shape = (info.streams, info.codebooks, -1 if values["codes"][0][0] else 0)
    data = np.array(values["codes"], np.uint16).reshape(shape)
    return Codes(info, data, values["length"], parts)


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
@pytest.mark.parametrize("name", WHOLE)
def test_a_file_holds_what_stands_beside_it(name: str, stream: type[io.BytesIO]) -> None:
    data = (FOLDER / name).read_bytes()
    model = MODEL if data.startswith(b"NAC\2") else None
    assert_same(read_codes(stream(data), language_model=model), expected(name))


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused_for_what_it_has(name: str, stream: type[io.BytesIO]) -> None:
    data = (FOLDER / "damaged" / name).read_bytes()
    with pytest.raises(FormatError, match=COMPLAINTS[DAMAGED[name]]):
        read_codes(stream(data), language_model=MODEL)


def test_the_corpus_is_made_again_as_it_is(tmp_path: Path) -> None:
    golden.make(tmp_path)
    assert names(tmp_path) == names(FOLDER)
    for name in names(FOLDER):
        if name.endswith((*golden.SAME_BYTES, ".json", ".safetensors")):
            assert (tmp_path / name).read_bytes() == (FOLDER / name).read_bytes(), name
