"""The engines: OpenVINO gives what torch gives, and its cache is never trusted further than it is
whole.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.util import find_spec
from itertools import cycle
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own habit
from checkpoints import SMALL, encodec_model, lively, save_encodec
from commands import ROOT, Cli, assert_refused, environment, files_in, sound
from engines_here import ENGINES, needs_openvino, torch_threads
from hypothesis import given, settings, strategies as st
from material import material
from safetensors.torch import load_file, save_file
from torch import nn

import acomp
from acomp.backends.base import Codec
from acomp.backends.shared.seanet import Conv, Upsampler
from acomp.backends.streaming import Decoder, Encoder
from acomp.backends.weights.cache import fetch
from acomp.backends.weights.checkpoint import save_weights
from acomp.codes import Codes, join, split
from acomp.engines import Engine, Input, pick_engine
from acomp.engines.rewriting import SplitNorm, TransposedConv, fold_weight_norm, without_transposed
from acomp.engines.torch import TorchEngine, steady_linear, steady_map
from acomp.metrics import log_mel_distance, si_sdr
from acomp.settings import EngineName, Precision
from acomp.torchaudio import ensure_torchaudio

SAMPLES = ROOT / "acomp" / "samples"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of this module's own: each network is compiled once."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("ACOMP_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def nano() -> Codec:
    """Nano on OpenVINO, in fp32."""
    return acomp.load("nano", engine="openvino")


@pytest.fixture(scope="module")
def torch_nano() -> Codec:
    return acomp.load("nano", engine="torch")


def recordings(folder: Path) -> list[acomp.Audio]:
    """What lies in a folder of real recordings: of each some seconds."""
    files = sorted(file for file in folder.glob("*.*") if file.suffix in (".flac", ".wav"))
    assert files
    return [start_of(acomp.read_audio(file)) for file in files]


def start_of(audio: acomp.Audio, seconds: float = 4.0) -> acomp.Audio:
    return acomp.Audio(audio.samples[:, : round(seconds * audio.sample_rate)], audio.sample_rate)


@pytest.fixture(params=["samples", "material"])
def folder(request: pytest.FixtureRequest) -> Path:
    return SAMPLES if request.param == "samples" else material("audio")


# OpenVINO against torch, in fp32. Sums are added up in another order there, so the last bits of a
# latent differ, and where two entries of a codebook are equally near but for those bits the other
# one is taken; the levels after it then code another remainder. Such ties are rare, not absent.


@needs_openvino
def test_nano_gives_the_codes_of_torch(nano: Codec, torch_nano: Codec, folder: Path) -> None:
    agreeing = total = 0
    for audio in recordings(folder):
        found, expected = (c.encode(audio, codebooks=24).data for c in (nano, torch_nano))
        assert found.shape == expected.shape
        agreeing += int((found == expected).sum())
        total += expected.size
    assert agreeing >= 0.999 * total


@needs_openvino
def test_nano_gives_the_samples_of_torch(nano: Codec, torch_nano: Codec, folder: Path) -> None:
    for audio in recordings(folder):
        codes = torch_nano.encode(audio, codebooks=24)
        assert_same_samples(nano.decode(codes), torch_nano.decode(codes))


def assert_same_samples(found: acomp.Audio, expected: acomp.Audio) -> None:
    assert (found.length, found.sample_rate) == (expected.length, expected.sample_rate)
    np.testing.assert_allclose(found.samples, expected.samples, rtol=0, atol=1e-4)


Pair = tuple[Codec, Codec]
"""A codec on OpenVINO, and on torch, with the same random weights."""


@pytest.fixture(scope="module", params=["encodec-24khz", "segments", "dac"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    name: str = request.param
    path = tmp_path_factory.mktemp("weights") / "weights.pth"
    if name.startswith("encodec"):
        save_encodec(encodec_model(name), path)
    else:
        ensure_torchaudio()
        if name == "dac":
            pytest.importorskip("dac", reason="the extra acomp[dac] is not installed")
        path = path.with_suffix(".safetensors")
        save_weights(path, lively(SMALL[name]).state_dict(), SMALL[name])
        name = "custom"
    on_openvino, on_torch = (
        acomp.load(name, weights=path, engine=engine) for engine in ("openvino", "torch")
    )
    return on_openvino, on_torch


@pytest.fixture
def short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a short sound has several."""
    monkeypatch.setattr("acomp.backends.shared.blocks.SAMPLE_BLOCK", 7)
    monkeypatch.setattr("acomp.backends.shared.blocks.LATENT_BLOCK", 20)
    monkeypatch.setattr("acomp.backends.encodec.causal.BLOCK_FRAMES", 25)


