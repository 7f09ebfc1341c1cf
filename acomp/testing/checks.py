"""Building blocks of the tests in `conformance`: audio, ways to cut it into pieces, and checks."""

from __future__ import annotations

import gc
import math
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from acomp.audio import Audio
from acomp.audio.samples import Samples
from acomp.backends.base import Codec
from acomp.backends.streaming import Decoder, Encoder
from acomp.codecs import CodecSpec
from acomp.codes import MAX_CODEBOOK_SIZE, MAX_CODEBOOKS, Block, Codes, CodesInfo
from acomp.errors import AcompError

LATE_SECONDS = 3600
"""Position in seconds of a seek in a long recording."""
MAX_MESSAGE = 400
"""Most characters of the message of an error."""
EXTRA_FRAMES = 4
"""Frames that a codec may give beyond the duration of the audio."""
EXTRA_SHARE = 0.05
"""Further frames that it may give, as a share of the duration, because segments may overlap."""


def is_steady(codec: Codec) -> bool:
    """Whether sums are always rounded alike; so they are in a codec without an engine."""
    return codec.engine is None or codec.engine.steady


def sweep(codec: Codec, frames: int, *, seed: int = 0, channels: int | None = None) -> Audio:
    """Swept tones with noise that grow louder, different in each channel.

    The length is `frames` whole frames and a third of one.
    """
    spec = codec.spec
    length = frames * spec.hop_length + spec.hop_length // 3
    channels = max(spec.channels, channels or (2 if spec.stereo_streams else 1))
    random = np.random.default_rng(seed)
    time = np.arange(length) / spec.sample_rate
    pitch = 110 * (1 + seed + np.arange(channels))[:, np.newaxis]
    tones = sum(np.sin(2 * np.pi * pitch * over * (time + time**2)) for over in (1, 4, 9))
    noise = random.standard_normal((channels, length))
    samples = np.linspace(0.05, 0.3, length) * (0.6 * tones + 0.5 * noise)
    return Audio(samples.clip(-1, 1).astype(np.float32), spec.sample_rate)


def check_levels(spec: CodecSpec) -> None:
    """Levels have at least one code each, and together as many as there are codebooks."""
    if not spec.levels:
        return
    assert all(codes >= 1 for codes in spec.levels), f"levels are {spec.levels}"
    assert sum(spec.levels) == spec.codebooks, (
        f"levels {spec.levels} are {sum(spec.levels)} codes in a frame, and codebooks "
        f"{spec.codebooks}"
    )


def check_bandwidths(spec: CodecSpec) -> None:
    """Each bandwidth takes a possible number of codebooks, and is theirs to within a codebook."""
    assert spec.bandwidths, "the spec has no bandwidth"
    counts = [0, *spec.codebook_counts]
    bits = math.ceil(math.log2(spec.codebook_size))
    for kbps, codebooks in spec.bandwidths.items():
        assert codebooks in counts[1:], f"{kbps:g} kbps takes {codebooks} codebooks"
        each = bits * spec.frame_rate / 1000
        step = each * max(later - sooner for sooner, later in pairwise(counts))
        assert abs(kbps - codebooks * each) < step, (
            f"{kbps:g} kbps takes {codebooks} codebooks, which are {codebooks * each:g} kbps"
        )
    rising = [spec.bandwidths[kbps] for kbps in sorted(spec.bandwidths)]
    assert rising == sorted(set(rising)), "a higher bandwidth has no more codebooks"


def check_codes(codec: Codec, codes: Codes, sound: Audio, codebooks: int) -> None:
    """Codes of `sound` have `codebooks` codebooks and as many frames as `sound` lasts.

    `Codes` itself checks their type and range.
    """
    spec, info = codec.spec, codes.info
    assert info.codebooks == codebooks, f"{info.codebooks} codebooks, not {codebooks}"
    streams = 1 if spec.channels == 2 else info.channels
    assert codes.data.shape[:2] == (streams, codebooks), (
        f"codes are {codes.data.shape}, not {streams} streams of {codebooks} codebooks"
    )
    assert codes.data.dtype == np.uint16, f"codes are {codes.data.dtype}, not uint16"
    assert codes.length == sound.length, f"the codes say {codes.length} samples of {sound.length}"
    assert info.source_rate == sound.sample_rate, f"the codes say {info.source_rate} Hz"
    samples = math.ceil(sound.length * spec.sample_rate / sound.sample_rate)
    least = math.ceil(samples / spec.hop_length)
    most = least * (1 + EXTRA_SHARE) + EXTRA_FRAMES
    assert least <= codes.frames <= most, f"{codes.frames} frames of a sound that lasts {least}"


