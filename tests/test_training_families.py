"""Networks in training code as the official packages and acomp's own codecs do."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agreement import assert_official_codes, encodec_distances
from checkpoints import QUANTISED, SMALL, lively
from commands import sound

import acomp
from acomp.backends.encodec.shape import EncodecShape
from acomp.backends.families import family_called
from acomp.training.config import Config, parse
from acomp.training.families import build
from acomp.training.families.dac import DacTrainee
from acomp.training.families.encodec import EncodecTrainee
from acomp.training.families.nano import NanoTrainee
from acomp.training.losses import mel_loss

IN_TIME = ["causal", "causal stereo", "segments"]
SMALL_ENCODECS = [name for name, shape in SMALL.items() if isinstance(shape, EncodecShape)]


def settings(**more: Any) -> Config:
    basis = {"backend": "nano-1", "data": {"sources": {}}, "losses": {"mel": 1.0}}
    return parse({**basis, **more})


def samples(channels: int, length: int) -> torch.Tensor:
    torch.manual_seed(1)
    return 0.3 * torch.randn(2, channels, length)


def sound_for(shape: EncodecShape) -> torch.Tensor:
    """Two recordings: of a segment each, where the network codes segments."""
    return samples(shape.channels, shape.segment_length or 20 * shape.hop_length)


@pytest.mark.parametrize("name", IN_TIME)
@torch.no_grad()
def test_encodec_codes_as_the_official_package(name: str) -> None:
    shape = SMALL[name]
    assert isinstance(shape, EncodecShape)
    model = lively(shape)
    trainee = EncodecTrainee(model, shape.spec("custom")).eval()
    x = sound_for(shape)
    everything = torch.full((2,), shape.codebooks)
    coded = trainee(x, everything)
    official, scale = model._encode_frame(x)
    latents = model.encoder(trainee._normalise(x)[0])
    for one, other, latent in zip(coded.codes, official, latents, strict=True):
        found, due = one[None].numpy(), other[None].numpy()
        assert_official_codes(found, due, encodec_distances(model, [latent[None]], due))
    decoded = model._decode_frame((coded.codes, scale))[..., : x.shape[-1]]
    torch.testing.assert_close(coded.output, decoded, atol=1e-5, rtol=1e-4)
    learning = deepcopy(model.quantizer).train()  # which changes its codebooks
    penalty = learning(torch.stack(list(latents)), model.frame_rate).penalty
    assert {*coded.penalties} == {*family_called("encodec").penalties}
    torch.testing.assert_close(coded.penalties["commitment"], penalty)
    fewer = trainee(x, torch.tensor([1, shape.codebooks])).output
    assert not torch.allclose(fewer[0], coded.output[0])
    assert torch.equal(fewer[1], coded.output[1])


@torch.no_grad()
def test_dac_codes_as_the_official_package() -> None:
    pytest.importorskip("dac")
    shape = SMALL["dac"]
    model = lively(shape)
    trainee = DacTrainee(model, shape.spec("custom")).eval()
    x = samples(1, 20 * shape.hop_length)
    coded = trainee(x, torch.tensor([2, 2]))
    # The same layers in the same order give the same bits.
    official = model(x, n_quantizers=2)
    assert torch.equal(coded.codes[:, :2], official["codes"])
    torch.testing.assert_close(coded.output, official["audio"], atol=1e-6, rtol=1e-5)
    assert {*coded.penalties} == {*family_called("dac").penalties}
    for name, key in (("commitment", "vq/commitment_loss"), ("codebook", "vq/codebook_loss")):
        torch.testing.assert_close(coded.penalties[name], official[key])


@torch.no_grad()
def test_dac_gives_as_many_samples_as_it_took() -> None:
    pytest.importorskip("dac")
    shape = SMALL["dac of odd strides"]
    trainee = DacTrainee(lively(shape), shape.spec("custom")).eval()
    x = samples(1, 20 * shape.hop_length)
    assert trainee(x, torch.tensor([1, 2])).output.shape == x.shape


@torch.no_grad()
def test_nano_codes_as_the_codec() -> None:
    trainee, shape = build(settings())
    assert isinstance(trainee, NanoTrainee) and shape is None
    codec = acomp.load("nano-1", engine="torch")
    audio = sound(1.0)
    codes = codec.encode(audio, bandwidth=3)
    coded = trainee.eval()(torch.from_numpy(audio.samples)[None], torch.tensor([4]))
    assert {*coded.penalties} == {*family_called("nano").penalties}
    np.testing.assert_array_equal(coded.codes, codes.data)
    np.testing.assert_allclose(coded.output[0], codec.decode(codes).samples, atol=1e-5)


def test_weights_go_out_as_they_came_in(tmp_path: Path) -> None:
    from acomp.backends.weights.checkpoint import save_weights

    trainee, _ = build(settings())
    path = tmp_path / "same.safetensors"
    save_weights(path, trainee.weights())
    assert acomp.load("nano-1", weights=path).fingerprint == acomp.load("nano-1").fingerprint


@pytest.mark.parametrize("name", IN_TIME)
def test_encodec_learns_and_its_weights_hold_what_it_learnt(name: str, tmp_path: Path) -> None:
    from acomp.backends.weights.checkpoint import save_weights

    shape = SMALL[name]
    assert isinstance(shape, EncodecShape)
    torch.manual_seed(0)
    trainee = EncodecTrainee(shape.build(), shape.spec("custom"))
    x = sound_for(shape)
    trainee.start(x)
    before = trainee.books()[0].clone()
    trainee.train()
    coded = trainee(x, torch.tensor([1, shape.codebooks]))
    torch.autograd.backward(coded.output.square().mean() + coded.penalties["commitment"])
    assert all(parameter.grad is not None for parameter in trainee.encoder() + trainee.decoder())
    assert not torch.equal(trainee.books()[0], before)
    path = tmp_path / "own.safetensors"
    save_weights(path, trainee.weights(), shape)
    codec = acomp.load("custom", weights=path, engine="torch")
    np.testing.assert_array_equal(codec.codebooks(), np.stack(trainee.books()))


def test_a_frozen_encoder_codes_as_before() -> None:
    trainee, _ = build(settings())
    trainee.freeze()
    trainee.train()
    before = {name: value.clone() for name, value in trainee.weights().items()}
    x = samples(1, 8000)
    coded = trainee(x, torch.tensor([4, 16]))
    torch.autograd.backward(coded.output.square().mean() + coded.penalties["commitment"])
    assert all(parameter.grad is None for parameter in trainee.encoder())
    assert all(parameter.grad is not None for parameter in trainee.decoder())
    after = trainee.weights()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_weights_with_a_frozen_encoder_code_as_before(tmp_path: Path) -> None:
    """Those of nano are kept in 8 bits with scales, which float16 would round."""
    from acomp.backends.weights.checkpoint import save_weights

    trainee, _ = build(settings(backend="nano-2"))
    trainee.freeze()
    save_weights(tmp_path / "own.safetensors", trainee.weights())
    own = acomp.load("nano", weights=tmp_path / "own.safetensors", engine="torch")
    np.testing.assert_array_equal(
        own.latents(sound(0.3)), acomp.load("nano", engine="torch").latents(sound(0.3))
    )
    np.testing.assert_array_equal(own.codebooks(), acomp.load("nano").codebooks())


@pytest.mark.parametrize("name", SMALL_ENCODECS)
def test_encodec_begins_from_scratch_with_latents_that_tell_sounds_apart(name: str) -> None:
    shape = SMALL[name]
    assert isinstance(shape, EncodecShape)
    torch.manual_seed(0)
    trainee = EncodecTrainee(shape.build(), shape.spec("custom"))
    x = sound_for(shape)
    trainee.start(x)
    every = torch.full((len(x),), shape.codebooks)
    with torch.no_grad():
        latents = trainee.model.encoder(trainee._normalise(x)[0])
        output = trainee.eval()(x, every).output
    of_a_channel, of_all = latents.std((0, 2)).mean(), latents.std()
    assert 0.8 < of_a_channel < 1.2 and 0.8 < of_all < 1.2
    assert 0.5 < output.std() / x.std() < 2
    assert output.mean().abs() < 0.1 * x.std()


def test_codes_still_tell_sounds_apart_after_the_first_steps() -> None:
    """In which biases move fastest."""
    shape = QUANTISED["rvq"]
    assert isinstance(shape, EncodecShape)
    torch.manual_seed(0)
    trainee = EncodecTrainee(shape.build(), shape.spec("custom"))
    x, every = samples(1, 3840), torch.full((2,), shape.codebooks)
    trainee.start(x)
    optimiser = torch.optim.Adam(trainee.parameters(), 1e-3)
    for _ in range(10):
        optimiser.zero_grad()
        coded = trainee(x, every)
        loss = mel_loss(x, coded.output, shape.sample_rate) + coded.penalties["commitment"]
        torch.autograd.backward(loss)
        optimiser.step()
    with torch.no_grad():
        codes = trainee.eval()(x, every).codes
    assert min(len(level.unique()) for level in codes.unbind(1)) > 2


def test_nano_begins_from_scratch_as_a_transform_codec() -> None:
    torch.manual_seed(0)
    trainee, _ = build(settings(from_scratch=True))
    x = 0.1 * samples(1, 360_000)
    trainee.start(x)
    with torch.no_grad():
        trainee.eval()
        errors = [
            (trainee(x, torch.tensor([n, n])).output - x).square().mean().item() for n in (1, 16)
        ]
    assert errors[1] < errors[0] < x.square().mean().item()
