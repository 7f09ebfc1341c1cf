"""What the tests of `conformance` are made of: sounds, ways to cut them, and checks."""

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
"""Where a seek in a long recording goes."""
MAX_MESSAGE = 400
"""Characters of the one line that an error is."""
EXTRA_FRAMES = 4
"""Frames that a codec may give beyond those that its sound lasts."""
EXTRA_SHARE = 0.05
"""The same as a share of them, for segments that overlap."""


def is_steady(codec: Codec) -> bool:
    """Without an engine nothing rounds in more ways than one."""
    return codec.engine is None or codec.engine.steady


def sweep(codec: Codec, frames: int, *, seed: int = 0, channels: int | None = None) -> Audio:
    """Some frames and a ragged end of swept tones and noise that swell, another in each channel."""
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
    if not spec.levels:
        return
    assert all(codes >= 1 for codes in spec.levels), f"levels are {spec.levels}"
    assert sum(spec.levels) == spec.codebooks, (
        f"levels {spec.levels} are {sum(spec.levels)} codes in a frame, and codebooks "
        f"{spec.codebooks}"
    )


def check_bandwidths(spec: CodecSpec) -> None:
    """Each takes codebooks that there are, and is what these take, to within a codebook."""
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
    """Codes of `sound` have this many codebooks, and as many frames as it lasts.

    Their type and range are checked wherever codes are made, by `Codes` itself.
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
    """Decoded sound has the rate and the length of `sound`, and numbers in it."""
    due = (sound.sample_rate, sound.length, channels)
    heard = (found.sample_rate, found.length, found.channels)
    assert heard == due, f"decoded to (rate, samples, channels) {heard}, not {due}"
    assert found.samples.dtype == np.float32, f"samples are {found.samples.dtype}"
    assert np.isfinite(found.samples).all(), "decoded samples are not finite"


def check_they_vary(codes: Codes) -> None:
    assert len(np.unique(codes.data[:, 0])) > 1, "a swept sound has one code all along"


def check_late_seek(codec: Codec) -> None:
    """A seek in a long recording leaves out what comes before, but for what it says."""
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
    """What codes could say that are not this codec's."""
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
    """What cannot be pushed into an encoder that was pushed `channels` channels."""
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
    """What cannot be pushed into a decoder of `codes.info`."""
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
    """Settings of torch that a caller can have made, where torch is at hand."""
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
    """Where the global generators of random numbers stand."""
    states: list[object] = [random.getstate(), str(np.random.get_state())]
    if "torch" in sys.modules:
        import torch

        states.append(torch.get_rng_state().numpy().tobytes())
    return states


def cuts_of(length: int, hop: int) -> dict[str, list[int]]:
    """Where a sound is cut into pushes."""
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
    encoder = Encoder(codec, info)
    blocks = [encoder.push(piece) for piece in pieces]
    return Codes.from_blocks(info, [*blocks, encoder.finish()], encoder.length)


def decode_in(codec: Codec, codes: Codes, blocks: Iterable[Block]) -> Samples:
    decoder = Decoder(codec, codes.info)
    parts = [decoder.push(block) for block in blocks]
    return np.concatenate([*parts, decoder.finish(codes.length)], axis=1)


def check_close(found: Samples, due: Samples, tolerance: float, what: str) -> None:
    assert found.shape == due.shape, f"{what}: samples are {found.shape}, not {due.shape}"
    if due.size == 0:
        return
    off = np.abs(found - due)
    most = tolerance * max(1.0, float(np.abs(due).max()))
    worst = int(off.max(axis=0).argmax())
    assert off.max() <= most, (
        f"{what}: samples differ by {off.max():.2g}, more than {most:.2g}, at sample {worst}"
    )


def bytes_held(streams: Sequence[object]) -> int:
    """Bytes of all objects that `streams` lead to, arrays and tensors with the memory they view.

    Modules, classes and a function's globals are left out: they lead to everything.
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
