"""`.dac` files: both ways beside the official tool, and hostile ones, of which nothing is run."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch
from checkpoints import SMALL, lively
from codes_samples import all_codes, assert_same, to_bytes
from commands import Cli, assert_done, assert_refused
from hypothesis import HealthCheck, given, settings, strategies as st

import acomp
from acomp.audio.loudness import LoudnessMeter
from acomp.backends.base import Codec
from acomp.backends.shapes import DacShape
from acomp.backends.specs import SPECS
from acomp.codes import Codes, CodesInfo
from acomp.engines.torchaudio import ensure_torchaudio
from acomp.errors import CodecError, FormatError
from acomp.formats import read_codes, write_codes
from acomp.formats.dac import _MODELS
from acomp.formats.pickled import MAX_OPCODES
from acomp.pipeline import decode_file, encode_file

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


@pytest.fixture(autouse=True)
def quick_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official tool's filter by scipy; the tests of loudness have its own."""

    def lfilter(x: torch.Tensor, a: torch.Tensor, b: torch.Tensor, clamp: bool) -> torch.Tensor:
        assert not clamp
        y = scipy.signal.lfilter(b.double().numpy(), a.double().numpy(), x.double().numpy())
        return torch.from_numpy(y).float()

    monkeypatch.setattr(torchaudio.functional, "lfilter", lfilter)


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
    pair: Pair, tmp_path: Path, seconds: float, channels: int, window: float | None
) -> None:
    path = compressed(pair, noise(seconds, channels), tmp_path / "x.dac", window)
    codes = read_codes(path, codec=pair.codec.spec)
    chunked = window is not None and window < seconds
    assert (codes.info.chunk is not None) == chunked
    decoded = pair.codec.decode(codes)
    np.testing.assert_allclose(decoded.samples, decompressed(pair, path), rtol=0, atol=1e-5)


