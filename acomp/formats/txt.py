"""`.txt`, text embeddings: channels, bandwidth, then the codes in lines; see docs/formats.md."""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass, field, replace
from math import isclose
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from acomp.codecs import BY_CHANNELS, ENCODEC, SPECS, CodecSpec
from acomp.codes import Block, Codes, CodesInfo, Segments, info_of
from acomp.errors import FormatError
from acomp.formats.base import (
    CodesWriter,
    Reading,
    WholeReader,
    Writing,
    info_from_dict,
    info_to_dict,
)
from acomp.formats.source import Source
from acomp.lengths import natural_length
from acomp.plain import brief

MAX_LINE = 1 << 24
MAX_SIZE = 1 << 30

_NOT_CODES = re.compile(rb"[^0-9 \t]")
_SEGMENT = re.compile(r"([0-9]{1,18}) (-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:e[-+]?[0-9]{1,2})?)")
_NUMBER = re.compile(r"[0-9]{1,18}")
_FIRST_CODES_LINE = 3
_LAST_FIELD = "frames"

_PLAIN = {channels: SPECS[name] for channels, name in BY_CHANNELS[ENCODEC].items()}
"""The codec that a file without trailing lines means, by channels."""

TAIL_MARK = "0"
"""A digit that acomp writes before the bandwidth, which says that trailing lines follow. The number
stays the same, and no other program writes it so."""


class TxtWriter(CodesWriter):
    """Writes one line per frame, and what else decoding needs as trailing lines."""

    def __init__(self, stream: BinaryIO, name: str, info: CodesInfo, how: Writing) -> None:
        super().__init__(stream, name, info, how)
        self._segments: list[str] = []
        self._put(f"{info.channels}\n{TAIL_MARK}{info.bandwidth:.9g}\n".encode())

    def _write(self, block: Block) -> None:
        rows = block.data.reshape(self.info.codes_per_frame, block.frames).T.tolist()
        self._put("".join(" ".join(map(str, row)) + "\n" for row in rows).encode())
        if block.segments is not None:
            # repr of the float32's value as a float is exact.
            pairs = zip(block.segments.frames.tolist(), block.segments.scales.tolist(), strict=True)
            self._segments += [f"# segment: {frames} {scale!r}\n" for frames, scale in pairs]

    def _finish(self, length: int) -> None:
        fields = info_to_dict(self.info)
        lines = [f"# {key}: {_text(value)}\n" for key, value in fields.items() if value is not None]
        lines += self._segments
        # The number of frames comes last: whatever is cut off the end then shows.
        lines += [f"# length: {length}\n", f"# frames: {self._frames}\n"]
        self._put("".join(lines).encode())


def _text(value: object) -> str:
    return " ".join(map(repr, value)) if isinstance(value, tuple) else str(value)


@dataclass
class _Lines:
    """What a text file says, line by line, with its codes in compact arrays."""

    channels: int = 0
    bandwidth: float = 0.0
    tail_is_due: bool = False
    codes: array[int] = field(default_factory=lambda: array("H"))
    widths: array[int] = field(default_factory=lambda: array("I"))
    fields: dict[str, str] = field(default_factory=dict)
    segments: list[tuple[int, float]] = field(default_factory=list)

    @property
    def values(self) -> NDArray[np.uint16]:
        """All codes, as they come."""
        return np.array(self.codes, np.uint16)

    @property
    def line_widths(self) -> NDArray[np.int64]:
        """Codes in each line."""
        return np.array(self.widths, np.int64)


def open_txt(source: Source, name: str, how: Reading) -> WholeReader:
    """A reader for text embeddings. Nothing in them has a checksum, so nothing can be recovered.

    `how.codec` counts where the file does not name its codec, or is cut short.
    """
    lines = _read_lines(source)
    named = "codec" in lines.fields and (how.codec is None or _LAST_FIELD in lines.fields)
    codes = _own_codes(lines) if named else _plain_codes(lines, how.codec)
    reader = WholeReader(source, name, codes)
    reader.form = "txt"
    return reader


def _read_lines(source: Source) -> _Lines:
    found = _Lines()
    blank = False
    number, line = 0, b"\n"
    for number, line in enumerate(source.lines(MAX_LINE, MAX_SIZE), start=1):
        try:
            text = line.rstrip(b"\r\n")
            if number == 1:
                found.channels = _parse_channels(text)
            elif number == 2:
                found.bandwidth = _parse_bandwidth(text)
                found.tail_is_due = re.match(rb"\s*0[0-9]", text) is not None
            elif text.startswith(b"#"):
                blank = True
                _parse_field(found, text)
            elif not text.strip():
                blank = True
            elif blank:
                raise FormatError("codes after the end of the codes")
            else:
                _parse_codes(found, text)
        except (FormatError, ValueError, OverflowError) as error:
            raise FormatError(f"line {number}: {error}") from error
    if number < 2:
        raise FormatError("ends before its second line, the bandwidth")
    if line.startswith(b"#") and not line.endswith(b"\n"):
        raise FormatError("ends in the middle of its last line")
    return found


