from __future__ import annotations

import io
import json
import os
import re
import struct
import threading
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from codes_samples import (
    Pipe,
    all_codes,
    assert_same,
    encodec_24khz,
    encodec_48khz,
    to_bytes,
    version_0,
)
from hypothesis import given, strategies as st

from acomp.codes import Block, Codes, CodesInfo, Segments, split
from acomp.errors import FormatError
from acomp.formats import create_codes, open_codes, read_codes, write_codes
from acomp.formats.bits import packed_size

DOCUMENT = (Path(__file__).parent.parent / "docs" / "nac.md").read_text(encoding="utf-8")
SMALL_INFO = CodesInfo("example", 8000, 1, 1, 2, 1024, 320, 8000)
SMALL = Codes(
    SMALL_INFO,
    np.array([[[1, 2, 3], [1023, 512, 0]]], np.uint16),
    900,
    Segments(np.array([2, 1]), np.array([0.5, 1], np.float32)),
)


def blocks_at(data: bytes) -> list[int]:
    """Where the blocks of a .nac file begin, and where its index does."""
    count = struct.unpack("!I", data[-12:-8])[0]
    info = read_codes(io.BytesIO(data)).info
    entries = np.frombuffer(data[-20 - 4 * count : -20], ">u2").reshape(-1, 2).tolist()
    starts = [13 + struct.unpack("!I", data[4:8])[0]]
    for frames, segment in entries:
        scales = -(-frames // segment) if segment else 0
        codes = packed_size(frames * info.codes_per_frame, info.bits)
        starts.append(starts[-1] + 13 + 4 * scales + codes)
    return starts


def flipped(data: bytes, place: int, bit: int = 0) -> bytes:
    return data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]


def with_crc(data: bytes) -> bytes:
    return data + struct.pack("!I", zlib.crc32(data))


# What is written is read


@given(all_codes(), st.booleans(), st.booleans(), st.integers(1, 50))
def test_what_is_written_is_read(codes: Codes, piped: bool, live: bool, step: int) -> None:
    stream = Pipe()
    with create_codes(stream, codes.info, form="nac", live=live) as writer:
        for block in split(codes.block, step):
            writer.write(block)
        writer.finish(codes.length)
    data = stream.getvalue()
    for recover in (False, True):
        source = Pipe(data) if piped else io.BytesIO(data)
        with open_codes(source, recover=recover) as reader:
            blocks = [block for _, block in reader.blocks()]
            assert reader.length == codes.length
            assert reader.frames == codes.frames
            assert reader.damage == []
            assert_same(Codes.from_blocks(reader.info, blocks, reader.length), codes)


def test_blocks_are_small_and_the_length_is_known_at_once() -> None:
    codes = encodec_24khz()
    with open_codes(io.BytesIO(to_bytes(codes))) as reader:
        assert (reader.length, reader.frames) == (codes.length, codes.frames)
        sizes = [packed_size(block.data.size, 10) for _, block in reader.blocks()]
    assert len(sizes) > 10
    assert max(sizes) <= 4096


def test_a_block_holds_whole_segments() -> None:
    with open_codes(io.BytesIO(to_bytes(encodec_48khz()))) as reader:
        counts = [block.segments.frames for _, block in reader.blocks() if block.segments]
    assert len(counts) > 5
    assert all((frames == 150).all() for frames in counts[:-1])


@given(all_codes(), st.data())
def test_segments_of_any_lengths_keep_their_boundaries(codes: Codes, data: st.DataObject) -> None:
    """Also where a block's segments are not equally long, which no codec at hand does."""
    counts = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=30))
    shape = (codes.info.streams, codes.info.codebooks, sum(counts))
    scales = np.arange(len(counts), dtype=np.float32)
    segments = Segments(np.array(counts, np.int64), scales)
    mixed = Codes(codes.info, np.zeros(shape, np.uint16), codes.length, segments)
    assert_same(read_codes(io.BytesIO(to_bytes(mixed))), mixed)


def test_long_segments_are_parted_or_refused() -> None:
    info = CodesInfo("example", 8000, 1, 1, 1, 2, 1, 8000)
    for counts in ([40000, 40000, 5], [3, 65535]):
        segments = Segments(np.array(counts), np.ones(len(counts), np.float32))
        codes = Codes(info, np.ones((1, 1, sum(counts)), np.uint16), 1, segments)
        assert_same(read_codes(io.BytesIO(to_bytes(codes))), codes)
    segments = Segments(np.array([65536]), np.ones(1, np.float32))
    codes = Codes(info, np.zeros((1, 1, 65536), np.uint16), 1, segments)
    with pytest.raises(FormatError, match="too large for a"):
        to_bytes(codes)


