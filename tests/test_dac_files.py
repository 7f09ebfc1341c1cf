"""`.dac` files: reading and writing compared with the official tool, and hostile files."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from checkpoints import SMALL, lively
from codes_samples import Pipe, all_codes, assert_same, to_bytes
from commands import (
    Cli,
    assert_done,
    assert_refused,
    assert_same_sound,
    limited_file_size,
)
from engines_here import needs_openvino
from hypothesis import HealthCheck, given, settings, strategies as st

import acomp
from acomp.audio.loudness import LoudnessMeter
from acomp.backends.base import Codec
from acomp.backends.dac.codec import Dac
from acomp.backends.dac.network import Unpadded
from acomp.backends.dac.shape import DacShape
from acomp.codecs import SPECS
from acomp.codes import Block, Codes, CodesInfo
from acomp.errors import AudioError, CodecError, FormatError
from acomp.formats import Reading, create_codes, read_codes, write_codes
from acomp.formats.pickled import MAX_OPCODES
from acomp.lengths import natural_length
from acomp.pipeline import Span, decode_file, encode_file
from acomp.torchaudio import ensure_torchaudio

ensure_torchaudio()
pytest.importorskip("dac", reason="the extra acomp[dac] is not installed")
import torchaudio  # noqa: E402 - only now, where its compiled part does not load

RATE = 16_000
SLOW_FILTER = torchaudio.functional.lfilter
"""What `audiotools` filters by; without torchaudio's compiled part a loop over the samples."""
CUT = 128
"""Bytes of the header that numpy writes before the pickle."""


@dataclass(frozen=True)
class Pair:
    """The official model and acomp's codec, of the same weights."""

    official: Any
    codec: Codec
    weights: Path
    files: dict[tuple[float, int, float | None], tuple[Path, Any]] = field(default_factory=dict)

    def file(self, seconds: float, channels: int, window: float | None) -> tuple[Path, Any]:
        """A file of the official tool, and what that decodes of it; made once."""
        key = seconds, channels, window
        if key not in self.files:
            path = self.weights.with_name(f"{seconds} {channels} {window}.dac")
            compressed(self, noise(seconds, channels), path, window)
            self.files[key] = path, decompressed(self, path)
        return self.files[key]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    shape = SMALL["dac"]
    assert isinstance(shape, DacShape)
    model = lively(shape)
    kwargs = {
        "sample_rate": shape.sample_rate,
        "encoder_dim": shape.encoder_width,
        "encoder_rates": list(shape.strides),
        "decoder_dim": shape.decoder_width,
        "decoder_rates": list(reversed(shape.strides)),
        "n_codebooks": shape.codebooks,
        "codebook_size": shape.codebook_size,
    }
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    torch.save({"state_dict": model.state_dict(), "metadata": {"kwargs": kwargs}}, path)
    return Pair(model, acomp.load("custom", weights=path, engine="torch"), path)


@pytest.fixture(autouse=True, scope="module")
def quick_filter() -> Iterator[None]:
    """The official tool's filter by scipy; the tests of loudness have its own."""

    def lfilter(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, clamp: bool) -> torch.Tensor:
        assert not clamp
        y = scipy.signal.lfilter(b.double().numpy(), a.double().numpy(), x.double().numpy())
        return torch.from_numpy(y).float()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchaudio.functional, "lfilter", lfilter)
        yield


def noise(seconds: float, channels: int = 1, rate: int = RATE) -> acomp.Audio:
    """Noise that swells and fades, one channel much quieter than the other."""
    random = np.random.default_rng(0)
    time = np.arange(round(seconds * rate)) / rate
    level = 0.1 * (1.2 + np.sin(3 * time)) * np.array([1.0, 0.2])[:channels, None]
    samples = level * random.standard_normal((channels, len(time)))
    return acomp.Audio(samples.astype(np.float32), rate)


def compressed(pair: Pair, audio: acomp.Audio, path: Path, window: float | None) -> Path:
    """A file of the official tool; without a window it is not in chunks."""
    from audiotools import AudioSignal

    signal = AudioSignal(torch.from_numpy(audio.samples)[None], audio.sample_rate)
    saved: Path = pair.official.compress(signal, win_duration=window).save(path)
    return saved


