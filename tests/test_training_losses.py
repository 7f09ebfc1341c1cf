"""What codecs are trained against: reconstruction losses, the balancer and discriminators."""

from __future__ import annotations

import json
import multiprocessing
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn

from acomp.audio import Audio
from acomp.errors import TrainingError
from acomp.metrics import si_sdr
from acomp.torchaudio import ensure_torchaudio
from acomp.training.balancer import Balancer
from acomp.training.codec_loop import CodecLoop
from acomp.training.discriminators import (
    NAMES,
    PERIODS,
    Discriminator,
    Judgement,
    Kind,
    _fold,
    build,
    discriminator_loss,
    feature_matching,
    generator_loss,
)
from acomp.training.losses import RECONSTRUCTION

RATE = 16_000
QUARTER = RATE // 4
KINDS: tuple[Kind, ...] = get_args(Kind)


def noise(*shape: int) -> Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def tone(*shape: int) -> Tensor:
    return (0.1 * torch.sin(2 * torch.pi * 440 / RATE * torch.arange(shape[-1]))).expand(*shape)


def dac_module(name: str) -> Any:
    """A module of the official package."""
    ensure_torchaudio()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(f"dac.{name}", reason="the extra acomp[dac] is not installed")


def signal_of(samples: Tensor, rate: int = RATE) -> Any:
    """What the official losses take; imported where it is used, as not everyone has it."""
    from audiotools import AudioSignal

    return AudioSignal(samples, rate)


# Reconstruction