def noise(codec: Codec, length: int) -> acomp.Audio:
    """Noise that swells, so that its codes and its levels differ all along."""
    spec = codec.spec
    random = np.random.default_rng(length).standard_normal((spec.channels, length))
    swell = np.linspace(0.02, 0.3, length)
    return acomp.Audio((swell * random).clip(-1, 1).astype(np.float32), spec.sample_rate)


def long_noise(codec: Codec) -> acomp.Audio:
    """Of several blocks, or of more than a whole segment."""
    lengths = {"encodec-24khz": 24_000, "custom": 12_000}
    return noise(codec, lengths[codec.spec.name] + 123)


def assert_same_codes(found: Codes, expected: Codes) -> None:
    """The same but for a few near ties; scales, which no engine touches, exactly."""
    assert found.length == expected.length
    assert found.data.shape == expected.data.shape
    assert np.mean(found.data == expected.data) >= 0.99
    if expected.segments is not None:
        assert found.segments is not None
        np.testing.assert_array_equal(found.segments.frames, expected.segments.frames)
        np.testing.assert_array_equal(found.segments.scales, expected.segments.scales)


@needs_openvino
@pytest.mark.usefixtures("short_blocks")
@pytest.mark.parametrize("length", [1, 319, 320, 321])
def test_short_sounds_are_as_on_torch(pair: Pair, length: int) -> None:
    codec, on_torch = pair
    audio = noise(codec, length)
    codes = on_torch.encode(audio, codebooks=codec.spec.codebooks)
    assert_same_codes(codec.encode(audio, codebooks=codec.spec.codebooks), codes)
    assert codec.decode(codes).length == length
    assert_same_samples(codec.decode(codes), on_torch.decode(codes))


@needs_openvino
@pytest.mark.usefixtures("short_blocks")
def test_sounds_of_many_blocks_are_as_on_torch(pair: Pair) -> None:
    """As a whole, and in pushes of several sizes, one sample and one frame among them."""
    codec, on_torch = pair
    audio = long_noise(codec)
    codes = on_torch.encode(audio, codebooks=codec.spec.codebooks)
    assert_codes_vary(codes)
    assert_same_codes(codec.encode(audio, codebooks=codec.spec.codebooks), codes)
    assert_same_codes(encode_in_pushes(codec, codes, audio, (1, 319, 321, 5000)), codes)
    expected = on_torch.decode(codes)
    assert expected.samples.std() > 0.01
    assert_same_samples(codec.decode(codes), expected)
    assert_same_samples(decode_in_pushes(codec, codes, (1, 1, 1, 1, 1, 1, 7, 20)), expected)


def assert_codes_vary(codes: Codes) -> None:
    """Or their agreement would mean little."""
    for level in codes.data[0]:
        assert len(np.unique(level)) > 0.2 * codes.frames


def encode_in_pushes(codec: Codec, whole: Codes, audio: acomp.Audio, sizes: Sequence[int]) -> Codes:
    encoder = Encoder(codec, whole.info)
    blocks, start, size = [], 0, cycle(sizes)
    while start < audio.length:
        end = start + next(size)
        blocks.append(encoder.push(audio.samples[:, start:end]))
        start = end
    return Codes.from_blocks(whole.info, [*blocks, encoder.finish()], encoder.length)


def decode_in_pushes(codec: Codec, codes: Codes, sizes: Sequence[int]) -> acomp.Audio:
    """In pushes of so many frames each; of segments, where there are segments."""
    decoder = Decoder(codec, codes.info)
    blocks, parts, size = list(split(codes.block, 1)), [], cycle(sizes)
    while blocks:
        count = next(size)
        parts.append(decoder.push(join(codes.info, blocks[:count])))
        blocks = blocks[count:]
    samples = np.concatenate([*parts, decoder.finish(codes.length)], axis=1)
    return acomp.Audio(samples, decoder.sample_rate)


# bf16: other codes, and sound of the same quality.