def decompressed(pair: Pair, path: Path) -> Any:
    """What the official tool decodes, `[channels, time]`."""
    return pair.official.decompress(path).audio_data[0].numpy()


@pytest.mark.parametrize(
    ("seconds", "channels", "window"),
    [(0.3, 1, None), (0.3, 2, 0.6), (0.7, 1, 0.2), (0.7, 2, 0.5), (0.7, 2, None)],
)
def test_official_files_decode_to_the_official_samples(
    pair: Pair, seconds: float, channels: int, window: float | None
) -> None:
    path, expected = pair.file(seconds, channels, window)
    codes = read_codes(path, codec=pair.codec.spec)
    chunked = window is not None and window < seconds
    assert (codes.info.chunk is not None) == chunked
    decoded = pair.codec.decode(codes)
    np.testing.assert_allclose(decoded.samples, expected, rtol=0, atol=1e-5)


@needs_openvino
def test_the_engine_openvino_decodes_chunks_too(pair: Pair) -> None:
    codec = acomp.load("custom", weights=pair.weights, engine="openvino")
    path, expected = pair.file(0.7, 1, 0.2)
    decoded = codec.decode(read_codes(path, codec=codec.spec))
    np.testing.assert_allclose(decoded.samples, expected, rtol=0, atol=1e-4)


def test_odd_strides(tmp_path: Path) -> None:
    shape = SMALL["dac of odd strides"]
    model = lively(shape)
    path = tmp_path / "weights.pth"
    kwargs = {
        "sample_rate": 12_000,
        "encoder_dim": 8,
        "encoder_rates": [3, 5],
        "latent_dim": 20,
        "decoder_dim": 32,
        "decoder_rates": [5, 3],
        "n_codebooks": 2,
        "codebook_size": 32,
        "codebook_dim": 4,
    }
    torch.save({"state_dict": model.state_dict(), "metadata": {"kwargs": kwargs}}, path)
    odd = Pair(model, acomp.load("custom", weights=path, engine="torch"), path)
    file = compressed(odd, noise(0.6, rate=12_000), tmp_path / "x.dac", 0.25)
    decoded = odd.codec.decode(read_codes(file, codec=odd.codec.spec))
    np.testing.assert_allclose(decoded.samples, decompressed(odd, file), rtol=0, atol=1e-5)


