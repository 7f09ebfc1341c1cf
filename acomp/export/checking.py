"""An exported codec beside acomp's own."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from acomp.audio.samples import Audio, Samples
from acomp.backends.base import Codec
from acomp.codes import Block
from acomp.engines import Array
from acomp.errors import CodecError
from acomp.export.folder import CARD, fewer_codes

AGREE = 1e-4
"""How far decoded samples may be from acomp's."""
TIES = 0.005
"""Share of frames that may have other codes: where two entries are almost equally near."""
PIECES = (1, 7, 40)
"""Frames of the pieces that a stream is cut into, in turn."""


@dataclass(frozen=True)
class Agreement:
    """How an exported codec does beside acomp's own on torch.

    Attributes:
        frames: frames that were encoded.
        different: those of them that have other codes.
        difference: of decoded samples, the largest.
    """

    frames: int
    different: int
    difference: float

    def __str__(self) -> str:
        return (
            f"codes of {self.frames - self.different} of {self.frames} frames are acomp's, "
            f"samples to {self.difference:.1e}"
        )


class Exported:
    """A codec in a folder, run with onnxruntime on one thread."""

    def __init__(self, folder: Path) -> None:
        self._card: dict[str, Any] = json.loads((folder / CARD).read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._sessions = {
            name: onnxruntime.InferenceSession(
                folder / model["file"], options, providers=["CPUExecutionProvider"]
            )
            for name, model in self._card["models"].items()
        }

    def encode(self, samples: Samples, codebooks: int) -> Array:
        """Samples `[batch, time]` to codes `[batch, codebooks, frames]`."""
        hop = self._card["hop_length"]
        codes = "codes" if codebooks == self._card["codebooks"] else fewer_codes(codebooks)
        if not self._card["streaming"]:
            return self._run("encoder", [samples], codes)
        padded = np.pad(samples, ((0, 0), (0, -samples.shape[1] % hop + hop)))
        return self._run("encoder", _cut(padded, hop), codes)

    def decode(self, codes: Array) -> Array:
        """Codes to samples `[batch, (frames - 1) * hop]`."""
        if not self._card["streaming"]:
            return self._run("decoder", [codes], "samples")
        return self._run("decoder", _cut(codes, 1), "samples")[:, self._card["hop_length"] :]

    def _run(self, name: str, pieces: list[Array], output: str) -> Array:
        first, *ports = self._card["models"][name]["inputs"]
        batch = len(pieces[0])
        state = [
            np.zeros([batch if size == "batch" else size for size in port["shape"]], np.float32)
            for port in ports
        ]
        names = [first["name"], *(port["name"] for port in ports)]
        wanted = [output, *self._card["models"][name]["state"]]
        results = []
        for piece in pieces:
            inputs = dict(zip(names, [piece, *state], strict=True))
            result, *state = self._sessions[name].run(wanted, inputs)
            results.append(result)
        return np.concatenate(results, axis=-1)


def _cut(whole: Array, unit: int) -> list[Array]:
    """The pieces of a stream, along its last axis."""
    pieces: list[Array] = []
    start = 0
    while start < whole.shape[-1]:
        end = start + unit * PIECES[len(pieces) % len(PIECES)]
        pieces.append(whole[..., start:end])
        start = end
    return pieces


def compare(codec: Codec, folder: Path, samples: Samples, codebooks: int) -> Agreement:
    """Encode and decode with both.

    Args:
        codec: on torch.
        folder: that it was exported to.
        samples: `[1, time]` at the codec's sample rate.
        codebooks: one of the numbers that it was exported with.

    Raises:
        CodecError: they do not agree.
    """
    info = codec.info(Audio(samples, codec.spec.sample_rate), codebooks=codebooks)
    encoder = codec.stream_encoder(info)
    codes = np.concatenate([encoder.push(samples).data, encoder.finish().data], axis=2)
    decoder = codec.stream_decoder(info)
    sound = np.concatenate([decoder.push(Block(codes)), decoder.finish()], axis=1)
    exported = Exported(folder)
    theirs = exported.encode(samples, codebooks)
    if theirs.shape != codes.shape:
        raise CodecError(f"{folder} gives codes of the shape {theirs.shape}, not {codes.shape}")
    different = int((theirs != codes).any(axis=1).sum())
    difference = np.abs(exported.decode(codes.astype(np.int64)) - sound).max()
    found = Agreement(codes.shape[2], different, float(difference))
    if different > TIES * found.frames or not difference <= AGREE:
        raise CodecError(f"{folder} does not do what acomp does: {found}")
    return found
