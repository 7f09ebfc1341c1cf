"""Files whose fields are each possible but do not belong together: decoded, or refused, no more."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoints import lively, save_encodec
from hypothesis import HealthCheck, given, settings, strategies as st

import acomp
from acomp.backends.base import Codec
from acomp.backends.families import family_called, published_shape
from acomp.codecs import SPECS
from acomp.codes import Codes, CodesInfo, Segments
from acomp.engines import pick_engine
from acomp.formats import write_codes
from acomp.pipeline import Span, decode_file


@pytest.fixture(scope="module")
def codecs(tmp_path_factory: pytest.TempPathFactory) -> list[Codec]:
    """Codecs with the specs of published ones; the layers of EnCodec are narrow, to be quick."""
    found = [acomp.load("nano")]
    for name in ("encodec-24khz", "encodec-48khz"):
        shape = replace(published_shape(name), filters=4)
        path = save_encodec(lively(shape), tmp_path_factory.mktemp("weights") / f"{name}.th")
        load = family_called("encodec").load
        found.append(load(SPECS[name], shape, path, pick_engine("torch")))
    return found


@st.composite
def hostile_codes(draw: st.DrawFn, codec: Codec) -> Codes:
    spec = codec.spec
    streams, channels = draw(st.sampled_from([(1, 1), (1, 2), (2, 2), (1, 6)]))
    frames = draw(st.sampled_from([0, 1, 2, 149, 150, 151, 300]))
    info = CodesInfo(
        codec=spec.name,
        sample_rate=spec.sample_rate,
        channels=channels,
        streams=streams,
        codebooks=draw(st.sampled_from([1, 1, spec.codebooks, spec.codebooks + 1])),
        codebook_size=draw(st.sampled_from([1024] * 5 + [16])),
        hop_length=draw(st.sampled_from([320] * 5 + [1])),
        source_rate=draw(st.sampled_from([1, 8000, 24_000, 44_100, 48_000, 999_999])),
    )
    segments = None
    if frames and draw(st.booleans()):
        cuts = sorted(draw(st.sets(st.integers(1, frames), max_size=3)) - {frames})
        counts = np.diff([0, *cuts, frames])
        gains = draw(st.lists(st.sampled_from([0, 1, -1, 1e30, 1e-30]), min_size=4, max_size=4))
        segments = Segments(counts, np.array(gains[: len(counts)], np.float32))
    shape = (streams, info.codebooks, frames)
    data = np.random.default_rng(0).integers(0, info.codebook_size, shape, np.uint16)
    natural = frames * spec.hop_length * info.source_rate // spec.sample_rate
    length = draw(st.sampled_from([0, 1, natural, natural, natural, 1 << 40]))
    return Codes(info, data, length, segments)


@settings(deadline=None, max_examples=250, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_hostile_codes_are_decoded_or_refused(
    codecs: list[Codec], tmp_path: Path, data: st.DataObject
) -> None:
    codec = data.draw(st.sampled_from(codecs))
    codes = data.draw(hostile_codes(codec))
    stream = io.BytesIO()
    write_codes(stream, codes, form="nac")
    stream.seek(0)
    target = tmp_path / "out.wav"
    target.unlink(missing_ok=True)
    start = data.draw(st.sampled_from([0.0, 0.0, 0.5, 3.0]))
    duration = data.draw(st.sampled_from([None, 0.2]))
    try:
        decode_file(lambda _: codec, stream, target, Span(start, duration))
    except acomp.AcompError:
        assert not any(tmp_path.iterdir())
    else:
        assert acomp.read_audio(target).channels == codes.info.channels
