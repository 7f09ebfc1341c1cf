"""The corpus in tests/golden: small files of codes in every form, and what a reader makes of each.

    .venv/bin/python tests/support/golden.py tests/golden

makes it again, the same to the last byte but for `.npz` and `.dac`, whose bytes zlib and numpy
settle. Programs in other languages can be held to it: beside each file of codes stands a JSON file
with what it holds, and `damaged.json` says of each file in `damaged` why it is to be refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import sys
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from codes_samples import version_0
from numpy.typing import NDArray

from acomp.codecs import SPECS
from acomp.codes import Codes, CodesInfo, Segments, info_of, split
from acomp.formats import create_codes, read_codes
from acomp.formats.base import info_to_dict
from acomp.settings import FormName

CODECS = (
    "encodec-24khz",
    "dac-16khz",
    "dac-24khz",
    "dac-44khz",
    "snac-24khz",
    "mimi",
    "soundstream",
)
FINGERPRINT = "0123456789abcdef"
LANGUAGE_MODEL = "language_model.safetensors"
"""Of 2 codebooks of 16 entries; the files of version 2 are coded with it."""
SAME_BYTES = (".nac", ".txt", ".ecdc")
"""Suffixes of the forms whose bytes follow from the codes alone."""


def drawn(name: str, shape: tuple[int, ...], below: int) -> NDArray[np.uint16]:
    """Numbers that follow from a name, in any version of numpy."""
    data = hashlib.shake_128(name.encode()).digest(4 * int(np.prod(shape)))
    return (np.frombuffer(data, ">u4") % below).astype(np.uint16).reshape(shape)


def codes_of(
    info: CodesInfo, frames: int, segments: list[int] | None = None, cut: int = 7
) -> Codes:
    """Codes whose audio ends `cut` samples of the codec's rate before the last frame does."""
    name = f"{info.codec} {info.streams} {frames}"
    data = drawn(name, (info.streams, info.codebooks, frames), info.codebook_size)
    length = max(0, frames * info.hop_length - cut) * info.source_rate // info.sample_rate
    if segments is None:
        return Codes(info, data, length)
    scales = np.arange(1, len(segments) + 1).astype(np.float32) / np.float32(4)
    return Codes(info, data, length, Segments(np.array(segments, np.int64), scales))


def example(codebooks: int = 2, size: int = 16, streams: int = 1, **more: Any) -> CodesInfo:
    return CodesInfo("example", 8000, streams, streams, codebooks, size, 320, 8000, **more)


def of_codec(name: str, codebooks: int | None = None, **more: Any) -> CodesInfo:
    spec = SPECS[name]
    count = codebooks or (spec.codebooks if spec.levels else min(4, spec.codebooks))
    values = {"channels": spec.channels, "fingerprint": FINGERPRINT, **more}
    return info_of(spec, codebooks=count, **values)


def in_segments(seconds: int) -> Codes:
    """EnCodec of 48 kHz, whose segments of 150 frames begin every 47520 samples."""
    info = of_codec("encodec-48khz", 2)
    counts = [150] * seconds + [9]
    codes = codes_of(info, sum(counts), counts)
    return Codes(info, codes.data, seconds * 47_520 + 8 * 320 + 5, codes.segments)


def plain() -> Iterator[tuple[str, Codes]]:
    """Codes, and the names of the `.nac` files of version 1 that hold them."""
    for name in CODECS:
        yield name, codes_of(of_codec(name), 21)
    yield "encodec-48khz", in_segments(2)
    for frames in (0, 1, 2, 3):
        yield f"frames-{frames}", codes_of(example(), frames)
    for size in (2, 3, 1000, 1024, 65536):
        yield f"entries-{size}", codes_of(example(3, size), 9)
    yield "stereo", codes_of(example(2, 1024, 2), 13)
    yield "resampled", codes_of(of_codec("encodec-24khz", 2, source_rate=44_100), 12)
    yield "loudness", codes_of(example(loudness=(-23.5,)), 5)
    yield "chunks", codes_of(example(loudness=(-16.25,), chunk=4), 10)
    yield "several-blocks", codes_of(example(8, 1024), 900)
    yield "several-blocks-of-segments", codes_of(example(4, 1024), 1050, [100] * 10 + [50])


