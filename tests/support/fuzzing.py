"""Damaged and hostile files for every reader: `make fuzz`, or this file itself (see `--help`).

Each input is read within limits of time and memory, and must be read, or refused in one line by an
`AcompError`; a file of codes alike from a file and from a pipe. What fails is kept in a folder,
with the reason beside it. The inputs follow from the seed: the same one makes them again.

A worker process reads; if a reader takes it down, the input that it was at is kept, and the next
worker goes on behind it.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np

from acomp.audio import open_audio
from acomp.codecs import CodecSpec
from acomp.codes import Codes, CodesInfo, Segments
from acomp.errors import AcompError
from acomp.formats import read_codes, write_codes
from acomp.settings import FormName

CPU_SECONDS = 4.0
"""That an input may take; a worker that takes five times as many is ended."""
MEMORY = 400 << 20
"""Bytes that an input may add to what the process holds; of addresses twice as many."""
LONGEST_MESSAGE = 1000
SLOW, SELDOM = ("sound", "weights", "bare codes pt", "bare codes old pt"), 8
"""Readers that take milliseconds, and which of all inputs they get: every eighth."""

HOSTILE: list[Any] = [
    *(None, True, 0, -1, 1, 2, 65535, 65536, 1 << 31, (1 << 48) + 1, 1 << 62, 1 << 63, 1 << 200),
    *(0.5, 1e308, -1e308, 5e-324, float("nan"), float("inf"), "", "x", "\ud800", "\x1b[31m"),
    *("a" * 999, [], {}, [[]], {"a": {}}, [0] * 50, "nano", "encodec-48khz", "0" * 16, "1e9"),
]  # fmt: skip
WORDS = [
    *(b"0", b"-1", b"1e308", b"nan", b"inf", b"1e-320", b"99999999999999999999", b"", b" ", b"\t"),
    *(b"*a", b"&a ", b"[", b"]", b"{", b"}", b"<<: *a", b"- ", b"? ", b"!!binary x", b"!!set {a}"),
    *(b"\x00", b"\xff", b"\r", b"\n", b'"', b"'", b"#", b": ", b"1:1:1", b"0x" + b"f" * 99, b".."),
    *(b"2001-99-99", b"!!int ''", b"!!timestamp x", b"!!float 1:" + b"9:" * 200, b"|", b"%YAML 9"),
]  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A reader and what it is given."""

    read: Callable[[bytes], object]
    seeds: list[bytes]
    craft: Callable[[random.Random, bytes], bytes] | None = None
    """Changes what a seed says, with checksums and sizes that are right."""


class TooSlow(BaseException):
    """An input has taken its time."""


# Changes of bytes