def test_long_chunks_are_decoded_in_blocks(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("acomp.backends.shared.blocks.LATENT_BLOCK", 20)
    path, expected = pair.file(0.7, 2, 0.5)
    assert (read_codes(path, codec=pair.codec.spec).info.chunk or 0) > 100
    out = tmp_path / "out.wav"
    decode_file(lambda _: pair.codec, path, out, reading=Reading(codec=pair.codec.spec))
    np.testing.assert_allclose(acomp.read_audio(out).samples, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("channels", "seconds"), [(2, 0.71), (1, 0.2)])
def test_the_official_tool_decodes_what_acomp_wrote(
    pair: Pair, tmp_path: Path, channels: int, seconds: float
) -> None:
    audio = noise(seconds, channels)
    source, path, out, check = (tmp_path / name for name in ("a.wav", "x.dac", "out.wav", "c.wav"))
    acomp.write_audio(source, audio)
    encode_file(lambda _: pair.codec, source, path, check=check)
    decode_file(lambda _: pair.codec, path, out)
    assert_same_sound(check, out)
    official = decompressed(pair, path)
    assert official.shape == audio.samples.shape
    np.testing.assert_allclose(acomp.read_audio(out).samples, official, rtol=0, atol=1e-4)
    meters = LoudnessMeter(RATE, channels), LoudnessMeter(RATE, channels)
    for meter, samples in zip(meters, (audio.samples, official), strict=True):
        meter.push(samples)
    before, after = (meter.finish() for meter in meters)
    assert after == pytest.approx(before, abs=0.5)  # each channel has its own


def test_another_sample_rate(pair: Pair, tmp_path: Path) -> None:
    """The filters of the two resamplers differ near their ends, so the samples there do too."""
    audio = acomp.Audio(acomp.resample(noise(0.6), 22_050).samples, 22_050)
    path = compressed(pair, audio, tmp_path / "x.dac", 0.2)
    decoded, official = (
        pair.codec.decode(read_codes(path, codec=pair.codec.spec)),
        decompressed(pair, path),
    )
    assert decoded.sample_rate == 22_050
    assert decoded.samples.shape == official.shape
    difference = decoded.samples - official
    assert np.sum(difference**2) < 0.02 * np.sum(official**2)


@pytest.mark.parametrize(("rate", "seconds"), [(16_000, 0.3), (5513, 0.9), (4000, 1.5)])
def test_loudness_is_audiotools(rate: int, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchaudio.functional, "lfilter", SLOW_FILTER)
    from audiotools import AudioSignal

    samples = noise(seconds, 2, rate).samples
    samples[:, : len(samples[0]) // 2] *= 0.01  # below the relative threshold
    meter = LoudnessMeter(rate, 2)
    for piece in np.array_split(samples, 7, axis=1):
        meter.push(piece)
        meter.push(piece[:, :0])
    expected = AudioSignal(torch.from_numpy(samples)[:, None], rate).loudness().numpy()
    np.testing.assert_allclose(meter.finish(), expected, rtol=0, atol=1e-4)


def test_silence_is_70_below() -> None:
    meter = LoudnessMeter(RATE, 1)
    meter.push(np.zeros((1, RATE), np.float32))
    assert meter.finish() == (-70.0,)


def test_a_stretch_has_the_level_of_the_whole(pair: Pair, tmp_path: Path) -> None:
    path, expected = pair.file(0.7, 1, 0.2)
    out = tmp_path / "out.wav"
    decode_file(lambda _: pair.codec, path, out, Span(0.4, 0.25), Reading(codec=pair.codec.spec))
    found = acomp.read_audio(out).samples
    np.testing.assert_allclose(found, expected[:, 6400:10_400], rtol=0, atol=1e-4)


def test_audio_that_cannot_wait_for_its_level(pair: Pair, tmp_path: Path) -> None:
    path, _ = pair.file(0.7, 1, 0.2)
    out = tmp_path / "out.wav"
    with limited_file_size(8192), pytest.raises(AudioError, match="until its loudness is known"):
        decode_file(lambda _: pair.codec, path, out, reading=Reading(codec=pair.codec.spec))
    assert not out.exists()


@pytest.mark.parametrize("rest", [0, 3, 30])
def test_what_is_left_of_chunks_is_recovered(pair: Pair, tmp_path: Path, rest: int) -> None:
    """A file cut within its third chunk, of which 3 frames are too few for the layers."""
    codes = read_codes(pair.file(0.7, 1, 0.2)[0], codec=pair.codec.spec)
    codes = replace(codes, info=replace(codes.info, loudness=None))
    assert isinstance(pair.codec, Dac)
    network, chunk = pair.codec.unpadded(), codes.info.chunk or 0
    left = 2 * chunk + rest
    stream, out = io.BytesIO(), tmp_path / "out.wav"
    with create_codes(stream, codes.info, form="nac", live=True) as writer:
        writer.write(Block(codes.data[:, :, :left]))
        size = stream.tell()
        writer.write(Block(codes.data[:, :, left:]))
        writer.finish(codes.length)
    cut = io.BytesIO(stream.getvalue()[: size + 5])
    result = decode_file(lambda _: pair.codec, cut, out, reading=Reading(recover=True))
    assert len(result.damage) == 2
    found, expected = acomp.read_audio(out).samples, pair.codec.decode(codes).samples
    units = [frames * 64 - network.before - network.after for frames in (chunk, rest)]
    assert found.shape[1] == 2 * units[0] + max(0, units[1])
    whole = 2 * units[0]
    np.testing.assert_allclose(found[:, :whole], expected[:, :whole], rtol=0, atol=1e-4)


def test_the_length_of_recovered_chunks_is_that_of_the_published_model() -> None:
    info = CodesInfo("dac-16khz", 16_000, 1, 1, 12, 1024, 320, 48_000, chunk=50)
    assert natural_length(info, 103) == 3 * 2 * (50 * 320 - 5534)
    assert natural_length(info, 120) == 3 * (2 * (50 * 320 - 5534) + 20 * 320 - 5534)


@pytest.mark.parametrize("form", ["nac", "txt", "npz"])
@pytest.mark.parametrize("window", [None, 0.5])
def test_other_forms_keep_everything(
    pair: Pair, tmp_path: Path, form: str, window: float | None
) -> None:
    path, expected = pair.file(0.7, 2, window)
    codes = read_codes(path, codec=pair.codec.spec)
    other, back = tmp_path / f"x.{form}", tmp_path / "back.dac"
    acomp.convert(path, other, codec=pair.codec.spec)
    assert_same(read_codes(other), codes)
    acomp.convert(other, back)
    np.testing.assert_array_equal(decompressed(pair, back), expected)


@settings(deadline=None, max_examples=15)
@given(codes=all_codes())
def test_codes_without_the_new_fields_are_written_as_ever(codes: Codes) -> None:
    for form in ("nac", "txt"):
        data = to_bytes(codes, form)
        assert b"loudness" not in data
        assert b"chunk" not in data


def fabricated(data: Any = None) -> dict[str, Any]:
    """What a file of dac-44khz holds."""
    data = np.arange(2 * 9 * 20, dtype=np.uint16).reshape(2, 9, 20) if data is None else data
    metadata: dict[str, Any] = {
        "input_db": np.array([-20.5], np.float32),
        "original_length": data.shape[2] * 512,
        "sample_rate": 44_100,
        "chunk_length": data.shape[2],
        "channels": data.shape[0],
        "padding": True,
        "dac_version": "1.0.0",
    }
    return {"codes": data, "metadata": metadata}


def saved(content: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, content)
    return stream.getvalue()


def published(name: str, seconds: float, window: float | None) -> tuple[int, int | None]:
    """Frames, and frames of a chunk, of the official tool for one of its models."""
    model = SPECS[name]
    samples = round(seconds * model.sample_rate)
    if window is None or seconds <= window:
        return -(-samples // model.hop_length), None
    seen = -(-int(window * model.sample_rate) // model.hop_length)
    chunk = seen - 16  # the encoder's ends, about
    decoded = chunk * model.hop_length - model.chunk_margin
    return -(-samples // decoded) * chunk, chunk


@pytest.mark.parametrize(
    ("name", "codebooks"),
    [("dac-44khz", 9), ("dac-24khz", 32), ("dac-16khz", 12), ("dac-44khz-16kbps", 18)],
)
@pytest.mark.parametrize(("seconds", "window"), [(3, None), (63.7, None), (63.7, 1), (63.7, 5)])
def test_the_model_is_told_by_its_frames(
    name: str, codebooks: int, seconds: float, window: float | None
) -> None:
    frames, chunk = published(name, seconds, window)
    codes = fabricated(np.zeros((1, codebooks, frames), np.uint16))
    codes["metadata"] |= {"original_length": round(seconds * 48_000), "sample_rate": 48_000}
    if chunk is not None:
        codes["metadata"] |= {"padding": False, "chunk_length": chunk}
    assert read_codes(io.BytesIO(saved(codes))).info.codec == name


def short(codebooks: int, rate: int, samples: int, frames: int, chunk: int | None = None) -> bytes:
    """A file of the official tool, of few frames."""
    codes = fabricated(np.zeros((1, codebooks, frames), np.uint16))
    codes["metadata"] |= {"original_length": samples, "sample_rate": rate}
    if chunk is not None:
        codes["metadata"] |= {"padding": False, "chunk_length": chunk}
    return saved(codes)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (short(9, 48_000, 3000, 6), "dac-44khz"),
        (short(32, 48_000, 3000, 5), "dac-24khz"),
        (short(18, 48_000, 3000, 6), "dac-44khz-16kbps"),
        (short(12, 48_000, 3000, 4), "dac-16khz"),
        (short(32, 48_000, 60_000, 174, chunk=58), "dac-24khz"),
        (short(18, 48_000, 60_000, 142, chunk=71), "dac-44khz-16kbps"),
        (short(12, 48_000, 60_000, 140, chunk=35), "dac-16khz"),
        (short(9, 44_100, 60_000, 213, chunk=71), "dac-44khz"),
        # With fewer codebooks than any has, the two of 44.1 kHz are alike.
        (short(4, 44_100, 441_000, 862), "dac-44khz"),
        (short(12, 44_100, 441_000, 862), "dac-44khz-16kbps"),
        (short(8, 24_000, 240_000, 750), "dac-24khz"),
    ],
)
def test_the_model_of_short_files(data: bytes, name: str) -> None:
    assert read_codes(io.BytesIO(data)).info.codec == name


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (short(4, 48_000, 100, 1), "dac-16khz, dac-24khz, dac-44khz, dac-44khz-16kbps"),
        (short(16, 48_000, 100, 1), "dac-24khz, dac-44khz-16kbps"),
        (short(10, 48_000, 60_000, 142, chunk=71), "dac-16khz, dac-24khz, dac-44khz-16kbps"),
    ],
)
def test_a_model_that_nothing_tells_must_be_named(cli: Cli, data: bytes, names: str) -> None:
    Path("x.dac").write_bytes(data)
    for command in COMMANDS:
        assert_refused(cli(*command(Path("x.dac"))), f"each of {names} may have: name it (-b)")
    assert "dac-24khz" in cli("info", "x.dac", "-b", "dac-24khz").out


def test_what_acomp_writes_names_its_codec() -> None:
    """And its weights: a few frames of some of its codebooks could be of any."""
    info = CodesInfo("dac-44khz-16kbps", 44_100, 1, 1, 2, 1024, 512, 8000, "0123456789abcdef")
    codes = Codes(replace(info, loudness=(-20.0,)), np.zeros((1, 2, 3), np.uint16), 200)
    data = to_bytes(codes, "dac")
    assert_same(read_codes(io.BytesIO(data)), codes)
    with pytest.raises(FormatError, match="are of dac-44khz-16kbps, not of dac-44khz"):
        read_codes(io.BytesIO(data), codec=SPECS["dac-44khz"])


@pytest.mark.parametrize("name", ["dac-44khz", "dac-24khz", "dac-16khz", "dac-44khz-16kbps"])
def test_the_margins_of_chunks_are_those_of_the_networks(name: str) -> None:
    from acomp.backends.families import published_shape
    from acomp.engines.rewriting import fold_weight_norm, without_transposed

    shape = published_shape(name)
    assert isinstance(shape, DacShape)
    # How much is missing does not depend on the widths.
    narrow = replace(shape, encoder_width=2, decoder_width=32, latent_dimension=4, codebooks=1)
    decoder: Any = without_transposed(fold_weight_norm(narrow.build())).decoder
    network = Unpadded(decoder)
    assert SPECS[name].chunk_margin == network.before + network.after


def pickled(program: bytes) -> bytes:
    """A numpy file with a pickle of one's own making."""
    return saved(fabricated())[:CUT] + program


@pytest.mark.parametrize("protocol", [3, 4])
@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_every_numpy_writes_what_is_read(protocol: int, core: bytes) -> None:
    """Protocol 3 is that of numpy before 2.0, which also had other names for its modules."""
    root = np.array(None, object)
    root[()] = fabricated()
    program = pickle.dumps(root, protocol=protocol)
    if protocol == 3:
        program = program.replace(b"numpy._core", core).replace(b"numpy.core", core)
    codes = read_codes(io.BytesIO(pickled(program)))
    np.testing.assert_array_equal(codes.data, fabricated()["codes"])
    assert codes.info.loudness == (-20.5, -20.5)


def test_numbers_of_numpy_are_read() -> None:
    content = fabricated()
    content["metadata"]["original_length"] = np.int64(10_000)
    content["metadata"]["input_db"] = np.float32(-20.5)
    assert read_codes(io.BytesIO(saved(content))).length == 10_000


class Runs:
    """Unpickled, it makes a file."""

    def __init__(self, sentinel: Path) -> None:
        self._command = f"touch {sentinel}"

    def __reduce__(self) -> Any:
        return os.system, (self._command,)


def attacks(sentinel: Path) -> dict[str, bytes]:
    """Files that make `sentinel` when numpy reads them, in all the ways that pickle has."""
    touch = f"touch {sentinel}".encode()
    word = b"X" + struct.pack("<I", len(touch)) + touch
    python = f"open({str(sentinel)!r}, 'w')".encode()
    line = b"X" + struct.pack("<I", len(python)) + python
    nested, in_metadata = fabricated(), fabricated()
    objects = np.array(None, object)
    objects[()] = Runs(sentinel)
    nested["codes"] = objects
    in_metadata["metadata"]["input_db"] = Runs(sentinel)
    return {
        "reduce": pickled(b"cposix\nsystem\n(" + word + b"tR."),
        "eval": pickled(b"cbuiltins\neval\n(" + line + b"tR."),
        "exec by protocol 4": pickled(
            b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93" + line + b"\x85R."
        ),
        "inst": pickled(b"(" + word + b"iposix\nsystem\n."),
        "obj": pickled(b"(cposix\nsystem\n" + word + b"o."),
        "newobj": pickled(b"\x80\x02csubprocess\nPopen\n(]" + word + b"at\x81."),
        "dotted name": pickled(
            b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__class__\x93" + word + b"\x85R."
        ),
        "a function of numpy": pickled(b"cnumpy\nload\n(" + word + b"tR."),
        "numpy runs strings": pickled(
            b"cnumpy.testing._private.utils\nrunstring\n(" + line + b"}tR."
        ),
        "persistent": pickled(b"\x80\x02" + word + b"Q."),
        "extension": pickled(b"\x80\x02\x82\x01."),
        "in an array of objects": saved(nested),
        "in the metadata": saved(in_metadata),
        "alone": saved(Runs(sentinel)),
    }


def bombs() -> dict[str, bytes]:
    """Files that ask for memory or depth."""
    huge = struct.pack("<q", 1 << 60)
    return {
        "bytes": pickled(b"\x80\x04\x8e" + huge + b"x."),
        "text": pickled(b"\x80\x04\x8d" + huge + b"x."),
        "a number": pickled(b"\x80\x02\x8b\xff\xff\xff\x7f."),
        "a frame": pickled(b"\x80\x04\x95" + huge + b"N."),
        "the memo": pickled(b"\x80\x02Nr\xff\xff\xff\xff."),
        "tuples in tuples": pickled(b"\x80\x02)" + b"\x85" * 100_000 + b"."),
        "many lists": pickled(b"\x80\x02" + b"]" * (MAX_OPCODES + 1) + b"."),
        "a list in itself": pickled(b"\x80\x02]q\x00h\x00a."),
        "a dictionary in itself": saved(fabricated())[:CUT]
        + pickle.dumps(_in_itself(), protocol=4),
        "an array": saved(fabricated()).replace(b"K\x02K\x09K\x14", b"K\x02K\x09K\xff"),
        "a negative array": saved(fabricated()).replace(
            b"K\x02K\x09K\x14\x87", b"J\xff\xff\xff\xffK\x09K\x14\x87"
        ),
        "the stack": pickled(b"\x80\x02000."),
        "no mark": pickled(b"\x80\x02t."),
        "no memo": pickled(b"\x80\x02h\x07."),
    }


def _in_itself() -> Any:
    content = fabricated()
    content["more"] = content
    root = np.array(None, object)
    root[()] = {**content, "codes": content}
    return root


def wrong_files() -> dict[str, bytes]:
    """Files that hold something else, or what does not belong together."""

    def but(**changes: Any) -> bytes:
        content = fabricated()
        content["metadata"] |= changes
        return saved(content)

    whole = saved(fabricated())
    structured = np.zeros(3, [("a", "u2"), ("b", "f4")])
    codec = {
        **{"name": "dac-44khz", "sample_rate": 44_100, "hop_length": 512},
        **{"codebook_size": 1024, "fingerprint": None},
    }
    assert read_codes(io.BytesIO(saved({**fabricated(), "codec": codec}))).info.hop_length == 512
    return {
        "an array": saved(np.zeros(5)),
        "an array of objects": saved(np.array([{}, None], object)),
        "a list": saved(np.array(None, object)),
        "structured codes": saved({**fabricated(), "codes": structured}),
        "text as codes": saved({**fabricated(), "codes": np.array(["a"])}),
        "flat codes": saved({**fabricated(), "codes": np.zeros(5, np.uint16)}),
        "wide codes": saved({**fabricated(), "codes": np.zeros((2, 9, 20), np.int64)}),
        "large codes": saved(fabricated(np.full((2, 9, 20), 1024, np.uint16))),
        "no metadata": saved({"codes": fabricated()["codes"]}),
        "no codes": saved({"metadata": fabricated()["metadata"]}),
        "numbers as names": saved({1: 2}),
        "version": but(dac_version="2.0.0"),
        "no version": but(dac_version=None),
        "channels": but(channels=1),
        "a length below zero": but(original_length=-1),
        "a length that is none": but(original_length="many"),
        "more than it holds": but(original_length=1 << 60),
        "a rate of zero": but(sample_rate=0),
        "a chunk of none": but(chunk_length=0, padding=False),
        "padded chunks": but(chunk_length=5),
        "padding": but(padding=1),
        "no loudness": but(input_db=None),
        "loudness that is none": but(input_db=np.array([np.nan], np.float32)),
        "endless loudness": but(input_db=np.array([np.inf], np.float32)),
        "loudness of others": but(input_db=np.zeros(3, np.float32)),
        "a codec that is none": saved({**fabricated(), "codec": 5}),
        "half a codec": saved({**fabricated(), "codec": {"name": "dac-44khz"}}),
        "a codec of text": saved({**fabricated(), "codec": {**codec, "sample_rate": "44100"}}),
        "a codec of no name": saved({**fabricated(), "codec": {**codec, "name": ["dac"]}}),
        "trailing": whole + b"x",
        "cut": whole[:-40],
        "empty": whole[:CUT],
        "a header": whole[:9],
        "another header": whole[:6] + b"\x03\x00" + whole[8:],
    }


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "sentinel"


def test_the_attacks_would_work(sentinel: Path) -> None:
    """On numpy's own reader, so that what is refused below is worth refusing."""
    worked = []
    for name, data in attacks(sentinel).items():
        sentinel.unlink(missing_ok=True)
        with suppress(Exception):  # before or after it ran
            np.load(io.BytesIO(data), allow_pickle=True)
        if sentinel.exists():
            worked.append(name)
    assert {"reduce", "eval", "inst", "obj", "in the metadata", "alone"} <= set(worked)


COMMANDS: list[Callable[[Path], tuple[object, ...]]] = [
    lambda path: ("info", path),
    lambda path: ("decode", path, "-o", "out.wav"),
    lambda path: ("convert", path, "out.nac"),
]


def test_attacks_run_nothing_and_are_refused(cli: Cli, tmp_path: Path, sentinel: Path) -> None:
    for name, data in attacks(sentinel).items():
        Path("x.dac").write_bytes(data)
        for command in COMMANDS:
            run = cli(*command(Path("x.dac")))
            assert_refused(run, "error: x.dac: ")
            assert len(run.err) < 500, name
        assert not sentinel.exists(), name
    assert sorted(path.name for path in tmp_path.iterdir()) == [".home", "x.dac"]


@pytest.mark.parametrize("files", [bombs, wrong_files])
def test_files_that_are_none_are_refused(files: Callable[[], dict[str, bytes]]) -> None:
    for name, data in files().items():
        with pytest.raises(FormatError) as caught:
            read_codes(io.BytesIO(data))
        assert len(str(caught.value).splitlines()) == 1, name
        assert len(str(caught.value)) < 500, name


def test_what_bounds_a_pickle() -> None:
    """Each of these would be refused anyhow, but later."""
    expected = {
        "many lists": "more than arrays and plain values",
        "tuples in tuples": "more than arrays and plain values",
        "an array": "not of the size that it claims",
        "a negative array": "impossible shape",
    }
    for name, message in expected.items():
        with pytest.raises(FormatError, match=message):
            read_codes(io.BytesIO(bombs()[name]))


@settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_changed_files_are_read_or_refused(data: st.DataObject) -> None:
    changed = bytearray(saved(fabricated(np.zeros((1, 9, 3), np.uint16))))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed) - 1))
        known = st.sampled_from([ord(opcode.code) for opcode in pickletools.opcodes])
        changed[place] = data.draw(st.integers(0, 255) | known)
    cut = data.draw(st.integers(0, len(changed)) | st.just(len(changed)))
    try:
        read_codes(io.BytesIO(bytes(changed[:cut])))
    except FormatError as error:
        assert "\n" not in str(error)


