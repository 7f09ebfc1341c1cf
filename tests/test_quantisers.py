"""Quantisers that a codec of one's own may have: the same codes in training, files and engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import QUANTISED, lively
from commands import Cli, assert_done, make, sound
from engines_here import needs_openvino

import acomp
from acomp.backends.base import Codec
from acomp.backends.custom import shape_from
from acomp.backends.encodec.quantisers import Factorised, Residual, Scalar, build_quantiser
from acomp.backends.encodec.shape import QUANTISERS, EncodecShape
from acomp.backends.weights.checkpoint import save_weights
from acomp.errors import CodecError
from acomp.training import descent
from acomp.training.families.encodec import EncodecTrainee

BY_DESCENT = ("gumbel", "factorised", "fsq")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("quantisers")


def weights(folder: Path, name: str) -> Path:
    """A file of weights of one of QUANTISED."""
    path = folder / f"{name}.safetensors"
    if not path.exists():
        save_weights(path, lively(QUANTISED[name]).state_dict(), QUANTISED[name])
    return path


@pytest.fixture(scope="module", params=QUANTISERS)
def file(request: pytest.FixtureRequest, folder: Path) -> Path:
    return weights(folder, request.param)


# The package's own quantiser is compiled in test_custom.py.
COMPILED = [
    pytest.param((name, "openvino"), marks=needs_openvino, id=f"{name}-openvino")
    for name in BY_DESCENT
]
ON_TORCH = [pytest.param((name, "torch"), id=f"{name}-torch") for name in QUANTISERS]


@pytest.fixture(scope="module", params=[*ON_TORCH, *COMPILED])
def codec(request: pytest.FixtureRequest, folder: Path) -> Codec:
    name, engine = request.param
    return acomp.load("custom", weights=weights(folder, name), engine=engine)


def noise(seconds: float) -> acomp.Audio:
    """Noise, whose codes differ all along."""
    samples = 0.3 * np.random.default_rng(0).standard_normal((1, round(16_000 * seconds)))
    return acomp.Audio(samples.clip(-1, 1).astype(np.float32), 16_000)


def test_codes_and_samples_are_those_of_the_model(codec: Codec) -> None:
    audio = noise(1.0)
    model: Any = codec.module
    with torch.no_grad():
        ((official, scale),) = model.encode(torch.from_numpy(audio.samples)[None])
        whole = model.decode([(official, scale)])[0].numpy()
    codes = codec.encode(audio, codebooks=codec.spec.codebooks)
    assert codes.data.shape == official.shape
    assert all(len(np.unique(level)) > 8 for level in codes.data[0])
    # Two entries may lie equally near but for the order of a sum.
    assert (codes.data == official.numpy()).all(axis=1).mean() > 0.98
    same = replace(codes, data=official.numpy().astype(np.uint16))
    np.testing.assert_allclose(codec.decode(same).samples, whole[:, : audio.length], atol=1e-4)


def test_fewer_codebooks_are_the_first_ones_of_all(codec: Codec) -> None:
    audio = noise(0.5)
    every = codec.encode(audio, codebooks=codec.spec.codebooks)
    np.testing.assert_array_equal(codec.encode(audio, codebooks=1).data, every.data[:, :1])


def test_what_the_decoder_adds_up_are_the_latent_codebooks(file: Path) -> None:
    codec = acomp.load("custom", weights=file, engine="torch")
    books, latent = codec.codebooks(), codec.latent_codebooks()
    spec = codec.spec
    assert books.shape == (spec.codebooks, spec.codebook_size, spec.codebook_dim)
    codes = np.arange(spec.codebooks * 5).reshape(1, spec.codebooks, 5)
    with torch.no_grad():
        quantiser: Any = codec.module
        due = quantiser.quantizer.decode(torch.from_numpy(codes).transpose(0, 1))[0].numpy()
    found = np.stack([latent[level, codes[0, level]] for level in range(spec.codebooks)]).sum(0)
    np.testing.assert_allclose(found.T, due, atol=1e-5)


def test_a_file_says_which_quantiser_it_has(file: Path, tmp_path: Path, cli: Cli) -> None:
    audio, own = make(tmp_path / "a.wav", 0.6, 16_000), ("--weights", file, "--engine", "torch")
    assert_done(cli("encode", audio, "-b", "custom", *own, "-o", tmp_path / "a.nac"))
    codec = acomp.load("custom", weights=file, engine="torch")
    codes = acomp.read_codes(tmp_path / "a.nac")
    due = codec.encode(acomp.read_audio(audio), codebooks=codec.spec.codebooks)
    np.testing.assert_array_equal(codes.data, due.data)
    assert codes.info.codebook_size == 128


@pytest.mark.parametrize("name", QUANTISERS)
def test_training_codes_as_the_codec_does(name: str) -> None:
    shape = QUANTISED[name]
    model = lively(shape)
    trainee = EncodecTrainee(model, shape.spec()).eval()
    x = torch.from_numpy(sound(0.5, shape.sample_rate).samples)[None]
    with torch.no_grad():
        coded = trainee(x, torch.tensor([shape.codebooks]))
        latents = model.encoder(x)
        np.testing.assert_array_equal(
            coded.codes.transpose(0, 1), model.quantizer.vq.encode(latents)
        )


@pytest.mark.parametrize("name", BY_DESCENT)
def test_each_learns_by_descent(name: str) -> None:
    torch.manual_seed(0)
    shape = QUANTISED[name]
    assert isinstance(shape, EncodecShape)
    quantiser = build_quantiser(shape)
    assert quantiser is not None
    latents = torch.randn(4, 100, 16) @ torch.randn(16, 16)
    with torch.no_grad():
        descent.start(quantiser, 0.5 * latents.flatten(0, 1) + 1)
    # Factorised projections follow an encoder, of which there is none here.
    learning = [p for n, p in quantiser.named_parameters() if name != "factorised" or "book" in n]
    optimiser = torch.optim.Adam(learning, 0.03)
    everything, steps = torch.full((4,), shape.codebooks), 60

    @torch.no_grad()
    def error() -> float:
        quantised = descent.quantise(quantiser, latents, everything, part=None)[0]
        return float((quantised - latents).square().mean())

    before = error()
    for step in range(steps):
        optimiser.zero_grad()
        quantised, _, penalty = descent.quantise(quantiser, latents, everything, part=step / steps)
        torch.autograd.backward((quantised - latents).square().mean() + penalty)
        optimiser.step()
    assert error() < 0.8 * before


@pytest.mark.parametrize("name", BY_DESCENT)
def test_the_gradient_passes_through_the_codes(name: str) -> None:
    shape = QUANTISED[name]
    torch.manual_seed(0)
    quantiser = lively(shape).quantizer.vq
    latents = torch.randn(2, 50, 16, requires_grad=True)
    quantised, codes, _ = descent.quantise(quantiser, latents, torch.tensor([1, 3]), part=0.5)
    assert codes.shape == (2, 3, 50)
    torch.autograd.backward(quantised.square().sum())
    assert latents.grad is not None and latents.grad.abs().sum() > 0
    learnt = [p.grad is not None and p.grad.abs().sum() > 0 for p in quantiser.parameters()]
    assert any(learnt)


def test_gumbel_softmax_ends_where_the_codec_begins() -> None:
    """Hot it draws entries, cold it takes the nearest ones."""
    torch.manual_seed(0)
    quantiser = lively(QUANTISED["gumbel"]).quantizer.vq
    book = quantiser.layers[0].book.detach()
    latents = (book + book.std() * torch.randn(3, *book.shape)).view(1, -1, 16)
    one = torch.tensor([1])
    due = quantiser.layers[0].lookup(latents)
    agreed = [
        (descent.quantise(quantiser, latents, one, part=part)[1][:, 0] == due).float().mean()
        for part in (0.0, 1.0)
    ]
    assert agreed[0] < agreed[1] - 0.2 and agreed[1] > 0.9


@pytest.mark.parametrize("size", [1 << bits for bits in range(1, 17)])
def test_finite_scalars_have_as_many_codes_as_a_codebook(size: int) -> None:
    shape = replace(QUANTISED["fsq"], codebook_size=size)
    assert isinstance(shape, EncodecShape)
    level = Scalar(shape)
    codes = torch.arange(size)
    values = level.values(codes)
    assert values.shape == (size, shape.codebook_dim) and values.abs().max() < 1
    assert len(torch.unique(values, dim=0)) == size
    assert torch.equal(level.nearest(values), codes)


def test_a_finite_scalar_is_rounded_to_the_nearest_value() -> None:
    shape = QUANTISED["fsq"]
    assert isinstance(shape, EncodecShape)
    level = Scalar(shape)
    torch.manual_seed(0)
    bounded = torch.tanh(2 * torch.randn(500, shape.codebook_dim))
    far = (bounded[:, None] - level.codebook).abs().amax(-1)
    chosen = (bounded - level.values(level.nearest(bounded))).abs().amax(-1)
    assert (chosen <= 1 / torch.tensor(shape.scalar_steps).min() + 1e-6).all()
    assert torch.equal(far.square().min(-1).values.argmin(), chosen.square().argmin())


def test_factorised_entries_are_chosen_by_direction() -> None:
    shape = QUANTISED["factorised"]
    assert isinstance(shape, EncodecShape)
    torch.manual_seed(0)
    level = Factorised(shape)
    projected = torch.randn(40, 4)
    assert torch.equal(level.nearest(projected), level.nearest(7 * projected))
    due = torch.cosine_similarity(projected[:, None], level.book, dim=-1).argmax(-1)
    assert torch.equal(level.nearest(projected), due)


def _vq(model: Any) -> Any:
    return model.quantizer.vq


def test_the_package_has_its_own_quantiser_where_nothing_else_is_asked_for() -> None:
    kinds = {name: type(_vq(shape.build())) for name, shape in QUANTISED.items()}
    assert kinds["rvq"] is kinds["vq"] is not Residual
    assert {kinds[name] for name in BY_DESCENT} == {Residual}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"quantiser": "pq"}, "quantiser is 'pq', not one of rvq, vq, gumbel, factorised, fsq"),
        ({"quantiser": ["vq"]}, "quantiser is"),
        ({"quantiser": "vq", "codebooks": 2}, "codebooks is 2: the quantiser vq has one"),
        ({"quantiser": "factorised", "codebook_dimension": 0}, "codebook_dimension is 0"),
    ],
)
def test_quantisers_that_there_are_not(fields: dict[str, object], words: str) -> None:
    with pytest.raises(CodecError, match=words):
        shape_from({"family": "encodec", **fields})