def check_sound(found: Audio, sound: Audio, channels: int) -> None:
    """Decoded audio has the sample rate and the length of `sound`, and finite samples."""
    expected = (sound.sample_rate, sound.length, channels)
    result = (found.sample_rate, found.length, found.channels)
    assert result == expected, f"decoded to (rate, samples, channels) {result}, not {expected}"
    assert found.samples.dtype == np.float32, f"samples are {found.samples.dtype}"
    assert np.isfinite(found.samples).all(), "decoded samples are not finite"


def silence_of(codes: Codes) -> Audio:
    """Silence as long as the sound of codes."""
    samples = np.zeros((codes.info.channels, codes.length), np.float32)
    return Audio(samples, codes.info.source_rate)


def check_they_vary(codes: Codes) -> None:
    """The codes of the first codebook are not all the same."""
    assert len(np.unique(codes.data[:, 0])) > 1, "a swept sound has one code all along"


def check_late_seek(codec: Codec) -> None:
    """A seek in a long recording decodes no more before its target than `preroll` says."""
    spec = codec.spec
    frame, first = codec.seek(LATE_SECONDS * spec.sample_rate)
    early = LATE_SECONDS - first / spec.sample_rate
    most = codec.preroll + 2 * spec.delay + 1
    assert 0 <= early <= most, (
        f"seek decodes {early:.2f} s before what is asked for; preroll is {codec.preroll:g} s"
    )
    assert frame >= first // spec.hop_length, f"frame {frame} cannot begin at sample {first}"


def check_refusal(kind: type[AcompError], action: Callable[[], object], what: str) -> None:
    """`action` raises an error of `kind` in one line."""
    try:
        action()
    except kind as refusal:
        message = str(refusal)
        assert message and "\n" not in message, f"{what}: not one line: {message!r}"
        assert len(message) <= MAX_MESSAGE, f"{what}: a line of {len(message)} characters"
    except Exception as failure:
        raise AssertionError(
            f"{what} ended in {type(failure).__name__} ({failure}), not in {kind.__name__}"
        ) from failure
    else:
        raise AssertionError(f"{what} was not refused")


def strangers_to(spec: CodecSpec, info: CodesInfo) -> dict[str, CodesInfo]:
    """`CodesInfo`s, by what is wrong with them, that a codec with `spec` must refuse."""
    size = spec.codebook_size
    strangers = {
        "another codec": replace(info, codec="somebody-elses"),
        "other weights": replace(info, fingerprint="0123456789abcdef"),
        "another rate": replace(info, sample_rate=info.sample_rate + 1),
        "another hop": replace(info, hop_length=info.hop_length + 1),
        "other codebooks": replace(
            info, codebook_size=size + 1 if size < MAX_CODEBOOK_SIZE else size - 1
        ),
        "three channels in one stream": replace(info, channels=3, streams=1),
    }
    if spec.codebooks < MAX_CODEBOOKS:
        strangers["more codebooks"] = replace(info, codebooks=spec.codebooks + 1)
    for count in set(range(1, spec.codebooks)) - set(spec.codebook_counts):
        strangers[f"{count} codebooks, a part of a level"] = replace(info, codebooks=count)
    return strangers


def bad_samples(channels: int) -> dict[str, Any]:
    """Samples, by what is wrong with them, that an encoder of `channels` channels must refuse."""
    good = np.zeros((channels, 100), np.float32)
    nan, endless = good.copy(), good.copy()
    nan[0, 7], endless[-1, 99] = np.nan, -np.inf
    return {
        "no number": nan,
        "infinity": endless,
        "integers": good.astype(np.int16),
        "time before channels": np.zeros((4800, channels), np.float32),
        "another number of channels": np.zeros((channels + 1, 100), np.float32),
        "three axes": good[np.newaxis],
        "a text": "sound.wav",
        "an Audio": Audio(good, 8000),
    }


def bad_blocks(codes: Codes) -> dict[str, Any]:
    """Blocks, by what is wrong with them, that a decoder of `codes.info` must refuse."""
    info, data = codes.info, codes.data
    bad: dict[str, Any] = {
        "one codebook more": Block(np.concatenate([data, data[:, :1]], axis=1), codes.segments),
        "another number of streams": Block(np.concatenate([data, data]), codes.segments),
        "bare numbers": data,
        "all codes": codes,
    }
    if info.codebook_size < MAX_CODEBOOK_SIZE:
        bad["codes out of range"] = Block(np.full_like(data, info.codebook_size), codes.segments)
    return bad


