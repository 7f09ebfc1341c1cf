from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from codes_samples import Pipe, all_codes, assert_same, encodec_24khz, encodec_48khz, to_bytes
from hypothesis import given, strategies as st

from acomp.codecs import SPECS
from acomp.codes import Codes, CodesInfo
from acomp.errors import FormatError
from acomp.formats import create_codes, read_codes

RANDOM = np.random.default_rng(5)


def plain(channels: object, bandwidth: object, lines: list[list[int]]) -> bytes:
    """A file of three plain parts."""
    rows = "".join(" ".join(map(str, line)) + "\n" for line in lines)
    return f"{channels}\n{bandwidth}\n{rows}".encode()


def drawn(codebooks: int, frames: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    return RANDOM.integers(0, 1024, (codebooks, frames), np.uint16)


@given(all_codes(), st.booleans())
def test_what_is_written_is_read(codes: Codes, live: bool) -> None:
    stream = Pipe()
    with create_codes(stream, codes.info, form="txt", live=live) as writer:
        writer.write(codes.block)
        writer.finish(codes.length)
    assert_same(read_codes(Pipe(stream.getvalue())), codes)


def test_a_file_looks_as_documented() -> None:
    info = CodesInfo("example", 48000, 2, 2, 2, 1024, 320, 44100, "0123456789abcdef")
    data = np.array([[[1, 5], [2, 6]], [[3, 7], [4, 8]]], np.uint16)
    lines = to_bytes(Codes(info, data, 588), "txt").decode().splitlines()
    assert lines[:4] == ["2", "06", "1 2 3 4", "5 6 7 8"]
    assert all(line.startswith("# ") and ": " in line for line in lines[4:])
    assert {"# codec: example", "# source_rate: 44100", "# length: 588"} <= set(lines)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_scales_are_read_bit_for_bit(scale: float) -> None:
    codes = encodec_48khz(2, 0.5)
    assert codes.segments is not None
    codes.segments.scales[:] = scale
    found = read_codes(io.BytesIO(to_bytes(codes, "txt")))
    assert found.segments is not None
    assert found.segments.scales.tobytes() == codes.segments.scales.tobytes()


# Files of three plain parts


@pytest.mark.parametrize("frames", [0, 1, 7, 8, 9, 400])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_plain_mono_one_line_per_time_step(frames: int, end: bytes) -> None:
    codes = drawn(8, frames)
    found = read_codes(io.BytesIO(plain(1, 6, codes.T.tolist()).replace(b"\n", end)))
    assert found.info == CodesInfo("encodec-24khz", 24000, 1, 1, 8, 1024, 320, 24000)
    assert found.length == frames * 320
    assert found.segments is None
    np.testing.assert_array_equal(found.data[0], codes)


@pytest.mark.parametrize("frames", [1, 7, 9, 400])
def test_plain_mono_one_line_per_codebook(frames: int) -> None:
    codes = drawn(8, frames)
    found = read_codes(io.BytesIO(plain(1, 6.0, codes.tolist())))
    np.testing.assert_array_equal(found.data[0], codes)


def test_a_square_is_read_as_time_steps() -> None:
    codes = drawn(8, 8)
    found = read_codes(io.BytesIO(plain(1, 6, codes.T.tolist())))
    np.testing.assert_array_equal(found.data[0], codes)


@pytest.mark.parametrize("seconds", [0.2, 0.99, 1, 1.983, 3.4])
@pytest.mark.parametrize("by_step", [True, False])
def test_plain_stereo_in_both_layouts(seconds: float, by_step: bool) -> None:
    codes = encodec_48khz(4, seconds)
    assert codes.segments is not None
    lines = codes.data[0].T.tolist()
    if not by_step:
        ends = np.cumsum(codes.segments.frames)[:-1]
        lines = [line for part in np.split(codes.data[0], ends, axis=1) for line in part.tolist()]
    found = read_codes(io.BytesIO(plain(2, 6, lines)))
    assert found.info.codec == "encodec-48khz"
    assert (found.info.channels, found.info.streams) == (2, 1)
    np.testing.assert_array_equal(found.data, codes.data)
    assert found.segments is not None
    assert (found.segments.scales == 1).all()
    # A segment may begin within the overlap that ends the audio: the layout cannot tell.
    assert codes.length <= found.length < codes.length + 48000
    if by_step:
        assert found.segments.frames[:-1].tolist() == [150] * (len(found.segments) - 1)
    else:
        np.testing.assert_array_equal(found.segments.frames, codes.segments.frames)


def test_blank_lines_may_end_a_file_and_notes_are_passed_over() -> None:
    codes = drawn(2, 5)
    data = plain(1, 1.5, codes.T.tolist()) + b"\n  \n# made on a Friday\n\n"
    np.testing.assert_array_equal(read_codes(io.BytesIO(data)).data[0], codes)


@pytest.mark.parametrize("bandwidth", ["1.5", "3", "6.0", "12", "24"])
def test_every_mono_bandwidth(bandwidth: str) -> None:
    codebooks = round(float(bandwidth) * 4 / 3)
    codes = drawn(codebooks, 3)
    found = read_codes(io.BytesIO(plain(1, bandwidth, codes.T.tolist())))
    assert found.info.codebooks == codebooks


# Refusals


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "form|ends before"),
        (b"1\n", "ends before its second line"),
        (b"one\n6\n", "line 1: 'one' is not a number of channels"),
        (b"1\nnan\n", "line 2: 'nan' is not a bandwidth"),
        (b"1\nsix\n", "line 2: 'six' is not a bandwidth"),
        (b"1\n6.2\n", "line 2: 6.2 kbps is no bandwidth of encodec-24khz"),
        (b"1\n1e9\n", "line 2: .* no bandwidth"),
        (b"0\n6\n", "line 1: 0 channels"),
        (b"3\n6\n", "line 1: 3 channels"),
        (b"1\n1.5\n1 2\n3 x\n", "line 4: 'x' is not part of a code"),
        (b"1\n1.5\n1 2\n3 -4\n", "line 4: '-' is not part of a code"),
        (b"1\n1.5\n1 2\n3 4_0\n", "line 4: '_' is not part"),
        ("1\n1.5\n1 2\n3 \u0661\n".encode(), "line 4: .* is not part of a code"),
        (b"1\n1.5\n1 2\n3 1024\n", "line 4: code 1024 is out of range"),
        (b"1\n1.5\n1 2\n3 99999\n", "line 4: a code is out of range"),
        (b"1\n1.5\n1 2\n3 " + b"9" * 5000 + b"\n", "line 4: a code is out of range"),
        (b"1\n1.5\n1 2\n3 4 5\n", "line 4: 3 codes where 2 are expected"),
        (b"1\n1.5\n1 2\n3\n", "line 4: 1 codes where 2 are expected"),
        (b"1\n1.5\n1 2\n\n3 4\n", "line 5: codes after the end"),
        (b"1\n1.5\n1 2 3\n4 5\n", "line 4: 2 codes where 3 are expected"),
        (b"1\n1.5\n1 2 3\n4 5 1024\n", "line 4: code 1024 is out of range"),
        (b"1\n1.5\n1 2 3\n", "line 3: 3 codes where 2 are expected"),
        (b"1\n1.5\n" + b"1 2 3\n" * 4, "line 3: 3 codes where 2 are expected"),
        (b"2\n3\n" + b"1 2 3\n" * 4, "line 3: 3 codes where 149 are expected"),
        (b"2\n3\n" + (b"1 " * 151 + b"\n") * 2, "line 3: 151 codes where 150 are expected"),
    ],
)
def test_bad_files_are_refused_with_the_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "bad.txt"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=message) as caught:
        read_codes(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400 + len(str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# length: 960\n", "", "lack length or frames"),
        ("# length: 960", "# length: many", "lack length or frames"),
        ("# frames: 3\n", "", "lack length or frames"),
        ("# frames: 3\n", "# frames: 3", "middle of its last line"),
        ("# frames: 3", "# frames: 4", "3 lines of codes where 4 are expected"),
        ("# streams: 1\n", "", "lacks streams"),
        ("# streams: 1", "# streams: 2", "2 streams do not fit"),
        ("# channels: 1", "# channels: 2", "line 1: 1 channels, but the end says 2"),
        ("# codebooks: 2", "# codebooks: 3", "line 2: 1.5 kbps, but the end means 2.25"),
        ("# codebooks: 2", "# codebooks: 2\n# codebooks: 2", "codebooks is given twice"),
        ("# length: 960", "# segment: 3\n# length: 960", "line .*frames and the scale"),
        ("# length: 960", "# segment: 2 1.0\n# length: 960", "differ in their number of frames"),
        ("# length: 960", "# segment: 3 nan\n# length: 960", "frames and the scale"),
        ("# length: 960", "# segment: 3 1e99\n# length: 960", "not a finite number"),
        ("# length: 960", "# segment: 0 1.0\n# length: 960", "has no frames"),
        ("# length: 960", "# length: 999999999999999999", "not a number of samples"),
        ("# codec: encodec-24khz", "# codec: ../secret", "not the name of a codec"),
    ],
)
def test_trailing_lines_that_do_not_fit_are_refused(old: str, new: str, message: str) -> None:
    text = to_bytes(encodec_24khz(2, 3), "txt").decode()
    assert old in text
    with pytest.raises(FormatError, match=message):
        read_codes(io.BytesIO(text.replace(old, new).encode()))


