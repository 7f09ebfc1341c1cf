"""The records of the codec families: what they name is there, and asking them imports no torch."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from commands import environment

from acomp.backends.families import families, published_shape
from acomp.backends.family import Family, Package, named
from acomp.codecs import PUBLISHED
from acomp.training.families.base import Trainee

FAMILIES = {family.name: family for family in families()}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family[Any]:
    return FAMILIES[request.param]


def names_in(record: Any) -> list[str]:
    """What a record, and those in it, names as `module:name`."""
    found = []
    for field in fields(record):
        value = getattr(record, field.name)
        if isinstance(value, partial):
            found.append(value.args[0])
        elif is_dataclass(value) and not isinstance(value, type):
            found += names_in(value)
    return found


def test_what_a_record_names_is_there(family: Family[Any]) -> None:
    names = names_in(family)
    assert f"acomp.backends.{family.name}.codec:load" in names
    assert all(callable(named(name)) for name in names)
    if family.trainee is not None:
        assert issubclass(named(family.trainee), Trainee)
    assert bool(family.penalties) == (family.trainee is not None)


def test_asking_the_records_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from acomp.backends.families import families, published_shape\n"
        "from acomp.codecs import PUBLISHED\n"
        "for family in families(): family.package and family.package.is_installed\n"
        "for codec in PUBLISHED: published_shape(codec)\n"
        "heavy = 'torch torchaudio encodec dac snac transformers openvino ai_edge_litert'\n"
        "print(*set(heavy.split()) & set(sys.modules))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == []


@pytest.mark.parametrize("codec", PUBLISHED)
def test_shapes_users_may_choose_are_those_that_files_name(codec: str) -> None:
    """A published shape survives being written down, where its family takes shapes of one's own."""
    kind = FAMILIES[PUBLISHED[codec].family].own_shape
    shape = published_shape(codec)
    if kind is None:
        assert not hasattr(shape, "to_dict")
        return
    values = shape.to_dict()
    assert values.pop("family") == PUBLISHED[codec].family
    assert kind.from_dict(values) == shape


def test_families_that_code_by_a_package_say_how_to_get_it(family: Family[Any]) -> None:
    if family.package is not None:
        assert family.package.advice == f'pip install "acomp[{family.package.extra}]"'
    assert not Package(distribution="acomp-nothing", module="acomp_nothing.part").is_installed
