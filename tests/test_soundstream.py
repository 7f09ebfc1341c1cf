"""SoundStream beside its models as LiteRT runs them frame by frame, on the published weights."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Cli, assert_done, assert_refused, finish, make, sound, start
from engines_here import ENGINES
from material import LYRA, material
from numpy.typing import NDArray

import acomp
from acomp.audio.samples import Samples
from acomp.backends.base import Codec
from acomp.backends.streaming import Decoder, Encoder
from acomp.codes import Block, join
from acomp.errors import CodecError, WeightsError
from acomp.evaluation.alignment import find_delay
from acomp.settings import EngineName

pytest.importorskip("ai_edge_litert", reason="the extra acomp[soundstream] is not installed")

WEIGHTS = material(LYRA)
FILES = ("soundstream_encoder.tflite", "quantizer.tflite", "lyragan.tflite")
HOP = 320
ALL = 46
PESQ_FLOOR, STOI_FLOOR = 3.2, 0.9


@pytest.fixture(scope="module")
def codec() -> Codec:
    return acomp.load("soundstream", weights=WEIGHTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the weights, to break."""
    return Path(shutil.copytree(WEIGHTS, tmp_path / "lyra", copy_function=shutil.copyfile))


def tone(seconds: float, channels: int = 1) -> acomp.Audio:
    return sound(seconds, rate=16_000, channels=channels)


def opened(name: str) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(WEIGHTS / name), num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def run(interpreter: Any, frame: Samples) -> Samples:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], frame)
    interpreter.invoke()
    result: Samples = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return result


def lyra(samples: Samples, codebooks: int) -> tuple[NDArray[np.int32], Samples]:
    """Codes `[codebooks, frames]` and samples as the three models alone give them."""
    encoder, quantiser, decoder = map(opened, FILES)
    encode, decode = map(quantiser.get_signature_runner, ("encode", "decode"))
    codes, decoded = [], []
    for frame in np.pad(samples, (0, -len(samples) % HOP)).reshape(-1, 1, HOP):
        latent = run(encoder, frame)
        code = encode(input_frames=latent, num_quantizers=np.int32(codebooks))["output_0"]
        codes.append(code[:codebooks, 0, 0])
        decoded.append(run(decoder, decode(encoding_indices=code)["output_0"])[0])
    return np.stack(codes, axis=1), np.concatenate(decoded)


@pytest.mark.parametrize("codebooks", [1, 16, 30, 46])
def test_codes_and_samples_are_the_models_own(codec: Codec, codebooks: int) -> None:
    audio = tone(0.51)
    codes = codec.encode(audio, codebooks=codebooks)
    expected, samples = lyra(audio.samples[0], codebooks)
    np.testing.assert_array_equal(codes.data[0], expected)
    np.testing.assert_array_equal(codec.decode(codes).samples[0], samples[: audio.length])


@pytest.mark.parametrize("kbps, codebooks", [(3.2, 16), (6, 30), (9.2, 46)])
def test_bandwidths_are_the_published_ones(codec: Codec, kbps: float, codebooks: int) -> None:
    info = codec.info(tone(0.1), bandwidth=kbps)
    assert (info.codebooks, info.bits) == (codebooks, 4)
    assert info.bandwidth == pytest.approx(kbps)


@pytest.mark.parametrize("length", [1, 319, 320, 321])
def test_the_end_is_padded_with_silence(codec: Codec, length: int) -> None:
    audio = acomp.Audio(tone(0.1).samples[:, :length], 16_000)
    codes = codec.encode(audio)
    np.testing.assert_array_equal(codes.data[0], lyra(audio.samples[0], 30)[0])
    assert codec.decode(codes).length == length


@pytest.mark.parametrize("step", [1, 100, 321, 1000])
def test_neither_codes_nor_samples_depend_on_the_pieces(codec: Codec, step: int) -> None:
    audio = tone(0.3, channels=2)
    info = codec.info(audio)
    encoder, decoder = Encoder(codec, info), Decoder(codec, info)
    starts = range(0, audio.length, step)
    blocks = [encoder.push(audio.samples[:, at : at + step]) for at in starts]
    blocks.append(encoder.finish())
    whole = codec.encode(audio)
    np.testing.assert_array_equal(join(info, blocks).data, whole.data)
    pieces = [*map(decoder.push, blocks), decoder.finish(audio.length)]
    np.testing.assert_array_equal(np.concatenate(pieces, axis=1), codec.decode(whole).samples)


def test_streams_do_not_disturb_each_other(codec: Codec) -> None:
    """Stereo is two streams, and two encoders and decoders take turns."""
    stereo = tone(0.3, channels=2)
    alone = [codec.encode(acomp.Audio(side[None], 16_000)) for side in stereo.samples]
    both = codec.encode(stereo)
    np.testing.assert_array_equal(both.data, np.concatenate([one.data for one in alone]))
    decoded = codec.decode(both).samples
    coders = [(codec.stream_encoder(one.info), codec.stream_decoder(one.info)) for one in alone]
    codes: list[list[Block]] = [[], []]
    heard: list[list[Samples]] = [[], []]
    for at in range(0, stereo.length, HOP):
        for side, (encoder, decoder) in enumerate(coders):
            codes[side].append(encoder.push(stereo.samples[side : side + 1, at : at + HOP]))
            heard[side].append(decoder.push(codes[side][-1]))
    for side, one in enumerate(alone):
        np.testing.assert_array_equal(join(one.info, codes[side]).data, one.data)
        np.testing.assert_array_equal(np.concatenate(heard[side], axis=1)[0], decoded[side])