@pytest.mark.parametrize("name", RECONSTRUCTION)
def test_a_loss_is_least_for_the_same_sound_and_grows_with_damage(name: str) -> None:
    loss = RECONSTRUCTION[name]
    target = tone(2, 1, RATE // 2) + 0.1 * noise(2, 1, RATE // 2)
    added = torch.randn(target.shape, generator=torch.Generator().manual_seed(1))
    same, *damaged = (loss(target, target + size * added, RATE) for size in (0, 0.003, 0.03, 0.3))
    assert 0 <= same < 1e-3
    assert 10 * same < damaged[0] < damaged[1] < damaged[2]


@pytest.mark.parametrize("name", RECONSTRUCTION)
@pytest.mark.parametrize("quiet", [0.0, 1e-30, 1e-6])
def test_gradients_are_finite_at_silence(name: str, quiet: float) -> None:
    for target in (torch.zeros(1, 1, QUARTER), noise(1, 1, QUARTER)):
        output = (quiet * noise(1, 1, QUARTER)).requires_grad_()
        (gradient,) = torch.autograd.grad(RECONSTRUCTION[name](target, output, RATE), output)
        assert gradient.isfinite().all()


@pytest.mark.parametrize("name", RECONSTRUCTION)
def test_leading_dimensions_do_not_matter(name: str) -> None:
    target, output = noise(4, QUARTER), tone(4, QUARTER)
    loss = RECONSTRUCTION[name]
    flat = loss(target, output, RATE)
    assert torch.equal(loss(target.view(2, 2, -1), output.reshape(2, 2, -1), RATE), flat)
    assert torch.equal(loss(target[0], output[0], RATE), loss(target[:1], output[:1], RATE))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_losses_take_any_sample_rate_without_a_word(
    rate: int, recwarn: pytest.WarningsRecorder
) -> None:
    for loss in RECONSTRUCTION.values():
        assert 0 < loss(noise(1, 1, rate // 4), tone(1, 1, rate // 4), rate) < 100
    assert not recwarn.list


def test_a_loss_first_met_in_validation_serves_training() -> None:
    rate = 23_456  # whose filters no other test has made
    with torch.inference_mode():
        for loss in RECONSTRUCTION.values():
            loss(noise(1, 1, QUARTER), tone(1, 1, QUARTER), rate)
    for loss in RECONSTRUCTION.values():
        output = tone(1, 1, QUARTER).clone().requires_grad_()
        torch.autograd.backward(loss(noise(1, 1, QUARTER), output, rate))
        assert output.grad is not None and output.grad.any()


def test_a_segment_too_short_is_told() -> None:
    with pytest.raises(TrainingError, match="at least 1025"):
        RECONSTRUCTION["stft"](noise(1, 1, 1024), noise(1, 1, 1024), RATE)


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_the_losses_of_dac_are_the_official_ones(rate: int) -> None:
    official = dac_module("nn.loss")
    mel = official.MelSpectrogramLoss(
        n_mels=[5, 10, 20, 40, 80, 160, 320],
        window_lengths=[32, 64, 128, 256, 512, 1024, 2048],
        mel_fmin=[0] * 7,
        mel_fmax=[None] * 7,
        pow=1.0,
        mag_weight=0.0,
    )
    theirs = {"waveform": official.L1Loss(), "dac-mel": mel, "stft": official.MultiScaleSTFTLoss()}
    target = noise(2, 1, rate // 4)
    for output in (tone(2, 1, rate // 4), torch.zeros_like(target)):
        for name, loss in theirs.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = loss(signal_of(output, rate), signal_of(target, rate))
            torch.testing.assert_close(
                RECONSTRUCTION[name](target, output, rate), expected, rtol=1e-4, atol=0
            )


def test_the_mel_loss_of_encodec_is_the_papers_formula() -> None:
    ensure_torchaudio()
    from torchaudio.transforms import MelSpectrogram

    target, output = noise(1, QUARTER), tone(1, QUARTER)
    expected = []
    for scale in range(5, 12):
        window = 2**scale
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spectrogram = MelSpectrogram(
                RATE, window, window, window // 4, n_mels=64, power=1.0, normalized=True
            )
        difference = spectrogram(target) - spectrogram(output)
        expected.append(difference.abs().mean() + difference.square().mean().sqrt())
    torch.testing.assert_close(
        RECONSTRUCTION["encodec-mel"](target, output, RATE), sum(expected) / 7, rtol=1e-4, atol=0
    )


# The balancer


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_a_loss_gives_its_share_of_the_gradient_whatever_its_scale(scale: float) -> None:
    # Two losses of different samples, so that the gradient tells them apart.
    output = torch.ones(1, 1, 8, requires_grad=True)
    Balancer({"first": 3.0, "second": 1.0}, total_norm=2.0).backward(
        {"first": scale * output[..., :4].square().sum(), "second": output[..., 4:].sum()}, output
    )
    assert output.grad is not None
    assert output.grad[..., :4].norm().item() == pytest.approx(2 * 3 / 4)
    assert output.grad[..., 4:].norm().item() == pytest.approx(2 * 1 / 4)


def test_the_average_is_a_moving_one_without_bias() -> None:
    balancer = Balancer({"loss": 1.0}, decay=0.5)
    for size, average in ((1.0, 1.0), (4.0, 4.5 / 1.5), (4.0, 6.25 / 1.75)):
        output = torch.zeros(1, 1, requires_grad=True)
        assert balancer.backward({"loss": size * output.sum()}, output) == {"loss": size}
        assert output.grad is not None
        assert output.grad.item() == pytest.approx(size / average)


def test_the_published_balance_of_a_batch() -> None:
    """As EnCodec's training code has it: each step's norms are those of the examples, averaged."""
    weights, decay = {"a": 1.0, "b": 3.0}, 0.9
    balancer = Balancer(weights, decay=decay)
    sums, count = dict.fromkeys(weights, 0.0), 0.0
    for step in range(3):
        torch.manual_seed(step)
        given = {name: torch.randn(6, 2, 50) for name in weights}
        output = torch.zeros(6, 2, 50, requires_grad=True)
        balancer.backward({name: (output * given[name]).sum() for name in weights}, output)
        expected = torch.zeros_like(output)
        count = decay * count + 1
        for name, gradient in given.items():
            norms = [float(example.square().sum()) ** 0.5 for example in gradient]
            sums[name] = decay * sums[name] + sum(norms) / len(norms)
            expected += weights[name] / 4 * gradient * count / sums[name]
        torch.testing.assert_close(output.grad, expected)


def test_shares_are_among_the_losses_of_the_step() -> None:
    balancer = Balancer({"early": 1.0, "late": 3.0, "unwanted": 0.0})
    output = torch.zeros(1, 4, requires_grad=True)
    norms = balancer.backward({"early": output.sum(), "unwanted": output.sum()}, output)
    assert norms == {"early": 2.0}
    assert output.grad is not None and output.grad.norm().item() == pytest.approx(1.0)


def test_only_the_network_gets_the_gradient_and_in_one_pass() -> None:
    network, judge = nn.Linear(4, 4), nn.Linear(4, 1)
    passes: list[Tensor] = []
    hook: Any = network.weight.register_post_accumulate_grad_hook  # untyped in torch
    hook(passes.append)
    latents = network(torch.ones(1, 4))
    output = latents.tanh()
    losses = {"judged": judge(output).sum()}
    others = [latents.square().mean(), torch.ones(())]  # the last of something frozen
    Balancer({"judged": 1.0}).backward(losses, output, others)
    assert len(passes) == 1
    assert judge.weight.grad is None
    (without,) = torch.autograd.grad(
        network(torch.ones(1, 4)).tanh(),
        network.weight,
        judge.weight.detach() / judge.weight.detach().norm(),
    )
    (beside,) = torch.autograd.grad(network(torch.ones(1, 4)).square().mean(), network.weight)
    torch.testing.assert_close(network.weight.grad, without + beside)


def test_a_balancer_goes_on_where_it_stopped() -> None:
    def step(balancer: Balancer, number: int) -> Tensor:
        output = noise(1, 1, 16).requires_grad_()
        losses = {"a": (output * number).square().sum(), "b": output.exp().sum() / number}
        balancer.backward(losses, output)
        assert output.grad is not None
        return output.grad

    weights = {"a": 0.3, "b": 0.7}
    first, second = Balancer(weights), Balancer(weights)
    for number in range(1, 6):
        step(first, number)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for number in range(6, 10):
        assert torch.equal(step(first, number), step(second, number))


def test_a_silent_loss_does_not_blow_up() -> None:
    output = torch.zeros(1, 1, 8, requires_grad=True)
    balancer = Balancer({"zero": 1.0, "other": 1.0})
    balancer.backward({"zero": output.square().sum(), "other": output.sum()}, output)
    assert output.grad is not None and output.grad.norm().item() == pytest.approx(0.5)


def test_divergence_and_unknown_losses_are_told() -> None:
    output = torch.zeros(1, 1, requires_grad=True)
    balancer = Balancer({"fine": 1.0, "root": 1.0})
    with pytest.raises(TrainingError, match="gradient of the loss root is not finite"):
        balancer.backward({"fine": output.sum(), "root": output.sqrt().sum()}, output)
    assert balancer.state_dict() == Balancer({}).state_dict()  # nothing was learnt from it
    with pytest.raises(TrainingError, match="no weight is given for the loss other"):
        Balancer({"root": 1.0}).backward({"other": output.sum()}, output)


def balance(rank: int, store: str, results: Any) -> None:
    """One of two processes, whose gradients have the norms 1 and 3."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=2
    )
    output = torch.zeros(1, 1, requires_grad=True)
    balancer = Balancer({"loss": 1.0})
    balancer.backward({"loss": (1 + 2 * rank) * output.sum()}, output)
    assert output.grad is not None
    results.put((rank, balancer.state_dict()["sums"]["loss"], output.grad.item()))
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch has no distributed part")
def test_all_ranks_balance_alike(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    results = spawn.SimpleQueue()
    other = spawn.Process(target=balance, args=(1, str(tmp_path / "store"), results))
    other.start()
    balance(0, str(tmp_path / "store"), results)
    other.join()
    assert sorted([results.get(), results.get()]) == [(0, 2.0, 0.5), (1, 2.0, 1.5)]


# Discriminators

NETWORKS = {"ms-stft": 5, "dac": 8, "hifigan-mpd": 5, "hifigan-msd": 3, "multi-scale": 3}


def make(name: str, rate: int = RATE, channels: int = 1) -> nn.Module:
    """A discriminator, or a skipped test where its package is missing."""
    if name == "dac":
        dac_module("model.discriminator")
    torch.manual_seed(0)
    return build(name, rate, channels)


def test_every_name_is_tested() -> None:
    assert set(NAMES) == set(NETWORKS)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (48_000, 2)])
def test_a_quarter_of_a_second_is_judged(name: str, rate: int, channels: int) -> None:
    judgements = make(name, rate, channels)(noise(1, channels, rate // 4))
    assert len(judgements) == NETWORKS[name]
    # ms-stft judges the channels together, the others each alone
    judged = 1 if name == "ms-stft" else channels
    for judgement in judgements:
        assert judgement.logits.shape[:2] == (judged, 1)
        assert len(judgement.features) >= 5
        assert all(feature.shape[0] == judged for feature in judgement.features)
        assert all(x.isfinite().all() for x in (judgement.logits, *judgement.features))


@pytest.mark.parametrize("name", NAMES)
def test_a_discriminator_learns_to_tell_noise_from_a_tone(name: str) -> None:
    network = make(name)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-4, betas=(0.5, 0.9))
    real, made = tone(1, 1, QUARTER), noise(1, 1, QUARTER)
    losses = []
    for _ in range(2):
        loss = discriminator_loss(network(real), network(made), "least-squares")
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > losses[1]


def test_several_discriminators_judge_together() -> None:
    both = Discriminator(["ms-stft", "multi-scale"], RATE, channels=1)
    samples = noise(1, 1, QUARTER)
    judgements = both(samples)
    assert len(judgements) == 8
    alone = both.parts["multi-scale"](samples)
    for judgement, expected in zip(judgements[5:], alone, strict=True):
        assert torch.equal(judgement.logits, expected.logits)
    fresh = Discriminator(["ms-stft", "multi-scale"], RATE, channels=1)
    fresh.load_state_dict(both.state_dict())
    assert torch.equal(fresh(samples)[0].logits, judgements[0].logits)


@torch.no_grad()
@pytest.mark.parametrize(("name", "shortest"), [("ms-stft", 2048), ("dac", 2048)])
def test_short_segments_are_told(name: str, shortest: int) -> None:
    network = make(name)
    network(noise(1, 1, shortest))
    with pytest.raises(TrainingError, match=f"{name} needs segments of at least {shortest}"):
        network(noise(1, 1, shortest - 1))


def test_an_unknown_discriminator_is_told() -> None:
    with pytest.raises(TrainingError, match="there are ms-stft, dac"):
        Discriminator(["judge"], RATE, channels=1)


def test_a_package_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dac.model.discriminator", None)
    with pytest.raises(TrainingError, match=r'pip install "acomp\[dac\]"'):
        build("dac", RATE, 1)


def test_a_period_is_a_column() -> None:
    for period in PERIODS:
        folded = _fold(torch.arange(100.0)[None, None], period)
        assert folded.shape == (1, 1, -(-100 // period), period)
        assert (folded[0, 0, :9, 0] == period * torch.arange(9)).all()


# Adversarial losses


def judgements(*logits: float) -> list[Judgement]:
    return [Judgement(torch.tensor([value, value]), []) for value in logits]


@pytest.mark.parametrize("kind", KINDS)
def test_each_side_wins_where_the_other_loses(kind: Kind) -> None:
    made_out_for_made = -1.0 if kind == "hinge" else 0.0
    fooled, sure = judgements(1.0, 1.0), judgements(made_out_for_made, made_out_for_made)
    real = judgements(1.0, 1.0)
    assert generator_loss(fooled, kind) == 0 < generator_loss(sure, kind)
    assert discriminator_loss(real, sure, kind) == 0 < discriminator_loss(real, fooled, kind)


def test_hinge_averages_and_least_squares_add_up() -> None:
    made, real = judgements(0.5, -3.0), judgements(0.0, 2.0)
    assert generator_loss(made, "hinge") == (0.5 + 4) / 2
    assert discriminator_loss(real, made, "hinge") == ((1 + 1.5) + (0 + 0)) / 2
    assert generator_loss(made, "least-squares") == 0.25 + 16
    assert discriminator_loss(real, made, "least-squares") == (1 + 0.25) + (1 + 9)


def test_the_adversarial_losses_of_dac_are_the_official_ones() -> None:
    network: Any = make("dac")
    official = dac_module("nn.loss").GANLoss(network.network)
    samples = [noise(1, 1, QUARTER), tone(1, 1, QUARTER).clone().requires_grad_()]
    real, made = (network(x) for x in samples)
    signals = [signal_of(x) for x in reversed(samples)]  # the made one first
    for_generator, for_features = official.generator_loss(*signals)
    torch.testing.assert_close(generator_loss(made, "least-squares"), for_generator)
    torch.testing.assert_close(feature_matching(real, made, relative=False), for_features)
    torch.testing.assert_close(
        discriminator_loss(real, made, "least-squares"), official.discriminator_loss(*signals)
    )


@pytest.mark.parametrize("relative", [True, False])
def test_features_match_where_the_sound_is_the_same(relative: bool) -> None:
    network = make("multi-scale")
    output = noise(1, 1, QUARTER).requires_grad_()
    real = network(noise(1, 1, QUARTER))
    assert feature_matching(real, network(output), relative) == 0
    other = feature_matching(real, network(0.5 * output), relative)
    assert other > 0
    (gradient,) = torch.autograd.grad(other, output)
    assert gradient.isfinite().all() and gradient.any()


def test_relative_features_know_no_scale() -> None:
    def judged(scale: float, louder: float = 1.0) -> list[Judgement]:
        layers = [louder * scale * noise(1, 4, 8), louder * noise(1, 2)]
        return [Judgement(torch.zeros(1), layers)]

    expected = (2 + 0) / 2  # of two layers, one of them equal
    for louder in (1.0, 1000.0):
        distance = feature_matching(judged(1, louder), judged(3, louder), relative=True)
        assert distance.item() == pytest.approx(expected)


# Validation


def test_the_sdr_of_validation_is_the_mean_over_segments_with_sound() -> None:
    segments = noise(3, 2, 4000)
    segments[1] = 0
    output = 0.5 * segments + 0.01 * tone(3, 2, 4000)
    spec = SimpleNamespace(codebook_size=4)
    loop: Any = SimpleNamespace(
        config=SimpleNamespace(batch=2),
        fabric=SimpleNamespace(device="cpu"),
        trainee=SimpleNamespace(spec=spec),
        reconstruction=lambda *_: {},
        _go_on=lambda: None,
        _code=lambda real, _: SimpleNamespace(
            output=0.5 * real + 0.01 * tone(*real.shape),
            codes=torch.zeros(len(real), 1, 5, dtype=torch.int64),
        ),
    )
    expected = [
        si_sdr(*(Audio(each[place].numpy(), RATE) for each in (segments, output)))
        for place in (0, 2)
    ]
    found = CodecLoop._measure(loop, segments, 1)
    assert found == pytest.approx({"si_sdr": sum(expected) / 2, "utilisation": 0.25})
