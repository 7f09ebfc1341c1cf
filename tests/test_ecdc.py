"""`.ecdc` beside the official package: either reads what the other wrote."""

from __future__ import annotations

import functools
import io
import json
import math
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from codes_samples import (
    Pipe,
    assert_same,
    encodec_24khz as codes_24khz,
    encodec_48khz as codes_48khz,
    to_bytes,
)
from commands import Cli, assert_done, assert_refused, finish, make, start
from hypothesis import HealthCheck, example, given, settings, strategies as st
from numpy.typing import NDArray
from test_imports import COMMAND, imported
from torch import nn

import acomp
from acomp.backends.base import Codec
from acomp.codes import Block, Codes, CodesInfo, Segments
from acomp.entropy import official
from acomp.errors import FormatError, WeightsError
from acomp.formats import create_codes, open_codes, read_codes, write_codes
from acomp.formats.ecdc.layout import MODELS
from acomp.settings import Entropy
from acomp.torchaudio import ensure_torchaudio

ensure_torchaudio()
compress_module = import_module("encodec.compress")

NAMES = ("encodec-24khz", "encodec-48khz")
BANDWIDTHS = {"encodec-24khz": 1.5, "encodec-48khz": 3}
FILES = {
    "encodec_24khz-d7cc33bc.th": "encodec-24khz",
    "encodec_48khz-7e698e3e.th": "encodec-48khz",
    "encodec_lm_24khz-1608e3c0.th": "encodec-24khz-lm",
    "encodec_lm_48khz-7add9fc3.th": "encodec-48khz-lm",
}
"""What the package asks the network for."""


def save_language_model(codebooks: int, path: Path) -> Path:
    """The official language model with random weights, some entries far likelier than others."""
    torch.manual_seed(0)
    model: Any = import_module("encodec.model").LMModel(codebooks, 1024, num_layers=5, dim=200)
    with torch.no_grad():
        for linear in model.linears:
            linear.weight.mul_(4)
    torch.save(model.state_dict(), path)
    return path


@dataclass(frozen=True)
class Pair:
    """The official package and acomp on the same weights."""

    name: str
    model: Any
    codec: Codec
    language_model: Path

    def sound(self, samples: int) -> acomp.Audio:
        random = np.random.default_rng(samples)
        level = np.linspace(0.05, 0.5, samples, dtype=np.float32)
        noise = random.standard_normal((self.model.channels, samples)).astype(np.float32)
        return acomp.Audio((level * noise).clip(-1, 1), self.model.sample_rate)

    def compress(self, sound: acomp.Audio, entropy: str) -> bytes:
        self.model.set_target_bandwidth(BANDWIDTHS[self.name])
        data: bytes = compress_module.compress(
            self.model, torch.from_numpy(sound.samples), use_lm=entropy == "lm"
        )
        return data

    def read(self, data: bytes) -> Codes:
        return read_codes(Pipe(data), language_model=self.language_model)

    def write(self, codes: Codes, entropy: Entropy) -> bytes:
        return written(codes, entropy, self.language_model)


def written(codes: Codes, entropy: Entropy = "none", language_model: Path | None = None) -> bytes:
    stream = Pipe()
    with create_codes(
        stream, codes.info, form="ecdc", entropy=entropy, language_model=language_model
    ) as writer:
        writer.write(codes.block)
        writer.finish(codes.length)
    return stream.getvalue()