def test_truncation_within_the_trailing_lines_is_detected() -> None:
    data = to_bytes(encodec_48khz(2, 2.5), "txt")
    begin = data.index(b"# codec") + len(b"# codec: e")
    for end in range(begin, len(data)):
        with pytest.raises(FormatError):
            read_codes(io.BytesIO(data[:end]))


@given(st.data())
def test_random_damage_raises_nothing_but_format_errors(data: st.DataObject) -> None:
    codes = data.draw(st.sampled_from([encodec_24khz(2, 9), encodec_48khz(2, 1.5)]))
    wrong = bytearray(to_bytes(codes, "txt"))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(wrong) - 1))
        wrong[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    try:
        read_codes(Pipe(bytes(wrong)))
    except FormatError as error:
        assert "\n" not in str(error)


def test_lines_and_files_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acomp.formats.txt.MAX_LINE", 1 << 20)
    monkeypatch.setattr("acomp.formats.txt.MAX_SIZE", 1 << 22)
    with pytest.raises(FormatError, match="line 3 is longer than 1 MiB"):
        read_codes(Pipe(b"1\n6\n" + b"1 " * (1 << 20)))
    with pytest.raises(FormatError, match="longer than the 4 MiB"):
        read_codes(Pipe(b"1\n1.5\n" + b"1 2\n" * ((1 << 20) + 1)))


# Files that lost their end


def without_tail(codes: Codes) -> bytes:
    lines = to_bytes(codes, "txt").splitlines(keepends=True)
    return b"".join(line for line in lines if not line.startswith(b"#"))


def test_a_file_without_its_end_is_no_other_codecs() -> None:
    codes = nano(4, 50)
    for data in (without_tail(codes), without_tail(codes)[:-300].rpartition(b"\n")[0] + b"\n"):
        with pytest.raises(FormatError, match=r"which name the codec, .* naming it \(-b\)"):
            read_codes(io.BytesIO(data))
        found = read_codes(Pipe(data), codec=SPECS["nano-1"])
        assert found.info == replace(codes.info, fingerprint=None)
        np.testing.assert_array_equal(found.data, codes.data[:, :, : found.frames])


def test_the_codec_that_is_named_wins_where_the_end_is_cut() -> None:
    codes = nano(4, 50)
    cut = to_bytes(codes, "txt").rpartition(b"# length")[0]
    with pytest.raises(FormatError, match=r"cut short; naming its codec \(-b\)"):
        read_codes(io.BytesIO(cut))
    assert read_codes(io.BytesIO(cut), codec=SPECS["nano-1"]).info.codec == "nano-1"
    with pytest.raises(FormatError, match="are of nano-1, not of mimi"):
        read_codes(io.BytesIO(to_bytes(codes, "txt")), codec=SPECS["mimi"])


@pytest.mark.parametrize("codebooks", [1, 8])
def test_stereo_in_two_streams_by_its_codec(codebooks: int) -> None:
    info = replace(nano(codebooks, 1).info, channels=2, streams=2, fingerprint=None)
    codes = Codes(info, np.stack([drawn(codebooks, 40), drawn(codebooks, 40)]), 39 * 320)
    assert_same(read_codes(io.BytesIO(without_tail(codes)), codec=SPECS["nano-1"]), codes)


@pytest.mark.parametrize("codes", [encodec_24khz(2, 3), encodec_24khz(32, 3), encodec_48khz(4, 1)])
def test_other_readers_take_the_first_lines(codes: Codes) -> None:
    """As the two programs in circulation do: the numbers by `int` and `float`, then the codes."""
    lines = to_bytes(codes, "txt").decode().split("\n")
    assert int(lines[0]) == codes.info.channels
    assert float(lines[1]) == codes.info.bandwidth
    assert lines[1].startswith("0")
    steps = [[int(code) for code in line.split()] for line in lines[2:] if line[:1].isdigit()]
    np.testing.assert_array_equal(np.array(steps).T, codes.data[0])


def test_what_was_written_before_there_was_a_mark_is_read() -> None:
    codes = encodec_24khz(2, 3)
    old = to_bytes(codes, "txt").replace(b"1\n01.5\n", b"1\n1.5\n", 1)
    assert_same(read_codes(io.BytesIO(old)), codes)
    assert read_codes(io.BytesIO(old.partition(b"#")[0])).info.codec == "encodec-24khz"


def nano(codebooks: int, frames: int) -> Codes:
    info = CodesInfo("nano-1", 24_000, 1, 1, codebooks, 1024, 320, 24_000, "0123456789abcdef")
    return Codes(info, drawn(codebooks, frames)[np.newaxis], (frames - 1) * 320)
