"""Writing `.ecdc` files."""

from __future__ import annotations

from tempfile import SpooledTemporaryFile
from typing import BinaryIO

from acomp.codes import Block, CodesInfo, split
from acomp.errors import FormatError
from acomp.formats.base import CodesWriter, Writing, naming
from acomp.formats.ecdc.layout import SCALE, Header, Layout, model_of
from acomp.formats.ecdc.packing import Packer, SegmentEncoder, language_model_of

SPOOL = 1 << 22
"""Bytes that wait in memory for the end of a recording; more wait on the disk."""
CHUNK = 1 << 16
"""Bytes that are copied at a time."""


class EcdcWriter(CodesWriter):
    """Writes what `encodec.compress.decompress` reads.

    The header tells the length, so all that follows it waits for the end.
    """

    def __init__(self, stream: BinaryIO, name: str, info: CodesInfo, how: Writing) -> None:
        super().__init__(stream, name, info, how)
        with naming(name):
            self._model = model_of(info)
        self._language_model = language_model_of(info, how) if how.entropy == "lm" else None
        self._spool = SpooledTemporaryFile(SPOOL)  # noqa: SIM115 - `_finish` closes it
        self._encoder = self._new_encoder()
        self._counts: list[int] = []

    def _new_encoder(self) -> SegmentEncoder:
        if self._language_model is None:
            return Packer(self.info.codebooks, self._spool)
        from acomp.entropy.official import OfficialEncoder

        return OfficialEncoder(self._language_model, self.info.codebooks, self._spool)

    def _write(self, block: Block) -> None:
        if (block.segments is None) != (self._model.segment_frames is None):
            lack = "lack" if block.segments is None else "have"
            raise FormatError(f"these codes of {self.info.codec} {lack} segments")
        if block.segments is None:
            self._encoder.push(block.data[0])
            return
        self._spool_segments(block)

    def _spool_segments(self, block: Block) -> None:
        for part in split(block, 1):
            assert part.segments is not None
            self._spool.write(part.segments.scales.astype(SCALE).tobytes())
            self._encoder.push(part.data[0])
            self._encoder.finish()
            self._encoder = self._new_encoder()
            self._counts.append(part.frames)

    def _finish(self, length: int) -> None:
        info = self.info
        if self._model.segment_frames is None:
            self._encoder.finish()
            self._counts = [self._frames]
        # As many samples as the resampler made of the audio.
        layout = Layout(self._model, -(-length * info.sample_rate // info.source_rate))
        if not length or not layout.fits(self._counts):
            raise FormatError(
                f"{self._frames} frames are not what {info.codec} makes of {layout.length} "
                "samples, and an .ecdc file holds nothing else"
            )
        entropy_coded = self._language_model is not None
        self._put(Header(layout.as_decoded(), info.codebooks, entropy_coded).to_bytes())
        with self._spool as spool:
            spool.seek(0)
            while data := spool.read(CHUNK):
                self._put(data)
