from __future__ import annotations

import re
import subprocess
import sys
from pathlib import PurePath
from urllib.parse import urlsplit

import pytest

from acomp.backends.weights.catalogue import CATALOGUE, Weights, lookup
from acomp.codecs import SPECS
from acomp.errors import WeightsError

PUBLISHED = [weights for weights in CATALOGUE.values() if weights.url]


def test_every_codec_has_weights() -> None:
    assert {*CATALOGUE} >= {*SPECS}
    parts = {entry.name for entry in CATALOGUE.values() if entry.is_part}
    models = {"nano-1-lm", "nano-2-lm", "encodec-24khz-lm", "encodec-48khz-lm"}
    assert set(CATALOGUE) - {*SPECS} == parts | models
    assert {weights.name for weights in CATALOGUE.values() if weights.is_language_model} == models


def test_the_files_of_a_folder_lie_in_one() -> None:
    for parts in [entry.parts for entry in CATALOGUE.values() if entry.parts]:
        (folder,) = {PurePath(lookup(part).file).parent for part in parts}
        assert folder.name


@pytest.mark.parametrize("weights", CATALOGUE.values(), ids=lambda weights: weights.name)
def test_entry_is_sound(weights: Weights) -> None:
    assert lookup(weights.name) is weights
    assert len(PurePath(weights.file).parts) <= 2 and ".." not in weights.file
    assert weights.licence and weights.page
    assert weights.sha256 is None or re.fullmatch("[0-9a-f]{8,64}", weights.sha256)
    assert weights.size is None or weights.size > 0


@pytest.mark.parametrize("weights", PUBLISHED, ids=lambda weights: weights.name)
def test_published_file_can_be_fetched_and_checked(weights: Weights) -> None:
    address = urlsplit(weights.url)
    assert address.scheme == "https" and address.netloc
    assert urlsplit(weights.page).scheme == "https"
    assert weights.sha256 or weights.size or weights.package == "huggingface"


def test_files_do_not_share_a_name() -> None:
    assert len({weights.file for weights in CATALOGUE.values()}) == len(CATALOGUE)


def test_encodec_file_names_hold_the_beginning_of_the_sum() -> None:
    for name in ("encodec-24khz", "encodec-48khz"):
        weights = lookup(name)
        assert weights.sha256
        assert f"-{weights.sha256[:8]}." in weights.file


def test_unknown_name_lists_those_like_it_or_all() -> None:
    with pytest.raises(WeightsError, match=r"'encodec-96khz'; did you mean .*encodec-48khz"):
        lookup("encodec-96khz")
    with pytest.raises(WeightsError, match="'qqq'; there are ") as caught:
        lookup("qqq")
    assert {*CATALOGUE} <= {*re.findall(r"[\w-]+", str(caught.value))}


def test_neither_catalogue_nor_cache_import_torch_or_requests() -> None:
    code = (
        "import sys, acomp.backends.weights.catalogue, acomp.backends.weights.cache\n"
        "assert not {'torch', 'requests', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
