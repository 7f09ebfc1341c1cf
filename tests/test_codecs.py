"""The facts of the codecs: they stand once, and they are those of the networks."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import acomp
from acomp.audio import Audio
from acomp.backends.families import families, published_shape
from acomp.codecs import (
    ALIASES,
    BUILT_IN,
    BY_CHANNELS,
    ENCODEC,
    PUBLISHED,
    SPECS,
    CodecSpec,
    of_family,
)
from acomp.errors import CodecError
from acomp.torchaudio import ensure_torchaudio

SOURCE = Path(acomp.__file__).parent
SAY_NAMES = ("codecs.py", "backends/weights/catalogue.py")
"""Files of acomp that name codecs: the facts, and the catalogue of weights."""
SAY_FAMILIES = ("backends/converting.py", "backends/weights/layouts/")
"""Those that tell families apart by the layouts of weights; a codec may be called as its family."""


def texts_of(path: Path) -> Iterator[tuple[int, str]]:
    """The texts in a file of Python, and their lines; docstrings are none."""
    tree = ast.parse(path.read_text())
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value


def test_names_of_codecs_stand_in_one_file_and_the_catalogue() -> None:
    """Code asks a record what is so, not a name. Where a codec is called as its family is, the
    family's folder may say it.
    """
    of_families = {codec.family for codec in PUBLISHED.values()}
    told = {*PUBLISHED, *ALIASES.values()} - of_families
    found = []
    for path in SOURCE.rglob("*.py"):
        place = path.relative_to(SOURCE).as_posix()
        if place in SAY_NAMES:
            continue
        for line, text in texts_of(path):
            own = {path.parent.name, path.parent.parent.name}
            if place.startswith(SAY_FAMILIES):
                own |= of_families
            alone = text in PUBLISHED and text not in own
            if alone or told & {*re.findall(r"[\w-]+", text)}:
                found.append(f"{place}:{line}: {text!r}")
    assert found == []


def test_the_facts_need_the_standard_library_alone() -> None:
    program = (
        "import sys; before = {*sys.modules}; import acomp.codecs;"
        "print(*{name.partition('.')[0] for name in {*sys.modules} - before})"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert {*run.stdout.split()} - {*sys.stdlib_module_names} == {"acomp"}


def test_every_codec_is_of_a_family_that_is_there() -> None:
    assert {family.name for family in families()} == {codec.family for codec in PUBLISHED.values()}
    folders = {path.parent.name for path in SOURCE.glob("backends/*/codec.py")}
    assert folders == {family.name for family in families()}


def test_names_stand_for_codecs_that_are_there() -> None:
    named = {*ALIASES.values(), *(name for each in BY_CHANNELS.values() for name in each.values())}
    assert named <= {*PUBLISHED}
    assert BUILT_IN in PUBLISHED
    assert [name for name, codec in PUBLISHED.items() if name != codec.spec.name] == []


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_spec_is_that_of_the_network(name: str) -> None:
    """Delay, margins and segments are worked out from the shape; rates are products of strides."""
    shape, spec = published_shape(name), SPECS[name]
    if hasattr(shape, "spec") and callable(shape.spec):
        assert shape.spec(name, spec.bandwidths) == spec
    assert set(spec.bandwidths.values()) <= {*spec.codebook_counts}
    assert spec.codebooks == max(spec.codebook_counts)
    bits = (spec.codebook_size - 1).bit_length()
    for kbps, codebooks in spec.bandwidths.items():
        # Published figures are rounded; those of DAC are rounded down to whole codebooks.
        assert codebooks * bits * spec.frame_rate / 1000 == pytest.approx(kbps, rel=0.15)


@pytest.mark.parametrize("codec", of_family("encodec"), ids=lambda codec: codec.spec.name)
def test_encodec_is_as_its_package_has_it(codec: Any) -> None:
    ensure_torchaudio()
    from encodec.compress import MODELS

    spec, model = codec.spec, MODELS[codec.official_name](pretrained=False)
    assert (model.sample_rate, model.channels) == (spec.sample_rate, spec.channels)
    assert model.encoder.hop_length == spec.hop_length
    quantiser = model.quantizer
    assert (quantiser.bins, quantiser.dimension) == (spec.codebook_size, spec.codebook_dim)
    assert quantiser.n_q == spec.codebooks
    offered = {
        kbps: quantiser.get_num_quantizers_for_bandwidth(model.frame_rate, kbps)
        for kbps in model.target_bandwidths
    }
    assert offered == spec.bandwidths
    assert (model.segment_length or 0, model.segment_stride or 0) == (
        spec.segment_length,
        spec.segment_stride,
    )


@pytest.mark.parametrize("codec", of_family("dac"), ids=lambda codec: codec.spec.name)
def test_dac_is_as_its_package_has_it(codec: Any) -> None:
    pytest.importorskip("dac", reason="the extra acomp[dac] is not installed")
    ensure_torchaudio()
    from dac.model import DAC

    spec, strides = codec.spec, list(published_shape(codec.spec.name).strides)
    model = DAC(
        encoder_dim=2,
        decoder_dim=32,
        encoder_rates=strides,
        decoder_rates=strides[::-1],
        sample_rate=spec.sample_rate,
        n_codebooks=spec.codebooks,
    )
    assert model.hop_length == spec.hop_length
    assert (model.codebook_size, model.codebook_dim) == (spec.codebook_size, spec.codebook_dim)


@pytest.mark.parametrize("codec", of_family("snac"), ids=lambda codec: codec.spec.name)
def test_snac_is_as_its_package_has_it(codec: Any) -> None:
    pytest.importorskip("snac", reason="the extra acomp[snac] is not installed")
    from snac import SNAC

    spec, config = codec.spec, published_shape(codec.spec.name).config
    model = SNAC(**{**config, "encoder_dim": 8, "decoder_dim": 64, "attn_window_size": None})
    coarsest = model.vq_strides[0]
    assert model.sampling_rate == spec.sample_rate
    assert model.hop_length * coarsest == spec.hop_length
    assert tuple(coarsest // stride for stride in model.vq_strides) == spec.levels
    assert (model.codebook_size, model.codebook_dim) == (spec.codebook_size, spec.codebook_dim)
    frame = np.lcm(coarsest, config["attn_window_size"] or 1) // coarsest
    assert frame == spec.unit


def test_mimi_is_as_transformers_has_it() -> None:
    pytest.importorskip("transformers", reason="the extra acomp[mimi] is not installed")
    ensure_torchaudio()
    from transformers import MimiConfig

    (codec,) = of_family("mimi")
    spec, config = codec.spec, MimiConfig()
    assert (config.sampling_rate, config.frame_rate) == (spec.sample_rate, spec.frame_rate)
    assert (config.num_quantizers, config.audio_channels) == (spec.codebooks, spec.channels)
    assert (config.codebook_size, config.codebook_dim) == (spec.codebook_size, spec.codebook_dim)


@pytest.mark.parametrize("name", [codec.spec.name for codec in of_family("nano")])
def test_nano_is_as_its_weights_have_it(name: str) -> None:
    codec, spec = acomp.load(name), SPECS[name]
    assert codec.spec == spec
    assert codec.codebooks().shape == (spec.codebooks, spec.codebook_size, spec.codebook_dim)
    for hops, more in ((3, 0), (3, 1), (7, spec.hop_length - 1)):
        sound = np.zeros((1, hops * spec.hop_length + more), np.float32)
        codes = codec.encode(Audio(sound, spec.sample_rate))
        assert codes.frames == hops + (more > 0) + spec.extra_frames
        bare = codec.codes(codes.data)
        assert 0 <= bare.length - codes.length < spec.hop_length


def test_default_bandwidths_and_settings_that_are_refused() -> None:
    spec = SPECS[BY_CHANNELS[ENCODEC][1]]
    assert spec.codebooks_for(None, None) == spec.codebooks_for(6, None) == 8
    with pytest.raises(CodecError, match=r"no bandwidth of 5 kbps; it has 1\.5, 3, 6, 12, 24"):
        spec.codebooks_for(5, None)
    with pytest.raises(CodecError, match="the bandwidth is 'much', not a number of kbps"):
        spec.codebooks_for("much", None)
    levels = CodecSpec("x", 8000, 1, 80, 7, 16, 4, {1: 7}, levels=(1, 2, 4))
    with pytest.raises(CodecError, match="it takes 1, 3 or 7 codebooks, not 2"):
        levels.codebooks_for(None, 2)