def skip_without_bf16(engine: str) -> None:
    if engine == "torch":
        has_bf16 = torch.cpu._is_avx512_bf16_supported()
    else:
        from acomp.engines.openvino import _capabilities

        has_bf16 = "BF16" in _capabilities()
    if not has_bf16:
        pytest.skip(f"{engine} finds no bf16 on this CPU")


@pytest.mark.parametrize("engine", ENGINES)
def test_bf16_sounds_like_fp32(engine: EngineName, folder: Path) -> None:
    skip_without_bf16(engine)
    fp32, bf16 = (
        acomp.load("nano", engine=engine, precision=precision) for precision in get_args(Precision)
    )
    fewest, *_, most = fp32.spec.bandwidths.items()
    for audio in recordings(folder):
        codes = [codec.encode(audio, codebooks=24) for codec in (fp32, bf16)]
        for bandwidth, codebooks in (fewest, most):
            exact = fp32.decode(first(codebooks, codes[0]))
            fast = bf16.decode(first(codebooks, codes[1]))
            assert not np.array_equal(exact.samples, fast.samples)
            for distance, decibels in ((si_sdr, 0.05), (log_mel_distance, None)):
                expected = pytest.approx(distance(audio, exact), rel=0.01, abs=decibels)
                assert distance(audio, fast) == expected, (distance.__name__, bandwidth)


def first(codebooks: int, codes: Codes) -> Codes:
    """What encoding to fewer codebooks gives."""
    info = replace(codes.info, codebooks=codebooks)
    return Codes(info, codes.data[:, :codebooks], codes.length)


# The cache of compiled networks, on a network that compiles in no time.


class Small:
    """A network of one layer, which counts how often it is asked for."""

    def __init__(self, factor: float) -> None:
        self.key = f"times {factor}"
        self.built = 0
        self._factor = factor

    def build(self) -> nn.Module:
        self.built += 1
        layer = nn.Linear(3, 3, bias=False)
        nn.init.constant_(layer.weight, self._factor)
        return layer

    def run(self, engine: Engine, *, precise: bool = False, rows: int | None = None) -> list[float]:
        """What it makes of two rows of ones; `rows` fixes their number."""
        shape = Input((rows or 1, 3), free=() if rows else (0,))
        runner = engine.prepare(self.build, [shape], self.key, precise=precise)
        (y,) = runner(np.ones((2, 3), np.float32))
        return [float(value) for value in y[1]]


