"""A codec's folder: two ONNX graphs, their weights, and what describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from acomp.backends.base import Codec
from acomp.backends.dac.codec import Dac
from acomp.backends.dac.shape import DacShape
from acomp.backends.encodec.codec import Encodec
from acomp.backends.encodec.shape import EncodecShape
from acomp.backends.mimi.codec import Mimi
from acomp.backends.mimi.shape import MimiShape
from acomp.backends.nano.codec import Nano
from acomp.backends.nano.shape import NanoShape
from acomp.backends.snac.codec import Snac
from acomp.backends.snac.shape import SnacShape
from acomp.codecs import CodecSpec
from acomp.errors import CodecError
from acomp.export import autoencoders, encodec, mimi, nano
from acomp.export.bits import Bits
from acomp.export.guide import guide
from acomp.export.onnx import WEIGHTS, Packer, Port, trace
from acomp.export.running import CARD, FORMAT
from acomp.export.streams import Half, Parts
from acomp.files import atomic_write, make_folder, reason_of

ENCODER, DECODER, GUIDE = "encoder.onnx", "decoder.onnx", "README.md"
FILES = (ENCODER, DECODER, WEIGHTS, GUIDE, CARD)
"""What is in a folder, in the order that it is written: a folder with the last one is whole."""
EXAMPLE = 20
"""Frames of the example that graphs are traced by."""


def check(name: str, shape: object, *, streaming: bool) -> None:
    """Check that a codec can be exported, before its weights are fetched.

    Args:
        name: of the codec.
        shape: of its network.
        streaming: whether it is to be exported for streams.

    Raises:
        CodecError: it cannot.
    """
    if not isinstance(shape, NanoShape | EncodecShape | DacShape | SnacShape | MimiShape):
        raise CodecError(
            f"{name} cannot be exported; nano, EnCodec, DAC, SNAC, Mimi and custom codecs can"
        )
    causal = isinstance(shape, NanoShape | MimiShape)
    if isinstance(shape, EncodecShape):
        causal = shape.causal
    if streaming and not causal:
        raise CodecError(
            f"{name} sees what comes as well as what was, so it cannot be exported for streams: "
            "leave --streaming out"
        )


def export(
    codec: Codec,
    weights: Path | None,
    folder: Path,
    *,
    codebooks: Sequence[int],
    streaming: bool,
    bits: Bits | None = None,
) -> dict[str, int]:
    """Write a codec into a folder.

    Args:
        codec: on torch.
        weights: the file its weights are from; None: the published ones.
        folder: is made where it does not exist.
        codebooks: that the encoder uses, one number or several, ascending; the decoder takes any.
        streaming: whether the graphs take and return the state of a stream.
        bits: that weights have at most; None: as many as acomp keeps them in.

    Returns:
        The size of each file in bytes, by its name.

    Raises:
        CodecError: the codec cannot be exported, or the folder not be written.
    """
    check(codec.spec.name, getattr(codec, "shape", None), streaming=streaming)
    parts = _parts(codec, weights, codebooks, streaming)
    packer = Packer(parts.stored, parts.computed, bits)
    halves = {ENCODER: parts.encoder, DECODER: parts.decoder}
    contents = {file: _graph(half, codec.spec, packer) for file, half in halves.items()}
    card = {**_card(codec, parts, codebooks[-1], streaming), "weight_bits": bits}
    contents[WEIGHTS] = bytes(packer.data)
    contents[GUIDE] = guide(card, codec.spec.channels).encode()
    contents[CARD] = (json.dumps(card, indent=1) + "\n").encode()
    _write(folder, contents)
    return {name: len(data) for name, data in contents.items()}


def _parts(codec: Codec, weights: Path | None, codebooks: Sequence[int], streaming: bool) -> Parts:
    if isinstance(codec, Nano):
        return nano.parts(codec, weights, codebooks, streaming=streaming)
    *fewer, most = codebooks
    if fewer:
        raise CodecError(
            f"give one bandwidth: of {codec.spec.name} the codes of a lower one are the first of "
            "each frame's"
        )
    if isinstance(codec, Mimi):
        return mimi.parts(codec, most, streaming=streaming)
    if isinstance(codec, Dac):
        return autoencoders.dac_parts(codec, most)
    if isinstance(codec, Snac):
        return autoencoders.snac_parts(codec, most)
    assert isinstance(codec, Encodec)
    return encodec.parts(codec, most, streaming=streaming)


def _graph(half: Half, spec: CodecSpec, packer: Packer) -> bytes:
    example = [_example(port, spec) for port in half.inputs]
    traced = trace(half.module, example, half.inputs, half.outputs)
    graph: bytes = packer.pack(traced).SerializeToString()
    return graph


def _example(port: Port, spec: CodecSpec) -> torch.Tensor:
    frames = EXAMPLE * spec.unit
    lengths = {"batch": 2, "time": frames * spec.hop_length, "codebooks": 1, "frames": frames}
    shape = [lengths[size] if isinstance(size, str) else size for size in port.shape]
    return torch.zeros(shape, dtype=torch.int64 if port.dtype == "int64" else torch.float32)


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """All files or none: what stands in the folder is replaced when all are written."""
    make_folder(folder, CodecError)
    with ExitStack() as stack:
        # They take their places from the last to the first, and so in the order of FILES.
        for name in reversed(FILES):
            out = stack.enter_context(atomic_write(folder / name, CodecError))
            out.write(contents[name])
            out.flush()
        try:
            (folder / CARD).unlink(missing_ok=True)
        except OSError as error:
            raise CodecError(f"cannot write {folder / CARD}: {reason_of(error)}") from error


def _card(codec: Codec, parts: Parts, codebooks: int, streaming: bool) -> dict[str, Any]:
    spec = codec.spec
    channels = "1; of several, each is an item of the batch"
    return {
        "format": FORMAT[0],
        "version": FORMAT[1],
        "codec": spec.name,
        "weights": codec.fingerprint,
        "streaming": streaming,
        "sample_rate": spec.sample_rate,
        "hop_length": spec.hop_length,
        "frame_rate": spec.frame_rate,
        "codebooks": codebooks,
        "codebook_size": spec.codebook_size,
        **parts.facts,
        "channels": channels if spec.channels == 1 else "2, an axis of the samples",
        "samples": "float32, -1 to 1",
        "rules": parts.rules,
        "external_data": WEIGHTS,
        "models": {
            name: {
                "file": f"{name}.onnx",
                "inputs": [asdict(port) for port in half.inputs],
                "outputs": [asdict(port) for port in half.outputs],
                "state": {
                    port.name: port.name.removeprefix("next_")
                    for port in half.outputs
                    if port.name.startswith("next_")
                },
            }
            for name, half in (("encoder", parts.encoder), ("decoder", parts.decoder))
        },
    }
