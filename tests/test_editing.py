"""Codes as material: files and values cut, joined and thinned, without a model."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from codes_samples import (
    Pipe,
    all_codes,
    assert_same,
    encodec_24khz,
    encodec_48khz,
    to_bytes,
)
from commands import Cli, assert_done, assert_refused, assert_wrong_usage, files_in, sound
from hypothesis import given, settings, strategies as st

import acomp
from acomp.codecs import SPECS, CodecSpec
from acomp.codes import Codes, CodesInfo, Segments, info_of
from acomp.errors import AcompError, CodecError, FormatError
from acomp.formats import Reading, Writing, create_codes, read_codes, write_codes
from acomp.formats.editing import Edited, cutting, joining, thinning
from acomp.settings import FormName


def random_codes(name: str, seconds: float = 4, *, channels: int = 1, rate: int = 44_100) -> Codes:
    """Codes as a published codec without segments gives them, of sound at another rate."""
    spec = SPECS[name]
    info = info_of(spec, channels=channels, codebooks=spec.codebooks, source_rate=rate)
    length = round(seconds * rate)
    samples = -(-length * spec.sample_rate // rate)
    whole = spec.unit * spec.hop_length
    frames = -(-samples // whole) * spec.unit + spec.extra_frames
    shape = (info.streams, info.codebooks, frames)
    data = np.random.default_rng(3).integers(0, spec.codebook_size, shape, np.uint16)
    return Codes(info, data, length)


def in_chunks() -> Codes:
    """Codes as DAC's tool writes them: in chunks, with a loudness."""
    spec = SPECS["dac-16khz"]
    info = info_of(spec, channels=2, codebooks=12)
    info = replace(info, chunk=72, loudness=(-20.5, -23.0))
    data = np.random.default_rng(4).integers(0, 1024, (2, 12, 200), np.uint16)
    return Codes(info, data, 2 * (72 * 320 - 5534) + 56 * 320 - 5534)


