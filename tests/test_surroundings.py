"""Codecs among others: the caller's torch settings, threads, processes, copies."""

from __future__ import annotations

import asyncio
import copy
import pickle
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from engines_here import ENGINES

import acomp
from acomp.backends.base import Codec
from acomp.backends.streaming import Decoder, Encoder
from acomp.settings import EngineName
from acomp.testing.checks import random_states, sweep, torch_settings

NAMES = ["nano-2", "encodec-24khz"]


@pytest.fixture(scope="module")
def weights(encodec_24khz: Path) -> dict[str, Path | None]:
    return {"nano-2": None, "encodec-24khz": encodec_24khz}


@pytest.mark.parametrize("name", NAMES)
def test_loading_is_the_same_whatever_torch_was_told(
    name: str, weights: dict[str, Path | None]
) -> None:
    def load() -> Codec:
        return acomp.load(name, weights=weights[name], engine="torch", device="cpu")

    due = load()
    sound = sweep(due, 5)
    codes = due.encode(sound, codebooks=2)
    for what in ("float64 by default", "another device by default", "inference_mode"):
        with torch_settings()[what]:
            before = random_states()
            codec = load()
            found = codec.encode(sound, codebooks=2)
            module = codec.module
            assert random_states() == before, what
        assert found == codes, what
        types = {(part.dtype, part.device.type) for part in module.parameters()}
        assert types == {(torch.float32, "cpu")}, what
        assert not any(part.is_inference() for part in module.parameters()), what


@pytest.mark.parametrize("name", NAMES)
def test_codes_are_the_same_whatever_torch_was_told(
    name: str, weights: dict[str, Path | None]
) -> None:
    codec = acomp.load(name, weights=weights[name], engine="torch", device="cpu")
    sound = sweep(codec, 5)
    codes = codec.encode(sound)
    heard = codec.decode(codes)
    for what, setting in torch_settings().items():
        with setting:
            assert codec.encode(sound) == codes, what
            assert codec.decode(codes) == heard, what


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_and_tasks_share_a_codec(engine: EngineName) -> None:
    codec = acomp.load("nano", engine=engine, device="cpu")
    sounds = [sweep(codec, 20, seed=seed) for seed in range(4)]
    alone = [codec.encode(sound) for sound in sounds]

    async def all_at_once() -> list[acomp.Codes]:
        return await asyncio.gather(
            *(asyncio.to_thread(codec.encode, sound) for sound in sounds * 5)
        )

    assert asyncio.run(all_at_once()) == alone * 5