def flipped(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """`data` with a few changes that know nothing of it."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, size = rng.randrange(len(changed) + 1), rng.choice((1, 2, 4, 8, 40))
        match rng.randrange(8):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(changed):
                changed[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
            case 2:
                del changed[at : at + size]
            case 3:
                changed[at:at] = changed[at : at + size] * rng.choice((1, 2, 9))
            case 4:
                number = rng.choice((0, 1, -1, 0x7F, 0x80, 0x7FFF, 0x8000, 1 << 31, 1 << 63))
                order: Literal["little", "big"] = rng.choice(("little", "big"))
                width = rng.choice((2, 4, 8))
                changed[at : at + width] = (number % (1 << 8 * width)).to_bytes(width, order)
            case 5:
                changed[at : at + size] = rng.choice(WORDS)
            case 6:
                del changed[at:]
            case 7:
                start = rng.randrange(len(other) + 1)
                changed[at : at + size] = other[start : start + size]
    return bytes(changed)


def changed_json(rng: random.Random, text: bytes) -> bytes:
    """A JSON object with a value or a key changed."""
    values = json.loads(text)
    key = rng.choice([*values, "loudness", "chunk", "more"])
    match rng.randrange(4):
        case 0:
            values.pop(key, None)
        case 1:
            values[key] = rng.choice(HOSTILE)
        case 2:
            values[key] = [rng.choice(HOSTILE)] * rng.randrange(1, 4)
        case 3:
            deep = rng.choice((5, 500, 20_000))
            return json.dumps(values).encode()[:-1] + b', "d": ' + b"[" * deep + b"]" * deep + b"}"
    return json.dumps(values, separators=(",", ":")).encode()


# Files with right checksums


def checked(data: bytes) -> bytes:
    return data + struct.pack("!I", zlib.crc32(data))


def crafted_nac(rng: random.Random, data: bytes) -> bytes:
    """A `.nac` of version 1 or 2 with its header, a block or its index changed."""
    size = struct.unpack("!I", data[4:8])[0]
    head, rest = data[: 9 + size], data[13 + size :]
    (count,) = struct.unpack("!I", data[-12:-8])
    width = 4 if data[3] == 1 else 9
    blocks, index = rest[: -count * width - 20], rest[-count * width - 20 : -8]
    match rng.randrange(4):
        case 0:
            text = changed_json(rng, head[9:])
            head = head[:4] + struct.pack("!I", len(text)) + head[8:9] + text
        case 1:
            index = flipped(rng, index, data)
        case 2:
            entry = index[: width * rng.randrange(count + 1)] + bytes(
                rng.choices((0, 1, 255), k=width)
            )
            index = entry + index[-12:-4] + struct.pack("!I", len(entry) // width)
        case 3:
            first = bytearray(blocks[: -4 if count == 1 else 40])
            at = rng.randrange(min(len(first), 14))
            first[at] = rng.choice((0, 1, 2, 3, 255, rng.randrange(256)))
            blocks = checked(bytes(first)) if count == 1 else bytes(first) + blocks[40:]
            if rng.random() < 0.5 and count == 1:
                fields = first[5:9] if width == 4 else first[:1] + first[5:13]
                index = bytes(fields) + index[width:]
    return checked(head) + blocks + checked(index) + b"NACE"


def crafted_ecdc(rng: random.Random, data: bytes) -> bytes:
    size = struct.unpack("!I", data[5:9])[0]
    text = changed_json(rng, data[9 : 9 + size])
    return data[:5] + struct.pack("!I", len(text)) + text + data[9 + size :]


def crafted_zip(rng: random.Random, data: bytes) -> bytes:
    """An archive with a member changed, missing or twice there."""
    packed = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
        if members[0][0].endswith("data.pkl"):
            packed = zipfile.ZIP_STORED
    at = rng.randrange(len(members))
    name, content = members[at]
    match rng.randrange(6):
        case 0:
            del members[at]
        case 1:
            members.append((name, members[rng.randrange(len(members))][1]))
        case 2:
            start = content.find(b"{")
            end = content.find(b"\n", start) + 1
            members[at] = (
                name,
                content[:start] + flipped(rng, content[start:end], content) + content[end:],
            )
        case 3:
            text = rng.choice((b"<u2", b"<U9", b"|O", b"<f8", b"<i8", b">u2", b"<M8[s]"))
            members[at] = name, content.replace(b"<u2", text).replace(b"<U", text + b"<U")
        case _:
            members[at] = name, flipped(rng, content, data)
    target = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w", packed) as archive:
        warnings.simplefilter("ignore")  # of names that come twice
        for name, content in members:
            archive.writestr(name, content)
    return target.getvalue()


def crafted_dac(rng: random.Random, data: bytes) -> bytes:
    """A `.dac` whose dictionary holds something else, or whose pickle doubles values."""
    content = np.load(io.BytesIO(data), allow_pickle=True)[()]
    if rng.random() < 0.3:
        head, pickled = data[:128], data[128:-1]
        bomb = b"(K\x01K\x01t" + b"".join(
            b"q%c" % n + b"(h%ch%ct" % (n, n) for n in range(100, 140)
        )
        at = rng.choice(
            [at for at in range(len(pickled)) if pickled[at : at + 1] in (b"K", b"h", b"X")]
        )
        return (
            head
            + pickled[:at]
            + rng.choice((bomb, b"(" * 99, b")" + b"\x85" * 5000))
            + pickled[at:]
            + b"."
        )
    values = rng.choice(
        [content, content["metadata"], *([content["codec"]] if "codec" in content else [])]
    )
    key = rng.choice([*values, "codec", "more"])
    made = [
        *HOSTILE,
        np.zeros(3, np.float32),
        np.zeros((1, 1, 1, 1), np.uint16),
        (1, (2, 3)),
        np.float32(1),
    ]
    values[key] = rng.choice(made)
    file = io.BytesIO()
    np.save(file, content)
    return file.getvalue()


def crafted_safetensors(rng: random.Random, data: bytes) -> bytes:
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    place = rng.choice([header, *(value for value in header.values() if isinstance(value, dict))])
    key = rng.choice([*place])
    place[key] = rng.choice(
        [*HOSTILE, "F8_E4M3", "BF16", "I64", [0, 0], [1 << 40, 1 << 40], [0, 1 << 62]]
    )
    if "__metadata__" in header and rng.random() < 0.5:
        shape = header["__metadata__"]
        if isinstance(shape, dict):
            shape["acomp"] = changed_json(rng, b'{"family": "cascade", "codebooks": 2}').decode()
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def crafted_words(rng: random.Random, data: bytes, separator: bytes) -> bytes:
    """A text with words of it changed, moved or doubled."""
    lines = data.split(b"\n")
    for _ in range(rng.choice((1, 1, 2, 5))):
        row = rng.randrange(len(lines))
        words = lines[row].split(separator)
        at = rng.randrange(len(words))
        match rng.randrange(5):
            case 0:
                words[at] = rng.choice(WORDS)
            case 1:
                words[at] = str(rng.choice(HOSTILE)).encode("utf-8", "replace")
            case 2:
                del words[at]
            case 3:
                words[at:at] = [words[at]] * rng.choice((1, 3, 50))
            case 4:
                lines.insert(row, lines[rng.randrange(len(lines))])
        lines[row] = separator.join(words)
    return b"\n".join(lines)


# Readers


class Pipe(io.BytesIO):
    """A stream that can neither seek nor tell."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


def read_both_ways(
    data: bytes, language_model: Path | None = None, codec: CodecSpec | None = None
) -> None:
    """A file of codes, which a pipe must give alike; and what recovery makes of it."""
    found = [_codes(stream(data), language_model, codec) for stream in (io.BytesIO, Pipe)]
    if type(found[0]) is not type(found[1]):
        raise AssertionError(
            f"from a file and from a pipe: {found[0]!s:.300} and {found[1]!s:.300}"
        )
    if isinstance(found[0], Codes) and isinstance(found[1], Codes):
        assert found[0].info == found[1].info
        assert found[0].length == found[1].length
        np.testing.assert_array_equal(found[0].data, found[1].data)
    if data[:3] == b"NAC":
        recovered = read_codes(io.BytesIO(data), recover=True, language_model=language_model)
        seconds = recovered.frames / recovered.info.frame_rate
        held = len(data) * 8 * 16 / recovered.info.frame_rate
        assert seconds <= max(2 * held, 62) or recovered.frames < 70_000, f"{seconds} s recovered"
    if isinstance(found[0], AcompError):
        raise found[0]


def _codes(
    stream: io.BytesIO, language_model: Path | None, codec: CodecSpec | None
) -> Codes | AcompError:
    try:
        return read_codes(stream, language_model=language_model, codec=codec)
    except AcompError as error:
        return error


def by_path(read: Callable[[Path], object], suffix: str) -> Callable[[bytes], object]:
    """A reader of bytes by way of a file."""
    path = Path(tempfile.mkdtemp(prefix="acomp-fuzz-")) / f"input{suffix}"

    def from_bytes(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return from_bytes


def by_folder(
    read: Callable[[Path], object], name: str, others: dict[str, bytes]
) -> Callable[[bytes], object]:
    """A reader of bytes by way of a folder, where they are a file of a name among others."""
    folder = Path(tempfile.mkdtemp(prefix="acomp-fuzz-"))
    for other, contents in others.items():
        (folder / other).write_bytes(contents)

    def from_bytes(data: bytes) -> object:
        (folder / name).write_bytes(data)
        return read(folder)

    return from_bytes


def changed_index(rng: random.Random, text: bytes) -> bytes:
    """The index of shards with an entry changed, or the index itself."""
    values = json.loads(text)
    if rng.random() < 0.3:
        return changed_json(rng, text)
    key = rng.choice([*values["weight_map"], "more"])
    values["weight_map"][key] = rng.choice([*HOSTILE, "../up", "/dev/zero", "config.json"])
    return json.dumps(values).encode()


def read_results(path: Path) -> None:
    from acomp.evaluation.results import Results
    from acomp.evaluation.rows import read_rows
    from acomp.evaluation.summary import summarise

    results = Results(path.parent, read_rows(path))
    summarise(results, {setting: {} for setting in results.settings})


def read_config(path: Path) -> None:
    from acomp.training.config import parse
    from acomp.training.config_files import merge, read_yaml, recipe

    parse(merge(recipe("nano-2"), read_yaml(path)))


def read_sound(path: Path) -> None:
    with open_audio(path) as reader:
        for _, _block in zip(range(50), reader.blocks(1 << 16), strict=False):
            pass


def read_language_model(path: Path) -> None:
    from acomp.entropy.loading import load_language_model

    load_language_model("nano-2", 50.0, path)


# Seeds


def some_codes(codec: str, codebooks: int, size: int, frames: int, **more: Any) -> Codes:
    info = CodesInfo(codec, 24_000, 1, 1, codebooks, size, 320, 24_000, **more)
    data = np.random.default_rng(frames).integers(0, size, (1, codebooks, frames), np.uint16)
    return Codes(info, data, frames * 320 - 7)


def in_segments() -> Codes:
    info = CodesInfo("encodec-48khz", 48_000, 2, 1, 2, 1024, 320, 48_000)
    frames = np.array([150, 150, 9])
    data = np.random.default_rng(1).integers(0, 1024, (1, 2, 309), np.uint16)
    length = 2 * 47_520 + 8 * 320 + 5
    return Codes(info, data, length, Segments(frames, np.array([0.5, 1, 2], np.float32)))


def bytes_of(codes: Codes, form: FormName, **how: Any) -> bytes:
    stream = io.BytesIO()
    write_codes(stream, codes, form=form, **how)
    return stream.getvalue()


def small_language_model(folder: Path) -> Path:
    """A language model that decodes at once, of 2 codebooks of 16 entries."""
    from safetensors.numpy import save_file

    from acomp.entropy.cascade import CascadeShape
    from acomp.entropy.loading import _layout

    shape = CascadeShape(2, 16, embedding=4, width=8, hidden=8, narrow=4, dilations=(1, 2))
    draw = np.random.default_rng(0)
    arrays = {
        name: draw.integers(-99, 99, size, np.int8)
        if kind == "int8"
        else draw.random(size, np.float32)
        for name, (kind, size) in _layout(shape).items()
    }
    path = folder / "lm.safetensors"
    save_file(arrays, path, {"acomp": json.dumps(shape.to_dict())})
    return path


def bare_codes(folder: Path) -> dict[str, bytes]:
    """Bare codes as numpy and torch leave them, by the suffix of their files."""
    import torch

    tokens = np.random.default_rng(0).integers(0, 1024, (2, 9))
    made = {}
    for suffix in ("npy", "npz", "pt", "old pt"):
        path = folder / f"tokens.{suffix}"
        if suffix == "npy":
            np.save(path, tokens)
        elif suffix == "npz":
            np.savez(path, codes=tokens, more=tokens)
        else:
            held = {"codes": torch.from_numpy(tokens)}
            torch.save(held, path, _use_new_zipfile_serialization=suffix == "pt")
        made[suffix] = path.read_bytes()
    return made


def checkpoints(folder: Path) -> Iterator[tuple[str, bytes]]:
    import torch
    from safetensors.torch import save_file

    state = {"a.weight": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.float16)}
    kwargs = {"sample_rate": 16_000, "encoder_rates": [2, 4], "n_codebooks": 2}
    layout = {"state_dict": state, "metadata": {"kwargs": kwargs}}
    for name, contents, new in (
        ("flat", state, True),
        ("dac", layout, True),
        ("old", layout, False),
    ):
        torch.save(contents, folder / name, _use_new_zipfile_serialization=new)
        yield name, (folder / name).read_bytes()
    save_file(state, folder / "safe", {"acomp": '{"family": "dac", "sample_rate": 16000}'})
    yield "safetensors", (folder / "safe").read_bytes()


def folders() -> dict[str, Target]:
    """What stands beside weights in folders of Hugging Face."""
    import torch
    from safetensors.torch import save

    from acomp.backends.custom import shape_of
    from acomp.backends.weights.checkpoint import load_checkpoint

    weights = save({"a.weight": torch.ones(2, 3), "b": torch.zeros(4)})
    index = {"weight_map": {"a.weight": "shard-1.safetensors", "b": "shard-1.safetensors"}}
    configs = [
        {"model_type": "encodec", "sampling_rate": 24_000, "upsampling_ratios": [8, 5, 4, 2]},
        {"model_type": "dac", "downsampling_ratios": [2, 4], "n_codebooks": 2, "hidden_size": 64},
    ]
    return {
        "weights index": Target(
            by_folder(
                load_checkpoint,
                "model.safetensors.index.json",
                {"shard-1.safetensors": weights, "config.json": b"{}"},
            ),
            [json.dumps(index).encode()],
            changed_index,
        ),
        "weights config": Target(
            by_folder(shape_of, "config.json", {"model.safetensors": weights}),
            [json.dumps(config).encode() for config in configs],
            changed_json,
        ),
    }


def sounds(folder: Path) -> list[tuple[str, str, bytes]]:
    import soundfile

    samples = 0.3 * np.sin(np.arange(2000) / 9)
    made = []
    for suffix, form, subtype in (
        (".wav", "WAV", "PCM_16"), (".wav", "WAV", "FLOAT"), (".flac", "FLAC", "PCM_16"),
        (".ogg", "OGG", "VORBIS"), (".mp3", "MP3", "MPEG_LAYER_III"), (".aiff", "AIFF", "PCM_16"),
        (".au", "AU", "PCM_16"), (".w64", "W64", "PCM_16"), (".caf", "CAF", "PCM_16"),
    ):  # fmt: skip
        path = folder / f"sound{suffix}"
        soundfile.write(path, samples, 16_000, subtype, format=form)
        made.append((f"{form} {subtype}", suffix, path.read_bytes()))
    return made


def table_rows() -> bytes:
    """A table of results, with some of the metrics."""
    from acomp.evaluation.rows import columns

    named = [
        "setting",
        "file",
        "codec",
        "content",
        "seconds",
        "sample_rate",
        "channels",
        "bytes",
        "kbps",
        "tokens_per_second",
        "encode_speed",
        "decode_speed",
        "delay_ms",
        "si_sdr",
        "pesq",
        "stoi",
        "log_mel",
        "mr_stft",
        "utilisation",
        "perplexity",
        "left_out",
        "key",
    ]
    rows = [
        "nano@6,talk.wav,nano,speech,0.6,24000,1,488,6.5,225,101,201,0,7,2.2,0.85,0.15,1,0.9 0.9,"
        "500 500,,0",
        "pcm,a tune.flac,pcm,other,0.6,44100,2,1875,25,,102,202,0,11,,,0.1,0.6,,,pesq: music,0",
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, columns(), lineterminator="\n")
    table.writeheader()
    table.writerows(dict(zip(named, row.split(","), strict=True)) for row in rows)
    return text.getvalue().encode()


def targets(folder: Path) -> dict[str, Target]:
    """Every reader by its name."""
    from acomp.backends.weights.checkpoint import load_checkpoint
    from acomp.codecs import SPECS
    from acomp.formats.base import info_to_dict
    from acomp.listening.ratings import COLUMNS, read_ratings
    from acomp.plain import parse_json

    nano, loud = (
        some_codes("nano-1", 2, 1024, 30),
        some_codes("dac-16khz", 2, 16, 9, loudness=(-20.0,)),
    )
    coded, mono = some_codes("x", 2, 16, 20), some_codes("encodec-24khz", 2, 1024, 8)
    model = small_language_model(folder)
    nac0 = b"NAC\0\0\0\0\4\1null" + bytes(range(1, 251))
    live = io.BytesIO()
    write_codes(live, some_codes("y", 1, 2, 40_000), form="nac")
    with_model = partial(read_both_ways, language_model=model)
    ratings = f"{','.join(COLUMNS)}\nann,t,1,a,1,reference,100,3.5,2026-01-01T00:00:00Z\n".encode()
    found = {
        "nac0": Target(read_both_ways, [nac0]),
        "nac1": Target(
            read_both_ways,
            [bytes_of(nano, "nac"), bytes_of(in_segments(), "nac"), live.getvalue()],
            crafted_nac,
        ),
        "nac2": Target(
            with_model,
            [bytes_of(coded, "nac", entropy="lm", language_model=model)],
            crafted_nac,
        ),
        "txt": Target(
            read_both_ways,
            [bytes_of(nano, "txt"), bytes_of(in_segments(), "txt"), b"1\n1.5\n5 6\n7 8\n"],
            partial(crafted_words, separator=b" "),
        ),
        "npz": Target(
            read_both_ways, [bytes_of(nano, "npz"), bytes_of(in_segments(), "npz")], crafted_zip
        ),
        "ecdc": Target(
            read_both_ways,
            [bytes_of(mono, "ecdc"), bytes_of(in_segments(), "ecdc")],
            crafted_ecdc,
        ),
        "dac": Target(read_both_ways, [bytes_of(loud, "dac")], crafted_dac),
        "json": Target(parse_json, [json.dumps(info_to_dict(nano.info)).encode()], changed_json),
        "language model": Target(
            by_path(read_language_model, ".safetensors"), [model.read_bytes()], crafted_safetensors
        ),
        "results.csv": Target(
            by_path(read_results, ".csv"), [table_rows()], partial(crafted_words, separator=b",")
        ),
        "ratings.csv": Target(
            by_path(lambda path: read_ratings([path]), ".csv"),
            [ratings],
            partial(crafted_words, separator=b","),
        ),
        "config.yaml": Target(
            by_path(read_config, ".yaml"),
            [b"steps: 5\noptimiser:\n  rate: 1e-4\n  betas: [0.8, 0.9]\nlosses: {mel: 1}\n"],
            partial(crafted_words, separator=b" "),
        ),
    }
    for suffix, data in bare_codes(folder).items():
        craft = crafted_zip if suffix in ("npz", "pt") else None
        found[f"bare codes {suffix}"] = Target(
            partial(read_both_ways, codec=SPECS["nano-1"]), [data], craft
        )
    for name, data in checkpoints(folder):
        craft = {"safetensors": crafted_safetensors, "old": None}.get(name, crafted_zip)
        found[f"weights {name}"] = Target(by_path(load_checkpoint, ".pth"), [data], craft)
    found |= folders()
    for name, suffix, data in sounds(folder):
        found[f"sound {name}"] = Target(by_path(read_sound, suffix), [data])
    return found


# A worker


def input_of(target: Target, seed: int) -> bytes:
    rng = random.Random(seed)
    data, other = rng.choice(target.seeds), rng.choice(target.seeds)
    if target.craft is not None and rng.random() < 0.6:
        with suppress(Exception):  # where a change has left nothing to change further
            data = target.craft(rng, data)
            if rng.random() < 0.3:
                data = target.craft(rng, data)
            return data
    return flipped(rng, data, other)


def fault_of(target: Target, data: bytes) -> str | None:
    """What is wrong with how an input was read; None where nothing is."""
    began, held = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_VIRTUAL, 5 * CPU_SECONDS)  # what no handler interrupts ends here
    try:
        target.read(data)
    except TooSlow:
        return f"took more than {CPU_SECONDS} s"
    except (AcompError, ValueError) as error:
        message = str(error)
        plain = type(error).__name__ == "NotPlainError" or isinstance(error, AcompError)
        if not plain or "\n" in message or len(message) > LONGEST_MESSAGE:
            return traceback.format_exc()
    except Exception:
        return traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    if (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - held) * 1024 > MEMORY:
        return f"took more than {MEMORY >> 20} MiB"
    if time.process_time() - began > CPU_SECONDS:
        return f"took {time.process_time() - began:.1f} s"
    return None