@pytest.mark.parametrize(
    "codes",
    [encodec_24khz(codebooks) for codebooks in (2, 4, 8, 16, 32)]
    + [encodec_48khz(codebooks) for codebooks in (2, 4, 8, 16)],
    ids=lambda codes: f"{codes.info.codec} {codes.info.bandwidth:g} kbps",
)
def test_a_minute_is_hardly_larger_than_its_codes(codes: Codes) -> None:
    bare = packed_size(codes.data.size, codes.info.bits)
    bare += 4 * len(codes.segments) if codes.segments else 0
    assert len(to_bytes(codes)) <= 1.01 * bare + 200


# The specification


def document_part(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert match
    return match[1]


def test_the_document_shows_a_file_as_acomp_writes_and_reads_it() -> None:
    lines = document_part("hex").splitlines()
    data = bytes.fromhex("".join(line.partition("#")[0] for line in lines))
    assert to_bytes(SMALL) == data
    assert_same(read_codes(io.BytesIO(data)), SMALL)


@pytest.mark.parametrize(
    "codes", [SMALL, encodec_24khz(2, 2000), encodec_48khz(2, 7.3), encodec_24khz(2, 0)]
)
def test_the_documents_reader_reads_what_acomp_writes(codes: Codes) -> None:
    names: dict[str, Any] = {}
    exec(document_part("python"), names)
    metadata, frames, segments, length = names["read_nac"](io.BytesIO(to_bytes(codes)))
    assert metadata["codec"] == codes.info.codec
    assert length == codes.length
    expected = codes.data.transpose(2, 0, 1).reshape(codes.frames, codes.info.codes_per_frame)
    assert frames == expected.tolist()
    if codes.segments is not None:
        pairs = zip(codes.segments.frames.tolist(), codes.segments.scales.tolist(), strict=True)
        assert segments == list(pairs)


# Damage


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
@pytest.mark.parametrize("codes", [SMALL, encodec_24khz(1, 9)])
def test_every_flipped_bit_is_detected(stream: type[io.BytesIO], codes: Codes) -> None:
    data = to_bytes(codes)
    for place in range(len(data)):
        for bit in range(8):
            with pytest.raises(FormatError):
                read_codes(stream(flipped(data, place, bit)))


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_every_truncation_is_detected(stream: type[io.BytesIO]) -> None:
    data = to_bytes(encodec_24khz(2, 4000))
    ends = {*range(300), *range(len(data) - 300, len(data)), *range(0, len(data), 97)}
    for end in ends:
        with pytest.raises(FormatError):
            read_codes(stream(data[:end]))


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_bytes_after_the_end_are_refused(stream: type[io.BytesIO]) -> None:
    data = to_bytes(SMALL)
    for more in (b"\0", b"NACE", data):
        with pytest.raises(FormatError):
            read_codes(stream(data + more))


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_a_missing_or_moved_block_is_detected(stream: type[io.BytesIO]) -> None:
    data = to_bytes(encodec_24khz(8, 1500))
    begin, second, third, *_ = blocks_at(data)
    for wrong in (
        data[:begin] + data[second:],
        data[:second] + data[third:],
        data[:begin] + data[second:third] + data[begin:second] + data[third:],
    ):
        with pytest.raises(FormatError):
            read_codes(stream(wrong))


@given(st.data())
def test_random_damage_raises_nothing_but_format_errors(data: st.DataObject) -> None:
    wrong = bytearray(to_bytes(data.draw(st.sampled_from([SMALL, encodec_48khz(2, 7.3)]))))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(wrong) - 1))
        if data.draw(st.booleans()):
            wrong[place : place + data.draw(st.integers(0, 50))] = data.draw(st.binary(max_size=50))
        else:
            wrong[place] ^= data.draw(st.integers(1, 255))
    for stream in (io.BytesIO, Pipe):
        for recover in (False, True):
            try:
                read_codes(stream(bytes(wrong)), recover=recover)
            except FormatError as error:
                assert "\n" not in str(error)


