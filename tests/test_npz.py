from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from typing import Any

import numpy as np
import pytest
from codes_samples import Pipe, all_codes, assert_same, encodec_24khz, encodec_48khz, to_bytes
from hypothesis import given, strategies as st

from acomp.codes import Codes
from acomp.errors import FormatError
from acomp.formats import create_codes, read_codes


@given(all_codes(), st.booleans())
def test_what_is_written_is_read(codes: Codes, piped: bool) -> None:
    stream = Pipe() if piped else io.BytesIO()
    with create_codes(stream, codes.info, form="npz") as writer:
        writer.write(codes.block)
        writer.finish(codes.length)
    data = stream.getvalue()
    assert_same(read_codes(Pipe(data) if piped else io.BytesIO(data)), codes)


def test_numpy_reads_it_without_pickle() -> None:
    codes = encodec_48khz(4, 3)
    assert codes.segments is not None
    with np.load(io.BytesIO(to_bytes(codes, "npz")), allow_pickle=False) as file:
        np.testing.assert_array_equal(file["codes"], codes.data)
        np.testing.assert_array_equal(file["segment_frames"], codes.segments.frames)
        np.testing.assert_array_equal(file["scales"], codes.segments.scales)
        info = json.loads(str(file["info"]))
    assert (info["codec"], info["length"]) == ("encodec-48khz", codes.length)


def test_equal_codes_make_equal_files() -> None:
    assert to_bytes(encodec_24khz(2, 9), "npz") == to_bytes(encodec_24khz(2, 9), "npz")


def arrays(codes: Codes) -> dict[str, Any]:
    with np.load(io.BytesIO(to_bytes(codes, "npz"))) as file:
        return dict(file)


def saved(**values: Any) -> io.BytesIO:
    stream = io.BytesIO()
    np.savez(stream, **values)
    stream.seek(0)
    return stream


def test_files_that_numpy_saved_are_read() -> None:
    codes = encodec_48khz(4, 3)
    values = arrays(codes)
    assert_same(read_codes(saved(**values)), codes)
    values["codes"] = np.asfortranarray(values["codes"]).astype(">u2")
    assert_same(read_codes(saved(**values)), codes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codes": None}, "has no array 'codes'"),
        ({"info": None}, "bare codes"),
        ({"scales": None}, "has no array 'scales'"),
        ({"codes": np.zeros((1, 4, 455), np.int64)}, "codes is int64"),
        ({"codes": np.zeros((1, 4, 455), np.uint8)}, "codes is uint8, not uint16"),
        ({"codes": np.zeros((4, 455), np.uint16)}, "with 2 axes, not uint16 with 3"),
        ({"codes": np.zeros((1, 3, 455), np.uint16)}, "streams of 3 codebooks"),
        ({"codes": np.full((1, 4, 455), 1024, np.uint16)}, "out of range"),
        ({"codes": np.array([[[{}]]], object)}, "not one of numbers"),
        ({"scales": np.zeros(2, np.float32)}, "one scale each"),
        ({"scales": np.full(4, np.nan, np.float32)}, "finite"),
        ({"segment_frames": np.array([0, 150, 150, 5])}, "no frame"),
        ({"info": np.array("{")}, "not JSON"),
        ({"info": np.array("[]")}, "not a JSON object"),
        ({"info": np.array("{}")}, "lacks codec"),
        ({"info": np.array(7)}, "info is int64"),
        ({"info": np.array("x" * 70000)}, "larger than"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    values = {**arrays(encodec_48khz(4, 3)), **changes}
    stream = saved(**{name: value for name, value in values.items() if value is not None})
    with pytest.raises(FormatError, match=message) as caught:
        read_codes(stream)
    assert "\n" not in str(caught.value)


def test_a_length_that_is_none_is_refused() -> None:
    values = arrays(encodec_24khz(2, 9))
    info = json.loads(str(values["info"]))
    for length in ("9", 1.5, None, True):
        values["info"] = np.array(json.dumps({**info, "length": length}))
        with pytest.raises(FormatError, match="lacks length"):
            read_codes(saved(**values))


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<u2', 'fortran_order': False, 'shape': (1, 4, 1000000000000)}",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (1, 4, 30000000)}",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (1, 4, -5)}",
        "{'descr': '<u2', 'fortran_order': False, 'shape': (-1, 4, -5)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1, 4, 9)}",
        "((((((((",
        "{" * 5000,
    ],
)
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_hostile_headers_take_no_memory(header: str, method: int) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        with np.load(io.BytesIO(to_bytes(encodec_24khz(4, 9), "npz"))) as file:
            text = io.BytesIO()
            np.save(text, file["info"])
        archive.writestr("info.npy", text.getvalue())
        archive.writestr("codes.npy", npy(header, bytes(1000)))
    stream.seek(0)
    tracemalloc.start()
    with pytest.raises(FormatError):
        read_codes(stream)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 24


def test_a_file_or_codes_beyond_the_limit_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = encodec_24khz(8, 500)
    data = to_bytes(codes, "npz")
    monkeypatch.setattr("acomp.formats.npz.MAX_SIZE", 4000)
    with pytest.raises(FormatError, match="larger than"):
        read_codes(Pipe(data))
    with pytest.raises(FormatError, match="at most"):
        to_bytes(codes, "npz")


@given(st.data())
def test_random_damage_raises_nothing_but_format_errors(data: st.DataObject) -> None:
    wrong = bytearray(to_bytes(encodec_48khz(2, 1.5), "npz"))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(wrong) - 1))
        wrong[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    try:
        read_codes(Pipe(bytes(wrong)))
    except FormatError as error:
        assert "\n" not in str(error)


def test_every_truncation_is_detected() -> None:
    data = to_bytes(encodec_24khz(2, 9), "npz")
    for end in range(len(data)):
        with pytest.raises(FormatError):
            read_codes(io.BytesIO(data[:end]))