def test_a_stretch_is_right_behind_the_preroll(codec: Codec) -> None:
    codes = codec.encode(tone(2.0))
    whole = codec.decode(codes).samples
    frame, begin = codec.seek(30_000)
    assert frame > 0
    late = replace(codes, data=codes.data[:, :, frame:], length=codes.length - begin)
    found = codec.decode(late).samples[:, 30_000 - begin :]
    np.testing.assert_array_equal(found, whole[:, 30_000:])


def test_codebooks_are_what_decoding_adds_up(codec: Codec) -> None:
    books = codec.codebooks()
    assert books.shape == (ALL, 16, 64)
    assert books.dtype == np.float32
    codes = np.random.default_rng(0).integers(0, 16, (ALL, 1, 1), np.int32)
    decode = opened(FILES[1]).get_signature_runner("decode")
    expected = decode(encoding_indices=codes)["output_0"][0, 0]
    added = sum(book[code] for book, code in zip(books, codes[:, 0, 0], strict=True))
    np.testing.assert_array_equal(added, expected)


def test_codebooks_are_the_callers_own(codec: Codec) -> None:
    codec.codebooks()[:] = 0
    assert codec.codebooks().any()


def test_there_is_no_module(codec: Codec) -> None:
    with pytest.raises(CodecError, match=r"soundstream has no torch module.*another codec"):
        _ = codec.module


def test_speech_through_the_command_line(cli: Cli) -> None:
    """At 6 kbps: understood, good, and neither late nor early."""
    pytest.importorskip("pesq", reason="the extra acomp[eval] is not installed")
    pytest.importorskip("pystoi", reason="the extra acomp[eval] is not installed")
    from acomp.evaluation.metrics import METRICS

    speech = material("audio/speech_16k_mono.wav")
    coding = ("-b", "soundstream", "-k", 6, "--weights", WEIGHTS)
    assert_done(cli("encode", speech, *coding, "-o", "speech.nac"))
    assert_done(cli("decode", "speech.nac", "--weights", WEIGHTS, "-o", "out.wav"))
    reference, decoded = acomp.read_audio(speech), acomp.read_audio("out.wav")
    assert (decoded.length, decoded.sample_rate) == (reference.length, reference.sample_rate)
    assert find_delay(reference, decoded) == 0
    assert METRICS["pesq"].of(reference, decoded) > PESQ_FLOOR
    assert METRICS["stoi"].of(reference, decoded) > STOI_FLOOR


def test_a_file_takes_four_bits_a_code(cli: Cli, tmp_path: Path) -> None:
    wav = make(tmp_path / "ten.wav", 10, rate=16_000)
    assert_done(cli("encode", wav, "-b", "soundstream", "-k", 3.2, "--weights", WEIGHTS))
    bare = 500 * 16 * 4 // 8
    assert bare < (tmp_path / "ten.nac").stat().st_size <= 1.01 * bare + 200
    told = cli("info", "ten.nac")
    assert "16 codebooks x 500 frames of 4 bits, 50 frames/s" in told.out
    assert "3.2 kbps" in told.out


def test_litert_writes_nothing_to_the_terminal(tmp_path: Path) -> None:
    """In a process of its own: what LiteRT says, it says once in a process."""
    make(tmp_path / "a.wav", 0.1, rate=16_000)
    coding = ("-b", "soundstream", "--weights", WEIGHTS)
    done = finish(start(tmp_path, "encode", "a.wav", *coding, "-o", "a.nac"))
    assert_done(done)
    assert "INFO" not in done.err + done.out
    assert "XNNPACK" not in done.err + done.out


@pytest.mark.parametrize("engine", ["auto", *ENGINES])
def test_every_engine_leaves_it_to_litert(codec: Codec, engine: EngineName) -> None:
    same = acomp.load("soundstream", weights=WEIGHTS, engine=engine)
    assert same.engine is None
    audio = tone(0.1)
    np.testing.assert_array_equal(same.encode(audio).data, codec.encode(audio).data)


def test_another_precision_is_refused(
    cli: Cli, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where the CPU has no bf16, that is said first.
    monkeypatch.setattr("acomp.engines.torch._has_bf16", lambda _device: True)
    coding = ("-b", "soundstream", "--weights", WEIGHTS, "--precision", "bf16")
    assert_refused(cli("encode", speech, *coding), "not in bf16", "take precision fp32")


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(CodecError, match=r'soundstream needs its package.*"acomp\[soundstream\]"'):
        acomp.load("soundstream", weights=WEIGHTS)


def test_a_file_in_place_of_the_folder_is_refused(cli: Cli, speech: Path) -> None:
    coding = ("-b", "soundstream", "--weights", WEIGHTS / FILES[1])
    assert_refused(cli("encode", speech, *coding), "is a file: give the folder")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no such file"):
        acomp.load("soundstream", weights=tmp_path / "nowhere")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=f"{name}: there is no such file"):
        acomp.load("soundstream", weights=folder)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flipped", "short", "long"])
def test_another_file_is_refused(folder: Path, name: str, damage: str) -> None:
    content = bytearray((folder / name).read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    elif damage == "short":
        del content[-1]
    else:
        content.append(0)
    (folder / name).write_bytes(content)
    with pytest.raises(WeightsError, match=f"{name} is not the published file"):
        acomp.load("soundstream", weights=folder)