def _parse_channels(text: bytes) -> int:
    if not re.fullmatch(rb"\s*[0-9]{1,2}\s*", text):
        raise FormatError(f"{_show(text)} is not a number of channels")
    return int(text)


def _parse_bandwidth(text: bytes) -> float:
    if not re.fullmatch(rb"\s*[0-9]{1,10}(\.[0-9]{0,20})?(e-?[0-9]{1,2})?\s*", text):
        raise FormatError(f"{_show(text)} is not a bandwidth in kbps")
    return float(text)


def _parse_codes(found: _Lines, text: bytes) -> None:
    if wrong := _NOT_CODES.search(text):
        raise FormatError(f"{_show(wrong.group())} is not part of a code")
    before = len(found.codes)
    try:
        found.codes.extend(map(int, text.split()))
    except (OverflowError, ValueError) as error:
        raise FormatError("a code is out of range") from error
    found.widths.append(len(found.codes) - before)


def _parse_field(found: _Lines, text: bytes) -> None:
    key, colon, value = text[1:].decode("utf-8").partition(":")
    key, value = key.strip(), value.strip()
    if not colon:
        return
    if key != "segment":
        if key in found.fields:
            raise FormatError(f"{key:.60} is given twice")
        found.fields[key] = value
        return
    segment = _SEGMENT.fullmatch(value)
    if not segment:
        raise FormatError(f"{brief(value)} is not the frames and the scale of a segment")
    found.segments.append((int(segment[1]), float(segment[2])))


def _own_codes(lines: _Lines) -> Codes:
    """Codes of a file that says in trailing lines what they are."""
    numbers = {
        key: int(value) if _NUMBER.fullmatch(value) else value
        for key, value in lines.fields.items()
        if key not in ("codec", "fingerprint", "loudness")
    }
    texts = {
        "codec": lines.fields["codec"],
        "fingerprint": lines.fields.get("fingerprint"),
        "loudness": _loudness(lines.fields.get("loudness")),
    }
    info = info_from_dict({**numbers, **texts})
    length, frames = numbers.get("length"), numbers.get("frames")
    if not isinstance(length, int) or not isinstance(frames, int):
        raise FormatError(
            "the trailing lines lack length or frames: the file is cut short; naming its codec "
            "(-b) reads what is there"
        )
    if frames != len(lines.widths):
        raise FormatError(f"has {len(lines.widths)} lines of codes where {frames} are expected")
    if info.channels != lines.channels:
        raise FormatError(f"line 1: {lines.channels} channels, but the end says {info.channels}")
    if not isclose(info.bandwidth, lines.bandwidth, rel_tol=1e-6):
        raise FormatError(f"line 2: {lines.bandwidth:g} kbps, but the end means {info.bandwidth:g}")
    segments = None
    if lines.segments:
        counts, scales = zip(*lines.segments, strict=True)
        # What is too large for a float32 becomes infinite, which Segments refuses.
        with np.errstate(over="ignore"):
            segments = Segments(np.array(counts, np.int64), np.array(scales, np.float32))
    return Codes(info, _frame_lines(lines, info), length, segments)