def header(metadata: object, version: int = 1, claimed: int | None = None) -> bytes:
    text = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    size = len(text) if claimed is None else claimed
    return with_crc(struct.pack("!3sBIB", b"NAC", version, size, 6) + text)


def written_metadata(data: bytes) -> dict[str, object]:
    fields: dict[str, object] = json.loads(data[9 : 9 + struct.unpack("!I", data[4:8])[0]])
    return fields


def metadata(**changes: object) -> dict[str, object]:
    return {**written_metadata(to_bytes(encodec_24khz(8, 0))), **changes}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"NAC\1", "middle of the header"),
        (header({}, version=3), "version 3"),
        (header({}, claimed=1 << 30), "more than the 65536"),
        (header({}, claimed=4000), "middle of the metadata"),
        (header({})[:-1] + b"\0", "CRC"),
        (header([]), "not a JSON object"),
        (header(b"{"), "not JSON"),
        (header(b"\xff\xfe"), "not JSON"),
        (header(b"[" * 65000), "not JSON"),
        (header(b'{"codebooks":' + b"9" * 5000 + b"}"), "not JSON"),
        (header({"codec": "x"}), "lacks sample_rate"),
        (header(metadata(codebooks="8")), "codebooks is '8'"),
        (header(metadata(codebooks=True)), "codebooks is True"),
        (header(metadata(codebooks=10**12)), "codebooks is 1000000000000"),
        (header(metadata(codec=["x"] * 1000)), "codec is"),
        (header(metadata(fingerprint=7)), "fingerprint is 7"),
    ],
)
def test_bad_headers_are_refused_in_one_short_line(data: bytes, message: str) -> None:
    for stream in (io.BytesIO(data), Pipe(data)):
        for recover in (False, True):
            stream = type(stream)(data)
            with pytest.raises(FormatError, match=message) as caught:
                read_codes(stream, recover=recover)
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 400


def test_unknown_keys_of_the_metadata_are_ignored() -> None:
    data = to_bytes(SMALL)
    start = header({**written_metadata(data), "mood": ["calm"]})
    assert_same(read_codes(io.BytesIO(start + data[blocks_at(data)[0] :])), SMALL)


def test_a_loudness_may_be_written_as_a_whole_number() -> None:
    """Programs in other languages do."""
    data = to_bytes(SMALL)
    start = header({**written_metadata(data), "loudness": [-16] * SMALL.info.channels})
    found = read_codes(io.BytesIO(start + data[blocks_at(data)[0] :]))
    assert found.info.loudness == (-16.0,) * SMALL.info.channels


def small_file(block: bytes, entry: bytes, length: int = 0) -> bytes:
    """A file of one block with right checksums, whatever it says."""
    info = to_bytes(SMALL)[: 9 + 153 + 4]
    index = with_crc(entry + struct.pack("!QI", length, 1)) + b"NACE"
    return info + with_crc(block) + index


@pytest.mark.parametrize(
    ("block", "entry", "length", "message"),
    [
        (struct.pack("!BIHH", 3, 0, 0, 0), (0, 0), 0, "damaged"),
        (struct.pack("!BIHH", 1, 7, 0, 0), (0, 0), 0, "damaged"),
        (struct.pack("!BIHH", 0, 0, 0, 0), (0, 0), 0, "damaged"),
        (struct.pack("!BIHH", 1, 0, 1, 0) + b"\0\0\1", (1, 0), 0, "not zero"),
        (struct.pack("!BIHHf", 1, 0, 1, 2, 1.0) + bytes(3), (1, 2), 0, "damaged"),
        (struct.pack("!BIHHf", 1, 0, 1, 1, np.nan) + bytes(3), (1, 1), 0, "finite"),
        (struct.pack("!BIHH", 1, 0, 0, 0), (0, 0), 1 << 63, "number of samples"),
        (struct.pack("!BIHH", 1, 0, 0, 0), (1, 0), 0, "does not fit|differ|is damaged"),
    ],
)
def test_impossible_blocks_are_refused_though_their_checksums_are_right(
    block: bytes, entry: tuple[int, int], length: int, message: str
) -> None:
    data = small_file(block, struct.pack("!HH", *entry), length)
    for stream in (io.BytesIO(data), Pipe(data)):
        with pytest.raises(FormatError, match=message):
            read_codes(stream)


