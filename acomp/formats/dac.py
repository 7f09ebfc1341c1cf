"""`.dac`: files of `descript-audio-codec` 1.0.0, the official tool of DAC; see docs/formats.md."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np

from acomp.codecs import CUSTOM, PUBLISHED, CodecSpec
from acomp.codes import Block, Codes, CodesInfo, join
from acomp.errors import FormatError
from acomp.formats.base import (
    CodesWriter,
    Reading,
    WholeReader,
    Writing,
)
from acomp.formats.pickled import read_dict
from acomp.formats.source import Source
from acomp.plain import brief

MAX_SIZE = 1 << 28
"""Bytes of a file: two days at 8 kbps; the form is held in memory whole."""
DAC_VERSION = "1.0.0"
"""Version of the form, which the official tool compares."""


@dataclass(frozen=True)
class _MadeBy:
    """The codec that made the codes, which acomp adds to a file under the key `codec`."""

    name: str
    sample_rate: int
    hop_length: int
    codebook_size: int
    fingerprint: str | None = None


_MODELS = [codec.spec for codec in PUBLISHED.values() if codec.official_form == "dac"]
_NAMES = (*(model.name for model in _MODELS), CUSTOM)


class DacWriter(CodesWriter):
    """Holds all codes in memory and writes them at the end, for the official tool to decode.

    That tool restores the loudness that the file names, so a file must name one.
    """

    wants_loudness = True

    def __init__(self, stream: BinaryIO, name: str, info: CodesInfo, how: Writing) -> None:
        super().__init__(stream, name, info, how)
        if info.codec not in _NAMES or info.streams != info.channels:
            raise FormatError(f"{name}: a .dac file holds codes of DAC, not of {info.codec}")
        self._blocks: list[Block] = []

    def _write(self, block: Block) -> None:
        if block.segments is not None:
            raise FormatError("a .dac file has no segments with a scale each")
        if self._frames * self.info.codes_per_frame * 2 > MAX_SIZE:
            raise FormatError(f"a .dac file holds at most {MAX_SIZE >> 20} MiB: write .nac instead")
        self._blocks.append(block)

    def _finish(self, length: int) -> None:
        info = self.info
        if info.loudness is None:
            raise FormatError(
                "a .dac file names the loudness of the audio, and these codes do not know it: "
                "encode the audio into a .dac file"
            )
        metadata = {
            "input_db": np.array(info.loudness, np.float32),
            "original_length": length,
            "sample_rate": info.source_rate,
            "chunk_length": info.chunk or max(1, self._frames),
            "channels": info.channels,
            "padding": info.chunk is None,
            "dac_version": DAC_VERSION,
        }
        made_by = _MadeBy(
            info.codec, info.sample_rate, info.hop_length, info.codebook_size, info.fingerprint
        )
        codes = join(info, self._blocks).data
        # The official tool takes only the first two, and no other key in the metadata.
        content: Any = {"codes": codes, "metadata": metadata, "codec": asdict(made_by)}
        file = BytesIO()
        np.save(file, content)
        self._put(file.getvalue())


def open_dac(source: Source, name: str, how: Reading) -> WholeReader:
    """A reader for `.dac` files; a damaged one cannot be recovered."""
    data = source.read(MAX_SIZE + 1)
    if len(data) > MAX_SIZE:
        raise FormatError(f"is larger than the {MAX_SIZE >> 20} MiB that a .dac file may have")
    reader = WholeReader(source, name, _codes_of(read_dict(data), how.codec))
    reader.form = "dac"
    return reader


def _codes_of(content: dict[str, object], codec: CodecSpec | None) -> Codes:
    data, metadata = content.get("codes"), content.get("metadata")
    if not isinstance(data, np.ndarray) or not isinstance(metadata, dict):
        raise FormatError("is a numpy file, but does not hold codes and metadata, as a .dac does")
    if data.ndim != 3 or data.dtype != np.uint16:
        raise FormatError(f"codes are {data.dtype} with {data.ndim} axes, not uint16 with 3")
    _check_version(metadata)
    streams, codebooks, frames = data.shape
    if _whole(metadata, "channels") != streams:
        raise FormatError(f"{streams} streams of codes do not fit {metadata['channels']} channels")
    chunk = _chunk_of(metadata, frames)
    rate, length = _whole(metadata, "sample_rate", least=1), _whole(metadata, "original_length")
    if "codec" in content:
        made_by = _named_codec(content["codec"])
    else:
        made_by = _codec_of(codec or _model_of(codebooks, frames, chunk, length / rate))
    info = CodesInfo(
        codec=made_by.name,
        sample_rate=made_by.sample_rate,
        channels=streams,
        streams=streams,
        codebooks=codebooks,
        codebook_size=made_by.codebook_size,
        hop_length=made_by.hop_length,
        source_rate=rate,
        fingerprint=made_by.fingerprint,
        loudness=_loudness_of(metadata, streams),
        chunk=chunk,
    )
    return Codes(info, data, length)


def _check_version(metadata: dict[str, object]) -> None:
    version = metadata.get("dac_version")
    if not isinstance(version, str) or version != DAC_VERSION:
        raise FormatError(f"is of version {brief(version)} of the form; {DAC_VERSION} is known")


def _whole(metadata: dict[str, object], key: str, least: int = 0) -> int:
    value = metadata.get(key)
    if type(value) is not int or value < least:
        raise FormatError(f"{key} is missing or no whole number of {least} or more")
    return value


def _chunk_of(metadata: dict[str, object], frames: int) -> int | None:
    """Frames of a chunk; None where all frames were coded as one, with padding."""
    padding, chunk = metadata.get("padding"), _whole(metadata, "chunk_length", least=1)
    if type(padding) is not bool:
        raise FormatError("padding is missing or neither true nor false")
    if not padding:
        return chunk
    if chunk < frames:
        raise FormatError("is in chunks with padding, which the official tool does not write")
    return None


def _loudness_of(metadata: dict[str, object], channels: int) -> tuple[float, ...]:
    """The loudness of each channel: the official tool names one, and gives it to all."""
    value = metadata.get("input_db")
    if not isinstance(value, np.ndarray | float):
        raise FormatError("input_db is missing or not one number")
    numbers = np.ravel(value)
    if numbers.dtype.kind != "f" or numbers.size not in (1, channels):
        raise FormatError("input_db is missing or not one number")
    return tuple(np.broadcast_to(numbers, channels).astype(float).tolist())


def _named_codec(value: object) -> _MadeBy:
    names = _MadeBy.__dataclass_fields__
    if not isinstance(value, dict) or value.keys() != names.keys():
        raise FormatError(f"its codec is not described by {', '.join(names)}")
    return _MadeBy(**value)  # whose values `CodesInfo` checks


def _codec_of(spec: CodecSpec) -> _MadeBy:
    return _MadeBy(spec.name, spec.sample_rate, spec.hop_length, spec.codebook_size)


def _model_of(codebooks: int, frames: int, chunk: int | None, seconds: float) -> CodecSpec:
    """The published DAC that made codes of these numbers, for files that do not name it.

    The official tool takes all the codebooks of a model unless it is asked for fewer, and no two
    models have the same number. So where several models fit, the one with that number of codebooks
    made the codes. With fewer codebooks nothing tells the two models of 44.1 kHz apart: the
    official default is taken.

    Args:
        codebooks: codebooks in the file.
        frames: frames in the file.
        chunk: frames of a chunk; None where all were coded as one.
        seconds: duration of the audio.

    Raises:
        FormatError: no model fits, or several do and each is as likely.
    """
    fitting = [model for model in _MODELS if _fits(model, codebooks, frames, chunk, seconds)]
    if not fitting:
        raise FormatError(
            "does not say which DAC made its codes, and it was none of the published ones: name it "
            "(-b, and --weights for custom)"
        )
    whole = [model for model in fitting if model.codebooks == codebooks]
    rates = {model.sample_rate for model in fitting}
    if not whole and len(rates) > 1:
        names = ", ".join(model.name for model in fitting)
        raise FormatError(
            f"does not say which DAC made its codes, and each of {names} may have: name it (-b)"
        )
    return (whole or fitting)[0]


def _fits(model: CodecSpec, codebooks: int, frames: int, chunk: int | None, seconds: float) -> bool:
    """Whether a model makes this number of frames of audio of this duration."""
    hop = model.hop_length
    unit = hop if chunk is None else chunk * hop - model.chunk_margin
    units = frames if chunk is None else -(-frames // chunk)
    samples = seconds * model.sample_rate
    # A resampler may round the last sample either way.
    return (
        codebooks <= model.codebooks
        and unit > 0
        and (units - 1) * unit - 1 < samples < units * unit + 1
    )