@pytest.fixture(scope="module")
def pairs(
    encodec_24khz: Path, encodec_48khz: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Pair]]:
    folder = tmp_path_factory.mktemp("language models")
    weights = {
        "encodec-24khz": encodec_24khz,
        "encodec-48khz": encodec_48khz,
        "encodec-24khz-lm": save_language_model(32, folder / "24.th"),
        "encodec-48khz-lm": save_language_model(16, folder / "48.th"),
    }

    def downloaded(url: str, **_: object) -> Any:
        return torch.load(weights[FILES[Path(urlsplit(url).path).name]], weights_only=True)

    with pytest.MonkeyPatch.context() as patch:
        # Random numbers for weights that are then replaced take most of the time.
        for initialise in ("kaiming_uniform_", "uniform_", "normal_"):
            patch.setattr(torch.nn.init, initialise, lambda tensor, *_, **__: tensor)
        patch.setattr(torch.hub, "load_state_dict_from_url", downloaded)
        # Each of its calls would build the model anew.
        constructors = compress_module.MODELS
        patch.setattr(
            compress_module,
            "MODELS",
            {name: functools.cache(build) for name, build in constructors.items()},
        )
        yield {
            name: Pair(
                name,
                compress_module.MODELS[name.replace("-", "_")](),
                acomp.load(name, weights=weights[name], engine="torch"),
                weights[f"{name}-lm"],
            )
            for name in NAMES
        }


