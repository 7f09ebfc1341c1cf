"""acomp and the official packages timed side by side, on the same weights and the same audio.

A case is a codec and some seconds of audio. Each side first does it once, which is when OpenVINO
compiles, and their results are compared. Then come rounds, in which the official package, acomp in
fp32 and acomp in bf16 take turns, so that whatever else the machine does meets them alike. A ratio
is taken within each round; the median over the rounds is what is shown.

The official side is what a user of the package runs: the whole file through the package's own
model, its weight norm as published, without gradients.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import as_file, files
from importlib.util import find_spec
from math import prod
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from acomp.audio import Audio, read_audio, resample, to_channels
from acomp.backends import load, resolve
from acomp.backends.base import Codec, Samples
from acomp.backends.families import published_shape
from acomp.backends.weights.cache import find
from acomp.backends.weights.catalogue import CATALOGUE
from acomp.backends.weights.checkpoint import load_weights
from acomp.codecs import SPECS, CodecSpec
from acomp.codes import Codes
from acomp.engines import pick_engine
from acomp.errors import CodecError

MAX_SECONDS = 3600
LONG_SECONDS = 60
"""A case as long as this takes minutes, and has three rounds instead of five."""
SAMPLES = ("speech", "music")
COUNTED_SECONDS = 2
"""Audio that operations are counted on: each second takes as many as the next."""
PEAK_SIZES = (1024, 1536, 2048)
PEAK_RUNS = 8
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
DISTRIBUTIONS = {"encodec": "encodec", "dac": "descript-audio-codec"}
"""What has to be installed for each official package."""
OFFICIAL_MEMORY = {
    "encodec-24khz": 20e6,
    "encodec-48khz": 5e6,
    "dac-16khz": 40e6,
    "dac-24khz": 60e6,
    "dac-44khz": 100e6,
    "dac-44khz-16kbps": 100e6,
}
"""Bytes that the official packages were seen to take for each second of audio given at once."""
SPARE_MEMORY = 1e9
"""Bytes to leave to everything else."""

Progress = Callable[[str], None]
Work = Callable[[], object]


# What comes out


@dataclass(frozen=True)
class Timing:
    """One side in one direction."""

    seconds: list[float]
    """What each round took."""
    times_real_time: float
    """Of the median round."""
    ratio: float | None
    """The official package's time over this one's, median over the rounds; None without one."""
    ratio_range: tuple[float, float] | None
    """The lowest and the highest of the rounds' ratios."""
    of_peak: float
    """Fraction of the machine's matrix peak in this precision that the median round reached."""


@dataclass(frozen=True)
class Direction:
    """Encoding or decoding; None stands for what was not run."""

    gflop: float
    """10^9 floating-point operations of the network for a second of audio."""
    official: Timing | None
    fp32: Timing
    bf16: Timing | None


@dataclass(frozen=True)
class Agreement:
    """acomp in one precision against the official package."""

    codes: float
    """Fraction of the codes that are equal."""
    samples: float
    """Largest difference of the samples decoded from the same codes, to the largest sample."""


@dataclass(frozen=True)
class Row:
    """What one case came to."""

    codec: str
    seconds: int
    channels: int
    bandwidth: float
    """kbps."""
    weights: str
    """published, or random: seeded, in the published architecture."""
    rounds: int
    encode: Direction
    decode: Direction
    agreement: dict[str, Agreement]
    """By precision; empty where the official package was not run."""
    notes: list[str]
    """What was not run, and why."""


@dataclass(frozen=True)
class Machine:
    """What the figures are measured on, and with."""

    cpu: str
    cores: int
    """Those that this process may use."""
    torch_threads: int
    memory_gb: float | None
    """10^9 bytes; None where the system does not tell."""
    versions: dict[str, str | None]
    """By package; None for what is not installed."""
    engine: str
    """What runs acomp's networks: torch or openvino."""
    peak_gflops: dict[str, float]
    """The fastest product of matrices in torch, by precision: those that can be had."""
    notes: list[str]
    """What cannot be measured here, and what might mislead."""


