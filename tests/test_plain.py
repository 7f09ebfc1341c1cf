"""Values from files: plain ones, of a bounded number, told in few words."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies as st

from acomp.plain import (
    MAX_TEXT,
    MAX_VALUES,
    NotPlainError,
    brief,
    check,
    open_zip,
    parse_json,
    parse_yaml,
    read_npy_header,
    read_small,
)

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), 1 << 63)
    | st.floats()
    | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=9,
)


def doubled(times: int, kind: Any = tuple) -> object:
    """A value that holds the same one twice, and so on: 2**times values of `times` objects."""
    value: object = 1
    for _ in range(times):
        value = kind([value, value])
    return value


def deep(levels: int) -> object:
    value: object = []
    for _ in range(levels):
        value = [value]
    return value


def itself() -> object:
    value: list[object] = []
    value.append(value)
    return value


@given(PLAIN)
def test_plain_values_pass(value: object) -> None:
    check(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1 << 65, "66 bits|36893488147419103232"),
        ("x" * (MAX_TEXT + 1), "xxx"),
        (b"x", "b'x'"),
        ({1: 2}, "1 as a key"),
        ({"a": object()}, "<object>"),
        (np.zeros(2, complex), r"<ndarray of \[2\]>"),
        (np.zeros(2, object), r"<ndarray of \[2\]>"),
        ([0] * MAX_VALUES, "more than 10000 values"),
        (doubled(14), "more than 10000 values"),
        (doubled(60), "levels"),
        ([[0] * 200] * 200, "more than 10000 values"),
        (deep(50_000), "levels"),
        (itself(), "levels"),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 40 else "",
)
def test_other_values_are_refused_at_once(value: object, message: str) -> None:
    began = process_time()
    with pytest.raises(NotPlainError, match=message) as caught:
        check(value)
    assert process_time() - began < 1
    assert len(str(caught.value)) < 300


HUGE = [1 << 40_000, "x" * 99_999, deep(50_000), doubled(60), itself(), {"k" * 999: [1] * 999}]


@pytest.mark.parametrize("value", [*HUGE, PLAIN, b"y" * 999], ids=lambda value: str(type(value)))
def test_a_message_is_brief_whatever_the_value(value: object) -> None:
    assert len(brief(value)) < 300


@pytest.mark.parametrize("value", [True, 7, 2.5, None, "name", [1, 2]])
def test_short_values_are_told_whole(value: object) -> None:
    assert brief(value) == repr(value)
    assert brief(np.float64(2.5)) == "2.5"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[" * 50_000, "1" * 5000, '{"a": 1e999', b"\xff\xfe", "[" + "1," * 20_000 + "1]"],
)
def test_json_that_is_none_is_refused(text: str | bytes) -> None:
    with pytest.raises(NotPlainError):
        parse_json(text)


YAML_LAUGHS = "a0: &a0 [1, 1]\n" + "".join(
    f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 15)
)
YAML_MERGES = "a0: &a0 {k: 1}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (YAML_LAUGHS, "more than 10000 values"),
        (YAML_MERGES, "more than 10000 values"),
        ("&a [*a]", "part of itself"),
        ("[" * 20_000, "levels deep"),
        ("a: " + ":".join("9" * 2000), "no plain value"),
        ("a: !!python/object/apply:os.system [ls]", "is not YAML"),
        ("a: !!binary aGk=", "no plain value"),
        ("a: 2001-01-01", "no plain value"),
        ("a: 0x" + "f" * 9000, "no plain value"),
        ("a: !!int ''", "is not YAML"),
        ("x" * (MAX_TEXT + 1), "longer"),
    ],
    ids=lambda value: value[:20],
)
def test_yaml_that_is_not_plain_is_refused_at_once(text: str, message: str) -> None:
    began = process_time()
    with pytest.raises(NotPlainError, match=message):
        parse_yaml(text)
    assert process_time() - began < 5


def test_yaml_may_name_a_value_twice() -> None:
    assert parse_yaml("a: &x {k: 1}\nb: *x\nc:\n  <<: *x\n  d: 2\n") == {
        "a": {"k": 1},
        "b": {"k": 1},
        "c": {"k": 1, "d": 2},
    }


def test_an_endless_file_is_not_read() -> None:
    with pytest.raises(NotPlainError, match="longer than the 10 bytes"):
        read_small(Path("/dev/zero"), 10)


@given(st.lists(st.integers(0, 9), max_size=4), st.sampled_from(["<u2", ">f4", "|b1", "<i8"]))
def test_numpys_headers_are_read(shape: list[int], kind: str) -> None:
    file = io.BytesIO()
    order: Any = "F" if len(shape) > 1 else "C"
    np.lib.format.write_array(file, np.zeros(shape, kind, order=order))
    size = file.tell()
    file.seek(0)
    dtype, found, fortran = read_npy_header(file)
    assert (dtype, found) == (np.dtype(kind), tuple(shape))
    array = np.frombuffer(file.read(), dtype).reshape(found, order="F" if fortran else "C")
    assert file.tell() == size
    assert array.shape == tuple(shape)


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '|O', 'fortran_order': False, 'shape': (), }",
        b"__import__('os')",
        b"",
        b"{" * 9999,
    ],
)
def test_other_headers_are_not_evaluated(header: bytes) -> None:
    data = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    with pytest.raises(NotPlainError):
        read_npy_header(io.BytesIO(data))


def test_an_archive_of_too_many_members_is_not_opened() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number:0>60}", b"")
    with pytest.raises(NotPlainError, match="directory is too large"):
        open_zip(file)