def test_codes_beyond_a_codebook_are_refused() -> None:
    info = CodesInfo("example", 8000, 1, 1, 1, 1000, 320, 8000)
    data = to_bytes(Codes(info, np.full((1, 1, 1), 999, np.uint16), 1))
    start = blocks_at(data)[0]
    block = with_crc(data[start : start + 9] + (1001 << 6).to_bytes(2, "big"))
    with pytest.raises(FormatError, match="code 1001 is out of range"):
        read_codes(io.BytesIO(data[:start] + block + data[start + len(block) :]))


def test_large_claims_take_no_memory() -> None:
    """Of frames, in a block and in the index, by a file of some hundred bytes."""
    info = metadata(channels=64, streams=64, codebooks=256, codebook_size=65536)
    start = header(info)
    block = struct.pack("!BIHH", 0, 0, 65535, 1)
    index = with_crc(struct.pack("!QI", 10**12, 0xFFFFFFFF)) + b"NACE"
    for data in (start + block, start + block + index, start + index, start + block + bytes(99)):
        for stream in (io.BytesIO, Pipe):
            for recover in (False, True):
                tracemalloc.start()
                try:
                    codes = read_codes(stream(data), recover=recover)
                    assert recover
                    assert codes.frames == 0
                except FormatError:
                    assert not recover
                _, peak = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                assert peak < 1 << 23


# Recovery


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
@pytest.mark.parametrize("place", [0, 2, 6, 8, 700, -1], ids=lambda place: f"byte {place}")
def test_recovery_keeps_all_but_the_damaged_block(stream: type[io.BytesIO], place: int) -> None:
    codes = encodec_24khz(8, 2500)
    data = to_bytes(codes)
    starts = blocks_at(data)
    with open_codes(io.BytesIO(data)) as reader:
        firsts = [first for first, _ in reader.blocks()]
    for number in (0, 2):
        damaged = flipped(data, starts[number + (place < 0)] + place)
        with pytest.raises(FormatError):
            read_codes(stream(damaged))
        with open_codes(stream(damaged), recover=True) as reader:
            found = Codes.from_blocks(reader.info, [b for _, b in reader.blocks()], 0)
            assert reader.length == codes.length
        assert len(reader.damage) == 1
        begin, end = firsts[number], firsts[number + 1]
        assert f"frames {begin} to {end - 1} are lost" in reader.damage[0]
        expected = codes.data.copy()
        expected[:, :, begin:end] = 0
        np.testing.assert_array_equal(found.data, expected)