@pytest.fixture
def openvino() -> Engine:
    return pick_engine("openvino")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache."""
    monkeypatch.setenv("ACOMP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def only_entry(cache: Path) -> Path:
    (entry,) = (cache / name for name in files_in(cache))
    return entry


def flip(content: bytes, at: int) -> bytes:
    changed = bytearray(content)
    changed[at] ^= 1
    return bytes(changed)


@needs_openvino
@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: flip(whole, 0),
        lambda whole: flip(whole, len(whole) // 2),
        lambda whole: flip(whole, -1),
        lambda whole: whole[:-1],
        lambda whole: whole[:32],
        lambda whole: whole[:5],
        lambda _: b"",
        lambda whole: whole + b"more",
        lambda whole: bytes(len(whole)),
    ],
    ids=["hash", "middle", "end", "cut", "bare hash", "5 bytes", "empty", "longer", "zeros"],
)
def test_a_damaged_entry_is_made_anew(
    openvino: Engine, own_cache: Path, damage: Callable[[bytes], bytes]
) -> None:
    network = Small(2)
    assert network.run(openvino) == network.run(openvino) == [6, 6, 6]
    assert network.built == 1
    entry = only_entry(own_cache)
    entry.write_bytes(damage(entry.read_bytes()))
    assert network.run(openvino) == [6, 6, 6]
    assert network.built == 2
    assert network.run(openvino) == [6, 6, 6]
    assert network.built == 2, "the entry was not mended"
    assert only_entry(own_cache) == entry


@needs_openvino
def test_another_entry_under_this_name_is_not_taken(openvino: Engine, own_cache: Path) -> None:
    network, other = Small(2), Small(3)
    network.run(openvino)
    entry = only_entry(own_cache)
    other.run(openvino)
    (others,) = (own_cache / name for name in files_in(own_cache) if own_cache / name != entry)
    shutil.copyfile(others, entry)
    assert network.run(openvino) == network.run(openvino) == [6, 6, 6]
    assert network.built == 2
    assert other.run(openvino) == [9, 9, 9]
    assert other.built == 1


@needs_openvino
def test_an_entry_that_openvino_does_not_take_is_made_anew(
    openvino: Engine, own_cache: Path
) -> None:
    from acomp.engines.openvino import _write

    network = Small(2)
    network.run(openvino)
    _write(only_entry(own_cache), b"whole, but no network")
    assert network.run(openvino) == network.run(openvino) == [6, 6, 6]
    assert network.built == 2


@needs_openvino
def test_a_folder_in_the_place_of_an_entry_is_no_harm(openvino: Engine, own_cache: Path) -> None:
    network = Small(2)
    network.run(openvino)
    entry = only_entry(own_cache)
    entry.unlink()
    entry.mkdir()
    with pytest.warns(UserWarning, match=r"not kept for the next run: .*it is a folder"):
        assert network.run(openvino) == [6, 6, 6]


@needs_openvino
def test_a_cache_that_cannot_be_written_is_said_and_no_harm(
    openvino: Engine, own_cache: Path
) -> None:
    own_cache.write_text("a file in its place")
    network = Small(2)
    for built in (1, 2):
        with pytest.warns(UserWarning, match="a compiled network is not kept for the next run"):
            assert network.run(openvino) == [6, 6, 6]
        assert network.built == built
    assert own_cache.read_text() == "a file in its place"


@needs_openvino
def test_a_cache_that_is_kept_is_not_spoken_of(openvino: Engine, own_cache: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Small(2).run(openvino)
    assert len(files_in(own_cache)) == 1


@needs_openvino
def test_all_that_an_entry_depends_on_is_in_its_name(
    openvino: Engine, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Small(2)
    network.run(openvino)
    first = files_in(own_cache)
    Small(3).run(openvino)
    network.run(openvino, rows=2)
    monkeypatch.setattr("acomp.engines.openvino._surroundings", lambda: ["another CPU"])
    network.run(openvino)
    assert network.built == 3
    assert len(files_in(own_cache)) == 4
    assert files_in(own_cache).items() >= first.items()


@needs_openvino
def test_another_precision_is_another_entry(openvino: Engine, own_cache: Path) -> None:
    skip_without_bf16("openvino")
    bf16 = pick_engine("openvino", "bf16")
    network = Small(2)
    network.run(openvino)
    network.run(bf16)
    assert network.built == len(files_in(own_cache)) == 2
    network.run(bf16, precise=True)
    assert network.built == 2, "precise is fp32, which was there"


@needs_openvino
def test_other_weights_are_other_entries(cache: Path, nano: Codec, tmp_path: Path) -> None:
    weights = tmp_path / "other.safetensors"
    save_file({name: 0.9 * tensor for name, tensor in load_file(fetch("nano-2")).items()}, weights)
    audio = sound(0.5)
    codes = nano.encode(audio)
    before = files_in(cache)
    others = acomp.load("nano", weights=weights, engine="openvino").encode(audio)
    assert np.mean(others.data == codes.data) < 0.9
    assert_same_codes(others, acomp.load("nano", weights=weights, engine="torch").encode(audio))
    after = files_in(cache)
    assert len(after) == len(before) + 2  # what analyses and what encodes
    assert after.items() >= before.items()


@needs_openvino
def test_what_no_run_has_used_for_long_is_removed(openvino: Engine, own_cache: Path) -> None:
    from acomp.engines.openvino import KEEP_SECONDS

    used, unused = Small(2), Small(3)
    used.run(openvino)
    kept = only_entry(own_cache)
    unused.run(openvino)
    long_ago = time.time() - KEEP_SECONDS - 1000
    for name in files_in(own_cache):
        os.utime(own_cache / name, (long_ago, long_ago))
    used.run(openvino)
    assert len(files_in(own_cache)) == 2
    Small(4).run(openvino)
    assert len(files_in(own_cache)) == 2
    assert kept.exists()
    unused.run(openvino)
    assert (used.built, unused.built) == (1, 2)


SECOND_RUN = """
import sys
import numpy as np
import acomp

