"""Batches: each clip gets the codes and the sound that it gets alone."""

from __future__ import annotations

import threading
from functools import partial

import numpy as np
import pytest
from checkpoints import encodec_model, save_encodec
from numpy.typing import NDArray

import acomp
from acomp.backends.base import Codec
from acomp.engines.base import Array
from acomp.engines.together import MOST, Together


@pytest.fixture(scope="module", params=["nano", "encodec-24khz"])
def codec(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Codec:
    name: str = request.param
    if name == "nano":
        return acomp.load(name, engine="torch")
    folder = tmp_path_factory.mktemp("weights")
    return acomp.load(
        name, weights=save_encodec(encodec_model(name), folder / "w.th"), engine="torch"
    )


def clips(codec: Codec) -> list[acomp.Audio]:
    """Of different lengths, rates and, where the codec keeps them, channels."""
    random = np.random.default_rng(0)
    formats = [(1, 24_000, 9000), (1, 24_000, 321), (1, 16_000, 8000), (1, 24_000, 1)]
    if codec.spec.stereo_streams:
        formats.append((2, 44_100, 12_345))
    return [
        acomp.Audio(0.1 * random.standard_normal((channels, length)).astype(np.float32), rate)
        for channels, rate, length in formats
    ]


def test_a_clip_that_cannot_be_coded_is_an_error(codec: Codec) -> None:
    silence = acomp.Audio(np.zeros((1, 0), np.float32), 24_000)
    with pytest.raises(acomp.AudioError, match="no samples"):
        codec.encode_batch([*clips(codec), silence])


class Doubler:
    """A network that counts its runs and how much they held."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, *inputs: Array) -> list[Array]:
        self.batches.append(len(inputs[0]))
        return [2 * array for array in inputs]


def test_jobs_that_meet_share_a_run() -> None:
    """As on a GPU: jobs that ask for one shape are one batch, whatever else they do."""
    together, network = Together(), Doubler()

    def job(index: int) -> NDArray[np.float64]:
        steps = 1 + index % 3
        parts = [np.full((1, 4), index + step) for step in range(steps)]
        return np.concatenate([together.run(network, part)[0] for part in parts])

    results = together.run_all([partial(job, index) for index in range(9)])
    for index, result in enumerate(results):
        np.testing.assert_array_equal(result[:, 0], 2 * np.arange(index, index + 1 + index % 3))
    assert network.batches == [9, 6, 3]


def test_shapes_and_networks_are_not_mixed() -> None:
    together, one, other = Together(), Doubler(), Doubler()
    shapes = [(1, 3), (2, 3), (1, 5)]
    jobs = [
        partial(together.run, network, np.ones(shape))
        for shape in shapes
        for network in (one, other)
    ]
    found = [outputs[0].shape for outputs in together.run_all(jobs)]
    assert found == [shape for shape in shapes for _ in (one, other)]
    assert sorted(one.batches) == sorted(other.batches) == [1, 3]


def test_more_jobs_than_threads_and_one_that_fails() -> None:
    together, network = Together(), Doubler()
    ran = []

    def job(index: int) -> int:
        ran.append(threading.get_ident())
        return int(together.run(network, np.full((1, 1), index))[0][0, 0])

    count = 3 * MOST
    results = together.run_all([partial(job, index) for index in range(count)])
    assert results == [2 * index for index in range(count)]
    assert len(set(ran)) <= MOST

    def broken(*_: Array) -> list[Array]:
        raise RuntimeError("out of memory")

    jobs = [lambda: together.run(broken, np.ones((1, 1)))[0], lambda: np.ones(1)]
    with pytest.raises(RuntimeError, match="out of memory"):
        together.run_all(jobs)


def test_a_codec_that_runs_its_clips_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nano as on a GPU, but on the CPU, where rows do not depend on their number."""
    codec = acomp.load("nano", engine="torch")
    sounds = clips(codec)
    alone = [codec.encode(clip) for clip in sounds]
    together = Together()
    for name in ("analyse", "encode"):
        runner = getattr(codec.functions, name)  # type: ignore[attr-defined]
        monkeypatch.setattr(
            codec.functions,  # type: ignore[attr-defined]
            name,
            partial(together.run, runner),
        )
    monkeypatch.setattr(codec.engine, "run_all", together.run_all)
    for one, other in zip(codec.encode_batch(sounds), alone, strict=True):
        np.testing.assert_array_equal(one.data, other.data)