# What goes in


@dataclass(frozen=True)
class Case:
    """A codec and the audio that it is given."""

    codec: str
    seconds: int

    def __str__(self) -> str:
        return f"{self.codec}:{self.seconds}"


def parse_case(text: str) -> Case:
    """The case that `CODEC:SECONDS` names.

    Raises:
        CodecError: it is no such thing, acomp has no such codec, or the codec's official package
            is not installed.
        WeightsError: the codec's weights in acomp's cache are damaged.
    """
    name, _, seconds = text.rpartition(":")
    if not name or not re.fullmatch("[0-9]{1,9}", seconds):
        raise CodecError(f"{text!r} is no case: write CODEC:SECONDS, for example nano:20")
    if not 1 <= int(seconds) <= MAX_SECONDS:
        raise CodecError(f"{text!r} is no case: the seconds are 1 to {MAX_SECONDS}")
    codec = resolve(name)
    if codec not in CATALOGUE:
        raise CodecError(f"{codec} comes from another package; only acomp's own codecs are timed")
    package = CATALOGUE[codec].package
    if package is not None and find_spec(package) is None:
        distribution = DISTRIBUTIONS[package]
        raise CodecError(
            f"{codec} cannot be timed without its official package: pip install {distribution}"
        )
    find(codec)  # damaged weights are better known before the long cases than after
    return Case(codec, int(seconds))


def _rounds(case: Case) -> int:
    return 3 if case.seconds >= LONG_SECONDS else 5


def _codebooks(spec: CodecSpec) -> int:
    """Those of 6 kbps; all where a model was published for one bandwidth (DAC)."""
    return spec.codebooks if CATALOGUE[spec.name].package == "dac" else spec.bandwidths[6]