def _loudness(text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(map(float, text.split()))
    except ValueError as error:
        raise FormatError(f"loudness is {brief(text)}, not one number for each channel") from error


def _plain_codes(lines: _Lines, named: CodecSpec | None) -> Codes:
    """Codes of a file of three plain parts, in either of the layouts in circulation."""
    spec = named or _plain_codec(lines)
    info = _plain_info(lines, spec)
    # As many lines as codebooks with as many codes fit both layouts: they are taken as time steps,
    # which is what the program's documentation says.
    if not lines.widths or lines.widths[0] == info.codes_per_frame:
        data = _frame_lines(lines, info)
        counts = _cut(data.shape[2], spec.segment_frames)
    else:
        data, counts = _codebook_lines(lines, info, spec)
    frames = data.shape[2]
    if spec.segment_frames is None:
        return Codes(info, data, natural_length(info, frames, spec=spec))
    # The layout has lost the scales; 1 leaves the loudness as the codec normalised it.
    segments = Segments(counts, np.ones(len(counts), np.float32)) if len(counts) else None
    longest, last = (int(counts.max()), int(counts[-1])) if len(counts) else (0, 0)
    length = natural_length(info, frames, len(counts), longest, last, spec)
    return Codes(info, data, length, segments)


def _plain_codec(lines: _Lines) -> CodecSpec:
    """The codec of a file that does not name it."""
    if lines.tail_is_due:
        raise FormatError(
            "is cut short: the lines at its end, which name the codec, are missing; naming it (-b) "
            "reads what is there"
        )
    if lines.channels not in _PLAIN:
        raise FormatError(f"line 1: {lines.channels} channels; without a codec's name 1 or 2 fit")
    return _PLAIN[lines.channels]


def _plain_info(lines: _Lines, spec: CodecSpec) -> CodesInfo:
    one = info_of(spec, channels=lines.channels, codebooks=1)
    codebooks, most = lines.bandwidth / one.bandwidth, spec.codebooks
    if not 1 <= round(codebooks) <= most or not isclose(codebooks, round(codebooks), rel_tol=1e-3):
        raise FormatError(
            f"line 2: {lines.bandwidth:g} kbps is no bandwidth of {spec.name}, "
            f"1 to {most} times {one.bandwidth:g}"
        )
    return replace(one, codebooks=round(codebooks))


def _cut(frames: int, segment: int | None) -> NDArray[np.int64]:
    """Frames of each segment of codes that are not cut yet: `[segments]`."""
    whole, last = divmod(frames, segment or max(1, frames))
    return np.array([segment or frames] * whole + [last] * (last > 0), np.int64)


def _frame_lines(lines: _Lines, info: CodesInfo) -> NDArray[np.uint16]:
    """Codes of one line per frame, `[streams, codebooks, frames]`."""
    expected = info.codes_per_frame
    widths = lines.line_widths
    _check_widths(widths, np.full_like(widths, expected))
    _check_range(lines, info)
    shaped = lines.values.reshape(len(widths), info.streams, info.codebooks)
    return np.ascontiguousarray(shaped.transpose(1, 2, 0))


def _codebook_lines(
    lines: _Lines, info: CodesInfo, spec: CodecSpec
) -> tuple[NDArray[np.uint16], NDArray[np.int64]]:
    """Codes of one line per segment and codebook, `[streams, codebooks, frames]`; and each
    segment's frames, `[segments]`.
    """
    rows = info.codes_per_frame
    widths = lines.line_widths
    groups, left = divmod(len(widths), rows)
    whole = spec.segment_frames
    if left or (groups > 1 and whole is None):
        raise FormatError(
            f"line {_FIRST_CODES_LINE}: {widths[0]} codes where {rows} are expected, or "
            f"{len(widths)} lines of codes where {rows} are expected"
        )
    expected = np.repeat(widths[::rows], rows)
    if whole is not None:
        # Where the audio ends in the overlap of two segments, the one before the last, which is
        # longer than a stride (148.5 frames of EnCodec's 150), may be short of a frame.
        expected[:-rows] = np.maximum(expected[:-rows], spec.segment_stride // spec.hop_length + 1)
        expected[: -2 * rows] = whole
        expected = np.minimum(expected, whole)
    _check_widths(widths, expected)
    _check_range(lines, info)
    ends = np.cumsum(widths.reshape(groups, rows).sum(axis=1))
    segments = [part.reshape(rows, -1) for part in np.split(lines.values, ends[:-1])]
    data = np.concatenate(segments, axis=1).reshape(info.streams, info.codebooks, -1)
    return data, widths[::rows]


def _check_widths(widths: NDArray[np.int64], expected: NDArray[np.int64]) -> None:
    wrong = np.flatnonzero(widths != expected)
    if len(wrong):
        line = int(wrong[0])
        raise FormatError(
            f"line {line + _FIRST_CODES_LINE}: {widths[line]} codes "
            f"where {expected[line]} are expected"
        )


def _check_range(lines: _Lines, info: CodesInfo) -> None:
    wrong = np.flatnonzero(lines.values >= info.codebook_size)
    if len(wrong):
        ends = np.cumsum(lines.line_widths)
        line = int(np.searchsorted(ends, wrong[0], side="right"))
        raise FormatError(
            f"line {line + _FIRST_CODES_LINE}: code {lines.values[wrong[0]]} is out of range: "
            f"a codebook has {info.codebook_size}"
        )


def _show(text: bytes) -> str:
    return repr(text[:20].decode("ascii", "replace"))
