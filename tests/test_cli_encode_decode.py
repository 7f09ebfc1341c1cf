"""`acomp encode` and `acomp decode`: every rate, form, layout and option."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from commands import (
    Cli,
    assert_done,
    assert_refused,
    assert_same_sound,
    assert_wrong_usage,
    files_in,
    make,
    sound,
)

import acomp
from acomp import backends
from acomp.audio import Audio, read_audio, write_audio
from acomp.backends.base import Codec
from acomp.codes import Codes
from acomp.errors import CodecError
from acomp.formats import read_codes, write_codes

NANO = ("-b", "nano")
TORCH = ("--engine", "torch")
"""For networks of EnCodec, which take seconds to compile."""


# Round trips


@pytest.mark.parametrize(("channels", "form"), [(1, "nac"), (2, "txt"), (2, "npz")])
def test_length_rate_and_channels_come_back(
    cli: Cli, tmp_path: Path, channels: int, form: str
) -> None:
    source = make(tmp_path / "a.wav", 0.7, 24_000, channels)
    codes, decoded = tmp_path / f"b.{form}", tmp_path / "c.wav"
    assert_done(cli("encode", source, "-o", codes, *NANO))
    assert_done(cli("decode", codes, "-o", decoded))
    found, expected = read_audio(decoded), read_audio(source)
    assert found.samples.shape == expected.samples.shape
    assert found.sample_rate == expected.sample_rate
    assert read_codes(codes).info.streams == channels


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [(8_000, 1 / 8000), (8_000, 1.2345), (22_050, 1.2345), (44_100, 0.3), (96_000, 1 / 8000)],
)
def test_length_is_kept_to_the_sample_at_every_rate(
    cli: Cli, tmp_path: Path, rate: int, seconds: float
) -> None:
    source = make(tmp_path / "a.wav", seconds, rate, 2)
    assert_done(cli("encode", source, *NANO))
    assert_done(cli("decode", "a.nac", "-o", "b.wav"))
    found, expected = read_audio(tmp_path / "b.wav"), read_audio(source)
    assert (found.samples.shape, found.sample_rate) == (expected.samples.shape, rate)


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "FLOAT"),
        ("a.flac", "PCM_16"),
        ("a.ogg", "VORBIS"),
    ],
)
def test_audio_forms_are_read_and_written(
    cli: Cli, tmp_path: Path, name: str, subtype: str
) -> None:
    audio = sound(0.5)
    soundfile.write(tmp_path / name, audio.samples.T, audio.sample_rate, subtype=subtype)
    assert_done(cli("encode", name, "-o", "a.nac", *NANO))
    assert_done(cli("decode", "a.nac", "-o", f"decoded-{name}"))
    info = soundfile.info(tmp_path / f"decoded-{name}")
    assert (info.frames, info.samplerate, info.channels) == (audio.length, 24_000, 1)


def test_all_forms_of_codes_decode_to_the_same_sound(
    cli: Cli, tmp_path: Path, speech: Path
) -> None:
    for form in ("nac", "txt", "npz"):
        assert_done(cli("encode", speech, "-o", f"{form}.{form}", *NANO))
        assert_done(cli("decode", f"{form}.{form}", "-o", f"{form}.wav"))
    assert (tmp_path / "nac.wav").read_bytes() == (tmp_path / "txt.wav").read_bytes()
    assert (tmp_path / "nac.wav").read_bytes() == (tmp_path / "npz.wav").read_bytes()


def test_the_library_and_the_command_line_agree(cli: Cli, tmp_path: Path, speech: Path) -> None:
    assert_done(cli("encode", speech, "-k", 3, *NANO))
    assert_done(cli("decode", "speech.nac", "-o", "decoded.wav"))
    codec = acomp.load("nano")
    codes = codec.encode(read_audio(speech), bandwidth=3)
    found = read_codes(tmp_path / "speech.nac")
    assert found.info == codes.info
    np.testing.assert_array_equal(found.data, codes.data)
    expected = codec.decode(codes)
    write_audio(tmp_path / "expected.wav", expected)
    assert_same_sound(tmp_path / "decoded.wav", tmp_path / "expected.wav")


def test_one_sample(cli: Cli, tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", Audio(np.full((1, 1), 0.5, np.float32), 44_100))
    assert_done(cli("encode", "a.wav", *NANO))
    assert_done(cli("decode", "a.nac", "-o", "b.wav"))
    assert read_audio(tmp_path / "b.wav").length == 1


def test_silence_comes_back_quiet(cli: Cli, tmp_path: Path) -> None:
    write_audio(tmp_path / "a.wav", Audio(np.zeros((2, 24_000), np.float32), 24_000))
    assert_done(cli("encode", "a.wav", *NANO))
    assert_done(cli("decode", "a.nac", "-o", "b.wav"))
    found = read_audio(tmp_path / "b.wav")
    assert found.samples.shape == (2, 24_000)
    assert np.abs(found.samples).max() < 0.1


def test_encodec_24khz(cli: Cli, tmp_path: Path, encodec_24khz: Path) -> None:
    source = make(tmp_path / "a.wav", 1.01, 44_100)
    weights = ("--weights", encodec_24khz, *TORCH)
    assert_done(cli("encode", source, "-k", 3, *weights))  # encodec is the default
    assert_done(cli("decode", "a.nac", "-o", "b.wav", *weights))
    codes = read_codes(tmp_path / "a.nac")
    assert (codes.info.codec, codes.info.codebooks) == ("encodec-24khz", 4)
    assert read_audio(tmp_path / "b.wav").samples.shape == read_audio(source).samples.shape


def test_encodec_48khz_is_taken_for_stereo(cli: Cli, tmp_path: Path, encodec_48khz: Path) -> None:
    source = make(tmp_path / "a.wav", 2.2, 44_100, 2)
    weights = ("--weights", encodec_48khz, *TORCH)
    assert_done(cli("encode", source, "-o", "a.txt", *weights))
    assert_done(cli("decode", "a.txt", "-o", "b.wav", *weights))
    codes = read_codes(tmp_path / "a.txt")
    assert (codes.info.codec, codes.info.streams) == ("encodec-48khz", 1)
    assert codes.segments is not None
    assert len(codes.segments) == 3
    assert read_audio(tmp_path / "b.wav").samples.shape == read_audio(source).samples.shape


# Settings


@pytest.mark.parametrize(("bandwidth", "codebooks"), [(1.5, 3), (12, 24)])
def test_bandwidth(
    cli: Cli, tmp_path: Path, speech: Path, bandwidth: float, codebooks: int
) -> None:
    assert_done(cli("encode", speech, "--bandwidth", bandwidth, "--backend", "nano"))
    assert read_codes(tmp_path / "speech.nac").info.codebooks == codebooks


def test_a_bandwidth_the_codec_lacks_is_answered_with_those_it_has(cli: Cli, speech: Path) -> None:
    assert_refused(cli("encode", speech, "-k", 7, *NANO), "7 kbps", "1.5, 3, 6, 12")
    assert_refused(cli("encode", speech, "-k", "nan", *NANO), "1.5, 3, 6, 12")


@pytest.mark.parametrize("codebooks", [1, 5])
def test_number_of_codebooks(cli: Cli, tmp_path: Path, speech: Path, codebooks: int) -> None:
    assert_done(cli("encode", speech, "--codebooks", codebooks, *NANO))
    assert read_codes(tmp_path / "speech.nac").info.codebooks == codebooks


@pytest.mark.parametrize("codebooks", [0, -1, 25])
def test_a_number_of_codebooks_out_of_range(cli: Cli, speech: Path, codebooks: int) -> None:
    assert_refused(cli("encode", speech, "--codebooks", codebooks, *NANO), "1 to 24 codebooks")


def test_bandwidth_and_codebooks_do_not_go_together(cli: Cli, speech: Path) -> None:
    assert_refused(cli("encode", speech, "-k", 6, "--codebooks", 8, *NANO), "not both")


def test_six_channels_are_refused_until_they_are_mixed_down(cli: Cli, tmp_path: Path) -> None:
    source = make(tmp_path / "a.wav", 0.3, 48_000, 6)
    before = files_in(tmp_path)
    assert_refused(cli("encode", source, *NANO), "a.wav", "6 channels", "--channels mono")
    assert files_in(tmp_path) == before
    assert_done(cli("encode", source, "--channels", "mono", *NANO))
    assert read_codes(tmp_path / "a.nac").info.channels == 1


def test_channels(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "mono.wav", 0.2)
    make(tmp_path / "stereo.wav", 0.2, channels=2)
    for source, wish, expected in [
        ("mono", "auto", 1),
        ("mono", "stereo", 2),
        ("stereo", "auto", 2),
        ("stereo", "mono", 1),
    ]:
        target = f"{source}-{wish}.nac"
        assert_done(cli("encode", f"{source}.wav", "-o", target, "--channels", wish, *NANO))
        assert read_codes(tmp_path / target).info.channels == expected


def test_output_file_is_what_decoding_gives(cli: Cli, tmp_path: Path, speech: Path) -> None:
    assert_done(cli("encode", speech, "--output-file", "check.wav", *NANO))
    assert_done(cli("decode", "speech.nac", "-o", "decoded.wav"))
    assert_same_sound(tmp_path / "check.wav", tmp_path / "decoded.wav")


@pytest.mark.parametrize("check", ["speech.wav", "./speech.wav"])
def test_output_file_never_replaces_the_input(
    cli: Cli, tmp_path: Path, speech: Path, check: str
) -> None:
    before = files_in(tmp_path)
    run = cli("encode", speech.name, "--output-file", check, "--overwrite", *NANO)
    assert_refused(run, "input")
    run = cli("encode", speech.name, "--output-file", "speech.nac", *NANO)
    assert_wrong_usage(run, "of its own")
    assert files_in(tmp_path) == before


def test_output_file_goes_with_one_input(cli: Cli, tmp_path: Path, speech: Path) -> None:
    make(tmp_path / "b.wav")
    run = cli("encode", speech, "b.wav", "--output-file", "c.wav", *NANO)
    assert_wrong_usage(run, "one input")


def test_sample_rate_of_the_output(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 1.00001, 44_100)
    assert_done(cli("encode", "a.wav", *NANO))
    assert_done(cli("decode", "a.nac", "-o", "b.wav", "--sample-rate", 16_000))
    found = read_audio(tmp_path / "b.wav")
    assert (found.sample_rate, found.length) == (16_000, 16_000)
    assert_refused(cli("decode", "a.nac", "-o", "c.wav", "--sample-rate", 10_000_000), "10000000")


def test_a_wrong_device_is_one_line(cli: Cli, speech: Path) -> None:
    assert_refused(cli("encode", speech, "--device", "abacus", *NANO), "abacus", "cpu")


# Stretches


@pytest.mark.parametrize(
    ("rate", "form"), [(8_000, "txt"), (24_000, "nac"), (24_000, "txt"), (44_056, "nac")]
)
def test_a_stretch_is_that_part_of_the_whole(
    cli: Cli, tmp_path: Path, rate: int, form: str
) -> None:
    make(tmp_path / "a.wav", 4.1, rate)
    assert_done(cli("encode", "a.wav", "-o", f"a.{form}", *NANO))
    assert_done(cli("decode", f"a.{form}", "-o", "whole.wav"))
    whole = read_audio(tmp_path / "whole.wav").samples
    for start, duration in [(0, 0.5), (1.717, 0.9), (2.5, None), (3.9, 100)]:
        stretch = [] if duration is None else ["--duration", duration]
        asked = ("--start", start, *stretch, "--overwrite")
        assert_done(cli("decode", f"a.{form}", "-o", "part.wav", *asked))
        begin = round(start * rate)
        end = None if duration is None else begin + round(duration * rate)
        part = read_audio(tmp_path / "part.wav").samples
        assert part.shape == whole[:, begin:end].shape
        np.testing.assert_allclose(part, whole[:, begin:end], atol=1e-4)


def test_a_stretch_at_another_rate(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 3, 11_025)
    assert_done(cli("encode", "a.wav", *NANO))
    rate = ("--sample-rate", 8_000)
    assert_done(cli("decode", "a.nac", "-o", "whole.wav", *rate))
    assert_done(cli("decode", "a.nac", "-o", "part.wav", "--start", 1.7, *rate))
    whole = read_audio(tmp_path / "whole.wav").samples[:, 13_600:]
    part = read_audio(tmp_path / "part.wav").samples
    assert part.shape == whole.shape
    np.testing.assert_allclose(part, whole, atol=1e-4)


def test_a_stretch_of_encodec_48khz(cli: Cli, tmp_path: Path, encodec_48khz: Path) -> None:
    rate = 44_100
    make(tmp_path / "a.wav", 3.3, rate, 2)
    weights = ("--weights", encodec_48khz, *TORCH)
    assert_done(cli("encode", "a.wav", *weights))
    assert_done(cli("decode", "a.nac", "-o", "whole.wav", *weights))
    assert_done(cli("decode", "a.nac", "-o", "part.wav", "--start", 2, *weights))
    whole = read_audio(tmp_path / "whole.wav").samples[:, 2 * rate :]
    part = read_audio(tmp_path / "part.wav").samples
    assert part.shape == whole.shape
    np.testing.assert_allclose(part, whole, atol=1e-4)


def test_a_stretch_beyond_the_end(cli: Cli, speech: Path) -> None:
    assert_done(cli("encode", speech, *NANO))
    for start in (1, 1.0001, 60, 1e6):
        run = cli("decode", "speech.nac", "-o", "b.wav", "--start", start)
        assert_refused(run, "speech.nac", "ends before")
        assert not Path("b.wav").exists()


@pytest.mark.parametrize("option", ["--start", "--duration"])
@pytest.mark.parametrize("seconds", ["inf", "1e300"])
def test_a_stretch_that_no_audio_lasts(cli: Cli, speech: Path, option: str, seconds: str) -> None:
    assert_done(cli("encode", speech, *NANO))
    assert_refused(cli("decode", "speech.nac", "-o", "b.wav", option, seconds), option[2:])


def test_a_stretch_of_no_duration_is_empty(cli: Cli, tmp_path: Path, speech: Path) -> None:
    assert_done(cli("encode", speech, *NANO))
    assert_done(cli("decode", "speech.nac", "-o", "b.wav", "--start", 0.5, "--duration", 0))
    assert read_audio(tmp_path / "b.wav").length == 0


# Recovery


def test_recover_keeps_what_is_whole_in_its_place(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 20)
    assert_done(cli("encode", "a.wav", "-k", 12, *NANO))
    assert_done(cli("decode", "a.nac", "-o", "whole.wav"))
    data = bytearray((tmp_path / "a.nac").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "b.nac").write_bytes(data)
    assert_refused(cli("decode", "b.nac", "-o", "b.wav"), "b.nac", "damaged")
    run = cli("decode", "b.nac", "-o", "b.wav", "--recover")
    assert_done(run)
    assert "warning: b.nac: " in run.err
    found, expected = read_audio(tmp_path / "b.wav"), read_audio(tmp_path / "whole.wav")
    assert found.length == expected.length
    for part in (slice(0, 5 * 24_000), slice(15 * 24_000, None)):
        np.testing.assert_allclose(found.samples[:, part], expected.samples[:, part], atol=1e-4)


def test_recover_of_a_cut_file(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 10)
    assert_done(cli("encode", "a.wav", "-k", 12, *NANO))
    data = (tmp_path / "a.nac").read_bytes()
    (tmp_path / "b.nac").write_bytes(data[: len(data) // 2])
    assert_refused(cli("decode", "b.nac", "-o", "b.wav"), "b.nac")
    assert_done(cli("decode", "b.nac", "-o", "b.wav", "--recover"))
    assert 2 < read_audio(tmp_path / "b.wav").duration < 6


DAMAGED = {
    "a.wav": r"a\.wav is truncated: the header promises 24000 samples, 14\d+ are there",
    "a.flac": r"a\.flac is truncated: it ends after 0\.\d+ s of 1\.000 or more",
    "a.mp3": r"a\.mp3 is truncated: it ends after 0\.\d+ s of 0\.\d+ or more",
}


def test_recovering_nothing_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    make(tmp_path / "a.wav", 0.5)
    assert_done(cli("encode", "a.wav", *NANO))
    (tmp_path / "a.nac").write_bytes((tmp_path / "a.nac").read_bytes()[:350])
    assert_refused(cli("decode", "a.nac", "-o", "b.wav", "--recover"), "nothing of a.nac")
    assert not (tmp_path / "b.wav").exists()


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_audio_is_refused_or_recovered_and_told(
    cli: Cli, tmp_path: Path, name: str
) -> None:
    path = make(tmp_path / name)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    assert_refused(cli("encode", name, *NANO), f"{name} is ", "--recover")
    assert sorted(files_in(tmp_path)) == [name]
    run = cli("encode", name, "--recover", *NANO)
    assert_done(run)
    told = [line for line in run.err.splitlines() if line.startswith("warning: ")]
    assert re.match(f"warning: {DAMAGED[name]}$", told[-1])
    assert len(set(told)) == len(told) <= 2
    assert 0.2 < read_codes(tmp_path / "a.nac").frames / 75 < 0.7


def test_damage_is_told_once_whoever_reads(cli: Cli, tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav"):
        path = make(tmp_path / name)
        path.write_bytes(path.read_bytes()[:30_000])
    run = cli("encode", "a.wav", "b.wav", "--recover", "--jobs", 2, *NANO)
    assert_done(run)
    for name in ("a.wav", "b.wav"):
        lines = [line for line in run.err.splitlines() if "truncated" in line and name in line]
        assert len(lines) == 1
        assert lines[0].startswith(f"warning: {name} is truncated")


# How sound is written


def test_the_bits_of_decoded_sound(cli: Cli, tmp_path: Path, speech: Path) -> None:
    assert_done(cli("encode", speech, *NANO))
    due = {"16": "PCM_16", "24": "PCM_24", "float": "FLOAT"}
    for bits, subtype in due.items():
        assert_done(cli("decode", "speech.nac", "-o", f"{bits}.wav", "--bits", bits))
        assert soundfile.info(tmp_path / f"{bits}.wav").subtype == subtype
    exact = read_audio(tmp_path / "float.wav").samples
    for width in (16, 24):
        samples = read_audio(tmp_path / f"{width}.wav").samples
        np.testing.assert_allclose(samples, exact.clip(-1, 1), rtol=0, atol=2.0 ** (1 - width))
    assert_done(cli("decode", "speech.nac", "-o", "24.flac", "--bits", 24))
    assert soundfile.info(tmp_path / "24.flac").subtype == "PCM_24"
    for name, bits in (("a.flac", "float"), ("a.mp3", "24")):
        assert_refused(
            cli("decode", "speech.nac", "-o", name, "--bits", bits), f"cannot write {name}"
        )
        assert not (tmp_path / name).exists()


# Where outputs go


def test_outputs_lie_beside_the_inputs(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    make(tmp_path / "in" / "a.b.wav", 0.1)
    assert_done(cli("encode", "in/a.b.wav", *NANO))
    assert_done(cli("encode", "in/a.b.wav", "--format", "txt", *NANO))
    (tmp_path / "in" / "a.b.wav").unlink()
    assert_done(cli("decode", "in/a.b.nac"))
    assert sorted(files_in(tmp_path)) == ["in/a.b.nac", "in/a.b.txt", "in/a.b.wav"]


def test_format_goes_before_the_suffix(cli: Cli, tmp_path: Path, speech: Path) -> None:
    assert_done(cli("encode", speech, "-o", "codes.dat", "--format", "txt", *NANO))
    assert (tmp_path / "codes.dat").read_text().startswith("1\n06\n")
    assert_done(cli("decode", "codes.dat", "-o", "b.wav"))


def test_folders_keep_their_inner_places(cli: Cli, tmp_path: Path) -> None:
    for name in ("one.wav", "deep/two.flac", "deep/er/three.wav"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        make(tmp_path / "in" / name, 0.1)
    (tmp_path / "in" / "notes.md").write_text("no audio")
    assert_done(cli("encode", "in", "--output-dir", "codes", *NANO))
    assert sorted(files_in(tmp_path / "codes")) == [
        "deep/er/three.nac",
        "deep/two.nac",
        "one.nac",
    ]
    assert_done(cli("decode", "codes", "--output-dir", "out"))
    assert sorted(files_in(tmp_path / "out")) == ["deep/er/three.wav", "deep/two.wav", "one.wav"]


def test_the_codec_is_loaded_once(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"engine": "torch", "precision": "fp32", "device": "cpu"}
    options = [word for name in settings for word in (f"--{name}", settings[name])]
    for name in ("in/a.wav", "in/b.wav", "c.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        make(tmp_path / name, 0.1)
    loads = watch_loads(monkeypatch)
    assert_done(cli("encode", "in", "c.wav", "--output-dir", "codes", *options, *NANO))
    assert [(name, given | settings) for name, given in loads] == [("nano-2", loads[0][1])]
    loads.clear()
    assert_done(cli("decode", "codes", "--output-dir", "out", *options))
    assert [(name, given | settings) for name, given in loads] == [("nano-2", loads[0][1])]
    assert len(files_in(tmp_path / "out")) == 3


def watch_loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The name and the settings of every codec that is loaded from now on."""
    loads: list[tuple[str, dict[str, Any]]] = []
    load = backends.load

    def watched(name: str, **settings: Any) -> Codec:
        loads.append((name, settings))
        return load(name, **settings)

    monkeypatch.setattr(backends, "load", watched)
    return loads