def test_threads_share_an_encoder() -> None:
    """Each push is whole: as many frames as all pushes hold, whatever their order."""
    codec = acomp.load("nano", engine="torch", device="cpu")
    piece = sweep(codec, 3).samples
    encoder = Encoder(codec, codec.info(acomp.Audio(piece, 24_000)))
    frames = []

    def push() -> None:
        for _ in range(10):
            frames.append(encoder.push(piece).frames)

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    frames.append(encoder.finish().frames)
    assert encoder.length == 40 * piece.shape[1]
    assert sum(frames) == -(-encoder.length // 480) + 1


def test_a_codec_is_loaded_again_with_what_it_was_loaded_with(
    encodec_24khz: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(encodec_24khz.parent)
    codec = acomp.load("encodec-24khz", weights=encodec_24khz.name, engine="torch", device="cpu")
    pickled = pickle.dumps(codec)
    assert len(pickled) < 1000  # and so a hash of it is that of its settings
    assert pickle.dumps(codec) == pickled
    monkeypatch.chdir(tmp_path)
    again = pickle.loads(pickled)
    assert (again.fingerprint, again.engine.name) == (codec.fingerprint, "torch")
    assert copy.deepcopy({"codec": codec})["codec"].fingerprint == codec.fingerprint
    assert codec.to("cpu") is codec
    assert codec.to(torch.device("cpu")) is codec
    stream = Encoder(codec, codec.info(acomp.Audio(np.zeros((1, 9), np.float32), 24_000)))
    with pytest.raises(acomp.CodecError, match="stream in progress cannot be copied or pickled"):
        copy.copy(stream)
    with pytest.raises(acomp.CodecError, match="does not run on the device 'mps'"):
        codec.to("mps")


FORK = """
import os, sys
import numpy as np, torch, acomp
torch.set_num_threads(2)
codec = acomp.load("nano", engine=sys.argv[1], device="cpu")
sound = acomp.Audio(np.sin(np.arange(24000) / 9).astype(np.float32), 24000)
due = codec.encode(sound)
torch.ones(1000, 1000) @ torch.ones(1000, 1000)
child = os.fork()
if child == 0:
    same = codec.encode(sound) == due and codec.decode(due).length == 24000
    os._exit(0 if same else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it has no forks")
@pytest.mark.parametrize("engine", ENGINES)
def test_a_fork_does_not_hang(
    engine: EngineName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though torch and OpenVINO had threads in the parent, which are not in the child.

    With OpenVINO the encoder is compiled already and the decoder is not, so that the child is the
    first that runs acomp's torch.
    """
    monkeypatch.setenv("ACOMP_CACHE", str(tmp_path))
    acomp.load("nano", engine=engine, device="cpu").encode(acomp.Audio(np.zeros(9, "f4"), 24_000))
    done = subprocess.run(
        [sys.executable, "-c", FORK, engine], capture_output=True, text=True, timeout=100
    )
    assert done.stdout.strip() == "0", done.stderr


def test_wrong_things_at_the_doors_say_what_to_pass() -> None:
    codec = acomp.load("nano", engine="torch", device="cpu")
    sound = sweep(codec, 4, channels=1)
    codes = codec.encode(acomp.Audio(sound.samples[:1], 24_000))
    with pytest.raises(acomp.AudioError, match=r"Audio is expected, not ndarray: acomp\.Audio\("):
        codec.encode(sound.samples)  # type: ignore[arg-type]
    with pytest.raises(acomp.AudioError, match=r"acomp\.read_audio\(path\) reads it"):
        codec.encode("a.wav")  # type: ignore[arg-type]
    with pytest.raises(acomp.CodecError, match=r"codec\.codes\(tokens\)"):
        codec.decode(codes.data)  # type: ignore[arg-type]
    with pytest.raises(acomp.AudioError, match="has 0 Hz"):
        codec.decode(codes, sample_rate=0)
    with pytest.raises(acomp.AudioError, match="transpose"):
        acomp.Audio(np.zeros((4800, 2), np.float32), 24_000)
    with pytest.raises(acomp.AudioError, match="not finite numbers: nan in channel 0, sample 3"):
        acomp.Audio(np.array([0, 0, 0, np.nan], np.float32), 24_000)
    with pytest.raises(acomp.AudioError, match="divide 16-bit samples by 32768"):
        acomp.Audio(np.zeros((1, 10), np.int16), 24_000)
    with pytest.raises(acomp.CodecError, match="not a number of kbps"):
        codec.encode(sound, bandwidth="six")
    with pytest.raises(acomp.CodecError, match=r"no bandwidth of 7 kbps; it has 1, 1\.5, 3, 6, 12"):
        codec.encode(sound, bandwidth=7)
    with pytest.raises(acomp.FormatError, match=r"an acomp\.Block is expected"):
        Decoder(codec, codes.info).push(codes)  # type: ignore[arg-type]
    with pytest.warns(acomp.errors.AcompWarning, match="divided by 32768"):
        codec.encode(acomp.Audio(3e4 * sound.samples, 24_000), codebooks=1)


def test_numbers_of_every_type_are_taken() -> None:
    codec = acomp.load("nano", engine="torch", device="cpu")
    sound = acomp.Audio(sweep(codec, 4).samples[:1], 24_000)
    due = codec.encode(sound, bandwidth=6)
    kinds: list[object] = [6, 6.0, "6", np.float32(6), np.int64(6), torch.tensor(6)]
    for bandwidth in kinds:
        assert codec.encode(sound, bandwidth=bandwidth) == due  # type: ignore[arg-type]
    for codebooks in (12, 12.0, np.int64(12), torch.tensor(12)):
        assert codec.encode(sound, codebooks=codebooks) == due  # type: ignore[arg-type]
    for rate in (24_000, 24_000.0, np.int32(24_000), np.float64(24_000)):
        assert acomp.Audio(sound.samples, rate) == sound  # type: ignore[arg-type]
    for samples in (
        torch.from_numpy(sound.samples),
        sound.samples[0],
        sound.samples.astype(np.float64),
        sound.samples.tolist(),
    ):
        assert acomp.Audio(samples, 24_000) == sound  # type: ignore[arg-type]
    assert codec.encode(sound, channels=1) == due
    assert codec.encode(sound, channels=2).data.shape[0] == 2


def test_values_compare_hash_and_show_themselves() -> None:
    codec = acomp.load("nano", engine="torch", device="cpu")
    sound = acomp.Audio(sweep(codec, 4).samples[:1], 24_000)
    one, two = codec.encode(sound), codec.encode(sound)
    assert one == two
    assert one.block == two.block
    assert len({one, two, one.info, two.info, sound, codec.spec}) == 4
    assert one != codec.encode(sound, bandwidth=3)
    assert sound != acomp.Audio(sound.samples * 0.5, 24_000)
    assert repr(one).startswith("Codes(nano-2, 1 x 12 x ")
    assert repr(sound).startswith("Audio(1 channel, ")
    assert "<audio controls" in sound._repr_html_()
    assert "data:image/png;base64," in one._repr_html_()


def test_a_batch_can_collect_its_errors() -> None:
    codec = acomp.load("nano", engine="torch", device="cpu")
    good = acomp.Audio(sweep(codec, 4).samples[:1], 24_000)
    silent = acomp.Audio(np.zeros((1, 0), np.float32), 24_000)
    found = codec.encode_batch([good, silent, good], errors="collect")
    assert found[0] == found[2] == codec.encode(good)
    assert isinstance(found[1], acomp.AudioError)
    with pytest.raises(acomp.CodecError, match="it must be 'raise'"):
        codec.encode_batch([good], errors="ignore")  # type: ignore[call-overload]
