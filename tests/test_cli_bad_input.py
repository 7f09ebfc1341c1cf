"""Whatever is wrong with what it is given: one line, exit code 1, and nothing written."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from commands import (
    Cli,
    Run,
    assert_done,
    assert_refused,
    environment,
    files_in,
    finish,
    make,
    sound,
    start,
)

import acomp
from acomp.audio import write_audio
from acomp.codes import Codes
from acomp.formats import read_codes, write_codes

NANO = ("-b", "nano")
Refused = Callable[..., Run]


@pytest.fixture
def refused(cli: Cli, tmp_path: Path) -> Refused:
    """Runs a command that must be refused, with these words, and must leave all files as are."""

    def run(*arguments: object, words: tuple[str, ...] = ()) -> Run:
        before = files_in(tmp_path)
        result = cli(*arguments)
        assert_refused(result, *words)
        assert files_in(tmp_path) == before
        return result

    return run


@pytest.fixture(scope="session")
def nac(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A good file of nano's codes: three seconds in two blocks."""
    path = tmp_path_factory.mktemp("codes") / "good.nac"
    write_codes(path, acomp.load("nano").encode(sound(3), bandwidth=12))
    return path.read_bytes()


# Audio that cannot be encoded


def bad_audio(good: bytes) -> dict[str, bytes]:
    return {
        "empty.wav": b"",
        "text.wav": b"This is no audio at all.\n" * 100,
        "text.flac": b"Nor is this.\n" * 100,
        "noise.mp3": bytes(np.random.default_rng(0).integers(0, 256, 5000, np.uint8)),
        "truncated.wav": good[: len(good) // 2],
        "header.wav": good[:30],
        "samples.wav": good[:4] + struct.pack("<I", 36) + good[8:40] + bytes(4),  # none
        "giant.wav": good[:40] + struct.pack("<I", 0x6FFF0000) + good[44:],
        "channels.wav": good[:22] + struct.pack("<H", 60000) + good[24:],
        "rate.wav": good[:24] + struct.pack("<I", 4_000_000_000) + good[28:],
    }


@pytest.mark.parametrize("name", bad_audio(b""))
def test_bad_audio(refused: Refused, tmp_path: Path, speech: Path, name: str) -> None:
    (tmp_path / name).write_bytes(bad_audio(speech.read_bytes())[name])
    refused("encode", name, *NANO, words=(name,))
    (tmp_path / "out.nac").write_bytes(b"old")
    refused("encode", name, "-o", "out.nac", "--overwrite", *NANO, words=(name,))


def test_samples_that_are_no_numbers(refused: Refused, tmp_path: Path) -> None:
    samples = sound(0.5).samples
    samples[0, 5000] = np.nan
    write_audio(tmp_path / "good.wav", sound(0.5), subtype="FLOAT")
    header = (tmp_path / "good.wav").read_bytes()[:44]
    (tmp_path / "nan.wav").write_bytes(header + samples.astype("<f4").tobytes())
    refused("encode", "nan.wav", *NANO, words=("nan.wav", "finite"))


# Codes that cannot be decoded


def test_every_flipped_bit_is_noticed(cli: Cli, tmp_path: Path, nac: bytes) -> None:
    """In the header, the metadata, both blocks, the index, and the fields around them."""
    spread = {*range(9), *range(9, len(nac), len(nac) // 24), *range(len(nac) - 24, len(nac), 3)}
    for place in sorted(spread):
        damaged = bytearray(nac)
        damaged[place] ^= 1 << (place % 8)
        (tmp_path / "bad.nac").write_bytes(damaged)
        assert_refused(cli("decode", "bad.nac", "-o", "out.wav"), "bad.nac")
        assert_refused(cli("info", "bad.nac"), "bad.nac")
        assert files_in(tmp_path) == {"bad.nac": bytes(damaged)}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.3, 0.7, 0.99, 0.9999])
def test_a_truncated_nac(refused: Refused, tmp_path: Path, nac: bytes, share: float) -> None:
    (tmp_path / "out.wav").write_bytes(b"old")
    (tmp_path / "cut.nac").write_bytes(nac[: int(share * len(nac))])
    refused("decode", "cut.nac", "-o", "out.wav", "--overwrite", words=("cut.nac",))
    refused("convert", "cut.nac", "out.txt", words=("cut.nac",))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"NAX\x01" + bytes(100), "bad.nac"),
        (b"RIFF" + bytes(100), "bad.nac"),
        (b"NAC\x07" + bytes(100), "version 7"),
        (b"NAC\x01\xff\xff\xff\xff\x06", "4294967295"),
        (b"NAC\x01\x00\x00\x00\x02\x06{}", "bad.nac"),
        (b"NAC", "bad.nac"),
    ],
)
def test_a_wrong_beginning(refused: Refused, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "bad.nac").write_bytes(content)
    refused("decode", "bad.nac", "-o", "out.wav", words=(words,))