@pytest.fixture
def loaded(pairs: dict[str, Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each language model is loaded once, and published."""
    load = functools.cache(official.load_language_model)

    def load_published(codec: str, file: Path | None) -> nn.Module:
        return load(codec, file or pairs[codec].language_model)

    monkeypatch.setattr(official, "load_language_model", load_published)


def official_samples(data: bytes) -> tuple[NDArray[np.float32], int]:
    samples, rate = compress_module.decompress(data)
    return samples.numpy(), rate


# Beside the official package


@pytest.mark.parametrize(
    ("name", "samples"), [("encodec-24khz", 7000), ("encodec-48khz", 48_100)], ids=NAMES
)
def test_acomp_reads_and_writes_the_official_bytes(
    pairs: dict[str, Pair], name: str, samples: int
) -> None:
    pair = pairs[name]
    data = pair.compress(pair.sound(samples), "none")
    codes = pair.read(data)
    expected = pair.codec.info(pair.sound(9), bandwidth=BANDWIDTHS[name])
    assert codes.info == replace(expected, fingerprint=None)
    assert codes.length == samples
    assert (codes.segments is None) == (name == "encodec-24khz")
    decoded = pair.codec.decode(codes)
    other, rate = official_samples(data)
    assert decoded.sample_rate == rate
    np.testing.assert_allclose(decoded.samples, other, rtol=0, atol=1e-5)
    assert pair.write(codes, "none") == data


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("loaded")
def test_entropy_coding_is_official_too(
    pairs: dict[str, Pair], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With segments of 10 frames, where there are any; both begin anew with each."""
    pair = pairs[name]
    monkeypatch.setattr(pair.model, "segment", pair.model.segment and 3200 / 48_000)
    models = {
        name: replace(model, segment_frames=model.segment_frames and 10)
        for name, model in MODELS.items()
    }
    monkeypatch.setattr("acomp.formats.ecdc.layout.MODELS", models)
    data = pair.compress(pair.sound(4000), "lm")
    codes = pair.read(data)
    packed = pair.read(pair.compress(pair.sound(4000), "none"))
    assert_same(codes, packed)
    assert codes.frames == 13
    assert codes.segments is None or list(codes.segments.frames) == [10, 3]
    assert pair.write(codes, "lm") == data
    samples, _ = official_samples(pair.write(codes, "lm"))
    np.testing.assert_array_equal(samples, official_samples(pair.write(codes, "none"))[0])


@pytest.mark.parametrize(("name", "rate"), list(zip(NAMES, (44_100, 32_000), strict=True)))
def test_the_official_package_decodes_what_acomp_made_of_another_rate(
    pairs: dict[str, Pair], name: str, rate: int
) -> None:
    pair = pairs[name]
    sound = replace(pair.sound(rate * 5 // 4), sample_rate=rate)
    codes = pair.codec.encode(sound, codebooks=3)
    found, official_rate = official_samples(written(codes))
    expected = pair.codec.decode(codes, sample_rate=official_rate)
    np.testing.assert_allclose(found, expected.samples, rtol=0, atol=1e-5)


def test_a_length_at_which_the_official_decoder_misses_a_frame(pairs: dict[str, Pair]) -> None:
    """21 frames are 6720 samples, and 6720 / 24000 * 75 is more than 21 in floating point."""
    pair = pairs["encodec-24khz"]
    sound = pair.sound(6720)
    data = pair.compress(sound, "none")
    with pytest.raises(EOFError):
        official_samples(data)
    codes = pair.read(data)
    assert (codes.length, codes.frames) == (6720, 21)
    found, _ = official_samples(written(codes))
    np.testing.assert_allclose(found, pair.codec.decode(codes).samples[:, :6719], rtol=0, atol=1e-5)


# Layout


def some_codes(name: str, length: int, codebooks: int = 2) -> Codes:
    """Random codes of a recording of `length` samples at the model's rate."""
    if name == "encodec-24khz":
        return replace(codes_24khz(codebooks, -(-length // 320)), length=length)
    return codes_48khz(codebooks, length / 48_000)


def header_of(data: bytes) -> tuple[dict[str, Any], bytes]:
    """The metadata, and what follows."""
    magic, version, size = struct.unpack("!4sBI", data[:9])
    assert (magic, version) == (b"ECDC", 0)
    return json.loads(data[9 : 9 + size]), data[9 + size :]


def with_header(data: bytes, **changes: object) -> bytes:
    metadata, rest = header_of(data)
    return headed(json.dumps({**metadata, **changes}).encode(), rest)


def headed(text: bytes, rest: bytes = b"") -> bytes:
    return struct.pack("!4sBI", b"ECDC", 0, len(text)) + text + rest


def official_frames(length: int, rate: int, segment: int, stride: int) -> list[int]:
    """As `encodec.compress.decompress_from_file` works them out."""
    return [
        math.ceil(min(length - start, segment) / rate * (rate // 320))
        for start in range(0, length, stride)
    ]


@given(
    st.sampled_from(NAMES),
    st.integers(1, 1000).map(lambda frames: frames * 320) | st.integers(1, 300_000),
)
@example("encodec-24khz", 1)
@example("encodec-24khz", 13_440)
@example("encodec-48khz", 1)
@example("encodec-48khz", 47_520)
@example("encodec-48khz", 47_521)
@example("encodec-48khz", 48_000)
@example("encodec-48khz", 95_280)
@example("encodec-48khz", 47_520 + 6720)
def test_every_length_is_read_again_and_has_the_frames_that_the_official_decoder_expects(
    name: str, length: int
) -> None:
    codes = some_codes(name, length)
    data = written(codes)
    metadata, rest = header_of(data)
    found = read_codes(io.BytesIO(data))
    assert found.length == metadata["al"]
    assert length - 1 <= metadata["al"] <= length
    np.testing.assert_array_equal(found.data, codes.data)
    if name == "encodec-24khz":
        expected, scales = official_frames(found.length, 24_000, found.length, found.length), 0
        if length % 320:
            assert found.length == length
    else:
        assert found.segments is not None and codes.segments is not None
        np.testing.assert_array_equal(found.segments.scales, codes.segments.scales)
        expected, scales = official_frames(found.length, 48_000, 48_000, 47_520), 4
        assert list(found.segments.frames) == expected
    assert len(rest) == sum(scales + math.ceil(frames * 20 / 8) for frames in expected)


def test_the_blocks_that_are_written_do_not_show() -> None:
    codes = some_codes("encodec-24khz", 60_000, 3)
    stream = io.BytesIO()
    with create_codes(stream, codes.info, form="ecdc", live=True) as writer:
        for begin, end in ((0, 1), (1, 3), (3, 90), (90, 188)):
            writer.write(Block(codes.data[:, :, begin:end]))
        writer.finish(codes.length)
    assert stream.getvalue() == written(codes)


def test_a_long_recording_waits_on_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = some_codes("encodec-48khz", 48_000 * 20)
    data = written(codes)
    monkeypatch.setattr("acomp.formats.ecdc.writing.SPOOL", 100)
    assert written(codes) == data


# Blocks and stretches


class Watched(io.BytesIO):
    """Tells how much was read."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("piped", [False, True])
def test_blocks_begin_where_they_say(name: str, piped: bool) -> None:
    codes = some_codes(name, 48_000 * 60 + 47_600, 8)
    data = written(codes)
    for begin in (0, 1, 150, 1000, 5000, codes.frames - 1, codes.frames, codes.frames + 9):
        with open_codes(Pipe(data) if piped else io.BytesIO(data)) as reader:
            assert (reader.length, reader.frames) == (codes.length, codes.frames)
            blocks = list(reader.blocks(begin))
        assert all(block.data.nbytes < 20_000 for _, block in blocks)
        ends = []
        for first, block in blocks:
            expected = codes.data[:, :, first : first + block.frames]
            np.testing.assert_array_equal(block.data, expected)
            ends.append(first + block.frames)
        assert [first for first, _ in blocks[1:]] == ends[:-1]
        assert blocks == [] if begin >= codes.frames else blocks[0][0] <= begin < ends[0]
        if begin < codes.frames:
            assert ends[-1] == codes.frames


@pytest.mark.parametrize("name", NAMES)
def test_a_stretch_is_found_without_reading_what_is_before(name: str) -> None:
    codes = some_codes(name, 48_000 * 600, 8)
    source = Watched(written(codes))
    with open_codes(source) as reader:
        before = source.taken
        first, block = next(reader.blocks(codes.frames - 200))
        assert first <= codes.frames - 200 < first + block.frames
        # Sources are read ahead in pieces of 64 KiB.
        assert source.taken - before < 1 << 17 < source.getbuffer().nbytes


def test_a_pipe_is_read_once() -> None:
    with open_codes(Pipe(written(some_codes("encodec-24khz", 9999)))) as reader:
        assert len(list(reader.blocks())) == 1
        with pytest.raises(FormatError, match="only once"):
            list(reader.blocks())


# What cannot be written


def refusal(codes: Codes, message: str) -> None:
    with pytest.raises(FormatError, match=message) as caught:
        written(codes)
    assert str(caught.value).startswith("the stream: ")
    assert "\n" not in str(caught.value)


def test_codes_of_another_codec_are_refused_before_the_first() -> None:
    info = CodesInfo("nano-1", 24_000, 1, 1, 2, 1024, 320, 24_000)
    refusal(Codes(info, np.zeros((1, 2, 3), np.uint16), 960), "encodec-24khz or encodec-48khz")
    odd = replace(some_codes("encodec-24khz", 960).info, hop_length=300)
    refusal(Codes(odd, np.zeros((1, 2, 3), np.uint16), 960), "not these of encodec-24khz")
    many = replace(odd, hop_length=320, codebooks=33)
    refusal(Codes(many, np.zeros((1, 33, 3), np.uint16), 960), "not these of encodec-24khz")


def test_codes_that_encodec_would_not_make_are_refused() -> None:
    mono, stereo = some_codes("encodec-24khz", 9600), some_codes("encodec-48khz", 60_000)
    assert stereo.segments is not None
    refusal(replace(mono, length=9601), "30 frames are not what .* of 9601 samples")
    refusal(replace(mono, length=9280), "30 frames are not")
    refusal(replace(mono, length=1 << 48), "30 frames are not")
    refusal(replace(mono, length=0, data=mono.data[:, :, :0]), "0 frames are not")
    refusal(replace(stereo, length=60_160), "189 frames are not")
    refusal(replace(stereo, segments=None), "lack segments")
    one = Segments(np.array([stereo.frames]), np.ones(1, np.float32))
    refusal(replace(stereo, segments=one), "frames are not")
    whole = Segments(np.array([mono.frames]), np.ones(1, np.float32))
    refusal(replace(mono, segments=whole), "have segments")


# What cannot be read


def unreadable(data: bytes, message: str) -> None:
    for source in (io.BytesIO(data), Pipe(data)):
        with pytest.raises(FormatError, match=message) as caught:
            read_codes(source)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_truncation_and_appendices_are_detected(name: str) -> None:
    data = written(some_codes(name, 48_300, 3))
    _, rest = header_of(data)
    begin = len(data) - len(rest)
    for end in (4, 8, 9, 20, begin, begin + 3, begin + 5, begin + 560, len(data) - 1):
        unreadable(data[:end], "ends |is cut short")
    unreadable(data + b"\0", "has bytes after its end")


def test_bits_after_the_last_code_are_detected() -> None:
    data = bytearray(written(some_codes("encodec-24khz", 960, 1)))
    data[-1] |= 0x80
    unreadable(bytes(data), "bits after the last code")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"m": "encodec_96khz"}, "'encodec_96khz'; there are encodec_24khz and"),
        ({"m": "x" * 9999}, r"'x+\.\.\.x+'; there are"),
        ({"m": ["encodec_24khz"]}, "of the model"),
        ({"m": None}, "of the model None"),
        ({"al": 0}, "al is 0"),
        ({"al": -1}, "al is -1"),
        ({"al": 1 << 49}, "not a number of samples"),
        ({"al": 9600.0}, "al is 9600.0"),
        ({"al": True}, "al is True"),
        ({"al": "9600"}, "al is '9600'"),
        ({"nc": 0}, "nc is 0, not a number of codebooks from 1 to 32"),
        ({"nc": 33}, "nc is 33"),
        ({"nc": 1000}, "nc is 1000"),
        ({"nc": None}, "nc is None"),
        ({"lm": "false"}, "lm is 'false'"),
        ({"lm": 1}, "lm is 1"),
    ],
)
def test_headers_that_mean_nothing_are_refused(changes: dict[str, Any], message: str) -> None:
    unreadable(with_header(written(some_codes("encodec-24khz", 9600)), **changes), message)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (headed(b"{"), "not JSON"),
        (headed(b"[" * 60_000), "not JSON"),
        (headed(b'{"al": ' + b"9" * 60_000 + b"}"), "not JSON"),
        (headed(b"\xff"), "not JSON"),
        (headed(b"[]"), "not a JSON object"),
        (headed(b"{}"), "of the model None"),
        (b"ECDC\1" + bytes(30), "version 1"),
        (b"ECDC\0" + struct.pack("!I", 1 << 31), "claims 2147483648 bytes"),
    ],
)
def test_headers_that_are_none_are_refused(data: bytes, message: str) -> None:
    unreadable(data, message)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize("entropy", ["none", "lm"])
def test_a_length_beyond_all_bounds_takes_no_memory(name: str, entropy: Entropy) -> None:
    data = with_header(written(some_codes(name, 960), entropy), al=1 << 40)
    for source in (io.BytesIO(data), Pipe(data)):
        tracemalloc.start()
        with pytest.raises(FormatError, match=r"ends before|is cut short|cannot be decoded"):
            read_codes(source)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 20


# Entropy-coded


@pytest.fixture
def coded(loaded: None, pairs: dict[str, Pair]) -> dict[str, tuple[Codes, bytes]]:  # noqa: ARG001
    """A few codes and their files, of two segments at 48 kHz."""
    some = {
        "encodec-24khz": some_codes("encodec-24khz", 1280, 3),
        "encodec-48khz": some_codes("encodec-48khz", 960, 2),
    }
    return {name: (codes, written(codes, "lm")) for name, codes in some.items()}


Coded = dict[str, tuple[Codes, bytes]]


@pytest.mark.parametrize("name", NAMES)
def test_an_entropy_coded_file_is_read_from_any_frame(coded: Coded, name: str) -> None:
    codes, data = coded[name]
    with open_codes(io.BytesIO(data)) as reader:
        ((first, block),) = reader.blocks(1)
        assert first == 0
        np.testing.assert_array_equal(block.data, codes.data)
        assert list(reader.blocks(codes.frames)) == []


@pytest.mark.parametrize("name", NAMES)
def test_truncation_of_an_entropy_coded_file_is_detected(coded: Coded, name: str) -> None:
    _, data = coded[name]
    _, rest = header_of(data)
    for cut in (1, 2, len(rest) // 2, len(rest) - 1, len(rest)):
        unreadable(data[: len(data) - cut], "ends before .* was written with another|ends before s")
    unreadable(data + b"\0", "bytes after its last code: .* another language model")


@settings(deadline=None, max_examples=20, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_random_damage_raises_nothing_but_format_errors(coded: Coded, data: st.DataObject) -> None:
    codes, entropy_coded = coded[data.draw(st.sampled_from(NAMES))]
    wrong = bytearray(data.draw(st.sampled_from([entropy_coded, written(codes)])))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(wrong) - 1))
        wrong[place : place + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    try:
        read_codes(Pipe(bytes(wrong)))
    except FormatError as error:
        assert "\n" not in str(error)


def test_another_language_model_is_noticed(
    pairs: dict[str, Pair], coded: Coded, tmp_path: Path
) -> None:
    codes, data = coded["encodec-24khz"]
    other = tmp_path / "other.th"
    state = torch.load(pairs["encodec-24khz"].language_model, weights_only=True)
    torch.save({name: weight.flip(0) for name, weight in state.items()}, other)
    assert_same(read_codes(Pipe(data)), replace(codes, info=replace(codes.info, fingerprint=None)))
    with pytest.raises(FormatError, match="written with another language model"):
        read_codes(Pipe(data), language_model=other)
    with pytest.raises(WeightsError, match="does not hold weights of encodec-48khz-lm"):
        written(coded["encodec-48khz"][0], "lm", pairs["encodec-24khz"].language_model)


def test_a_language_model_that_is_not_here_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, coded: Coded
) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("ACOMP_OFFLINE", "1")
    for name in ("ACOMP_CACHE", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    codes, data = coded["encodec-24khz"]
    with pytest.raises(WeightsError, match="weights of encodec-24khz-lm are not here"):
        read_codes(Pipe(data))
    with pytest.raises(WeightsError, match="weights of encodec-24khz-lm are not here"):
        written(codes, "lm")
    with open_codes(Pipe(data)) as reader:
        assert reader.frames == codes.frames


def test_a_language_model_of_no_numbers_is_refused(
    pairs: dict[str, Pair], coded: Coded, tmp_path: Path
) -> None:
    path = tmp_path / "nan.th"
    state = torch.load(pairs["encodec-24khz"].language_model, weights_only=True)
    state["transformer.norm_in.weight"].fill_(torch.nan)
    torch.save(state, path)
    codes, data = coded["encodec-24khz"]
    with pytest.raises(WeightsError, match="weights that are no numbers"):
        read_codes(Pipe(data), language_model=path)
    with pytest.raises(WeightsError, match="weights that are no numbers"):
        written(codes, "lm", path)


def test_codes_at_the_middle_of_the_range_are_refused_before_numbers_grow(
    coded: Coded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first bit is one and all others zero: the range lies around that number for ever."""
    codes, data = coded["encodec-24khz"]
    metadata, _ = header_of(data)
    middle = headed(json.dumps(metadata).encode(), b"\1" + bytes(99))
    unreadable(middle, "cannot be decoded")
    monkeypatch.setattr(official, "MAX_BIT", 1000)
    model = official.load_language_model("encodec-24khz", None)
    found = official.OfficialDecoder(model, 3, io.BytesIO(b"\1" + bytes(99))).pull(4)
    with pytest.raises(FormatError, match="take entropy none"):
        written(Codes(codes.info, found[np.newaxis], codes.length), "lm")


def test_the_package_notes_nothing_of_each_code(
    coded: Coded, monkeypatch: pytest.MonkeyPatch
) -> None:
    coders: list[Any] = []

    def kept(build: Callable[..., Any]) -> Callable[..., Any]:
        def keep(*arguments: Any) -> Any:
            coders.append(build(*arguments))
            return coders[-1]

        return keep

    for name in ("ArithmeticCoder", "ArithmeticDecoder"):
        monkeypatch.setattr(official, name, kept(getattr(official, name)))
    codes, _ = coded["encodec-24khz"]
    read_codes(Pipe(written(codes, "lm")))
    assert [(coder._dbg, coder._dbg2) for coder in coders] == [([], [])] * 2


# On the command line


def test_encode_info_convert_and_decode(
    cli: Cli, pairs: dict[str, Pair], encodec_24khz: Path, tmp_path: Path
) -> None:
    weights = "--weights", encodec_24khz, "--engine", "torch"
    sound = make(tmp_path / "a.flac", seconds=0.4)
    assert_done(cli("encode", sound, "-o", "a.ecdc", "-k", 3, *weights))
    facts = json.loads(cli("info", "--json", "a.ecdc").out)
    assert (facts["form"], facts["codec"], facts["duration"]) == ("ecdc", "encodec-24khz", 0.4)
    assert (facts["codebooks"], facts["frames"], facts["fingerprint"]) == (4, 30, None)
    assert_done(cli("convert", "a.ecdc", "a.nac"))
    assert_done(cli("convert", "a.nac", "b.ecdc"))
    assert (tmp_path / "b.ecdc").read_bytes() == (tmp_path / "a.ecdc").read_bytes()
    codec = pairs["encodec-24khz"].codec
    codes = codec.encode(acomp.read_audio(sound), bandwidth=3)
    np.testing.assert_array_equal(read_codes(tmp_path / "a.nac").data, codes.data)
    assert_done(cli("decode", "a.ecdc", "-o", "a.wav", *weights))
    found = acomp.read_audio(tmp_path / "a.wav").samples
    expected = codec.decode(codes).samples
    np.testing.assert_allclose(found, expected.clip(-1, 1), rtol=0, atol=1.5 / 32768)
    part = ("--start", 0.1, "--duration", 0.2)
    assert_done(cli("decode", "a.ecdc", "-o", "part.wav", *part, *weights))
    assert acomp.read_audio(tmp_path / "part.wav").length == 4800


def test_entropy_coding_on_the_command_line(
    cli: Cli, pairs: dict[str, Pair], encodec_24khz: Path, tmp_path: Path
) -> None:
    sound = make(tmp_path / "a.flac", seconds=0.1)
    weights = "--weights", encodec_24khz, "--engine", "torch"
    by = "--language-model", pairs["encodec-24khz"].language_model
    lm = "--entropy", "lm"
    assert_done(cli("encode", sound, "-o", "a.ecdc", "--codebooks", 2, *lm, *by, *weights))
    assert json.loads(cli("info", "--json", "a.ecdc").out)["frames"] == 8
    assert_done(cli("convert", "a.ecdc", "a.nac", *by))
    assert_done(cli("convert", "a.nac", "b.ecdc", *lm, *by))
    assert (tmp_path / "b.ecdc").read_bytes() == (tmp_path / "a.ecdc").read_bytes()
    codec = pairs["encodec-24khz"].codec
    codes = codec.encode(acomp.read_audio(sound), codebooks=2)
    np.testing.assert_array_equal(read_codes(tmp_path / "a.nac").data, codes.data)
    assert_done(cli("decode", "a.ecdc", "-o", "a.wav", *by, *weights))
    found = acomp.read_audio(tmp_path / "a.wav").samples
    expected = codec.decode(codes).samples
    np.testing.assert_allclose(found, expected.clip(-1, 1), rtol=0, atol=1.5 / 32768)


def test_forms_without_entropy_coding_say_so(cli: Cli, speech: Path, tmp_path: Path) -> None:
    write_codes(tmp_path / "a.nac", some_codes("encodec-24khz", 960))
    for name in ("x.txt", "x.dac", "x.npz"):
        words = f"error: {name}: ", "not entropy-coded by 'lm'", "but as nac and ecdc"
        assert_refused(cli("convert", "a.nac", name, "--entropy", "lm"), *words)
        assert_refused(cli("encode", speech, "-b", "nano", "--entropy", "lm", "-o", name), name)
        assert not (tmp_path / name).exists()


def test_language_models_that_are_none_end_in_one_line(
    cli: Cli, pairs: dict[str, Pair], tmp_path: Path
) -> None:
    codes = some_codes("encodec-24khz", 960)
    write_codes(tmp_path / "a.nac", codes)
    model = pairs["encodec-24khz"].language_model
    (tmp_path / "a.ecdc").write_bytes(written(codes, "lm", model))
    (tmp_path / "text.th").write_text("no weights")
    other = pairs["encodec-48khz"].language_model
    for source, target in (("a.nac", "b.ecdc"), ("a.ecdc", "b.nac")):
        coding = ("convert", source, target, *(("--entropy", "lm") if "nac" in source else ()))
        missing = cli(*coding)
        assert_refused(missing, "encodec-24khz-lm are not here", "--language-model FILE")
        for file, words in (
            (other, "does not hold weights of encodec-24khz-lm"),
            ("text.th", "text.th"),
            ("none.th", "none.th"),
            (tmp_path, str(tmp_path)),
        ):
            assert_refused(cli(*coding, "--language-model", file), words)
        assert not (tmp_path / target).exists()
    assert_refused(cli("decode", "a.ecdc", "-o", "a.wav"), "--")
    assert not (tmp_path / "a.wav").exists()


def test_files_that_are_none_end_in_one_line(cli: Cli, tmp_path: Path) -> None:
    assert_refused(cli("encode", make(tmp_path / "a.wav"), "-b", "nano", "-o", "a.ecdc"), "nano")
    (tmp_path / "b.ecdc").write_bytes(written(some_codes("encodec-24khz", 9600))[:-1])
    assert_refused(cli("info", "b.ecdc"), "b.ecdc", "is cut short")
    assert_refused(cli("convert", "b.ecdc", "b.nac"), "b.ecdc", "is cut short")
    assert sorted(path.suffix for path in tmp_path.glob("*.*")) == ["", ".ecdc", ".wav"]


def test_a_file_comes_through_a_pipe(tmp_path: Path) -> None:
    codes = some_codes("encodec-48khz", 99_999)
    (tmp_path / "a.ecdc").write_bytes(written(codes))
    with (tmp_path / "a.ecdc").open("rb") as file:
        run = finish(start(tmp_path, "convert", "-", "a.nac", stdin=file.fileno()))
    assert_done(run)
    found = read_codes(tmp_path / "a.nac")
    assert_same(found, replace(codes, info=replace(codes.info, fingerprint=None)))
    assert to_bytes(found, "ecdc") == written(codes)


def test_packed_codes_need_no_torch(tmp_path: Path) -> None:
    (tmp_path / "a.ecdc").write_bytes(written(some_codes("encodec-48khz", 99_999)))
    assert imported(tmp_path, COMMAND, "info", "a.ecdc") == set()
    assert imported(tmp_path, COMMAND, "convert", "a.ecdc", "b.ecdc") == set()


def test_info_of_entropy_coded_files_needs_no_torch(coded: Coded, tmp_path: Path) -> None:
    (tmp_path / "a.ecdc").write_bytes(coded["encodec-48khz"][1])
    assert imported(tmp_path, COMMAND, "info", "a.ecdc") == set()
