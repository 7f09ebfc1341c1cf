"""`.nac` version 2: codes that a language model and a range coder have made small."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoints import save_cascade
from codes_samples import Pipe, all_codes, assert_same, to_bytes
from commands import Cli, assert_done, assert_refused, environment, make
from hypothesis import given, settings, strategies as st
from test_nac import flipped, header, with_crc, written_metadata

from acomp.codes import Codes, CodesInfo, Segments, split
from acomp.entropy.cascade import CascadeShape
from acomp.errors import FormatError, WeightsError
from acomp.formats import convert, create_codes, describe, open_codes, read_codes
from acomp.formats.nac.layout import CODED, CONTINUES, LAST, Header, Index

TINY = {"embedding": 2, "width": 4, "hidden": 4, "narrow": 2, "dilations": (1,)}
SIZES = (2, 3, 16, 1000, 1024)
Models = dict[int, Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """Language models of 9 codebooks, by the size of these."""
    folder = tmp_path_factory.mktemp("models")
    shapes = {size: CascadeShape(9, size, **TINY) for size in SIZES}  # type: ignore[arg-type]
    return {
        size: save_cascade(shape, folder / f"{size}.safetensors") for size, shape in shapes.items()
    }


def codes_of(frames: int, streams: int = 1, segments: list[int] | None = None) -> Codes:
    """Two codebooks of 16 entries."""
    info = CodesInfo("example", 8000, streams, streams, 2, 16, 320, 8000)
    data = np.random.default_rng(frames).integers(0, 16, (streams, 2, frames), np.uint16)
    parts = None
    if segments is not None:
        scales = np.arange(1, len(segments) + 1, dtype=np.float32)
        parts = Segments(np.array(segments, np.int64), scales)
    return Codes(info, data, frames * 320, parts)


def coded(codes: Codes, model: Path, live: int | None = None) -> bytes:
    """A file; `live` in pushes of so many frames."""
    stream = io.BytesIO()
    how: dict[str, Any] = {"form": "nac", "entropy": "lm", "language_model": model}
    with create_codes(stream, codes.info, live=live is not None, **how) as writer:
        for block in split(codes.block, live or 77):
            writer.write(block)
        writer.finish(codes.length)
    return stream.getvalue()


def headers(data: bytes) -> list[tuple[int, Header]]:
    """Where the blocks of a file begin, and their headers."""
    place = 13 + struct.unpack("!I", data[4:8])[0]
    info = describe(io.BytesIO(data))
    assert info["form"] == "nac"
    found: list[tuple[int, Header]] = []
    while not found or not found[-1][1].last:
        block = Header(*CODED.block.unpack_from(data, place))
        found.append((place, block))
        place += CODED.block.size + 4 * block.segments + 4 + block.coded + 4
    return found


# What is written is read


@given(
    all_codes().filter(lambda codes: codes.info.codebook_size in SIZES and codes.frames <= 120),
    st.booleans(),
    st.none() | st.integers(1, 50),
)
@settings(max_examples=12, deadline=None)
def test_what_is_written_is_read(
    models: Models, codes: Codes, piped: bool, live: int | None
) -> None:
    model = models[codes.info.codebook_size]
    data = coded(codes, model, live)
    assert data[3] == 2
    for recover in (False, True):
        source = Pipe(data) if piped else io.BytesIO(data)
        with open_codes(source, recover=recover, language_model=model) as reader:
            blocks = [block for _, block in reader.blocks()]
            assert (reader.length, reader.frames) == (codes.length, codes.frames)
            assert reader.damage == []
            assert_same(Codes.from_blocks(reader.info, blocks, reader.length or 0), codes)


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_long_codes_are_cut_where_they_can_be_entered(
    models: Models, stream: type[io.BytesIO]
) -> None:
    codes = codes_of(1700)
    data = coded(codes, models[16])
    blocks = [block for _, block in headers(data)]
    assert [block.frames for block in blocks] == [768, 768, 164]
    assert [block.flags for block in blocks] == [0, 0, LAST]
    assert_same(read_codes(stream(data), language_model=models[16]), codes)


def test_segments_stay_whole(models: Models) -> None:
    segments = [150] * 9 + [40]
    codes = codes_of(sum(segments), 2, segments)
    data = coded(codes, models[16])
    assert [block.frames for _, block in headers(data)] == [900, 490]
    assert_same(read_codes(io.BytesIO(data), language_model=models[16]), codes)


def test_a_segment_longer_than_a_block_is_refused(models: Models) -> None:
    codes = codes_of(1500, 1, [1024, 476])
    assert_same(read_codes(io.BytesIO(coded(codes, models[16])), language_model=models[16]), codes)
    with pytest.raises(FormatError, match=r"1025 frames is too long.*take entropy none"):
        coded(codes_of(1025, 1, [1025]), models[16])


def test_live_blocks_go_on_and_arrive_at_once(models: Models) -> None:
    codes = codes_of(30)
    read_end, write_end = os.pipe()
    arrived = threading.Semaphore(0)
    how: dict[str, Any] = {"form": "nac", "entropy": "lm", "language_model": models[16]}

    def write() -> None:
        with (
            os.fdopen(write_end, "wb") as stream,
            create_codes(stream, codes.info, live=True, **how) as writer,
        ):
            for block in split(codes.block, 10):
                writer.write(block)
                assert arrived.acquire(timeout=10)
            writer.finish(codes.length)

    thread = threading.Thread(target=write)
    thread.start()
    with (
        os.fdopen(read_end, "rb") as stream,
        open_codes(stream, language_model=models[16]) as reader,
    ):
        blocks = []
        for _, block in reader.blocks():
            blocks.append(block)
            arrived.release()
        assert_same(Codes.from_blocks(reader.info, blocks, reader.length or 0), codes)
    thread.join()
    assert [block.frames for block in blocks] == [10, 10, 10]
    flags = [block.flags for _, block in headers(coded(codes, models[16], 10))]
    assert flags == [0, CONTINUES, CONTINUES, LAST]


def test_a_live_file_can_be_entered_every_context(models: Models) -> None:
    codes = codes_of(225)
    data = coded(codes, models[16], 75)
    assert [block.flags for _, block in headers(data)] == [0, CONTINUES, 0, LAST]
    assert_same(read_codes(io.BytesIO(data), language_model=models[16]), codes)


@given(st.integers(0, 900), st.booleans(), st.booleans(), st.booleans())
@settings(max_examples=6, deadline=None)
def test_reading_from_anywhere(
    models: Models, start: int, live: bool, piped: bool, recover: bool
) -> None:
    codes = codes_of(830)
    data = coded(codes, models[16], 97 if live else None)
    source = Pipe(data) if piped else io.BytesIO(data)
    with open_codes(source, recover=recover, language_model=models[16]) as reader:
        blocks = list(reader.blocks(start))
        assert reader.length == codes.length
    assert bool(blocks) == (start < codes.frames)
    if blocks:
        first = blocks[0][0]
        assert first <= start < first + blocks[0][1].frames
        found = np.concatenate([block.data for _, block in blocks], axis=2)
        np.testing.assert_array_equal(found, codes.data[:, :, first:])


def test_what_lies_before_is_not_decoded(models: Models) -> None:
    """Damage in blocks that a reading passes over is not seen."""
    codes = codes_of(1700)
    data = coded(codes, models[16])
    damaged = flipped(data, headers(data)[0][0] + 30)
    with open_codes(io.BytesIO(damaged), language_model=models[16]) as reader:
        first, block = next(iter(reader.blocks(1600)))
        assert first == 1536
        np.testing.assert_array_equal(block.data, codes.data[:, :, 1536:])


def test_plain_files_come_back_to_the_byte(models: Models, tmp_path: Path) -> None:
    for number, codes in enumerate((codes_of(800, 2), codes_of(250, 1, [100, 100, 50]))):
        plain, small, again = (tmp_path / f"{name}{number}.nac" for name in ("a", "b", "c"))
        plain.write_bytes(to_bytes(codes))
        convert(plain, small, entropy="lm", language_model=models[16])
        assert small.read_bytes()[3] == 2
        convert(small, again, language_model=models[16])
        assert again.read_bytes() == plain.read_bytes()


# The language model


def fingerprint_in(data: bytes) -> str:
    found = written_metadata(data)["language_model"]
    assert isinstance(found, str)
    return found


@pytest.mark.parametrize("recover", [False, True])
def test_another_language_model_is_refused(models: Models, tmp_path: Path, recover: bool) -> None:
    data = coded(codes_of(30), models[16])
    shape = CascadeShape(9, 16, **TINY)  # type: ignore[arg-type]
    other = save_cascade(shape, tmp_path / "other.safetensors", seed=1)
    theirs = fingerprint_in(coded(codes_of(30), other))
    assert theirs != fingerprint_in(data)
    with pytest.raises(FormatError) as caught:
        read_codes(io.BytesIO(data), recover=recover, language_model=other)
    message = str(caught.value)
    assert theirs in message and fingerprint_in(data) in message
    assert "--language-model" in message and "\n" not in message


@pytest.mark.parametrize("recover", [False, True])
def test_a_codec_without_a_language_model_is_named(models: Models, recover: bool) -> None:
    data = coded(codes_of(30), models[16])
    with pytest.raises(FormatError, match="no language model for example"):
        read_codes(io.BytesIO(data), recover=recover)
    with pytest.raises(FormatError, match="no language model for example"):
        create_codes(io.BytesIO(), codes_of(1).info, form="nac", entropy="lm").__enter__()


def test_a_language_model_of_other_codes_is_refused(models: Models, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"9 codebooks of 1024 entries.* 2 of 16"):
        coded(codes_of(3), models[1024])
    few = save_cascade(CascadeShape(1, 16, **TINY), tmp_path / "1.safetensors")  # type: ignore[arg-type]
    with pytest.raises(FormatError, match="1 codebooks of 16"):
        coded(codes_of(3), few)


@pytest.mark.parametrize(
    "change",
    [
        {"family": "cascade", "codebooks": 9, "codebook_size": 16},
        {"width": 5},
        {"width": 10**9},
        {"width": "4"},
        {"dilations": 3},
        {"dilations": [[1]]},
        {"depth": 3},
        "[" * 60_000,
        "[1]",
    ],
)
def test_files_that_hold_no_language_model_are_refused(
    models: Models, tmp_path: Path, change: Any
) -> None:
    from safetensors.numpy import load_file, save_file

    shape = CascadeShape(9, 16, **TINY).to_dict()  # type: ignore[arg-type]
    text = change if isinstance(change, str) else json.dumps({**shape, **change})
    if change == {"family": "cascade", "codebooks": 9, "codebook_size": 16}:
        arrays = {"embedding": np.zeros(3, np.int8)}
    else:
        arrays = dict(load_file(models[16]))
    save_file(arrays, tmp_path / "bad.safetensors", {"acomp": text})
    with pytest.raises(WeightsError) as caught:
        coded(codes_of(3), tmp_path / "bad.safetensors")
    assert "bad.safetensors" in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_are_no_numbers_are_refused(models: Models, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    shape = json.dumps(CascadeShape(9, 16, **TINY).to_dict())  # type: ignore[arg-type]
    arrays = dict(load_file(models[16]))
    for name in ("number", "entries_scale"):
        arrays[name] = np.full_like(arrays[name], np.nan)
        save_file(arrays, tmp_path / f"{name}.safetensors", {"acomp": shape})
        with pytest.raises(WeightsError, match="no numbers"):
            coded(codes_of(3), tmp_path / f"{name}.safetensors")


def test_weights_of_encodecs_model_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    import torch
    from checkpoints import encodec_language_model

    state = encodec_language_model(1, 28).state_dict()
    state["emb.0.weight"][:] = np.nan
    torch.save(state, tmp_path / "nan.th")
    info = CodesInfo("example", 8000, 1, 1, 1, 1024, 320, 8000)
    with pytest.raises(WeightsError, match=r"nan\.th is no good: .* no numbers"):
        coded(Codes(info, np.zeros((1, 1, 3), np.uint16), 1), tmp_path / "nan.th")


def test_info_needs_no_language_model(models: Models, cli: Cli, tmp_path: Path) -> None:
    data = coded(codes_of(250, 1, [100, 100, 50]), models[16])
    (tmp_path / "a.nac").write_bytes(data)
    run = cli("info", "a.nac")
    assert_done(run)
    assert f"language model {fingerprint_in(data)}" in " ".join(run.out.split())
    facts = json.loads(cli("info", "--json", "a.nac").out)
    assert (facts["frames"], facts["segments"]) == (250, 3)
    assert facts["language_model"] == fingerprint_in(data)
    (tmp_path / "a.nac").write_bytes(flipped(data, headers(data)[0][0] + 40))
    assert_refused(cli("info", "a.nac"), "damaged")
    # What does need it says so.
    (tmp_path / "a.nac").write_bytes(data)
    assert_refused(cli("convert", "a.nac", "b.txt"), "no language model for example")


# Damage


@pytest.fixture(scope="module")
def small(models: Models) -> dict[str, tuple[Codes, bytes]]:
    """Some files of a few blocks."""
    live, segments = codes_of(12), codes_of(14, 2, [5, 5, 4])
    return {
        "live": (live, coded(live, models[16], 5)),
        "segments": (segments, coded(segments, models[16])),
        "live segments": (segments, coded(segments, models[16], 5)),
        "none": (codes_of(0), coded(codes_of(0), models[16])),
    }


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
@pytest.mark.parametrize("kind", ["live", "segments", "live segments", "none"])
def test_every_flipped_byte_is_detected(
    models: Models, small: dict[str, tuple[Codes, bytes]], kind: str, stream: type[io.BytesIO]
) -> None:
    data = small[kind][1]
    for place in range(len(data)):
        with pytest.raises(FormatError) as caught:
            read_codes(stream(flipped(data, place, place % 8)), language_model=models[16])
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
@pytest.mark.parametrize("kind", ["live", "live segments"])
def test_every_truncation_is_detected(
    models: Models, small: dict[str, tuple[Codes, bytes]], kind: str, stream: type[io.BytesIO]
) -> None:
    data = small[kind][1]
    for end in range(len(data)):
        with pytest.raises(FormatError):
            read_codes(stream(data[:end]), language_model=models[16])
    for more in (b"\0", b"NACE", data):
        with pytest.raises(FormatError):
            read_codes(stream(data + more), language_model=models[16])


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_random_damage_raises_nothing_but_format_errors(
    models: Models, small: dict[str, tuple[Codes, bytes]], data: st.DataObject
) -> None:
    """Also where the checksums of blocks are right again."""
    whole = data.draw(st.sampled_from([each for _, each in small.values()]))
    wrong = bytearray(whole)
    begin, block = data.draw(st.sampled_from(headers(whole)))
    size = CODED.block.size + 4 * block.segments + 4 + block.coded
    for _ in range(data.draw(st.integers(1, 3))):
        wrong[begin + data.draw(st.integers(0, size - 1))] ^= data.draw(st.integers(1, 255))
    if data.draw(st.booleans()):
        wrong[begin : begin + size + 4] = with_crc(bytes(wrong[begin : begin + size]))
    for stream in (io.BytesIO, Pipe):
        for recover in (False, True):
            try:
                read_codes(stream(bytes(wrong)), recover=recover, language_model=models[16])
            except FormatError as error:
                assert "\n" not in str(error)


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
@pytest.mark.parametrize("number", [0, 1])
def test_recovery_keeps_all_but_the_damaged_block(
    models: Models, stream: type[io.BytesIO], number: int
) -> None:
    codes = codes_of(1700)
    data = coded(codes, models[16])
    begin = headers(data)[number][0]
    damaged = flipped(data, begin + 50)
    with pytest.raises(FormatError, match="CRC"):
        read_codes(stream(damaged), language_model=models[16])
    with open_codes(stream(damaged), recover=True, language_model=models[16]) as reader:
        found = Codes.from_blocks(reader.info, [block for _, block in reader.blocks()], 0)
        assert reader.length == codes.length
    lost = slice(768 * number, 768 * number + 768)
    assert len(reader.damage) == 1
    assert f"frames {lost.start} to {lost.stop - 1} are lost" in reader.damage[0]
    expected = codes.data.copy()
    expected[:, :, lost] = 0
    np.testing.assert_array_equal(found.data, expected)


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_blocks_that_go_on_from_a_lost_one_are_lost(
    models: Models, stream: type[io.BytesIO]
) -> None:
    codes = codes_of(225)
    data = coded(codes, models[16], 50)  # anew at 0 and at 150
    damaged = flipped(data, headers(data)[1][0] + 50)
    with open_codes(stream(damaged), recover=True, language_model=models[16]) as reader:
        found = Codes.from_blocks(reader.info, [block for _, block in reader.blocks()], 0)
    assert "frames 50 to 149 are lost" in reader.damage[0]
    expected = codes.data.copy()
    expected[:, :, 50:150] = 0
    np.testing.assert_array_equal(found.data, expected)


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_lost_segments_are_replaced_by_silence(models: Models, stream: type[io.BytesIO]) -> None:
    codes = codes_of(1000, 1, [100] * 10)
    assert codes.segments is not None
    data = coded(codes, models[16])
    damaged = flipped(data, headers(data)[0][0] + 99)
    found = read_codes(stream(damaged), recover=True, language_model=models[16])
    assert found.segments is not None
    np.testing.assert_array_equal(found.segments.frames, codes.segments.frames)
    np.testing.assert_array_equal(found.segments.scales, [0] * 8 + [9, 10])
    assert found.length == codes.length


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_recovery_of_a_truncated_file_ends_where_it_ends(
    models: Models, stream: type[io.BytesIO]
) -> None:
    codes = codes_of(900)
    data = coded(codes, models[16])
    cut = data[: headers(data)[1][0] + 20]
    found = read_codes(stream(cut), recover=True, language_model=models[16])
    np.testing.assert_array_equal(found.data, codes.data[:, :, :768])
    assert found.length == 768 * 320


# Hostile files


def file_of(*blocks: tuple[Header, bytes], **metadata: object) -> bytes:
    """A file with right checksums, whatever it says; `metadata` is laid over that of `example`."""
    facts = {**written_metadata(to_bytes(codes_of(0))), **metadata}
    data, entries = header(facts, version=2), b""
    for block, body in blocks:
        data += with_crc(block.to_bytes(CODED) + body)
        entries += block.entry(CODED)
    return data + Index(CODED, entries, 0).to_bytes()


def sum_of(codes: Codes) -> bytes:
    """The checksum of codes, in the order in which they stand."""
    in_order = codes.data.transpose(2, 0, 1).astype(">u2").tobytes()
    return struct.pack("!I", zlib.crc32(in_order))


def body_of(codes: Codes, model: Path) -> bytes:
    """Checksum and bytes of codes that fit one block."""
    data = coded(codes, model)
    ((begin, block),) = headers(data)
    return data[begin + CODED.block.size : begin + CODED.block.size + 4 + block.coded]


NONE = bytes(4)


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
@pytest.mark.parametrize("recover", [False, True])
@pytest.mark.parametrize(
    "block",
    [
        (Header(LAST, 0, 5, 0, (1 << 32) - 1), NONE),
        (Header(LAST, 0, 5, 0, 1 << 23), NONE),
        (Header(LAST, 0, 1025, 0, 0), NONE),
        (Header(LAST, 0, 65535, 0, 0), NONE),
        (Header(LAST | CONTINUES, 0, 5, 0, 0), NONE),
        (Header(LAST | CONTINUES, 0, 5, 5, 0), bytes(4) + NONE),
        (Header(LAST | 4, 0, 5, 0, 0), NONE),
        (Header(LAST | CONTINUES, 0, 0, 0, 0), NONE),
        (Header(LAST, 0, 0, 0, 4), NONE + bytes(4)),
        (Header(LAST, 0, 5, 0, 3), NONE + bytes(3)),
        (Header(LAST, 0, 5, 0, 0), b"\1\2\3\4"),
        (Header(LAST, 0, 5, 0, 8), NONE + b"\xff" * 8),
        (Header(LAST, 0, 5, 6, 0), bytes(4) + NONE),
        (Header(LAST, 0, 2, 1, 0), bytes(4) + b"\x7f\xc0\0\0" + NONE),
    ],
    ids=lambda block: str(tuple(block[0])),
)
def test_impossible_blocks_are_refused_though_their_checksums_are_right(
    models: Models, stream: type[io.BytesIO], recover: bool, block: tuple[Header, bytes]
) -> None:
    data = file_of(block, language_model=fingerprint_in(coded(codes_of(1), models[16])))
    tracemalloc.start()
    try:
        found = read_codes(stream(data), recover=recover, language_model=models[16])
        assert recover and found.frames == 0
    except FormatError as error:
        assert not recover
        assert "\n" not in str(error)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 24


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_a_context_is_no_longer_than_the_description_allows(
    models: Models, stream: type[io.BytesIO]
) -> None:
    codes = codes_of(97)
    body = body_of(codes, models[16])
    size = len(body) - 4
    data = file_of(
        (Header(0, 0, 97, 0, size), body),
        (Header(LAST | CONTINUES, 97, 97, 0, size), body),
        language_model=fingerprint_in(coded(codes, models[16])),
    )
    with pytest.raises(FormatError, match="more than 192 frames"):
        read_codes(stream(data), language_model=models[16])


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
@pytest.mark.parametrize("which", [1, 2, 4, 5, 8])
def test_an_index_that_hides_that_a_block_goes_on_is_noticed(
    models: Models, stream: type[io.BytesIO], which: int
) -> None:
    """Blocks would be decoded side by side that cannot be."""
    codes = codes_of(6)
    body = body_of(codes, models[16])
    flags = [0] * 15 + [LAST]
    blocks = [(Header(flag, 6 * n, 6, 0, len(body) - 4), body) for n, flag in enumerate(flags)]
    mark = fingerprint_in(coded(codes, models[16]))
    innocent = file_of(*blocks, language_model=mark)
    assert read_codes(stream(innocent), language_model=models[16]).frames == 96
    begin, block = headers(innocent)[which]
    end = begin + CODED.block.size + len(body)
    changed = with_crc(block._replace(flags=CONTINUES).to_bytes(CODED) + body)
    data = innocent[:begin] + changed + innocent[end + 4 :]
    with pytest.raises(FormatError):
        read_codes(stream(data), language_model=models[16])


def test_a_block_of_codes_that_come_out_wrong_costs_no_other(models: Models) -> None:
    """In recovery."""
    codes = codes_of(6)
    body = body_of(codes, models[16])
    size = len(body) - 4
    data = file_of(
        (Header(0, 0, 6, 0, size), body),
        (Header(0, 6, 6, 0, size), NONE + body[4:]),
        (Header(0, 12, 6, 0, size), body),
        (Header(LAST, 18, 6, 0, size), body),
        language_model=fingerprint_in(coded(codes, models[16])),
    )
    with open_codes(io.BytesIO(data), recover=True, language_model=models[16]) as reader:
        found = np.concatenate([block.data for _, block in reader.blocks()], axis=2)
    silence = np.zeros_like(codes.data)
    expected = np.concatenate([codes.data, silence, codes.data, codes.data], axis=2)
    np.testing.assert_array_equal(found, expected)
    assert len(reader.damage) == 1


@pytest.mark.parametrize("recover", [False, True])
def test_many_short_segments_take_little_memory(models: Models, recover: bool) -> None:
    """16 streams of 1024 segments side by side would be 16384 sequences of 1024 entries."""
    facts = {"channels": 16, "streams": 16, "codebooks": 9, "codebook_size": 1024}
    info = CodesInfo("example", 8000, 1, 1, 1, 1024, 320, 8000)
    one = Codes(info, np.zeros((1, 1, 1), np.uint16), 1)
    mark = fingerprint_in(coded(one, models[1024]))
    body = np.ones(1024, ">f4").tobytes() + NONE
    data = file_of((Header(LAST, 0, 1024, 1, 0), body), language_model=mark, **facts)
    tracemalloc.start()
    try:
        read_codes(io.BytesIO(data), recover=recover, language_model=models[1024])
    except FormatError:
        assert not recover
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 26


@pytest.mark.parametrize("value", [None, 7, ["x"]])
def test_metadata_that_names_no_language_model_is_refused(value: object) -> None:
    data = file_of((Header(LAST, 0, 0, 0, 0), NONE), language_model=value)
    for recover in (False, True):
        with pytest.raises(FormatError, match="language_model"):
            read_codes(io.BytesIO(data), recover=recover)


# Processes that compute otherwise


def test_machines_that_compute_otherwise_read_each_others_files(tmp_path: Path) -> None:
    """Another number of threads, other kernels of the matrix products and another engine."""
    shape = CascadeShape(16, 1024, embedding=16, width=96, hidden=64, narrow=32, dilations=(1, 4))
    model = save_cascade(shape, tmp_path / "lm.safetensors")
    make(tmp_path / "speech.wav", seconds=1.0)

    def acomp(command: str, **variables: str) -> None:
        run = subprocess.run(
            [sys.executable, "-m", "acomp", *command.split(), "--language-model", str(model)],
            cwd=tmp_path,
            env=environment(tmp_path, **variables),
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr

    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    two = {"OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2", "OPENBLAS_CORETYPE": "Haswell"}
    encode = "encode speech.wav -b nano -k 6 --entropy lm"
    acomp(f"{encode} -o small.nac --engine openvino", **one)
    acomp("decode small.nac -o speech2.wav --engine torch", **two)
    convert(tmp_path / "small.nac", tmp_path / "here.txt", language_model=model)
    acomp("convert here.txt again.nac --entropy lm", **two)
    assert (tmp_path / "again.nac").read_bytes() == (tmp_path / "small.nac").read_bytes()