def coded() -> Iterator[tuple[str, Codes, int | None]]:
    """Codes of version 2, their names, and the frames of a block of a live stream."""
    yield "coded", codes_of(example(), 30), None
    yield "coded-frames-0", codes_of(example(), 0), None
    yield "coded-stereo", codes_of(example(streams=2), 200), None
    yield "coded-segments", codes_of(example(), 35, [15, 15, 5]), None
    yield "coded-several-blocks", codes_of(example(), 800), None
    yield "coded-live", codes_of(example(), 250), 40


def written(
    codes: Codes, form: FormName, model: Path | None = None, live: int | None = None
) -> bytes:
    """A file in a form; `live` in blocks of so many frames."""
    stream = io.BytesIO()
    entropy: Any = "none" if model is None else "lm"
    with create_codes(
        stream,
        codes.info,
        form=form,
        live=live is not None,
        entropy=entropy,
        language_model=model,
    ) as writer:
        for block in [codes.block] if live is None else split(codes.block, live):
            writer.write(block)
        writer.finish(codes.length)
    return stream.getvalue()


def language_model(path: Path) -> Path:
    """Write a small language model with numbers that follow from their names."""
    from safetensors.numpy import save_file

    from acomp.entropy.cascade import CascadeShape
    from acomp.entropy.loading import _layout

    shape = CascadeShape(2, 16, embedding=4, width=8, hidden=8, narrow=4, dilations=(1, 2))
    arrays = {}
    for name, (kind, size) in _layout(shape).items():
        numbers = drawn(name, size, 199)
        whole = kind == "int8"
        arrays[name] = (
            (numbers.astype(np.int16) - 99).astype(np.int8)
            if whole
            else (numbers / np.float32(256)).astype(np.float32)
        )
    save_file(arrays, path, {"acomp": json.dumps(shape.to_dict())})
    return path


def files(model: Path) -> Iterator[tuple[str, bytes]]:
    """The whole files of the corpus by name."""
    for name, codes in plain():
        yield f"{name}.nac", written(codes, "nac")
    yield "live.nac", written(codes_of(example(), 50), "nac", live=20)
    for frames in (0, 1, 100, 233):
        yield f"version-0-frames-{frames}.nac", version_0(drawn("0", (2, frames), 1024), 1)
    for name, codes, live in coded():
        yield f"{name}.nac", written(codes, "nac", model, live)
    forms: tuple[FormName, ...] = ("txt", "npz")
    for form in forms:
        yield f"mono.{form}", written(codes_of(example(), 20), form)
        yield f"stereo.{form}", written(codes_of(example(2, 1024, 2), 13), form)
        yield f"encodec-48khz.{form}", written(in_segments(1), form)
    yield "encodec-24khz.ecdc", written(codes_of(of_codec("encodec-24khz", 2), 21), "ecdc")
    yield "encodec-48khz.ecdc", written(in_segments(1), "ecdc")
    dac = replace(of_codec("dac-44khz"), loudness=(-20.5,))
    yield "dac-44khz.dac", written(codes_of(dac, 21), "dac")


def contents(data: bytes, model: Path) -> dict[str, Any]:
    """What a whole file holds, as plain values."""
    codes = read_codes(io.BytesIO(data), language_model=model if data[:4] == b"NAC\2" else None)
    segments = codes.segments
    return {
        "info": info_to_dict(codes.info),
        "length": codes.length,
        "segments": None
        if segments is None
        else [segments.frames.tolist(), segments.scales.tolist()],
        "codes": codes.data.tolist(),
    }