def with_metadata(nac: bytes, **changes: object) -> bytes:
    """The file with other metadata, its checksum made to fit."""
    size = int.from_bytes(nac[4:8])
    text = json.dumps({**json.loads(nac[9 : 9 + size]), **changes}).encode()
    header = nac[:4] + struct.pack("!I", len(text)) + nac[8:9] + text
    return header + struct.pack("!I", crc32(header)) + nac[9 + size + 4 :]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codebooks": 10**12}, "codebooks"),
        ({"channels": 0}, "channels"),
        ({"sample_rate": "high"}, "sample_rate"),
        ({"codec": "../../etc"}, "codec"),
        ({"codec": "unheard-of"}, "unheard-of"),
        ({"fingerprint": "0123456789abcdef"}, "0123456789abcdef"),
        ({"source_rate": 1}, "1 Hz"),
        ({"hop_length": 160}, "nano-2"),
        ({"streams": 2, "channels": 2}, "bad.nac"),
    ],
)
def test_metadata_that_lie(
    refused: Refused, tmp_path: Path, nac: bytes, changes: dict[str, object], words: str
) -> None:
    (tmp_path / "bad.nac").write_bytes(with_metadata(nac, **changes))
    refused("decode", "bad.nac", "-o", "out.wav", words=("bad.nac", words))


def test_a_length_that_the_codes_do_not_hold(refused: Refused, tmp_path: Path, nac: bytes) -> None:
    (tmp_path / "good.nac").write_bytes(nac)
    codes = read_codes(tmp_path / "good.nac")
    for form in ("nac", "txt", "npz"):
        write_codes(tmp_path / f"bad.{form}", Codes(codes.info, codes.data, 1 << 47))
        refused("decode", f"bad.{form}", "-o", "out.wav", words=(f"bad.{form}", "codes hold"))


def limited(folder: Path, megabytes: int, *arguments: object) -> Run:
    """Run the command line in a process that can take no more memory than that."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (megabytes << 20, megabytes << 20))

    result = subprocess.run(
        [sys.executable, "-m", "acomp", *map(str, arguments)],
        cwd=folder,
        env=environment(folder),
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    return Run(result.returncode, result.stdout, result.stderr)


GIANTS = ("block.nac", "index.nac", "frames.txt", "bandwidth.txt", "array.npz")


def giants(nac: bytes) -> dict[str, bytes]:
    """Small files that claim 10^12 frames, or as many as their fields can hold."""
    block = struct.pack("!BIHH", 0, 0, 65535, 0) + bytes(100)
    index = struct.pack("!QI", 1 << 48, 0xFFFFFFFF)
    tail = index + struct.pack("!I", crc32(index)) + b"NACE"
    start = nac[: 9 + int.from_bytes(nac[4:8]) + 4]
    fields = json.loads(start[9:-4])
    lines = [f"# {key}: {value}" for key, value in fields.items()]
    return {
        "block.nac": start + block + tail,
        "index.nac": nac[:-20] + tail,
        "frames.txt": "\n".join(
            ["1", "12", "0 " * 16, *lines, "# length: 24000", f"# frames: {10**12}", ""]
        ).encode(),
        "bandwidth.txt": b"1\n999999999\n0 0\n",
        "array.npz": npz({**fields, "length": 24000}, (1, 16, 10**12)),
    }


def npz(fields: dict[str, object], shape: tuple[int, ...]) -> bytes:
    """An archive whose codes claim a shape and have one frame."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        with archive.open("info.npy", "w") as member:
            np.lib.format.write_array(member, np.array(json.dumps(fields)))
        with archive.open("codes.npy", "w") as member:
            header = {"descr": "<u2", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(member, header)
            member.write(bytes(32))
    return content.getvalue()


@pytest.mark.parametrize("name", GIANTS)
def test_claims_of_endless_frames_take_no_memory(tmp_path: Path, nac: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(giants(nac)[name])
    assert_refused(limited(tmp_path, 400, "convert", name, "out.npz"), name)
    assert list(files_in(tmp_path)) == [name]


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["1", "6", "1 2 3 4 5 6 7 x"], "line 3"),
        (["1", "6", "1 2 3 4 5 6 7 1024"], "1024"),
        (["1", "6", "1 2 3 4 5 6 7 99999999999999999999"], "out of range"),
        (["1", "6", "1 2 3 4 5 6 7 -1"], "line 3"),
        (["1", "6", "1 2 3"], "line 3"),
        (["1", "six", "1 2"], "line 2"),
        (["7", "6", "1 2"], "line 1"),
        (["1"], "second line"),
        (["words"], "bad.txt"),
    ],
)
def test_a_bad_txt(refused: Refused, tmp_path: Path, lines: list[str], words: str) -> None:
    (tmp_path / "bad.txt").write_text("\n".join(lines) + "\n")
    refused("decode", "bad.txt", "-o", "out.wav", words=("bad.txt", words))
    refused("convert", "bad.txt", "out.nac", words=("bad.txt", words))