def torch_settings() -> dict[str, AbstractContextManager[object]]:
    """Settings of torch that a caller may have made, by name; none if torch is not imported."""
    if "torch" not in sys.modules:
        return {}
    import torch

    @contextmanager
    def held(get: Callable[[], Any], put: Callable[[Any], object], value: Any) -> Iterator[None]:
        kept = get()
        put(value)
        try:
            yield
            assert get() == value, f"a setting of torch is {get()} afterwards, not {value}"
        finally:
            put(kept)

    default_type = partial(held, torch.get_default_dtype, torch.set_default_dtype)
    return {
        "autocast": torch.autocast("cpu", torch.bfloat16),
        "float64 by default": default_type(torch.float64),
        "float16 by default": default_type(torch.float16),
        "another device by default": torch.device("meta"),
        "no_grad": torch.no_grad(),
        "inference_mode": torch.inference_mode(),
        "deterministic algorithms": held(
            torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
        ),
        "products of less precision": held(
            torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "medium"
        ),
        "two threads": held(torch.get_num_threads, torch.set_num_threads, 2),
    }


def random_states() -> list[object]:
    """The states of the global random number generators of Python, numpy and torch."""
    states: list[object] = [random.getstate(), str(np.random.get_state())]
    if "torch" in sys.modules:
        import torch

        states.append(torch.get_rng_state().numpy().tobytes())
    return states


def cuts_of(length: int, hop: int) -> dict[str, list[int]]:
    """Positions in samples at which audio is cut into pushes, by the name of the way to cut."""
    edge = min(length // 2, math.ceil(2.2 * hop))
    random = np.random.default_rng(length)
    cuts = {
        "single samples at both ends": [*range(edge), *range(length - edge, length + 1)],
        "sizes by chance": sorted(random.integers(0, length + 1, 20).tolist()),
    }
    for frames in (0.5, 1, 1.1, 3):
        step = max(1, int(frames * hop))
        cuts[f"{frames:g} frames"] = list(range(step, length, step))
    return cuts


def encode_in(codec: Codec, info: CodesInfo, pieces: Iterable[Samples]) -> Codes:
    """Encode the audio that `pieces` make up, one push for each."""
    encoder = Encoder(codec, info)
    blocks = [encoder.push(piece) for piece in pieces]
    return Codes.from_blocks(info, [*blocks, encoder.finish()], encoder.length)


def decode_in(codec: Codec, codes: Codes, blocks: Iterable[Block]) -> Samples:
    """Decode the codes that `blocks` make up, one push for each."""
    decoder = Decoder(codec, codes.info)
    parts = [decoder.push(block) for block in blocks]
    return np.concatenate([*parts, decoder.finish(codes.length)], axis=1)


def check_close(found: Samples, expected: Samples, tolerance: float, what: str) -> None:
    """Samples differ by at most `tolerance`, relative to the peak if that is above full scale."""
    assert found.shape == expected.shape, f"{what}: samples are {found.shape}, not {expected.shape}"
    if expected.size == 0:
        return
    off = np.abs(found - expected)
    most = tolerance * max(1.0, float(np.abs(expected).max()))
    worst = int(off.max(axis=0).argmax())
    assert off.max() <= most, (
        f"{what}: samples differ by {off.max():.2g}, more than {most:.2g}, at sample {worst}"
    )


def bytes_held(streams: Sequence[object]) -> int:
    """Bytes of all objects that `streams` refer to, including the memory of arrays and tensors.

    Modules, classes and the globals of functions are left out, because they refer to everything.
    """
    seen: dict[int, Any] = {}
    todo: list[Any] = [*streams]
    while todo:
        item = todo.pop()
        if id(item) in seen or isinstance(item, type | ModuleType):
            continue
        seen[id(item)] = item
        if isinstance(item, FunctionType):
            todo += [item.__closure__, item.__defaults__]
        elif isinstance(item, np.ndarray):
            todo.append(item.base)
        else:
            todo += gc.get_referents(item)
    storages = [item.untyped_storage() for item in seen.values() if _is_tensor(item)]
    tensors: dict[int, int] = {memory.data_ptr(): memory.nbytes() for memory in storages}
    return sum(map(sys.getsizeof, seen.values())) + sum(tensors.values())


def _is_tensor(item: Any) -> bool:
    return type(item).__module__.split(".")[0] == "torch" and hasattr(item, "untyped_storage")