def test_every_truncation_is_detected() -> None:
    data = saved(fabricated())
    for end in range(len(data)):
        with pytest.raises(FormatError):
            read_codes(io.BytesIO(data[:end]))


def test_codes_that_know_no_loudness_are_not_written(tmp_path: Path) -> None:
    codes = read_codes(io.BytesIO(saved(fabricated())))
    quiet = replace(codes, info=replace(codes.info, loudness=None))
    with pytest.raises(FormatError, match=r"x\.dac: .*encode the audio into a \.dac file"):
        write_codes(tmp_path / "x.dac", quiet)
    assert not any(tmp_path.iterdir())


def test_codes_of_other_codecs_are_not_written(cli: Cli, speech: Path) -> None:
    assert_refused(cli("encode", speech, "-b", "nano", "-o", "x.dac"), "x.dac", "not of nano-2")


def test_other_codecs_do_not_decode_chunks() -> None:
    info = CodesInfo("nano-1", 24_000, 1, 1, 2, 1024, 320, 24_000, chunk=30)
    codes = Codes(info, np.zeros((1, 2, 60), np.uint16), 9600)
    with pytest.raises(CodecError, match="in chunks"):
        acomp.load("nano-1", engine="torch").decode(codes)


def test_a_chunk_too_short_for_the_layers(pair: Pair) -> None:
    codes = read_codes(pair.file(0.7, 1, 0.2)[0], codec=pair.codec.spec)
    short = replace(codes, info=replace(codes.info, chunk=18))
    with pytest.raises(CodecError, match="a chunk of 18 frames is too short for custom"):
        pair.codec.decode(short)