@pytest.mark.parametrize("number", [0, 3])
def test_lost_segments_are_replaced_by_silence(number: int) -> None:
    codes = encodec_48khz(4, 30)
    assert codes.segments is not None
    data = to_bytes(codes)
    with open_codes(io.BytesIO(data)) as reader:
        firsts = [first for first, _ in reader.blocks()]
    found = read_codes(io.BytesIO(flipped(data, blocks_at(data)[number] + 99)), recover=True)
    assert found.segments is not None
    np.testing.assert_array_equal(found.segments.frames, codes.segments.frames)
    lost = slice(firsts[number] // 150, firsts[number + 1] // 150)
    expected = codes.segments.scales.copy()
    expected[lost] = 0
    np.testing.assert_array_equal(found.segments.scales, expected)
    assert found.length == codes.length


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_recovery_of_a_truncated_file_ends_where_it_ends(stream: type[io.BytesIO]) -> None:
    for codes in (encodec_24khz(8, 2500), encodec_48khz(4, 30)):
        data = to_bytes(codes)
        starts = blocks_at(data)
        with open_codes(stream(data[: starts[3] + 1000]), recover=True) as reader:
            blocks = [block for _, block in reader.blocks()]
            found = Codes.from_blocks(reader.info, blocks, reader.length or 0)
        assert len(blocks) == 3
        np.testing.assert_array_equal(found.data, codes.data[:, :, : found.frames])
        assert any(f"from frame {found.frames} on" in line for line in reader.damage)
        hop = found.info.hop_length
        if found.segments is None:
            assert found.length == found.frames * hop
        else:
            assert found.length == (len(found.segments) - 1) * 47520 + 48000


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_recovery_finds_its_place_where_bytes_are_missing_or_added(
    stream: type[io.BytesIO],
) -> None:
    codes = encodec_24khz(8, 2500)
    data = to_bytes(codes)
    starts = blocks_at(data)
    missing = data[: starts[1] + 100] + data[starts[3] - 50 :]
    found = read_codes(stream(missing), recover=True)
    assert (found.frames, found.length) == (codes.frames, codes.length)
    same = (found.data == codes.data).all(axis=(0, 1))
    assert same[:400].all()
    assert same[1300:].all()
    added = data[: starts[1]] + bytes(100_000) + data[starts[1] :]
    with open_codes(stream(added), recover=True) as reader:
        blocks = [block for _, block in reader.blocks()]
        assert_same(Codes.from_blocks(reader.info, blocks, reader.length or 0), codes)
        assert any("no frame is lost" in line for line in reader.damage)


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_recovery_without_the_index_keeps_all_frames(stream: type[io.BytesIO]) -> None:
    codes = encodec_24khz(8, 1000)
    data = to_bytes(codes)
    with open_codes(stream(flipped(data, len(data) - 15)), recover=True) as reader:
        frames = sum(block.frames for _, block in reader.blocks())
        assert frames == codes.frames
        assert reader.length == codes.frames * 320
        assert len(reader.damage) == 1


def test_recovery_can_be_repeated_and_begun_in_the_middle() -> None:
    data = to_bytes(encodec_24khz(8, 2500))
    damaged = flipped(data, blocks_at(data)[2] + 9)
    with open_codes(io.BytesIO(damaged), recover=True) as reader:
        whole = [first for first, _ in reader.blocks()]
        part = [first for first, _ in reader.blocks(1000)]
    assert part == [first for first in whole if first >= part[0]]
    assert part[0] <= 1000 < part[1]
    assert len(reader.damage) == 1


def test_recovery_fills_no_gap_that_the_file_cannot_have_held() -> None:
    """A block with a right checksum that says it begins after 2^32 - 2 frames."""
    data = to_bytes(encodec_24khz(8, 500))
    starts = blocks_at(data)
    far = with_crc(struct.pack("!BIHH", 1, (1 << 32) - 2, 1, 0) + bytes(10))
    found = read_codes(io.BytesIO(data[: starts[1]] + far), recover=True)
    assert found.frames < 500


# Seeking and pipes


class Counting(io.BytesIO):
    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


@pytest.mark.parametrize("codes", [encodec_24khz(), encodec_48khz(4)])
def test_seeking_reads_only_what_it_needs(codes: Codes) -> None:
    source = Counting(to_bytes(codes))
    with open_codes(source) as reader:
        for start in (0, 1, 2000, codes.frames // 2, codes.frames - 1):
            first, block = next(reader.blocks(start))
            assert first <= start < first + block.frames
            expected = codes.data[:, :, first : first + block.frames]
            np.testing.assert_array_equal(block.data, expected)
        assert list(reader.blocks(codes.frames)) == []
    assert source.taken < 40_000


@given(all_codes(), st.integers(0, 250), st.booleans(), st.booleans())
def test_reading_from_the_middle(codes: Codes, start: int, piped: bool, recover: bool) -> None:
    data = to_bytes(codes)
    with open_codes(Pipe(data) if piped else io.BytesIO(data), recover=recover) as reader:
        blocks = list(reader.blocks(start))
        assert reader.length == codes.length
    assert bool(blocks) == (start < codes.frames)
    if blocks:
        first = blocks[0][0]
        assert first <= start < first + blocks[0][1].frames
        found = np.concatenate([block.data for _, block in blocks], axis=2)
        np.testing.assert_array_equal(found, codes.data[:, :, first:])


def test_a_negative_start_is_refused() -> None:
    with open_codes(io.BytesIO(to_bytes(SMALL))) as reader, pytest.raises(FormatError):
        next(reader.blocks(-1))


def test_a_pipe_is_read_once() -> None:
    with open_codes(Pipe(to_bytes(SMALL))) as reader:
        assert reader.length is None
        assert len(list(reader.blocks())) == 1
        assert reader.length == SMALL.length
        with pytest.raises(FormatError, match="only once"):
            next(reader.blocks())


def test_a_live_block_arrives_before_the_next_is_written() -> None:
    codes = encodec_24khz(8, 30)
    read_end, write_end = os.pipe()
    arrived = threading.Semaphore(0)

    def write() -> None:
        with (
            os.fdopen(write_end, "wb") as stream,
            create_codes(stream, codes.info, form="nac", live=True) as writer,
        ):
            for block in split(codes.block, 10):
                writer.write(block)
                assert arrived.acquire(timeout=10)
            writer.finish(codes.length)

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(read_end, "rb") as stream, open_codes(stream) as reader:
        blocks = []
        for _, block in reader.blocks():
            blocks.append(block)
            arrived.release()
        assert_same(Codes.from_blocks(reader.info, blocks, reader.length or 0), codes)
    thread.join()
    assert [block.frames for block in blocks] == [10, 10, 10]


def test_a_long_file_goes_through_an_unbuffered_pipe() -> None:
    codes = encodec_48khz(16, 100)
    read_end, write_end = os.pipe()

    def write() -> None:
        with os.fdopen(write_end, "wb", buffering=0) as stream:
            write_codes(stream, codes, form="nac")

    thread = threading.Thread(target=write)
    thread.start()
    with os.fdopen(read_end, "rb", buffering=0) as stream:
        found = read_codes(stream)
    thread.join()
    assert_same(found, codes)


def test_a_stream_is_read_from_where_it_stands() -> None:
    stream = io.BytesIO(b"before" + to_bytes(SMALL))
    stream.seek(6)
    assert_same(read_codes(stream), SMALL)
    assert not stream.closed


# Version 0


@pytest.mark.parametrize("frames", [0, 1, 99, 100, 101, 333])
@pytest.mark.parametrize("bit_rate", [1, 3, 24])
@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_version_0_is_read(stream: type[io.BytesIO], frames: int, bit_rate: int) -> None:
    random = np.random.default_rng(frames)
    expected = random.integers(0, 1024, (2 * bit_rate, frames), np.uint16)
    found = read_codes(stream(version_0(expected, bit_rate)))
    assert (found.info.codec, found.info.sample_rate) == ("nac0-16khz", 16000)
    assert found.info.bandwidth == bit_rate
    assert found.length == frames * 320
    np.testing.assert_array_equal(found.data[0], expected)


def test_version_0_is_read_from_the_middle_and_becomes_version_1() -> None:
    expected = np.arange(6 * 333, dtype=np.uint16).reshape(6, 333) % 1024
    data = version_0(expected, 3, b'{"title": "x"}')
    with open_codes(io.BytesIO(data)) as reader:
        assert (reader.length, reader.frames) == (333 * 320, 333)
        assert [first for first, _ in reader.blocks(200)] == [200, 300]
        assert list(reader.blocks(333)) == []
    codes = read_codes(io.BytesIO(data))
    assert_same(read_codes(io.BytesIO(to_bytes(codes))), codes)


@pytest.mark.parametrize("stream", [io.BytesIO, Pipe])
def test_damage_that_version_0_can_show(stream: type[io.BytesIO]) -> None:
    expected = np.ones((6, 250), np.uint16)
    data = version_0(expected, 3)
    with pytest.raises(FormatError, match="middle of the segment that begins with frame 200"):
        read_codes(stream(data[:-1]))
    found = read_codes(stream(data[:-1]), recover=True)
    np.testing.assert_array_equal(found.data[0], expected[:, :200])
    for wrong, message in (
        (version_0(expected, 3, b"nul"), "not JSON"),
        (data[:10], "middle of the metadata"),
        (version_0(expected, 0), "codebooks is 0"),
        (data[:4] + b"\xff" + data[5:], "more than the 65536"),
        (flipped(version_0(expected[:, :1], 3), -1 % 21, 7), "not zero"),
    ):
        with pytest.raises(FormatError, match=message):
            read_codes(stream(wrong))


def test_a_writer_refuses_what_no_reader_would_take() -> None:
    codes = encodec_24khz(2, 3)
    with create_codes(io.BytesIO(), codes.info, form="nac") as writer:
        with pytest.raises(FormatError, match="streams of 8 codebooks"):
            writer.write(encodec_24khz(8, 3).block)
        with pytest.raises(FormatError, match="out of range"):
            writer.write(Block(np.full((1, 2, 1), 1024, np.uint16)))
        writer.write(codes.block)
        segments = Segments(np.array([3]), np.ones(1, np.float32))
        with pytest.raises(FormatError, match="all blocks have segments or none"):
            writer.write(Block(codes.data, segments))
        with pytest.raises(FormatError, match="length is -1"):
            writer.finish(-1)
        writer.finish(0)