codec = acomp.load("nano", engine="openvino")
codes = codec.encode(acomp.read_audio(sys.argv[1]), codebooks=24)
np.savez(sys.argv[2], codes=codes.data, samples=codec.decode(codes).samples)
assert "torch" not in sys.modules, "torch was imported"
"""


@needs_openvino
def test_a_second_run_finds_it_compiled_and_needs_no_torch(
    cache: Path, nano: Codec, tmp_path: Path
) -> None:
    speech = SAMPLES / "speech.flac"
    codes = nano.encode(acomp.read_audio(speech), codebooks=24)
    samples = nano.decode(codes).samples
    before = inodes(cache)
    result = tmp_path / "result.npz"
    run_python(tmp_path, SECOND_RUN, speech, result, ACOMP_CACHE=str(cache))
    with np.load(result) as found:
        np.testing.assert_array_equal(found["codes"], codes.data)
        np.testing.assert_allclose(found["samples"], samples, rtol=0, atol=1e-6)
    assert inodes(cache) == before, "a network was compiled again"


def inodes(folder: Path) -> dict[str, int]:
    """Which change where a file is replaced by one of the same contents."""
    return {name: (folder / name).stat().st_ino for name in files_in(folder)}


def run_python(folder: Path, program: str, *arguments: object, **variables: str) -> None:
    """Run a program in a process of its own; what it asserts must hold."""
    run = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=folder,
        env=environment(folder, **variables),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


CONVERSION = """
import sys
import numpy as np
import acomp.engines.openvino

def spies():
    return [name for name in sys.modules if name.split(".")[0] == "openvino_telemetry"]

assert not spies(), "by the import"

from torch import nn
from acomp.engines import Input, pick_engine