def with_crc(data: bytes) -> bytes:
    return data + struct.pack("!I", zlib.crc32(data))


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def damaged(data: bytes) -> Iterator[tuple[str, str, bytes]]:
    """Damaged files by name, made of a `.nac` of version 1 or 2, and the kind of damage."""
    (size,) = struct.unpack("!I", data[4:8])
    block = 13 + size
    index = len(data) - 20 - (4 if data[3] == 1 else 9)
    places = {"header": 6, "metadata": 9 + size // 2, "header-crc": 11 + size}
    places |= {"block": block + 4, "codes": (block + index) // 2, "block-crc": index - 2}
    places |= {"before-index": index, "index": index + 2, "end": len(data) - 2}
    for place, at in places.items():
        yield f"cut-in-{place}", "cut", data[:at]
    for part, at in (("metadata", 9 + size // 2), ("codes", index - 6), ("index", len(data) - 13)):
        yield f"flipped-{part}", "checksum", flipped(data, at)
    yield "magic", "magic", b"NAX" + data[3:]
    yield "version-9", "version", data[:3] + b"\x09" + data[4:]
    yield "hostile-metadata-size", "bounds", data[:4] + b"\xff" * 4 + data[8:]
    bounds = {"flags": (0, b"\x80"), "frames": (5, b"\xff\xff"), "segment": (7, b"\xff\xff")}
    for field, (at, value) in bounds.items():
        changed = data[block : block + at] + value + data[block + at + len(value) : index - 4]
        rest = data[index:]
        yield f"hostile-{field}", "bounds", data[:block] + with_crc(changed) + rest
    tail = data[-20:-12] + b"\xff" * 4
    yield "hostile-blocks", "bounds", data[:index] + with_crc(data[index:-20] + tail) + b"NACE"
    length = with_crc(data[index:-20] + b"\xff" * 8 + data[-12:-8])
    yield "hostile-length", "bounds", data[:index] + length + b"NACE"
    yield "bytes-after-the-end", "trailing", data + b"\0"
    metadata = json.loads(data[9 : 9 + size])
    for key in ("codec", "fingerprint", "sample_rate"):
        without = {name: value for name, value in metadata.items() if name != key}
        yield f"lacks-{key}", "metadata", described(data, without)
        # A list of one text becomes that text where a language makes texts of all it compares.
        listed = {**metadata, key: [metadata[key] or FINGERPRINT]}
        yield f"listed-{key}", "metadata", described(data, listed)


def described(data: bytes, metadata: dict[str, Any]) -> bytes:
    """A file with other metadata."""
    (size,) = struct.unpack("!I", data[4:8])
    text = json.dumps(metadata, separators=(",", ":")).encode()
    header = data[:4] + struct.pack("!I", len(text)) + data[8:9] + text
    return with_crc(header) + data[13 + size :]


def sum_of_no_codes(data: bytes) -> bytes:
    """A file of version 2 without frames whose block has a checksum of codes nevertheless."""
    index = len(data) - 29
    return data[: index - 21] + with_crc(data[index - 21 : index - 8] + b"\0\0\0\1") + data[index:]


def make(folder: Path) -> None:
    """Make the corpus in an empty folder, or over an older one."""
    (folder / "damaged").mkdir(parents=True, exist_ok=True)
    model = language_model(folder / LANGUAGE_MODEL)
    made = dict(files(model))
    for name, data in made.items():
        (folder / name).write_bytes(data)
        text = json.dumps(contents(data, model), separators=(",", ":"))
        (folder / f"{name}.json").write_text(text + "\n")
    kinds = {}
    for version, whole in ((1, "frames-3.nac"), (2, "coded.nac")):
        for what, kind, data in damaged(made[whole]):
            name = f"version-{version}-{what}.nac"
            kinds[name] = kind
            (folder / "damaged" / name).write_bytes(data)
    kinds["version-2-sum-of-no-codes.nac"] = "checksum"
    data = sum_of_no_codes(made["coded-frames-0.nac"])
    (folder / "damaged" / "version-2-sum-of-no-codes.nac").write_bytes(data)
    (folder / "damaged.json").write_text(json.dumps(kinds, indent=1) + "\n")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
