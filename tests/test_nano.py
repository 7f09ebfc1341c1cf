"""The built-in codec."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import acomp
from acomp.backends.base import Codec
from acomp.backends.families import published_shape
from acomp.backends.nano.codec import CODES_OF
from acomp.backends.nano.network import Network, overlap_add
from acomp.backends.nano.shape import NanoShape
from acomp.backends.weights.cache import fetch
from acomp.backends.weights.catalogue import lookup
from acomp.backends.weights.checkpoint import fingerprint
from acomp.formats.base import info_from_dict, info_to_dict
from acomp.metrics import log_mel_distance, si_sdr

NAMES = ("nano-1", "nano-2")
SAMPLES = Path(acomp.__file__).parent / "samples"
WEIGHTS = Path(acomp.__file__).parent / "backends" / "nano" / "nano.safetensors"


@pytest.fixture(scope="module", params=NAMES)
def codec(request: pytest.FixtureRequest) -> Codec:
    return acomp.load(request.param)


@pytest.fixture(params=NAMES)
def shape(request: pytest.FixtureRequest) -> NanoShape:
    shape: NanoShape = published_shape(request.param)
    return shape


@pytest.fixture(scope="module")
def speech() -> acomp.Audio:
    return acomp.read_audio(SAMPLES / "speech.flac")


def test_weights_ship_with_the_package_and_are_small(shape: NanoShape) -> None:
    weights = lookup(shape.spec.name)
    assert weights.url is None
    size = fetch(weights.name).stat().st_size
    assert size <= 12_000_000


@pytest.mark.parametrize("bandwidth", [1.5, 3, 6, 12])
def test_true_bandwidth(codec: Codec, bandwidth: float) -> None:
    codes = codec.encode(
        acomp.Audio(np.zeros((1, 24_000), np.float32), 24_000), bandwidth=bandwidth
    )
    assert codes.info.bandwidth == bandwidth
    assert codes.info.frame_rate == {"nano-1": 75, "nano-2": 50}[codec.spec.name]


@pytest.mark.parametrize("length", [1, 319, 320, 321, 479, 480, 481, 24_000])
def test_a_frame_a_hop_and_one_more(codec: Codec, length: int) -> None:
    sound = acomp.Audio(np.full((1, length), 0.1, np.float32), 24_000)
    codes = codec.encode(sound)
    assert codes.frames == -(-length // codec.spec.hop_length) + 1
    assert codec.decode(codes).length == length


def test_the_transform_alone_gives_the_samples_back(shape: NanoShape) -> None:
    network, hop = Network(shape), shape.hop
    samples = torch.randn(1, 10 * hop, dtype=torch.float32)
    frames = torch.nn.functional.pad(samples, (hop, hop)).unfold(-1, 2 * hop, hop)
    features, _ = network.features(frames)
    torch.testing.assert_close(overlap_add(network.frames(features)), samples, atol=1e-4, rtol=1e-4)


def test_sharpening_lowers_noise_between_harmonics_and_keeps_the_energy(shape: NanoShape) -> None:
    network, hop, time = Network(shape), shape.hop, torch.arange(24_000) / 24_000
    pitch = 160 * 480 // hop
    tone = sum(torch.sin(2 * torch.pi * pitch * n * time + n) for n in range(1, 6400 // pitch))
    noisy = 0.1 * tone + 0.02 * torch.randn(24_000)
    pairs = torch.nn.functional.pad(noisy, (hop, hop)).unfold(-1, 2 * hop, hop)[None]
    sharp = overlap_add(network.sharpen(pairs))[0]
    window = torch.hann_window(24_000)
    before, after = (torch.fft.rfft(x * window).abs().square() for x in (noisy, sharp))
    between = (torch.arange(6240) % pitch - pitch // 2).abs() < 25
    quieter = 10 * torch.log10(before[:6240][between].sum() / after[:6240][between].sum())
    assert quieter > 2
    assert 10 * torch.log10(after.sum() / before.sum()).abs() < 0.5


def test_it_is_causal(codec: Codec, speech: acomp.Audio) -> None:
    """Codes do not change with what comes later than their window."""
    start = acomp.resample(speech, 24_000).samples[:, :24_000]
    louder = start.copy()
    louder[:, 12_000:] *= 0.5
    first, second = (codec.encode(acomp.Audio(x, 24_000)).data for x in (start, louder))
    known = 12_000 // codec.spec.hop_length
    np.testing.assert_array_equal(first[..., :known], second[..., :known])
    assert (first[..., known:] != second[..., known:]).any()


def test_more_bandwidth_is_better(codec: Codec, speech: acomp.Audio) -> None:
    outputs = [codec.decode(codec.encode(speech, bandwidth=k)) for k in (1.5, 3, 6, 12)]
    ratios = [si_sdr(speech, output) for output in outputs]
    distances = [log_mel_distance(speech, output) for output in outputs]
    assert ratios == sorted(ratios)
    assert distances == sorted(distances, reverse=True)


def test_speech_is_intelligible_at_6_kbps(codec: Codec, speech: acomp.Audio) -> None:
    from pystoi import stoi

    output = codec.decode(codec.encode(speech, bandwidth=6))
    assert stoi(speech.samples[0], output.samples[0], speech.sample_rate) > 0.88


def test_music_stays_in_tune_at_6_kbps(codec: Codec) -> None:
    """A scale's tones come back within a tenth of a semitone."""
    time = np.arange(24_000) / 24_000
    for pitch in 220 * 2 ** (np.arange(0, 36, 5) / 12):
        tone = sum(np.sin(2 * np.pi * pitch * n * time) / n for n in (1, 2, 3))
        sound = acomp.Audio((0.2 * tone[None]).astype(np.float32), 24_000)
        output = codec.decode(codec.encode(sound, bandwidth=6))
        spectrum = np.abs(np.fft.rfft(output.samples[0] * np.hanning(24_000), 1 << 18))
        around = np.arange(
            int(pitch * 0.9 * (1 << 18) / 24_000), int(pitch * 1.1 * (1 << 18) / 24_000)
        )
        found = around[spectrum[around].argmax()] * 24_000 / (1 << 18)
        assert abs(12 * np.log2(found / pitch)) < 0.1