def test_sizes_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(fabricated())
    codes = read_codes(io.BytesIO(data))
    monkeypatch.setattr("acomp.formats.dac.MAX_SIZE", len(data) - 1)
    source = Pipe(data + bytes(1 << 20))
    with pytest.raises(FormatError, match="is larger than"):
        read_codes(source)
    assert len(source.read()) > 1 << 19  # what is beyond the bound was not even read
    monkeypatch.setattr("acomp.formats.dac.MAX_SIZE", codes.data.nbytes - 1)
    with pytest.raises(FormatError, match=r"at most 0 MiB: write \.nac instead"):
        to_bytes(codes, "dac")


def test_on_the_command_line(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    acomp.write_audio(tmp_path / "a.wav", noise(0.3, 2))
    weights = ("--weights", pair.weights)
    own = ("-b", "custom", *weights)
    check = ("--output-file", "check.wav", "--engine", "torch")
    assert_done(cli("encode", "a.wav", "-o", "a.dac", *own, *check))
    run = cli("info", "a.dac")
    assert_done(run)
    assert f"custom (weights {pair.codec.fingerprint})" in run.out
    assert "LUFS" in run.out
    assert_done(cli("convert", "a.dac", "a.nac"))
    for codes in ("a.nac", "a.dac"):
        assert_done(cli("decode", codes, "-o", f"{codes}.wav", *weights, "--engine", "torch"))
    assert (tmp_path / "a.nac.wav").read_bytes() == (tmp_path / "a.dac.wav").read_bytes()
    assert_same_sound(tmp_path / "check.wav", tmp_path / "a.dac.wav")
    assert_refused(cli("info", "a.nac", "-b", "nano"), "codes are of custom, not of nano-2")


def test_official_files_on_the_command_line(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    (tmp_path / "a.dac").write_bytes(pair.file(0.7, 2, 0.5)[0].read_bytes())
    own = ("-b", "custom", "--weights", pair.weights)
    assert_refused(cli("info", "a.dac"), "does not say which DAC", "-b")
    assert_done(cli("info", "a.dac", *own))
    assert_done(cli("convert", "a.dac", "a.nac", *own))
    assert_done(cli("decode", "a.dac", "-o", "a.wav", *own, "--engine", "torch"))