runner = pick_engine("openvino").prepare(lambda: nn.Linear(3, 3), [Input((1, 3))], "small")
runner(np.ones((1, 3), np.float32))
assert not spies(), "by the conversion"
"""


@needs_openvino
def test_openvino_reports_nothing_and_leaves_nothing_at_home(tmp_path: Path) -> None:
    """Imported plainly it makes itself an identity in the home, and tells its maker."""
    home, cache = tmp_path / "home", tmp_path / "cache"
    home.mkdir()
    run_python(tmp_path, CONVERSION, HOME=str(home), ACOMP_CACHE=str(cache))
    assert list(home.iterdir()) == []
    assert len(files_in(cache)) == 1


@needs_openvino
def test_the_telemetry_that_somebody_else_imported_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    from acomp.engines.openvino import _import_openvino

    theirs = ModuleType("openvino_telemetry")
    monkeypatch.setitem(sys.modules, "openvino_telemetry", theirs)
    _import_openvino()
    assert sys.modules["openvino_telemetry"] is theirs


# Which engine.


@pytest.fixture
def no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


@pytest.fixture
def no_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    if find_spec("openvino") is not None:
        monkeypatch.setattr("acomp.engines.openvino._capabilities", lambda: ("FP32", "INT8"))


@needs_openvino
def test_auto_is_openvino_on_the_cpu() -> None:
    engine = pick_engine()
    assert (engine.name, engine.precision) == ("openvino", "fp32")
    assert pick_engine("openvino", device="auto").name == "openvino"


@pytest.mark.usefixtures("no_openvino")
def test_auto_is_torch_where_openvino_is_not(torch_nano: Codec) -> None:
    assert isinstance(pick_engine(), TorchEngine)
    codes = acomp.load("nano").encode(sound(0.5))
    np.testing.assert_array_equal(codes.data, torch_nano.encode(sound(0.5)).data)


def test_auto_is_torch_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("acomp.engines._has_driver", lambda: True)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for device in ("cuda", "cuda:0", "auto"):
        engine = pick_engine(device=device)
        assert isinstance(engine, TorchEngine)
        assert engine.device.type == "cuda"


def assert_no_engine(words: str, *arguments: Any) -> None:
    """`pick_engine` refuses, in one line with these words."""
    with pytest.raises(acomp.CodecError) as refusal:
        pick_engine(*arguments)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.usefixtures("no_cuda")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("steam",), "no engine 'steam'; take auto, torch, openvino"),
        (("torch", "fp64"), "no precision 'fp64'; take fp32 or bf16"),
        (("torch", "fp32", "steam"), "not run on the device 'steam'; take auto, cpu or cuda"),
        (("torch", "fp32", "mps"), "not run on the device 'mps'; take auto, cpu or cuda"),
        (("torch", "fp32", "cuda"), "torch finds no CUDA GPU here; take cpu"),
        (("auto", "fp32", "cuda:1"), "torch finds no CUDA GPU here; take cpu"),
    ],
)
def test_what_there_is_not_is_refused(arguments: tuple[str, ...], words: str) -> None:
    assert_no_engine(words, *arguments)


@needs_openvino
def test_openvino_on_a_gpu_is_refused() -> None:
    assert_no_engine("runs on the CPU, not on cuda; take torch", "openvino", "fp32", "cuda")


@pytest.mark.usefixtures("no_openvino")
def test_openvino_without_its_package_is_refused() -> None:
    assert_no_engine('needs its package: pip install "acomp[fast]"', "openvino")


def test_a_broken_openvino_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "openvino.py").write_text("raise ImportError('libopenvino.so:\\n no such file')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("openvino", "acomp.engines.openvino"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for engine in ("auto", "openvino"):
        assert_no_engine("does not load (libopenvino.so: no such file)", engine)
    assert pick_engine("torch").name == "torch"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("no_bf16")
def test_bf16_where_the_cpu_has_none_is_refused(engine: EngineName) -> None:
    assert_no_engine("this CPU has no bf16; take precision fp32", engine, "bf16")
    assert pick_engine(engine).precision == "fp32"


@pytest.mark.usefixtures("no_openvino")
def test_the_command_without_the_package(cli: Cli, speech: Path) -> None:
    refused_command(cli, speech, "--engine", "openvino", words="acomp[fast]")


@needs_openvino
def test_the_command_on_a_gpu(cli: Cli, speech: Path) -> None:
    refused_command(cli, speech, "--engine", "openvino", "--device", "cuda", words="not on cuda")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.usefixtures("no_bf16")
def test_the_command_without_bf16(cli: Cli, speech: Path, engine: str) -> None:
    refused_command(cli, speech, "--engine", engine, "--precision", "bf16", words="no bf16")


def refused_command(cli: Cli, speech: Path, *options: str, words: str) -> None:
    """One line, exit code 1, and no file."""
    before = files_in(speech.parent)
    assert_refused(cli("encode", speech, "-b", "nano", *options), words)
    assert files_in(speech.parent) == before


# What the engines' networks are made of.


def transposed(
    inputs: int, outputs: int, stride: int, *, padding: int = 0, bias: bool = True, seed: int = 0
) -> nn.ConvTranspose1d:
    torch.manual_seed(seed)
    kernel = 2 * stride
    return nn.ConvTranspose1d(inputs, outputs, kernel, stride, padding=padding, bias=bias)


@settings(deadline=None, max_examples=80)
@given(
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 8),
    length=st.integers(1, 12),
    batch=st.integers(1, 3),
    bias=st.booleans(),
    data=st.data(),
)
def test_a_transposed_convolution_is_an_ordinary_one(
    channels: tuple[int, int], stride: int, length: int, batch: int, bias: bool, data: st.DataObject
) -> None:
    padding = data.draw(st.integers(0, ((length + 1) * stride - 1) // 2))
    conv = transposed(
        *channels, stride, padding=padding, bias=bias, seed=data.draw(st.integers(0, 999))
    )
    x = torch.randn(batch, channels[0], length)
    found = TransposedConv(conv)(x)
    assert found.shape == (batch, channels[1], (length + 1) * stride - 2 * padding)
    torch.testing.assert_close(found, conv(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "conv",
    [
        nn.ConvTranspose1d(4, 4, 5, 2),
        nn.ConvTranspose1d(4, 4, 4, 2, groups=2),
        nn.ConvTranspose1d(4, 4, 4, 2, dilation=2),
        nn.ConvTranspose1d(4, 4, 4, 2, output_padding=1),
    ],
    ids=["kernel", "groups", "dilation", "output padding"],
)
def test_transposed_convolutions_of_other_forms_stay(conv: nn.ConvTranspose1d) -> None:
    inner = nn.Sequential(conv)
    network = nn.Sequential(transposed(4, 4, 2), inner)
    x = torch.randn(1, 4, 7)
    expected = network(x)
    changed = without_transposed(network)
    assert isinstance(changed[0], TransposedConv)
    assert inner[0] is conv
    torch.testing.assert_close(changed(x), expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    factor=st.integers(1, 8),
    length=st.integers(1, 40),
)
def test_encodecs_upsampler_is_a_transposed_convolution(
    channels: tuple[int, int], factor: int, length: int
) -> None:
    """Both of its ways, from the beginning of a stream: behind an ELU, and with its end cut off."""
    conv = transposed(*channels, factor)
    assert conv.bias is not None
    upsampler = Upsampler(conv.weight.detach(), conv.bias.detach(), factor)
    x = torch.randn(1, channels[0], length)
    expected = conv(F.elu(x))[..., : length * factor]
    by_products, _ = upsampler.products(x.transpose(1, 2), None, last=True)
    by_convolution, _ = upsampler(x, torch.zeros(1, channels[0], 1))
    torch.testing.assert_close(by_products.transpose(1, 2), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(by_convolution, expected, rtol=1e-5, atol=1e-5)


def test_a_split_norm_is_a_group_norm() -> None:
    torch.manual_seed(0)
    norm = nn.GroupNorm(1, 6, eps=1e-3)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = 0.1 * torch.randn(3, 6, 50) + 2
    torch.testing.assert_close(SplitNorm(norm)(x), norm(x), rtol=1e-5, atol=1e-5)
    for other in (nn.GroupNorm(2, 6), nn.GroupNorm(1, 6, affine=False)):
        assert not SplitNorm.stands_for(other)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
def test_weight_norm_is_folded_into_the_weights() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.utils.weight_norm(nn.Conv1d(3, 4, 5)), nn.utils.weight_norm(transposed(4, 2, 3))
    )
    x = torch.randn(1, 3, 20)
    expected = network(x)
    folded = fold_weight_norm(network)
    assert sorted(dict(folded.named_parameters())) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    torch.testing.assert_close(folded(x), expected, rtol=1e-6, atol=1e-6)


THREADS = (1, 2, 3, 8)


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        *((3, 5), (128, 1024), (192, 768), (340, 128), (384, 64), (640, 320), (768, 192)),
        *((960, 320), (984, 256), (2048, 512)),
    ],
)
def test_rows_of_steady_linear_depend_on_neither_their_number_nor_threads(
    inputs: int, outputs: int
) -> None:
    torch.manual_seed(0)
    weight, bias = torch.randn(outputs, inputs), torch.randn(outputs)
    rows = torch.randn(300, inputs)
    with torch_threads(1):
        expected = steady_linear(rows, weight, bias)
    torch.testing.assert_close(expected, F.linear(rows, weight, bias), rtol=1e-4, atol=1e-4)
    for threads in THREADS:
        with torch_threads(threads):
            assert torch.equal(steady_linear(rows, weight, bias), expected), threads
            for count in (*range(1, 41), 64, 100, 200):
                for start in (0, 300 - count):
                    part = slice(start, start + count)
                    found = steady_linear(rows[part][None], weight, bias)[0]
                    assert torch.equal(found, expected[part]), (threads, count, start)


@pytest.mark.parametrize("function", [F.elu, F.gelu, torch.exp, torch.tanh])
def test_numbers_of_steady_map_depend_on_neither_their_number_nor_threads(
    function: Callable[[torch.Tensor], torch.Tensor],
) -> None:
    torch.manual_seed(0)
    x = torch.randn(81_920)
    with torch_threads(1):
        expected = steady_map(function, x)
    torch.testing.assert_close(expected, function(x), rtol=1e-5, atol=1e-6)
    for threads in THREADS:
        with torch_threads(threads):
            for count in (0, 1, 17, 1000, 32_769, 70_001, 81_919, 81_920):
                assert torch.equal(steady_map(function, x[:count]), expected[:count]), (
                    threads,
                    count,
                )


@pytest.mark.parametrize("outputs", [1, 5])
def test_steps_of_a_convolution_depend_on_neither_their_number_nor_threads(outputs: int) -> None:
    torch.manual_seed(0)
    layer = Conv(torch.randn(outputs, 64, 7), torch.randn(outputs), elu=True)
    x, past = torch.randn(1, 1000, 64), torch.randn(1, layer.memory, 64)
    with torch_threads(1):
        expected, _ = layer.products(x, past, last=False)
    for threads in THREADS:
        with torch_threads(threads):
            for count in (17, 500, 777, 1000):
                found, _ = layer.products(x[:, :count], past, last=False)
                assert torch.equal(found, expected[:, :count]), (threads, count)
