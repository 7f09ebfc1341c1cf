"""Where codes can be cut: between frames, and for some codecs only between larger wholes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from acomp.codecs import CUSTOM_OVERLAP, CodecSpec
from acomp.errors import FormatError
from acomp.scalars import real_number


class Rates(Protocol):
    """What a grid needs to know of codes; `CodesInfo` has it."""

    @property
    def codec(self) -> str: ...

    @property
    def sample_rate(self) -> int: ...

    @property
    def source_rate(self) -> int: ...

    @property
    def hop_length(self) -> int: ...

    @property
    def chunk(self) -> int | None: ...


@dataclass(frozen=True)
class Grid:
    """The places where codes can be cut, so that each side decodes alone.

    Cell c of a recording begins with frame `c * frames`, and at sample `c * samples`. A cell is a
    frame; or a segment, where the codec codes in segments; a chunk, where the codes are in chunks;
    or `CodecSpec.unit` frames.

    Attributes:
        rates: sample rates and hop length of the codes.
        frames: frames of a cell.
        samples: samples from one cell to the next, at `rates.sample_rate`.
        extra: frames that a recording has after its last cell.
    """

    rates: Rates
    frames: int
    samples: int
    extra: int = 0

    @classmethod
    def of(cls, rates: Rates, spec: CodecSpec | None, segment: int | None, extra: int) -> Grid:
        """The grid of codes.

        Args:
            rates: what is known of the codes.
            spec: the spec of their codec; None if unknown.
            segment: frames of the first segment; None where there are no segments.
            extra: frames beyond the duration of the recording, for an unknown codec.

        Raises:
            FormatError: the codes are in chunks of a codec that is unknown.
        """
        hop = rates.hop_length
        if rates.chunk is not None:
            if spec is None:
                raise FormatError(
                    f"how long a chunk of codes of {rates.codec} is only its weights tell: name "
                    "them (-b, and --weights for custom)"
                )
            return cls(rates, rates.chunk, max(1, rates.chunk * hop - spec.chunk_margin))
        if spec is None:
            if segment is None:
                return cls(rates, 1, hop, extra)
            return cls(rates, segment, max(1, int((1 - CUSTOM_OVERLAP) * segment * hop)))
        if spec.segment_frames is not None:
            return cls(rates, spec.segment_frames, spec.segment_stride)
        return cls(rates, spec.unit, spec.unit * hop, spec.extra_frames)

    def nearest(self, seconds: object) -> int:
        """The cell whose beginning is nearest to a time.

        Raises:
            FormatError: the time is no number of seconds from 0 on.
        """
        time = real_number(seconds, "the time", "seconds", FormatError)
        if not 0 <= time < math.inf:
            raise FormatError(f"the time is {time:g} s; 0 s or more is expected")
        return round(time * self.rates.sample_rate / self.samples)

    def sample(self, cell: int) -> int:
        """Where a cell begins, in samples per channel at `rates.source_rate`."""
        return cell * self.samples * self.rates.source_rate // self.rates.sample_rate

    @property
    def seconds(self) -> float:
        """Duration of a cell in seconds."""
        return self.samples / self.rates.sample_rate


@dataclass(frozen=True)
class Cells:
    """Some cells of a recording.

    Attributes:
        grid: where the recording can be cut.
        first: the first cell.
        end: the cell after the last one; None for all up to the end.
    """

    grid: Grid
    first: int
    end: int | None

    @classmethod
    def between(cls, grid: Grid, start: object, end: object, length: int | None) -> Cells:
        """The cells from one time to another, each rounded to the nearest beginning of a cell.

        Args:
            grid: where the recording can be cut.
            start: in seconds.
            end: in seconds; None is the end of the recording.
            length: samples per channel of the recording, at its own rate; None if unknown.

        Raises:
            FormatError: a time is none, or no whole cell lies between them.
        """
        first, last = grid.nearest(start), None if end is None else grid.nearest(end)
        if last is not None and last <= first:
            raise FormatError(
                f"no frame lies between these times: codes of {grid.rates.codec} can be cut every "
                f"{grid.seconds:.4g} s"
            )
        if length is None:
            return cls(grid, first, last)
        if first and grid.sample(first) >= length:
            raise FormatError(
                f"the codes end before {start} s: they last {length / grid.rates.source_rate:.2f} s"
            )
        return cls(grid, first, None if last is not None and grid.sample(last) >= length else last)

    @property
    def first_frame(self) -> int:
        """The first frame of the first cell."""
        return self.first * self.grid.frames

    @property
    def end_frame(self) -> int | None:
        """The frame after the last one, with those that a recording has after its last cell."""
        return None if self.end is None else self.end * self.grid.frames + self.grid.extra

    def length(self, whole: int) -> int:
        """Samples per channel, of a recording of `whole` samples."""
        end = whole if self.end is None else min(whole, self.grid.sample(self.end))
        return max(0, end - self.grid.sample(self.first))