def _audio(spec: CodecSpec, seconds: int) -> Audio:
    """The samples that ship with acomp, one after the other and again, as the codec takes them."""
    parts = []
    for sample in SAMPLES:
        with as_file(files("acomp") / "samples" / f"{sample}.flac") as path:
            recording = resample(read_audio(path), spec.sample_rate)
        parts.append(to_channels(recording.samples, spec.channels))
    both = np.concatenate(parts, axis=1)
    length = seconds * spec.sample_rate
    repeated = np.tile(both, -(-length // both.shape[1]))[:, :length]
    return Audio(np.ascontiguousarray(repeated), spec.sample_rate)


@contextmanager
def weights_of(codec: str) -> Iterator[tuple[Path, str]]:
    """A file of weights, and whether they are published or random ones.

    Nothing is downloaded: how fast a network runs does not depend on the values of its weights.
    """
    published = find(codec)
    if published is not None:
        yield published, "published"
        return
    with TemporaryDirectory(prefix="acomp-") as folder:
        path = Path(folder) / f"{codec}.safetensors"
        state = _random_model(codec).state_dict()
        save_file({name: tensor.contiguous() for name, tensor in state.items()}, path)
        yield path, "random"


def _random_model(codec: str) -> Any:
    """The official model with the weights that it is initialised with."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = published_shape(codec).build()
        if CATALOGUE[codec].package == "encodec":
            _scatter_codebooks(model, SPECS[codec])
    return model


@torch.no_grad()
def _scatter_codebooks(model: Any, spec: CodecSpec) -> None:
    """Fill EnCodec's codebooks, zeros when new, so that each frame of real audio has its own codes.

    They lie where the untrained encoder's latents do, and get finer with each level, as training
    makes them. Elsewhere one code would be the nearest to every frame, and equal codes would tell
    nothing of what made them.
    """
    audio = _audio(spec, 2)
    level = audio.samples.std() if model.normalize else 1
    latents = model.encoder(torch.from_numpy(audio.samples / level)[None])[0]
    centre, spread = latents.mean(dim=-1), latents.std(dim=-1)
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_().mul_(spread).add_(centre)
        spread, centre = 0.8 * spread, torch.zeros_like(centre)


# The sides


class Side(Protocol):
    """Somebody's codec, with audio to encode and codes to decode."""

    def encode(self) -> NDArray[np.integer[Any]]:
        """The audio's codes: `[streams, codebooks, frames]`."""
        ...

    def decode(self) -> Samples:
        """The codes' samples: `[channels, time]`; there may be a few too many."""
        ...


class Ours:
    """acomp."""

    def __init__(self, codec: Codec, audio: Audio, codes: Codes) -> None:
        self._codec = codec
        self._audio = audio
        self._codes = codes

    def encode(self) -> NDArray[np.integer[Any]]:
        return self._codec.encode(self._audio, codebooks=self._codes.info.codebooks).data

    def decode(self) -> Samples:
        return self._codec.decode(self._codes).samples


class OfficialEncodec:
    """The `encodec` package, as its README has it."""

    def __init__(self, model: Any, audio: Audio, codes: Codes) -> None:
        self._model = model
        self._audio = torch.from_numpy(audio.samples)[None]
        self._frames = _encodec_frames(codes)
        model.set_target_bandwidth(codes.info.bandwidth)

    @torch.no_grad()
    def encode(self) -> NDArray[np.integer[Any]]:
        frames = self._model.encode(self._audio)
        codes: NDArray[np.integer[Any]] = torch.cat([part for part, _ in frames], dim=-1).numpy()
        return codes

    @torch.no_grad()
    def decode(self) -> Samples:
        samples: Samples = self._model.decode(self._frames)[0].numpy()
        return samples


def _encodec_frames(codes: Codes) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """The codes as `EncodecModel.decode` takes them: a part, and a scale, for each segment."""
    data = torch.from_numpy(codes.data.astype(np.int64))
    if codes.segments is None:
        return [(data, None)]
    parts = torch.split(data, [int(frames) for frames in codes.segments.frames], dim=-1)
    scales = torch.from_numpy(codes.segments.scales)
    return [(part, scale.view(1, 1)) for part, scale in zip(parts, scales, strict=True)]


class OfficialDac:
    """The `descript-audio-codec` package: `encode` as its README has it, and its way from codes."""

    def __init__(self, model: Any, audio: Audio, codes: Codes) -> None:
        self._model = model
        self._audio = audio
        self._samples = torch.from_numpy(audio.samples)[None]
        self._codes = torch.from_numpy(codes.data.astype(np.int64))

    @torch.no_grad()
    def encode(self) -> NDArray[np.integer[Any]]:
        x = self._model.preprocess(self._samples, self._audio.sample_rate)
        codes: NDArray[np.integer[Any]] = self._model.encode(x)[1].numpy()
        return codes

    @torch.no_grad()
    def decode(self) -> Samples:
        latents = self._model.quantizer.from_codes(self._codes)[0]
        samples: Samples = self._model.decode(latents)[0].numpy()
        return samples


def _official(codec: str, path: Path) -> Callable[[Audio, Codes], Side] | None:
    """Makes the official package's side, with the weights of `path`; None where there is none."""
    package = CATALOGUE[codec].package
    if package is None:
        return None
    model: Any = published_shape(codec).build()
    load_weights(model, path, codec)
    return partial(OfficialEncodec if package == "encodec" else OfficialDac, model)


# Measuring


def run(
    cases: Sequence[Case], rounds: int | None, machine: Machine, progress: Progress
) -> Iterator[Row]:
    """Measure the cases, one after the other.

    Args:
        cases: what to measure.
        rounds: of each case; where it is None, 5, or 3 of a case of a minute or longer.
        machine: as `survey` found it, with the engine to take.
        progress: told in a few words what is being done.

    Raises:
        WeightsError: weights do not fit their codec.
    """
    for case in cases:
        progress(f"{case}: loading")
        with weights_of(case.codec) as (path, kind):
            yield _measure(case, path, kind, rounds or _rounds(case), machine, progress)


def _measure(
    case: Case, path: Path, kind: str, rounds: int, machine: Machine, progress: Progress
) -> Row:
    codecs = {
        precision: load(
            case.codec, weights=path, engine=machine.engine, precision=precision, device="cpu"
        )
        for precision in machine.peak_gflops
    }
    spec = codecs["fp32"].spec
    audio = _audio(spec, case.seconds)
    progress(f"{case}: warming up")
    codes = codecs["fp32"].encode(audio, codebooks=_codebooks(spec))
    official = _official(case.codec, path)
    counted = official or partial(
        Ours, load(case.codec, weights=path, engine="torch", device="cpu")
    )
    gflop = _gflop(counted, codecs["fp32"])

    sides: dict[str, Side] = {}
    notes = []
    problem = _memory_problem(case) if official else None
    if problem:
        notes.append(problem)
    elif official:
        sides["official"] = official(audio, codes)
    sides |= {name: Ours(codec, audio, codes) for name, codec in codecs.items()}
    agreement = _warm_up(sides)

    encoding, decoding = [], []
    for number in range(1, rounds + 1):
        progress(f"{case}: round {number} of {rounds}, encoding")
        encoding.append({name: _seconds(side.encode) for name, side in sides.items()})
        progress(f"{case}: round {number} of {rounds}, decoding")
        decoding.append({name: _seconds(side.decode) for name, side in sides.items()})
    return Row(
        codec=case.codec,
        seconds=case.seconds,
        channels=audio.channels,
        bandwidth=codes.info.bandwidth,
        weights=kind,
        rounds=rounds,
        encode=_direction(case, encoding, gflop[0], machine),
        decode=_direction(case, decoding, gflop[1], machine),
        agreement=agreement,
        notes=notes,
    )


def _seconds(work: Work) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def _warm_up(sides: dict[str, Side]) -> dict[str, Agreement]:
    """Let each side work once, and compare acomp's results with the official ones."""
    official = sides.get("official")
    expected = None if official is None else (official.encode(), official.decode())
    agreement = {}
    for name in [name for name in sides if name != "official"]:
        codes, samples = sides[name].encode(), sides[name].decode()
        if expected is not None:
            equal = _equal_fraction(codes, expected[0])
            agreement[name] = Agreement(equal, _largest_difference(samples, expected[1]))
    return agreement


def _equal_fraction(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    return float((ours == theirs).mean()) if ours.shape == theirs.shape else 0.0


def _largest_difference(ours: Samples, theirs: Samples) -> float:
    # The package's decoders give whole frames, or (DAC) leave a few of the last samples out.
    length = min(ours.shape[1], theirs.shape[1])
    difference = np.abs(ours[:, :length] - theirs[:, :length]).max()
    return float(difference / np.abs(theirs).max())


def _direction(
    case: Case, rounds: list[dict[str, float]], gflop: float, machine: Machine
) -> Direction:
    """The figures of one direction, of what each side took in each round."""

    def timing(side: str) -> Timing | None:
        if side not in rounds[0]:
            return None
        seconds = [times[side] for times in rounds]
        speed = case.seconds / median(seconds)
        peak = machine.peak_gflops["bf16" if side == "bf16" else "fp32"]
        ratios = [times["official"] / times[side] for times in rounds if "official" in times]
        return Timing(
            seconds=seconds,
            times_real_time=speed,
            ratio=median(ratios) if ratios else None,
            ratio_range=(min(ratios), max(ratios)) if ratios else None,
            of_peak=gflop * speed / peak,
        )

    fp32 = timing("fp32")
    assert fp32 is not None
    return Direction(gflop=gflop, official=timing("official"), fp32=fp32, bf16=timing("bf16"))


# Operations


def _gflop(make: Callable[[Audio, Codes], Side], codec: Codec) -> tuple[float, float]:
    """10^9 operations for a second of audio, of encoding and of decoding."""
    audio = _audio(codec.spec, COUNTED_SECONDS)
    side = make(audio, codec.encode(audio, codebooks=_codebooks(codec.spec)))
    return _count(side.encode) / COUNTED_SECONDS / 1e9, _count(side.decode) / COUNTED_SECONDS / 1e9


def _count(work: Work) -> int:
    # torch counts the matrix products of an LSTM, but not where oneDNN runs it as one operation.
    mapping = {torch.ops.aten.mkldnn_rnn_layer: _lstm_operations}
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        work()
    operations: int = counter.get_total_flops()
    return operations


def _lstm_operations(
    x: Sequence[int], of_input: Sequence[int], of_state: Sequence[int], *_: object, **__: object
) -> int:
    """Of an LSTM layer: a multiplication and an addition for each weight and each time step.

    The shapes are those of its input `[time, batch, features]` and its two matrices of weights.
    """
    time, batch, _features = x
    return 2 * time * batch * (prod(of_input) + prod(of_state))


# The machine


def survey(engine: str) -> Machine:
    """Look at the machine, and measure its matrix peak.

    Args:
        engine: acomp's: auto, torch or openvino.

    Raises:
        CodecError: there is no such engine here.
    """
    chosen = pick_engine(engine).name
    notes = []
    if find_spec("openvino") is None:
        notes.append(f"OpenVINO is not installed: acomp runs on {chosen}")
    if "OMP_NUM_THREADS" in os.environ:
        notes.append("OMP_NUM_THREADS is set: it binds torch, and OpenVINO does not heed it")
    precisions = ["fp32"]
    try:
        pick_engine(chosen, "bf16")
        precisions.append("bf16")
    except CodecError as error:
        notes.append(f"no figures in bf16: {error}")
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in ("acomp", "torch", "openvino", "encodec", "descript-audio-codec"):
        versions[package] = _version(package)
    memory = _memory("MemTotal")
    return Machine(
        cpu=_cpu(),
        cores=_cores(),
        torch_threads=torch.get_num_threads(),
        memory_gb=None if memory is None else memory / 1e9,
        versions=versions,
        engine=chosen,
        peak_gflops={precision: _matrix_peak(DTYPES[precision]) for precision in precisions},
        notes=notes,
    )


def _matrix_peak(dtype: torch.dtype) -> float:
    """10^9 operations a second of the fastest product of matrices.

    A convolution is one too, and torch has it from another library, which is the faster one on some
    processors.
    """
    best = 0.0
    for size in PEAK_SIZES:
        channels = size // 4
        square = torch.rand(size, size).to(dtype)
        signal = torch.rand(1, channels, size).to(dtype)
        kernel = torch.rand(channels, channels, 3).to(dtype)
        operations = {
            2 * size**3: partial(torch.matmul, square, square),
            2 * kernel.numel() * (size - 2): partial(torch.conv1d, signal, kernel),
        }
        for count, run in operations.items():
            best = max(best, count / min(_seconds(run) for _ in range(PEAK_RUNS)) / 1e9)
    return best


def _cpu() -> str:
    """The model of the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    named = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory(kind: str) -> int | None:
    """Bytes of MemTotal or of MemAvailable (see proc(5)); None where the system does not tell."""
    try:
        text = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    found = re.search(rf"^{kind}:\s*(\d+) kB$", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _memory_problem(case: Case) -> str | None:
    """Why the official package cannot be given the whole of a case, if it cannot."""
    available = _memory("MemAvailable")
    needed = case.seconds * OFFICIAL_MEMORY[case.codec] + SPARE_MEMORY
    if available is None or needed <= available:
        return None
    return (
        f"{case}: the official package was not run: it takes about {needed / 1e9:.0f} GB "
        f"of memory for {case.seconds} s, and {available / 1e9:.0f} GB are free"
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
