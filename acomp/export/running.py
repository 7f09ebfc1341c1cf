"""A codec in an exported folder as one of acomp's, run with onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from acomp.audio.samples import Samples
from acomp.backends.base import Codec
from acomp.codecs import CUSTOM_OVERLAP, SPECS, CodecSpec
from acomp.codes import Block, CodesInfo, Segments, is_fingerprint, join
from acomp.engines import Array
from acomp.errors import CodecError
from acomp.export.bits import Bits
from acomp.export.streams import fewer_codes
from acomp.plain import read_json

CARD = "codec.json"
"""What describes a folder."""
FORMAT = ("acomp-onnx", 1)
"""What that calls the folder, and the version of it."""
_MOST = {
    "streaming": 1,
    "multiple": 1 << 20,
    "delay_samples": 1 << 20,
    "first_frames": 1 << 10,
    "last_frames": 1 << 10,
}
"""Numbers of codec.json that memory is taken by, and what they are at most."""
_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}
PIECES = (7, 40, 1)
"""Frames of the pieces that a stream is cut into after the first one, in turn."""


class Exported(Codec):
    """A codec in a folder. Its codes and samples come at the end of a stream, all at once.

    Args:
        folder: where it is.
        threads: that onnxruntime computes with.

    Attributes:
        bits: that its weights were given at most; None: as many as acomp keeps them in.

    Raises:
        CodecError: the folder is none that `acomp export` wrote, or is damaged.
    """

    def __init__(self, folder: Path, *, threads: int = 1) -> None:
        self._card, spec = _described(folder)
        self.bits: Bits | None = self._card.get("weight_bits")
        super().__init__(spec, self._card["weights"])
        names = ("encoder", "decoder")
        self._sessions = {name: _session(folder / f"{name}.onnx", threads) for name in names}
        for name, session in self._sessions.items():
            if not _fits(self._card["models"][name], session):
                raise CodecError(
                    f"{folder}: {CARD} and {name}.onnx do not fit each other; export again"
                )

    def codebooks(self) -> NDArray[np.float32]:
        raise CodecError("an exported codec does not let its codebooks out")

    def stream_encoder(self, info: CodesInfo) -> _Encoder:
        return _Encoder(self, info)

    def stream_decoder(self, info: CodesInfo) -> _Decoder:
        return _Decoder(self, info)

    def encoded(self, samples: Samples, info: CodesInfo) -> Block:
        """Samples `[channels, time]` to codes."""
        most = self._card["codebooks"]
        wanted = "codes" if info.codebooks == most else fewer_codes(info.codebooks)
        x = samples if self.spec.channels == 1 else samples[np.newaxis]
        if "segment_samples" in self._card:
            return join(info, [self._segment(part) for part in self._segments(x)])
        multiple = self._card["multiple"]
        pieces = [x]
        if self._card["streaming"]:
            if multiple > 1:
                x = np.pad(x, ((0, 0), (0, -x.shape[1] % multiple + multiple)))
            pieces = self._cut(x, self.spec.hop_length)
        codes = self._run("encoder", pieces, wanted)
        return Block(codes.astype(np.uint16))

    def decoded(self, block: Block) -> Samples:
        """Codes to samples `[channels, time]`."""
        codes = block.data.astype(np.int64)
        if block.segments is not None:
            return self._cross_faded(codes, block.segments)
        if not self._card["streaming"]:
            y = self._run("decoder", [codes], "samples")
        else:
            last = ((0, 0), (0, 0), (0, self._card["last_frames"]))
            codes = np.pad(codes, last, constant_values=-1)
            y = self._run("decoder", self._cut(codes, 1), "samples")
            y = y[..., self._card["delay_samples"] :]
        samples: Samples = y if self.spec.channels == 1 else y[0]
        return samples

    def _segments(self, x: Array) -> list[Array]:
        length, stride = self._card["segment_samples"], self._card["segment_stride"]
        return [x[..., start : start + length] for start in range(0, x.shape[-1], stride)]

    def _segment(self, samples: Array) -> Block:
        codes, scales = self._sessions["encoder"].run(None, {"samples": samples})
        frames = np.array([codes.shape[2]])
        return Block(codes.astype(np.uint16), Segments(frames, scales))

    def _cross_faded(self, codes: Array, segments: Segments) -> Samples:
        hop, stride = self.spec.hop_length, self._card["segment_stride"]
        ends = np.cumsum(segments.frames)
        time = max(
            stride * index + hop * int(frames) for index, frames in enumerate(segments.frames)
        )
        sums, weights = np.zeros((self.spec.channels, time)), np.zeros(time)
        first = hop * int(segments.frames[0])
        fade = 0.5 - np.abs(np.linspace(0, 1, first + 2)[1:-1] - 0.5)
        for index, part in enumerate(np.split(codes, ends[:-1], axis=2)):
            inputs = {"codes": part, "scales": segments.scales[index : index + 1]}
            (y,) = self._sessions["decoder"].run(None, inputs)
            here = slice(stride * index, stride * index + y.shape[-1])
            sums[:, here] += fade[: y.shape[-1]] * y[0]
            weights[here] += fade[: y.shape[-1]]
        samples: Samples = (sums / weights).astype(np.float32)
        return samples

    def _cut(self, whole: Array, unit: int) -> list[Array]:
        """The pieces of a stream, along its last axis."""
        end = unit * self._card["first_frames"]
        pieces = [whole[..., :end]]
        while end < whole.shape[-1]:
            start, end = end, end + unit * PIECES[len(pieces) % len(PIECES)]
            pieces.append(whole[..., start:end])
        return pieces

    def _run(self, name: str, pieces: Sequence[Array], output: str) -> Array:
        first, *ports = self._card["models"][name]["inputs"]
        batch = len(pieces[0])
        state = [np.zeros([batch, *port["shape"][1:]], np.float32) for port in ports]
        names = [first["name"], *(port["name"] for port in ports)]
        wanted = [output, *self._card["models"][name]["state"]]
        results = []
        for piece in pieces:
            inputs = dict(zip(names, [piece, *state], strict=True))
            result, *state = self._sessions[name].run(wanted, inputs)
            results.append(result)
        return np.concatenate(results, axis=-1)


class _Encoder:
    def __init__(self, codec: Exported, info: CodesInfo) -> None:
        self._codec, self._info = codec, info
        self._parts: list[Samples] = []

    def push(self, samples: Samples) -> Block:
        self._parts.append(samples)
        return join(self._info, [])

    def finish(self) -> Block:
        return self._codec.encoded(np.concatenate(self._parts, axis=1), self._info)


class _Decoder:
    def __init__(self, codec: Exported, info: CodesInfo) -> None:
        self._codec, self._info = codec, info
        self._parts: list[Block] = []

    def push(self, block: Block) -> Samples:
        self._parts.append(block)
        return np.zeros((self._info.channels, 0), np.float32)

    def finish(self) -> Samples:
        return self._codec.decoded(join(self._info, self._parts))


def spec_of(folder: Path) -> CodecSpec:
    """The codec in a folder, with the bandwidths that it was exported with; nothing is loaded.

    Raises:
        CodecError: the folder is none that `acomp export` wrote.
    """
    return _described(folder)[1]


def _described(folder: Path) -> tuple[Mapping[str, Any], CodecSpec]:
    """What codec.json says, and the codec that this is."""
    problem = f"{folder} is not a folder that acomp export wrote"
    if not (folder / CARD).is_file():
        raise CodecError(f"{problem}: it has no {CARD}")
    card: Any = read_json(folder / CARD, CodecError)
    try:
        if (card["format"], card["version"]) != FORMAT:
            raise CodecError(f"{problem}, or a later acomp wrote it")
        card = {"last_frames": 0, **card}  # which earlier ones do not say
        if not all(0 <= card[key] <= most for key, most in _MOST.items()):
            raise CodecError(problem)
        return card, _spec(card)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CodecError(problem) from error


def _spec(card: Mapping[str, Any]) -> CodecSpec:
    count, size = card["codebooks"], card["codebook_size"]
    each = np.log2(size) * card["frame_rate"] / 1000
    outputs = card["models"]["encoder"]["outputs"]
    counts = [port["shape"][1] for port in outputs if port["name"].startswith("codes")]
    published = SPECS.get(card["codec"])
    named = {} if published is None else {n: kbps for kbps, n in published.bandwidths.items()}
    if count != max(counts) or not is_fingerprint(card["weights"]):
        raise ValueError
    bandwidths = {named.get(n, round(float(each * n), 3)): n for n in counts}
    if published is not None:
        levels = tuple(card.get("levels", ()))
        return replace(published, codebooks=count, bandwidths=bandwidths, levels=levels)
    samples = card.get("segment_samples")
    return CodecSpec(
        name=card["codec"],
        sample_rate=card["sample_rate"],
        channels=1 if card["channels"].startswith("1") else 2,
        hop_length=card["hop_length"],
        codebooks=count,
        codebook_size=size,
        codebook_dim=1,
        bandwidths=bandwidths,
        stereo_streams=True,
        segment_frames=samples and samples // card["hop_length"],
        segment_overlap=CUSTOM_OVERLAP if samples else 0,
    )


def _fits(model: Mapping[str, Any], session: onnxruntime.InferenceSession) -> bool:
    """Whether a graph has the inputs and outputs that codec.json says, in their order."""
    sides = {"inputs": session.get_inputs(), "outputs": session.get_outputs()}
    try:
        return set(model["state"]) <= {port["name"] for port in model["outputs"]} and all(
            len(model[side]) == len(ports) and all(map(_is_same, model[side], ports))
            for side, ports in sides.items()
        )
    except (KeyError, TypeError):
        return False


def _is_same(port: Mapping[str, Any], real: onnxruntime.NodeArg) -> bool:
    """Whether codec.json's and the graph's names, types and fixed sizes agree."""
    names = (port["name"], port["dtype"], len(port["shape"]))
    pairs = zip(port["shape"], real.shape, strict=False)
    return names == (real.name, _TYPES[real.type], len(real.shape)) and all(
        says == is_there or isinstance(is_there, str | None) for says, is_there in pairs
    )


def _session(file: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has kinds of its own
        raise CodecError(
            f"onnxruntime cannot load {file}: {' '.join(str(error).split())}"
        ) from error