def test_the_engine_openvino_decodes_chunks_too(pair: Pair, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    codec = acomp.load("custom", weights=pair.weights, engine="openvino")
    path = compressed(pair, noise(0.5), tmp_path / "x.dac", 0.2)
    decoded = codec.decode(read_codes(path, codec=codec.spec))
    np.testing.assert_allclose(decoded.samples, decompressed(pair, path), rtol=0, atol=1e-4)


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
    monkeypatch.setattr("acomp.backends.dac.LATENT_BLOCK", 20)
    path = compressed(pair, noise(1.1, 2), tmp_path / "x.dac", 0.9)
    assert (read_codes(path, codec=pair.codec.spec).info.chunk or 0) > 200
    out = tmp_path / "out.wav"
    decode_file(lambda _: pair.codec, path, out, codec=pair.codec.spec)
    decoded = acomp.read_audio(out).samples
    np.testing.assert_allclose(decoded, decompressed(pair, path), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("channels", "seconds"), [(2, 0.71), (1, 0.2)])
def test_the_official_tool_decodes_what_acomp_wrote(
    pair: Pair, tmp_path: Path, channels: int, seconds: float
) -> None:
    audio = noise(seconds, channels)
    source, path, out = tmp_path / "a.wav", tmp_path / "x.dac", tmp_path / "out.wav"
    acomp.write_audio(source, audio)
    encode_file(lambda _: pair.codec, source, path)
    decode_file(lambda _: pair.codec, path, out, codec=pair.codec.spec)
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


@pytest.mark.parametrize(("rate", "seconds"), [(16_000, 0.3), (11_025, 0.9), (8000, 1.5)])
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
    path = compressed(pair, noise(1.1), tmp_path / "x.dac", 0.4)
    out = tmp_path / "out.wav"
    decode_file(lambda _: pair.codec, path, out, start=0.6, duration=0.25, codec=pair.codec.spec)
    found = acomp.read_audio(out).samples
    expected = decompressed(pair, path)[:, 9600:13_600]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("form", ["nac", "txt", "npz"])
@pytest.mark.parametrize("window", [None, 0.2])
def test_other_forms_keep_everything(
    pair: Pair, tmp_path: Path, form: str, window: float | None
) -> None:
    path = compressed(pair, noise(0.4, 2), tmp_path / "x.dac", window)
    codes = read_codes(path, codec=pair.codec.spec)
    other, back = tmp_path / f"x.{form}", tmp_path / "back.dac"
    acomp.convert(path, other, codec=pair.codec.spec)
    assert_same(read_codes(other), codes)
    acomp.convert(other, back)
    np.testing.assert_array_equal(decompressed(pair, back), decompressed(pair, path))


@settings(deadline=None, max_examples=30)
@given(codes=all_codes())
def test_codes_without_the_new_fields_are_written_as_ever(codes: Codes) -> None:
    for form in ("nac", "txt"):
        data = to_bytes(codes, form)
        assert b"loudness" not in data
        assert b"chunk" not in data


def published(name: str, seconds: float, window: float | None) -> tuple[int, int | None]:
    """Frames, and frames of a chunk, of the official tool for one of its models."""
    model = next(model for model in _MODELS if model.name == name)
    samples = round(seconds * model.sample_rate)
    if window is None or seconds <= window:
        return -(-samples // model.hop_length), None
    seen = -(-int(window * model.sample_rate) // model.hop_length)
    chunk = seen - 16  # the encoder's ends, about
    decoded = chunk * model.hop_length - model.margin
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


@pytest.mark.parametrize("name", ["dac-44khz", "dac-24khz", "dac-16khz", "dac-44khz-16kbps"])
def test_the_table_of_models_is_right(name: str) -> None:
    from acomp.backends.dac import Unpadded
    from acomp.backends.shapes import SHAPES
    from acomp.engines.rewriting import fold_weight_norm, without_transposed

    model, spec = next(model for model in _MODELS if model.name == name), SPECS[name]
    shape = SHAPES[name]
    assert isinstance(shape, DacShape)
    # How much is missing does not depend on the widths.
    narrow = replace(shape, encoder_width=2, decoder_width=32, latent_dimension=4, codebooks=1)
    network = Unpadded(without_transposed(fold_weight_norm(narrow.build())).decoder)
    assert model.margin == network.before + network.after
    assert (model.sample_rate, model.hop_length) == (spec.sample_rate, spec.hop_length)
    assert (model.codebooks, model.codebook_size) == (spec.codebooks, spec.codebook_size)


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


def test_hostile_files_run_nothing_and_are_refused(
    cli: Cli, tmp_path: Path, sentinel: Path
) -> None:
    path = tmp_path / "x.dac"
    hostile = {**attacks(sentinel), **bombs(), **wrong_files()}
    for name, data in hostile.items():
        path.write_bytes(data)
        for command in COMMANDS if name in attacks(sentinel) else COMMANDS[:1]:
            run = cli(*command(path))
            assert_refused(run, f"error: {path}: ")
            assert len(run.err) < 500, name
        assert not sentinel.exists(), name
    assert not (tmp_path / "out.nac").exists()


@settings(deadline=None, max_examples=300, suppress_health_check=list(HealthCheck))
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
    assert_refused(cli("encode", speech, "-b", "nano", "-o", "x.dac"), "x.dac", "not of nano")


def test_other_codecs_do_not_decode_chunks() -> None:
    info = CodesInfo("nano", 24_000, 1, 1, 2, 1024, 320, 24_000, chunk=30)
    codes = Codes(info, np.zeros((1, 2, 60), np.uint16), 9600)
    with pytest.raises(CodecError, match="in chunks"):
        acomp.load("nano", engine="torch").decode(codes)


def test_a_chunk_too_short_for_the_layers(pair: Pair, tmp_path: Path) -> None:
    codes = read_codes(compressed(pair, noise(0.4), tmp_path / "x.dac", 0.2), codec=pair.codec.spec)
    short = replace(codes, info=replace(codes.info, chunk=18))
    with pytest.raises(CodecError, match="a chunk of 18 frames is too short for custom"):
        pair.codec.decode(short)


def test_on_the_command_line(cli: Cli, pair: Pair, tmp_path: Path) -> None:
    acomp.write_audio(tmp_path / "a.wav", noise(0.3, 2))
    own = ("-b", "custom", "--weights", pair.weights)
    assert_done(cli("encode", "a.wav", "-o", "a.dac", *own))
    assert_refused(cli("info", "a.dac"), "does not say which DAC", "-b")
    run = cli("info", "a.dac", *own)
    assert_done(run)
    assert "custom" in run.out
    assert "LUFS" in run.out
    assert_done(cli("convert", "a.dac", "a.nac", *own))
    assert_done(cli("decode", "a.nac", "-o", "one.wav", "--weights", pair.weights))
    assert_done(cli("decode", "a.dac", "-o", "two.wav", *own))
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()
    assert_refused(cli("info", "a.nac", "-b", "nano"), "codes are of custom, not of nano")