def test_engine_and_precision_are_passed_on(
    cli: Cli, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    def refuse(name: str, *, engine: str, precision: str, **_: Any) -> Codec:
        asked.append((engine, precision))
        raise CodecError(f"no {name} today")

    assert_done(cli("encode", speech, *NANO))
    monkeypatch.setattr(backends, "load", refuse)
    for command in (("encode", speech, "-o", "b.nac", *NANO), ("decode", "speech.nac", "-o", "b")):
        assert_refused(cli(*command), "no nano-2 today")
        options = ("--engine", "openvino", "--precision", "bf16")
        assert_refused(cli(*command, *options), "no nano-2 today")
    assert asked == [("auto", "fp32"), ("openvino", "bf16")] * 2


@pytest.mark.parametrize("command", ["encode", "decode"])
@pytest.mark.parametrize(
    ("option", "words"),
    [("--engine", ("auto", "torch", "openvino")), ("--precision", ("fp32", "bf16"))],
)
def test_a_wrong_engine_or_precision_lists_the_right_ones(
    cli: Cli, command: str, option: str, words: tuple[str, ...]
) -> None:
    assert_wrong_usage(cli(command, "a", option, "steam"), option, "steam", *words)


def test_one_bad_input_does_not_stop_the_others(cli: Cli, tmp_path: Path) -> None:
    for name in ("a.wav", "c.wav"):
        make(tmp_path / name, 0.1)
    (tmp_path / "b.wav").write_text("no audio")
    (tmp_path / "empty").mkdir()
    inputs = ("a.wav", "b.wav", "missing.wav", "empty", "c.wav")
    run = cli("encode", *inputs, "--output-dir", "out", *NANO)
    assert run.code == 1
    errors = [line for line in run.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 4
    for name, error in zip(("empty", "b.wav", "missing.wav", "2 of 4"), errors, strict=True):
        assert name in error
    assert "1 of the folders and links could not be used" in errors[-1]
    assert sorted(files_in(tmp_path / "out")) == ["a.nac", "c.nac"]


def test_what_is_meant_is_told(cli: Cli, speech: Path, tmp_path: Path) -> None:
    assert_wrong_usage(cli("encode", speech, "out.foo", *NANO), ".foo is not a form of codes")
    assert_done(cli("encode", speech, "-o", "a.nac", *NANO))
    assert_wrong_usage(cli("decode", "a.nac", "out.foo"), ".foo is not a form of audio")
    wav = make(tmp_path / "x.wav", 0.1)
    assert_refused(cli("decode", wav), "ends in .wav, as its output would: name a file of codes")
    run = cli("encode", speech, "-o", "a.nac", "-b", "nano", "-k", 7)
    assert_refused(run, "error: nano-2 has no bandwidth of 7 kbps")
    shared = tmp_path / "shared"
    shared.mkdir()
    for name in ("a.wav", "a.flac"):
        make(shared / name, 0.1)
    run = cli("encode", shared, "--output-dir", "out", *NANO)
    assert run.code == 1 and run.err.count("would share the output") == 1
    assert "2 of 2 inputs failed" in run.err


def test_every_bad_file_is_named(cli: Cli, tmp_path: Path, speech: Path) -> None:
    """Also where what is wrong was found by a codec, which knows no files."""
    make(tmp_path / "six.wav", 0.1, channels=6)
    assert_done(cli("encode", speech, "-o", "good.nac", *NANO))
    codes = read_codes(tmp_path / "good.nac")
    write_codes(tmp_path / "short.nac", Codes(codes.info, codes.data, 1 << 47))
    run = cli("encode", "speech.wav", "six.wav", "--output-dir", "out", *NANO)
    assert "error: six.wav: " in run.err
    run = cli("decode", "short.nac", "good.nac", "--output-dir", "out")
    assert "error: short.nac: " in run.err
    assert (tmp_path / "out" / "good.wav").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "no input"),
        (["a.wav", "b.wav", "-o", "c.nac"], "--output-dir"),
        ([".", "-o", "c.nac"], "--output-dir"),
        (["a.wav", "-o", "c.nac", "--output-dir", "d"], "not both"),
        (["-", "--output-dir", "d"], "--output"),
        (["a.wav", "-o", "b.nac", "--embedding_file", "b.txt"], "not both"),
        (["a.wav", "--channels", "five"], "five"),
        (["a.wav", "--format", "mp3"], "mp3"),
        (["a.wav", "--frobnicate"], "--frobnicate"),
    ],
)
def test_wrong_usage(cli: Cli, tmp_path: Path, arguments: list[str], words: str) -> None:
    assert_wrong_usage(cli("encode", *arguments, *NANO), words)
    assert files_in(tmp_path) == {}