def too_slow(_number: int, _frame: FrameType | None) -> None:
    raise TooSlow


def work(first: int, runs: int, names: list[str], until: float, kept: Path) -> None:
    """Read `runs` inputs of each reader from number `first` on, and say what came of each."""
    folder = Path(tempfile.mkdtemp(prefix="acomp-fuzz-"))
    chosen = {
        name: target for name, target in targets(folder).items() if not names or name in names
    }
    for target in chosen.values():
        for seed in target.seeds:
            with suppress(AcompError):
                target.read(seed)
    signal.signal(signal.SIGPROF, too_slow)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries say of damaged sound
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most = size + 2 * MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    for number in range(first, first + runs):
        for name, target in chosen.items():
            if time.time() > until:
                return
            if number % SELDOM and name.startswith(SLOW):
                continue
            data = input_of(target, number)
            (kept / "current").write_bytes(data)
            print(f"at\t{number}\t{name}", flush=True)
            fault = fault_of(target, data)
            if fault:
                keep(kept, name, data, fault)
                print(f"fault\t{number}\t{name}", flush=True)
    print("done", flush=True)


def keep(folder: Path, name: str, data: bytes, fault: str) -> None:
    stem = f"{name.replace(' ', '_')}-{hashlib.sha256(data).hexdigest()[:12]}"
    (folder / stem).write_bytes(data)
    (folder / f"{stem}.txt").write_text(fault)