KINDS: dict[str, Callable[[], Codes]] = {
    "nano-1": lambda: random_codes("nano-1"),
    "nano-2, stereo": lambda: random_codes("nano-2", channels=2, rate=48_000),
    "EnCodec 24 kHz": lambda: encodec_24khz(frames=300),
    "EnCodec 48 kHz": lambda: encodec_48khz(seconds=5.3),
    "DAC": lambda: replace_loudness(random_codes("dac-44khz")),
    "DAC in chunks": in_chunks,
    "SNAC with windows": lambda: random_codes("snac-44khz"),
    "Mimi": lambda: random_codes("mimi"),
    "SoundStream": lambda: random_codes("soundstream"),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def replace_loudness(codes: Codes) -> Codes:
    return replace(codes, info=replace(codes.info, loudness=(-21.25,)))


def read(stream: io.BytesIO) -> Codes:
    return read_codes(io.BytesIO(stream.getvalue()))


def cut_file(source: Codes, start: float, duration: float | None, *, piped: bool = False) -> Codes:
    """The codes that cutting them in a file of theirs leaves."""
    data = to_bytes(source)
    target = io.BytesIO()
    stream = Pipe(data) if piped else io.BytesIO(data)
    cutting(stream, target, start, duration, Reading(), Writing("nac"))
    return read(target)


# Cutting and joining


@kinds
def test_the_parts_before_and_after_any_time_joined_are_the_whole(kind: str) -> None:
    codes = KINDS[kind]()
    for time in (1.0, 1.4999, 2.03, 3.99, -0.5):
        try:
            before, after = codes[:time], codes[time:]
        except FormatError as error:  # it is nearest to an end
            assert "no frame lies between" in str(error) or "end before" in str(error)
            continue
        assert_same(Codes.join([before, after]), codes)
    thirds = [codes[:1.3], codes[1.3:2.6], codes[2.6:]]
    assert_same(Codes.join(thirds), codes)


@kinds
@pytest.mark.parametrize("piped", [False, True])
def test_files_are_cut_as_codes_are(kind: str, piped: bool) -> None:
    codes = KINDS[kind]()
    for start, duration in ((0, 1.7), (1.2, 1.4), (1.2, 100), (2, None)):
        assert_same(cut_file(codes, start, duration, piped=piped), codes.cut(start, duration))


@kinds
@pytest.mark.parametrize("form", ["nac", "txt", "npz"])
def test_files_are_joined_as_codes_are(kind: str, form: FormName, tmp_path: Path) -> None:
    codes = KINDS[kind]()
    parts = [codes[2.6:], codes[:1.3], codes[1.3:2.6]]
    if codes.segments is not None or codes.info.chunk is not None:
        parts = parts[1:]
    for number, part in enumerate(parts):
        write_codes(tmp_path / f"{number}.{form}", part)
    names = [str(tmp_path / f"{number}.{form}") for number in range(len(parts))]
    done = joining(names, tmp_path / "whole.nac", Reading(), Writing())
    expected = Codes.join(parts)
    assert_same(read_codes(tmp_path / "whole.nac"), expected)
    assert done == Edited(expected.info, expected.length)


@pytest.mark.parametrize("form", ["ecdc", "dac"])
def test_the_official_forms_are_cut_and_joined(form: FormName, tmp_path: Path) -> None:
    codes = encodec_24khz(frames=300) if form == "ecdc" else KINDS["DAC"]()
    codes = replace(codes, info=replace(codes.info, fingerprint=None))
    whole, first, second = (tmp_path / f"{name}.{form}" for name in "abc")
    write_codes(whole, codes)
    cutting(str(whole), str(first), 0, 1.5, Reading(), Writing())
    cutting(str(whole), str(second), 1.5, None, Reading(), Writing())
    again = tmp_path / f"again.{form}"
    joining([str(first), str(second)], str(again), Reading(), Writing())
    assert again.read_bytes() == whole.read_bytes()
    assert_same(read_codes(first), read_codes(whole).cut(0, 1.5))


@settings(deadline=None, max_examples=25)
@given(all_codes(), st.floats(0, 40), st.floats(0, 40) | st.none())
def test_whatever_codes_there_are_files_and_values_are_cut_alike(
    codes: Codes, start: float, duration: float | None
) -> None:
    found: list[Codes | str] = []
    for way in (codes.cut, partial(cut_file, codes)):
        try:
            found.append(way(start, duration))
        except AcompError as error:
            found.append(str(error).removeprefix("the stream: "))
    assert found[0] == found[1] or "segments" in str(found[0])
    if isinstance(found[0], Codes):
        assert found[0].frames <= codes.frames


def test_a_segment_of_one_sample_is_cut_too() -> None:
    info = CodesInfo("of-another", 1, 1, 1, 1, 2, 1, 1)
    segments = Segments(np.array([1]), np.array([1], np.float32))
    codes = Codes(info, np.ones((1, 1, 1), np.uint16), 0, segments)
    assert_same(codes.cut(0), codes)


def test_times_are_rounded_to_frames_and_lengths_are_those_of_whole_frames() -> None:
    codes = random_codes("nano-1", rate=24_000)
    part = codes.cut(1.004, 0.5)  # frame 75.3 to 112.8
    assert part.length == (113 - 75) * 320
    np.testing.assert_array_equal(part.data, codes.data[:, :, 75:114])  # and nano's extra frame
    assert part.info == codes.info
    assert codes[-1.0:].length == 24_000
    assert codes[:] == codes


def test_segments_keep_their_gains_and_times_are_rounded_to_segments() -> None:
    codes = encodec_48khz(seconds=5.3)
    assert codes.segments is not None
    part = codes.cut(1.2, 2)
    assert part.segments is not None
    np.testing.assert_array_equal(part.segments.scales, codes.segments.scales[1:3])
    assert part.frames == 300
    assert part.length == 2 * 47_520


@pytest.mark.parametrize(
    ("start", "duration", "words"),
    [
        (1, 0.001, "no frame lies between these times: codes of nano-1 can be cut every 0.01333 s"),
        (5, None, "the codes end before 5 s: they last 4.00 s"),
        (-1, None, "the time is -1 s; 0 s or more is expected"),
        (float("nan"), None, "0 s or more"),
        (float("inf"), None, "0 s or more"),
        ("one", None, "not a number of seconds"),
    ],
)
def test_what_cannot_be_cut_is_said(start: float, duration: float | None, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        random_codes("nano-1").cut(start, duration)


@pytest.mark.parametrize("index", [1, slice(0, 2, 1), slice("a", None), (slice(0, 1),)])
def test_codes_are_sliced_by_times_alone(index: slice) -> None:
    with pytest.raises(FormatError, match=r"seconds"):
        random_codes("nano-1")[index]


# What cannot be joined

OTHERS: dict[str, Callable[[Codes], Codes]] = {
    "they are of nano-2, not nano-1": lambda _: random_codes("nano-2"),
    "the codebooks are 4, not 16": lambda codes: replace(
        codes, info=replace(codes.info, codebooks=4), data=codes.data[:, :4]
    ),
    "the channels are 2, not 1": lambda _: random_codes("nano-1", channels=2),
    "made with the weights 0123456789abcdef, not fedcba9876543210": lambda codes: replace(
        codes, info=replace(codes.info, fingerprint="0123456789abcdef")
    ),
    "the loudness in LUFS is -21.00, not unknown": lambda codes: replace(
        codes, info=replace(codes.info, loudness=(-21.0,))
    ),
}


@pytest.mark.parametrize("words", OTHERS)
def test_codes_of_another_kind_are_not_joined(words: str, cli: Cli, tmp_path: Path) -> None:
    codes = random_codes("nano-1")
    codes = replace(codes, info=replace(codes.info, fingerprint="fedcba9876543210"))
    other = OTHERS[words](codes)
    with pytest.raises(FormatError, match=words):
        Codes.join([codes, other])
    write_codes(tmp_path / "a.nac", codes)
    write_codes(tmp_path / "b.nac", other)
    before = files_in(tmp_path)
    assert_refused(cli("join", "a.nac", "b.nac", "-o", "c.nac"), words, "b.nac: ")
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("kind", ["EnCodec 48 kHz", "DAC in chunks"])
def test_nothing_is_joined_after_a_part_of_a_segment_or_a_chunk(kind: str) -> None:
    codes = KINDS[kind]()
    with pytest.raises(FormatError, match="take them off with acomp cut"):
        Codes.join([codes, codes])
    whole = codes[: codes.duration * 0.7]
    assert Codes.join([whole, codes]).frames == whole.frames + codes.frames


def test_weights_that_are_unknown_do_not_keep_codes_apart() -> None:
    known, unknown = encodec_24khz(frames=10), encodec_24khz(frames=10)
    unknown = replace(unknown, info=replace(unknown.info, fingerprint=None))
    assert Codes.join([known, unknown]).info == known.info


def test_sound_at_other_rates_is_joined_at_the_rate_of_the_first() -> None:
    low, high = random_codes("nano-1", 2, rate=16_000), random_codes("nano-1", 2, rate=48_000)
    joined = Codes.join([low, high, high])
    assert joined.info == low.info
    assert joined.length == 6 * 16_000
    with pytest.raises(FormatError, match="no codes to join"):
        Codes.join([])


# Thinning


@pytest.mark.parametrize("name", ["encodec-24khz", "dac-44khz", "mimi", "soundstream"])
def test_thinned_codes_are_the_first_codebooks(name: str) -> None:
    codes = random_codes(name)
    thin = codes.thin(3)
    np.testing.assert_array_equal(thin.data, codes.data[:, :3])
    assert thin.info == replace(codes.info, codebooks=3)
    assert thin.length == codes.length


def test_files_are_thinned_as_codes_are_with_their_gains() -> None:
    codes = encodec_48khz(seconds=5.3)
    target = io.BytesIO()
    thinning(Pipe(to_bytes(codes)), target, 2, Reading(), Writing("nac"))
    assert_same(read(target), codes.thin(2))


def test_levels_are_thinned_whole() -> None:
    codes = random_codes("snac-24khz")
    assert codes.thin(3).info.codebooks == 3
    with pytest.raises(CodecError, match="whole levels"):
        codes.thin(2)


CUSTOM = CodecSpec("custom", 16_000, 1, 320, 8, 1024, 128, {4: 8})


def test_codes_that_do_not_nest_are_refused() -> None:
    with pytest.raises(FormatError, match="encode the audio with --codebooks 4"):
        random_codes("nano-1").thin(4)
    with pytest.raises(FormatError, match="have 16 codebooks: 17 cannot be kept"):
        random_codes("nano-1").thin(17)
    mine = Codes(info_of(CUSTOM, channels=1, codebooks=8), np.zeros((1, 8, 50), np.uint16), 16_000)
    with pytest.raises(FormatError, match="only its weights tell"):
        mine.thin(4)
    assert mine.thin(4, codec=CUSTOM).info.codebooks == 4
    with pytest.raises(FormatError, match="together"):
        mine.thin(4, codec=replace(CUSTOM, nested=False))


# Length, and the commands


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    info = encodec_24khz(frames=1).info
    block = encodec_24khz(frames=40_000).block
    with create_codes(tmp_path / "long.nac", info) as writer:
        for _ in range(3):  # 27 minutes, 2 MB as numbers
            writer.write(block)
        writer.finish(3 * 40_000 * 320)
    long, target = str(tmp_path / "long.nac"), tmp_path / "part.nac"
    tracemalloc.start()
    cutting(long, target, 20, 1_500, Reading(), Writing())
    thinning(long, target, 4, Reading(), Writing())
    joining([str(tmp_path / "long.nac"), long], target, Reading(), Writing())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3e5


def test_the_commands_say_what_they_took(cli: Cli, tmp_path: Path) -> None:
    write_codes(tmp_path / "a.nac", encodec_24khz(frames=300))
    run = cli("cut", "a.nac", "--start", "1.501", "--duration", "1")
    assert_done(run)
    assert run.err == "a.nac -> a-cut.nac: encodec-24khz, 1.00 s, from 1.507 s on\n"
    assert_done(cli("thin", "a.nac", "--codebooks", "2", "-o", "thin.txt"))
    assert read_codes(tmp_path / "thin.txt").info.bandwidth == 1.5
    run = cli("join", "a-cut.nac", "a-cut.nac", "a.nac", "-o", "b.ecdc")
    assert_done(run)
    assert run.err == "3 files -> b.ecdc: encodec-24khz, 6.00 s\n"
    assert read_codes(tmp_path / "b.ecdc").frames == 450


def test_a_folder_is_joined_in_the_order_of_its_names(cli: Cli, tmp_path: Path) -> None:
    codes = random_codes("nano-1")
    (tmp_path / "parts").mkdir()
    for name, part in (("b", codes[1:]), ("a", codes[:1])):
        write_codes(tmp_path / "parts" / f"{name}.nac", part)
    assert_done(cli("join", "parts", "-o", "whole.nac"))
    assert_same(read_codes(tmp_path / "whole.nac"), codes)


def test_bare_codes_are_cut_where_their_codec_is_named(cli: Cli, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((8, 150), np.int64))
    assert_refused(cli("cut", "a.npy", "--start", "1"), "name the codec (-b)")
    assert_done(cli("cut", "a.npy", "--start", "1", "-b", "encodec-24khz"))
    assert read_codes(tmp_path / "a-cut.nac").frames == 75


def test_entropy_coded_codes_are_written_plain_or_coded_again(cli: Cli, tmp_path: Path) -> None:
    codes = acomp.load("nano", engine="torch").encode(sound(1.5), bandwidth=3)
    write_codes(tmp_path / "a.nac", codes, entropy="lm")
    assert_done(cli("cut", "a.nac", "--start", "0.5", "-o", "plain.nac"))
    assert_done(cli("cut", "a.nac", "--start", "0.5", "-o", "coded.nac", "--entropy", "lm"))
    assert_same(read_codes(tmp_path / "plain.nac"), codes.cut(0.5))
    assert_same(read_codes(tmp_path / "coded.nac"), codes.cut(0.5))
    assert (tmp_path / "coded.nac").read_bytes()[3] == 2  # the version that is entropy-coded


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("cut a.nac -o a.nac --overwrite", "is both input and output"),
        ("cut a.nac --start 9", "a.nac: the codes end before 9"),
        ("cut b.nac", "b.nac"),
        ("thin a.nac --codebooks 9", "a.nac: the codes have 8 codebooks: 9 cannot be kept"),
        ("thin nano.nac --codebooks 4", "nano.nac: nano-1 chooses the codes of all codebooks"),
        ("join a.nac empty -o c.nac", "there are no files of codes in empty"),
        ("join a.nac cut.nac -o c.nac", "cut.nac"),
        ("cut large.nac --duration 1.98 -o c.ecdc", "an .ecdc file holds nothing else"),
    ],
)
def test_what_is_wrong_is_one_line(cli: Cli, tmp_path: Path, command: str, words: str) -> None:
    (tmp_path / "empty").mkdir()
    write_codes(tmp_path / "a.nac", encodec_24khz(frames=300))
    write_codes(tmp_path / "nano.nac", random_codes("nano-1"))
    large = encodec_48khz(seconds=5)
    write_codes(tmp_path / "large.nac", replace(large, info=replace(large.info, fingerprint=None)))
    (tmp_path / "cut.nac").write_bytes((tmp_path / "a.nac").read_bytes()[:-50])
    before = files_in(tmp_path)
    assert_refused(cli(*command.split()), words)
    assert files_in(tmp_path) == before


def test_join_needs_an_output(cli: Cli, tmp_path: Path) -> None:
    write_codes(tmp_path / "a.nac", encodec_24khz(frames=30))
    assert_wrong_usage(cli("join", "a.nac"), "-o FILE")