def test_silence_stays_nearly_silent(codec: Codec) -> None:
    output = codec.decode(codec.encode(acomp.Audio(np.zeros((1, 24_000), np.float32), 24_000)))
    assert np.abs(output.samples).max() < 1e-3


def test_codebooks(codec: Codec) -> None:
    books = codec.codebooks()
    assert books.shape == (codec.spec.codebooks, 1024, 128)
    assert np.isfinite(books).all() and books.std() > 0


def test_its_own_checkpoint_loads_and_another_is_refused(codec: Codec, tmp_path: Path) -> None:
    path = tmp_path / "copy.safetensors"
    name = codec.spec.name
    path.write_bytes(fetch(name).read_bytes())
    assert acomp.load(name, weights=path).fingerprint == codec.fingerprint
    save_file({"encoder.first.weight": torch.zeros(3, 3)}, path)
    with pytest.raises(acomp.WeightsError, match=f"does not hold weights of {name}"):
        acomp.load(name, weights=path)


def test_the_codes_are_those_that_the_decoder_before_took() -> None:
    state = load_file(WEIGHTS.with_name("nano_2.safetensors"))
    coding = {
        name: value
        for name, value in state.items()
        if name.startswith(("analysis.", "encoder.", "codebooks"))
    }
    assert fingerprint(coding) == "61a5ccf841189f94"
    assert CODES_OF[fingerprint(state)] == acomp.load("nano-2").fingerprint == "a12d17611d04b8f4"


@pytest.mark.parametrize(
    ("name", "scale"),
    [("analysis.weight_scale", torch.ones(1, 504)), ("nothing.weight_scale", torch.ones(1, 1))],
    ids=["not one for each row", "of no weights"],
)
def test_scales_are_one_for_each_row_of_weights(
    name: str, scale: torch.Tensor, tmp_path: Path
) -> None:
    state = load_file(WEIGHTS.with_name("nano_2.safetensors"))
    save_file({**state, name: scale}, tmp_path / "other.safetensors")
    with pytest.raises(acomp.WeightsError, match="does not hold weights of nano-2"):
        acomp.load("nano-2", weights=tmp_path / "other.safetensors")


def test_one_generation_refuses_the_weights_of_the_other(codec: Codec) -> None:
    (other,) = {*NAMES} - {codec.spec.name}
    with pytest.raises(acomp.WeightsError, match=f"does not hold weights of {other}$"):
        acomp.load(other, weights=fetch(codec.spec.name))


def test_files_that_say_nano_are_of_the_first_generation() -> None:
    """As versions before 0.2 wrote them."""
    codec = acomp.load("nano-1")
    codes = codec.encode(acomp.Audio(np.zeros((1, 4800), np.float32), 24_000))
    said = {**info_to_dict(codes.info), "codec": "nano"}
    assert info_from_dict(said) == codes.info