# The driver


def fuzz(
    seed: int, runs: int, names: list[str], seconds: float, kept: Path
) -> tuple[Counter[str], int]:
    """Give every reader `runs` inputs, or for so many seconds; how many each got, and faults."""
    kept.mkdir(parents=True, exist_ok=True)
    counts: Counter[str] = Counter()
    faults, first, until = 0, seed, time.time() + seconds
    while time.time() < until:
        command = [
            sys.executable,
            __file__,
            "--worker",
            str(first),
            "--runs",
            str(seed + runs - first),
        ]
        command += ["--until", str(until), "--kept", str(kept), *names]
        state, number, name = "", first, ""
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
            assert worker.stdout
            for line in worker.stdout:
                state, *rest = line.rstrip("\n").split("\t")
                if state == "done":
                    continue
                number, name = int(rest[0]), rest[1]
                counts[name] += state == "at"
                faults += state == "fault"
        if worker.returncode == 0:
            break
        faults += 1
        data = (kept / "current").read_bytes() if (kept / "current").exists() else b""
        keep(kept, name or "worker", data, f"ended the worker: exit code {worker.returncode}")
        if not name:
            break
        first = number + 1
    (kept / "current").unlink(missing_ok=True)
    return counts, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="readers; all unless named")
    parser.add_argument("--seed", type=int, default=0, help="number of the first input")
    parser.add_argument("--runs", type=int, default=1 << 40, help="inputs of each reader, at most")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument(
        "--kept", type=Path, default=Path("build/fuzz"), help="folder of what fails"
    )
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker is not None:
        work(given.worker, given.runs, given.names, given.until, given.kept)
        return 0
    counts, faults = fuzz(given.seed, given.runs, given.names, given.seconds, given.kept)
    for name, count in sorted(counts.items()):
        print(f"{count:9} {name}")
    print(
        f"{counts.total():9} inputs, {faults} faults"
        + (f", kept in {given.kept}" if faults else "")
    )
    return 1 if faults else 0


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
