"""The run: each case in rounds, its sides in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acomp.audio.samples import Samples
from acomp.backends import load
from acomp.backends.base import Codec
from acomp.backends.family import Side
from acomp.bench import loading
from acomp.bench.cases import Case, audio_of, weights_of
from acomp.bench.flops import count
from acomp.bench.machine import Machine
from acomp.bench.result import Agreement, Direction, Loading, Row, Timing
from acomp.bench.sides import MakeSide, Ours, official_repeats, official_side, reason_alone
from acomp.errors import CodecError

COUNTED_SECONDS = 2
"""Audio that operations are counted on: each second takes as many as the next."""

Progress = Callable[[str], None]
Seconds = dict[str, float]
"""What each side took."""


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
    loadings: dict[str, dict[str, Loading]] = {}
    for case in cases:
        progress(f"{case}: loading")
        with weights_of(case.codec) as (path, kind):
            number = rounds or case.rounds
            row = _measure(case, path, kind, number, machine, progress)
            if case.codec not in loadings:  # after what compiles its networks
                progress(f"{case}: loading in new processes")
                loadings[case.codec] = loading.measure(case.codec, path, machine.engine, number)
        yield replace(row, loading=loadings[case.codec])


def _measure(
    case: Case, path: Path, kind: str, rounds: int, machine: Machine, progress: Progress
) -> Row:
    """The figures of a case but for those of loading."""
    codecs, notes = _codecs(case, path, machine)
    first = codecs["fp32"]
    audio = audio_of(first.spec, case.seconds)
    progress(f"{case}: warming up")
    codes = first.encode(audio, codebooks=case.codebooks)
    official, reason = official_side(case.codec, path), reason_alone(case)
    gflop = _gflop(case, official or _on_torch(case, path), first)

    sides: dict[str, Side] = {}
    if reason is not None:
        notes.append(reason)
    elif official is not None:
        sides["official"] = official(audio, codes)
    sides |= {name: Ours(codec, audio, codes) for name, codec in codecs.items()}
    agreement = _warm_up(sides, repeats=official_repeats(case.codec))

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
        loading={},
        notes=notes,
    )


def _codecs(case: Case, path: Path, machine: Machine) -> tuple[dict[str, Codec], list[str]]:
    """The codec in each precision that the machine and the codec have, and why in no other."""
    codecs: dict[str, Codec] = {}
    notes = []
    for precision in machine.peak_gflops:
        try:
            codecs[precision] = load(
                case.codec, weights=path, engine=machine.engine, precision=precision, device="cpu"
            )
        except CodecError as error:
            if precision == "fp32":
                raise
            notes.append(f"{case}: no figures in {precision}: {error}")
    return codecs, notes


def _on_torch(case: Case, path: Path) -> MakeSide:
    return partial(Ours, load(case.codec, weights=path, engine="torch", device="cpu"))


def _gflop(case: Case, make: MakeSide, codec: Codec) -> tuple[float | None, float | None]:
    """10^9 operations for a second of audio, of encoding and of decoding."""
    audio = audio_of(codec.spec, COUNTED_SECONDS)
    side = make(audio, codec.encode(audio, codebooks=case.codebooks))
    counts = (count(side.encode), count(side.decode))
    encode, decode = (each / COUNTED_SECONDS / 1e9 or None for each in counts)
    return encode, decode


def _seconds(work: Callable[[], object]) -> float:
    began = perf_counter()
    work()
    return perf_counter() - began


def _warm_up(sides: dict[str, Side], *, repeats: bool) -> dict[str, Agreement]:
    """Let each side work once, and compare acomp's results with the official ones; its samples
    only where the official package gives the same each time.
    """
    official = sides.get("official")
    expected = None if official is None else (official.encode(), official.decode())
    agreement = {}
    for name in [name for name in sides if name != "official"]:
        codes, samples = sides[name].encode(), sides[name].decode()
        if expected is not None:
            difference = _largest_difference(samples, expected[1]) if repeats else None
            agreement[name] = Agreement(_equal_fraction(codes, expected[0]), difference)
    return agreement


def _equal_fraction(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    return float((ours == theirs).mean()) if ours.shape == theirs.shape else 0.0


def _largest_difference(ours: Samples, theirs: Samples) -> float:
    # The package's decoders give whole frames, or (DAC) leave a few of the last samples out.
    length = min(ours.shape[1], theirs.shape[1])
    difference = np.abs(ours[:, :length] - theirs[:, :length]).max()
    return float(difference / np.abs(theirs).max())


def _direction(
    case: Case, rounds: list[Seconds], gflop: float | None, machine: Machine
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
            of_peak=None if gflop is None else gflop * speed / peak,
        )

    fp32 = timing("fp32")
    assert fp32 is not None
    return Direction(gflop=gflop, official=timing("official"), fp32=fp32, bf16=timing("bf16"))
