"""The samples of a stretch of a file of codes: where decoding begins, and how far it goes."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, gcd, lcm

from acomp.audio.samples import Samples
from acomp.backends.base import BLOCK_SECONDS, Codec
from acomp.backends.streaming import Decoder
from acomp.codes import Block, CodesInfo, split, tail
from acomp.formats import CodesReader
from acomp.pipeline.clock import Clock
from acomp.pipeline.settings import Progress, Span

LAST_STEP_SECONDS = 0.25
"""How much more is decoded at a time, once a stretch should be at its end."""


class Stretch:
    """The samples of a span of a file of codes."""

    def __init__(
        self,
        codec: Codec,
        reader: CodesReader,
        decoder: Decoder,
        clock: Clock,
        span: Span,
    ) -> None:
        rate = decoder.sample_rate
        self._whole = reader.info.loudness is not None
        """Whether all must be decoded, to know how loud it is."""
        self._reader = reader
        self._decoder = decoder
        self._clock = clock
        self._first_frame, self._first_sample = _seek(codec, reader.info, rate, span.start)
        offset = self._first_sample * rate // codec.spec.sample_rate
        self._begin = round(span.start * rate) - offset
        self._end = None if span.duration is None else self._begin + round(span.duration * rate)
        self._pushed = 0
        """Frames given to the decoder so far."""
        self.written = 0
        """Samples per channel given so far."""

    def samples(self, progress: Progress | None) -> Iterator[Samples]:
        rate = self._decoder.sample_rate
        if progress is not None:
            progress(0, self._total(rate))
        position = 0
        for decoded in self._decoded():
            begin = max(0, self._begin - position)
            position += decoded.shape[1]
            past_end = 0 if self._end is None else max(0, position - self._end)
            wanted = decoded[:, begin : max(0, decoded.shape[1] - past_end)]
            if wanted.shape[1]:
                self.written += wanted.shape[1]
                yield wanted
            if progress is not None:
                progress(self.written / rate, self._total(rate))
            if self._end is not None and position >= self._end and not self._whole:
                return

    def _decoded(self) -> Iterator[Samples]:
        """The samples from `_first_sample` on."""
        info = self._reader.info
        blocks = self._reader.blocks(self._first_frame)
        while (found := self._clock.own(next, blocks, None)) is not None:
            first, block = found
            for part in self._parts(tail(block, self._first_frame - first)):
                yield self._clock(self._decoder.push, part)
        length = self._reader.length or 0
        before = self._first_sample * info.source_rate // info.sample_rate
        left, damaged = max(0, length - before), bool(self._reader.damage)
        yield self._clock(self._decoder.finish, left, damaged=damaged)

    def _parts(self, block: Block) -> Iterator[Block]:
        while block.frames:
            part = next(split(block, self._step()))
            self._pushed += part.frames
            block = tail(block, part.frames)
            yield part

    def _step(self) -> int:
        """Frames to decode next: no more than memory holds, and not far beyond the end."""
        frame_rate = self._reader.info.frame_rate
        most = max(1, int(BLOCK_SECONDS * frame_rate))
        if self._end is None or self._whole:
            return most
        needed = ceil(self._end * frame_rate / self._decoder.sample_rate) - self._pushed
        # The decoder and the resampler keep the last few frames back: the end takes some more.
        return min(most, max(1, needed, int(LAST_STEP_SECONDS * frame_rate)))

    def _total(self, rate: int) -> float | None:
        """Seconds that there are to decode, where that is known."""
        asked = None if self._end is None else (self._end - self._begin) / rate
        length = self._reader.length
        if length is None:
            return asked
        skipped = self._begin / rate + self._first_sample / self._reader.info.sample_rate
        there = max(0.0, length / self._reader.info.source_rate - skipped)
        return there if asked is None else min(asked, there)


def _seek(codec: Codec, info: CodesInfo, rate: int, start: float) -> tuple[int, int]:
    """As `codec.seek`, for `start` seconds, to a sample that is a whole one at the other rates too.

    A resampler that began between two samples would shift the sound by less than a sample. Where a
    loudness is to be restored, all is decoded; and chunks hold fewer samples than their frames say.
    """
    if info.loudness is not None or info.chunk is not None:
        return 0, 0
    own_rate = codec.spec.sample_rate
    whole = lcm(own_rate // gcd(own_rate, rate), own_rate // gcd(own_rate, info.source_rate))
    sample = int(start * own_rate)
    frame, first = codec.seek(sample)
    while first % whole:
        sample -= codec.spec.hop_length
        frame, first = codec.seek(max(0, sample))
    return frame, first