def nac0() -> bytes:
    """A second of `.nac` version 0: 6 kbps, 12 codebooks of zeros."""
    return struct.pack("!3sBIB", b"NAC", 0, 4, 6) + b"null" + bytes(50 * 12 * 10 // 8)


def test_version_0_says_what_is_missing(cli: Cli, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "old.nac").write_bytes(nac0())
    (tmp_path / "out.wav").write_bytes(b"old")
    command = ("decode", "old.nac", "-o", "out.wav", "--overwrite")
    refused(*command, words=("old.nac", "version 0", "weights"))
    run = cli("info", "old.nac")
    assert_done(run)
    assert "12 codebooks x 50 frames" in run.out
    assert_done(cli("convert", "old.nac", "new.nac"))
    refused("decode", "new.nac", "-o", "other.wav", words=("new.nac", "version 0"))


# Weights


def test_codes_of_other_weights(
    refused: Refused, cli: Cli, tmp_path: Path, encodec_24khz: Path, speech: Path
) -> None:
    assert_done(cli("encode", speech, "-k", 3, "--weights", encodec_24khz, "--engine", "torch"))
    state = torch.load(encodec_24khz)
    state["decoder.model.0.conv.conv.bias"] += 1
    torch.save(state, tmp_path / "others.th")
    refused(
        *("decode", "speech.nac", "-o", "out.wav", "--weights", "others.th"),
        words=("speech.nac", "weights", "--weights FILE"),
    )


def test_weights_that_are_none(
    refused: Refused, tmp_path: Path, encodec_24khz: Path, encodec_48khz: Path, speech: Path
) -> None:
    (tmp_path / "text.th").write_text("no weights\n")
    (tmp_path / "text.safetensors").write_text("no weights\n")
    (tmp_path / "empty.th").touch()
    (tmp_path / "folder.th").mkdir()
    (tmp_path / "cut.th").write_bytes(encodec_24khz.read_bytes()[:100_000])
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.th")
    for name in ("text.th", "text.safetensors", "empty.th", "folder.th", "cut.th", "other.th"):
        for backend in ("encodec", "nano"):
            refused("encode", speech, "--weights", name, "-b", backend, words=(name,))
    refused("encode", speech, "--weights", "missing.th", words=("missing.th",))
    refused("encode", speech, "--weights", encodec_48khz, words=("encodec-24khz",))
    refused("encode", speech, "--weights", encodec_24khz, *NANO, words=("nano",))


def test_weights_that_would_run_code(refused: Refused, tmp_path: Path, speech: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    torch.save({"weight": Trap()}, tmp_path / "trap.th")
    refused("encode", speech, "--weights", "trap.th", *NANO, words=("trap.th", "refused"))
    assert not (tmp_path / "trapped").exists()


def test_weights_that_are_not_here(refused: Refused, cli: Cli, speech: Path) -> None:
    run = refused("encode", speech, words=("encodec-24khz", "ACOMP_OFFLINE", "-b nano"))
    assert run.err.count("nano") == 1
    assert_done(cli("encode", speech, *NANO))
    codes = read_codes("speech.nac")
    info = replace(codes.info, codec="encodec-24khz", fingerprint=None)
    write_codes("encodec.nac", Codes(info, codes.data, codes.length))
    run = refused("decode", "encodec.nac", "-o", "out.wav", words=("encodec-24khz",))
    assert "nano" not in run.err, "another codec cannot decode these codes"


def test_an_unknown_backend(refused: Refused, speech: Path) -> None:
    refused("encode", speech, "-b", "unheard-of", words=("'unheard-of'", "nano", "encodec"))
    refused("codebooks", "-b", "unheard-of", "-o", "books.npy", words=("'unheard-of'",))


# Places


def test_an_input_that_is_not_there(refused: Refused) -> None:
    refused("encode", "missing.wav", *NANO, words=("missing.wav", "no such file"))
    refused("decode", "missing.nac", words=("missing.nac", "no such file"))
    refused("info", "missing.nac", words=("missing.nac", "no such file"))
    refused("convert", "missing.nac", "out.txt", words=("missing.nac", "no such file"))


def test_a_folder_without_audio(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.md").write_text("no audio")
    refused("encode", "folder", *NANO, words=("folder",))
    refused("encode", "folder", "--output-dir", "out", *NANO, words=("folder",))
    refused("decode", "folder", words=("folder",))
    refused("info", "folder", words=("folder",))


def targets(cli: Cli, speech: Path, output: str) -> list[tuple[object, ...]]:
    """Commands that write to `output` with each of the suffixes they know."""
    assert_done(cli("encode", speech, "-o", "good.nac", *NANO))
    return [
        ("encode", speech, "-o", f"{output}.nac", *NANO),
        ("encode", speech, "-o", f"{output}.txt", *NANO),
        ("encode", speech, "-o", "fine.nac", "--output-file", f"{output}.wav", *NANO),
        ("decode", "good.nac", "-o", f"{output}.wav"),
        ("decode", "good.nac", "-o", f"{output}.flac"),
        ("convert", "good.nac", f"{output}.npz"),
        ("codebooks", "-o", f"{output}.npy", *NANO),
    ]


def test_a_folder_that_is_not_there(refused: Refused, cli: Cli, speech: Path) -> None:
    for command in targets(cli, speech, "none/out"):
        refused(*command, words=("none", "does not exist"))


def test_a_target_that_is_read_only(
    refused: Refused, cli: Cli, tmp_path: Path, speech: Path
) -> None:
    for suffix in ("nac", "txt", "wav", "flac", "npz", "npy"):
        (tmp_path / f"out.{suffix}").write_bytes(b"old")
        (tmp_path / f"out.{suffix}").chmod(0o444)
    for command in targets(cli, speech, "out"):
        refused(*command, "--overwrite", words=("out.", "read-only"))


def test_a_target_that_is_a_folder(
    refused: Refused, cli: Cli, tmp_path: Path, speech: Path
) -> None:
    for suffix in ("nac", "txt", "wav", "flac", "npz", "npy"):
        (tmp_path / f"out.{suffix}").mkdir()
    for command in targets(cli, speech, "out"):
        refused(*command, words=("out.", "folder"))


def test_a_file_where_a_folder_is_due(
    refused: Refused, cli: Cli, tmp_path: Path, speech: Path
) -> None:
    (tmp_path / "file").write_bytes(b"old")
    for command in targets(cli, speech, "file/out"):
        refused(*command, words=("file", "not a folder"))
    refused("encode", speech, "--output-dir", "file/out", *NANO, words=("file/out",))


def test_a_suffix_that_says_nothing(refused: Refused, cli: Cli, speech: Path) -> None:
    assert_done(cli("encode", speech, *NANO))
    refused("encode", speech, "-o", "out.xyz", *NANO, words=("out.xyz", "nac, txt, npz"))
    refused("encode", speech, "-o", "out", *NANO, words=("out",))
    refused("decode", "speech.nac", "-o", "out.xyz", words=("out.xyz", ".wav, .flac"))
    refused("convert", "speech.nac", "out.xyz", words=("out.xyz",))
    refused("codebooks", "-o", "out.xyz", *NANO, words=("out.xyz", ".npy"))


def test_names_of_any_bytes_leave_one_line(refused: Refused, cli: Cli, tmp_path: Path) -> None:
    refused("encode", "no\nsuch\r\nfile.wav", *NANO, words=("no such file.wav",))
    refused("info", "a" * 300, words=("too long",))
    refused("encode", "a" * 300 + ".wav", *NANO, words=("too long",))
    refused("encode", os.fsdecode(b"\xff.wav"), *NANO, words=(".wav", "no such file"))
    make(tmp_path / "two\nlines.wav", 0.2)
    itself = ("two\nlines.wav", "-o", "two\nlines.wav")
    assert_refused(cli("encode", *itself, *NANO), "two lines.wav is both input and output")
    run = cli("encode", "two\nlines.wav", *NANO)
    assert_done(run)
    assert run.err.count("\n") == 1
    odd = os.fsdecode(b"\xff.nac")
    (tmp_path / "two\nlines.nac").rename(tmp_path / odd)
    run = finish(start(tmp_path, "info", odd))
    assert_done(run)
    assert run.out.startswith("\\xff.nac\n")


# Being told more


@pytest.mark.parametrize("place", ["before", "behind"])
def test_debug_shows_the_traceback(cli: Cli, place: str) -> None:
    command = ["encode", "missing.wav", "-b", "nano"]
    run = cli(*(["--debug", *command] if place == "before" else [*command, "--debug"]))
    assert run.code == 1
    assert run.err.startswith("Traceback")
    assert "AudioError" in run.err
    assert re.search(r"^error: .*missing\.wav", run.err, re.MULTILINE)


def test_debug_shows_the_traceback_of_every_input(cli: Cli) -> None:
    run = cli("--debug", "info", "one.nac", "two.nac")
    assert run.code == 1
    assert run.err.count("FormatError: one.nac") == 1
    assert run.err.count("FormatError: two.nac") == 1


def test_no_traceback_without_debug(cli: Cli) -> None:
    assert_refused(cli("encode", "missing.wav", *NANO), "missing.wav")
