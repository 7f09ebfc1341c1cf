"""`--start` and `--duration` of a long file decode no more than they need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import acomp
from acomp.audio import read_audio
from acomp.audio.samples import Samples
from acomp.backends.base import Codec
from acomp.backends.streams import StreamDecoder
from acomp.codes import Block, Codes, CodesInfo
from acomp.formats import write_codes
from acomp.pipeline import Span, decode_file

HOUR = 3600
BLOCK = 1.0
"""Seconds that may be decoded beyond what is heard and the preroll."""


@pytest.fixture(scope="module")
def codec() -> Codec:
    return acomp.load("nano-1", engine="torch")


@pytest.fixture(scope="module", params=[24_000, 44_100])
def hour(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of codes drawn at random."""
    info = CodesInfo("nano-1", 24_000, 1, 1, 2, 1024, 320, source_rate=request.param)
    random = np.random.default_rng(0)
    data = random.integers(0, 1024, (1, 2, HOUR * 75 + 1), np.uint16)
    path = tmp_path_factory.mktemp("hour") / "hour.nac"
    write_codes(path, Codes(info, data, HOUR * request.param))
    return path


@pytest.fixture
def pushed(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The frames of each block that the codec's stream decoder is given."""
    frames: list[int] = []
    make = codec.stream_decoder

    def watched(info: CodesInfo) -> StreamDecoder:
        decoder = make(info)
        push = decoder.push

        def push_watched(block: Block) -> Samples:
            frames.append(block.frames)
            return push(block)

        monkeypatch.setattr(decoder, "push", push_watched)
        return decoder

    monkeypatch.setattr(codec, "stream_decoder", watched)
    return frames


@pytest.mark.parametrize(
    ("start", "duration"), [(3000, 5), (0, 0.5), (1234.567, 0.01), (17, 25), (HOUR - 2, 5)]
)
def test_no_more_is_decoded_than_is_heard(
    codec: Codec, hour: Path, pushed: list[int], tmp_path: Path, start: float, duration: float
) -> None:
    out = tmp_path / "out.wav"
    decode_file(lambda _: codec, hour, out, Span(start, duration))
    heard = min(duration, HOUR - start)
    assert read_audio(out).duration == pytest.approx(heard, abs=1e-4)
    assert sum(pushed) / codec.spec.frame_rate <= codec.preroll + heard + BLOCK


def test_no_block_is_longer_than_memory_holds(
    codec: Codec, hour: Path, pushed: list[int], tmp_path: Path
) -> None:
    decode_file(lambda _: codec, hour, tmp_path / "out.wav", Span(HOUR - 40))
    assert max(pushed) <= 10 * codec.spec.frame_rate
    assert sum(pushed) / codec.spec.frame_rate <= codec.preroll + 40 + BLOCK
