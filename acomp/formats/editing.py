"""Files of codes cut, joined and thinned, block by block and without a model.

Memory does not grow with the length, except in forms that are held in memory whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice

from acomp.codecs import SPECS
from acomp.codes import Block, CodesInfo, Joint, between, grid_of, thinned
from acomp.errors import FormatError
from acomp.formats import PathOrStream, Reading, Writing, reading_codes, writing_codes
from acomp.formats.base import CodesReader, CodesWriter, naming
from acomp.formats.source import name_of
from acomp.grid import Cells, Grid


@dataclass(frozen=True)
class Edited:
    """What was written.

    Attributes:
        info: what the codes are of.
        length: samples per channel, at `info.source_rate`.
        start: where the codes were taken from, in seconds of their recording.
    """

    info: CodesInfo
    length: int
    start: float = 0.0

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return self.length / self.info.source_rate


def cutting(
    source: PathOrStream,
    target: PathOrStream,
    start: float,
    duration: float | None,
    reading: Reading,
    writing: Writing,
) -> Edited:
    """Write a stretch of a file of codes, as `Codes.cut` takes it.

    Raises:
        FormatError: nothing lies there, the source is damaged, or the target cannot be written.
    """
    with reading_codes(source, reading) as reader:
        name = name_of(source)
        grid, blocks = _looked_at(reader, name, reading)
        with naming(name):
            end = None if duration is None else start + duration
            cells = Cells.between(grid, start, end, reader.length)
        with writing_codes(target, reader.info, writing) as writer:
            frames = 0
            for block in _stretch(reader, cells, blocks or reader.blocks(cells.first_frame)):
                frames += block.frames
                writer.write(block)
            if cells.first and not frames:
                raise FormatError(f"{name}: the codes end before {start:g} s")
            length = cells.length(reader.length or 0)
            writer.finish(length)
    return Edited(reader.info, length, grid.sample(cells.first) / reader.info.source_rate)


def _looked_at(
    reader: CodesReader, name: str, how: Reading
) -> tuple[Grid, Iterator[tuple[int, Block]] | None]:
    """Where the codes can be cut; and all blocks, where the first one had to be looked at."""
    spec = how.codec or SPECS.get(reader.info.codec)
    blocks, segments = None, None
    if spec is None:
        blocks = reader.blocks()
        begun = list(islice(blocks, 1))
        segments = begun[0][1].segments if begun else None
        blocks = chain(begun, blocks)
    with naming(name):
        return grid_of(reader.info, segments, reader.frames, reader.length, spec), blocks


def _stretch(
    reader: CodesReader, cells: Cells, blocks: Iterator[tuple[int, Block]]
) -> Iterator[Block]:
    """The blocks of some cells. A pipe is read to its end, which alone tells the length."""
    begin, end = cells.first_frame, cells.end_frame
    for first, block in blocks:
        if end is not None and first >= end:
            if reader.length is not None:
                return
            continue
        yield between(block, begin - first, None if end is None else end - first)


def joining(
    sources: Sequence[PathOrStream], target: PathOrStream, reading: Reading, writing: Writing
) -> Edited:
    """Write several files of codes, one after the other, as one: as `Codes.join`.

    Raises:
        FormatError: they do not go together, one is damaged, or the target cannot be written.
    """
    with ExitStack() as files:
        joint = writer = None
        for number, source in enumerate(sources, start=1):
            name = name_of(source)
            with reading_codes(source, reading) as reader:
                grid, blocks = _looked_at(reader, name, reading)
                if joint is None or writer is None:
                    joint = Joint(reader.info, grid)
                    writer = files.enter_context(writing_codes(target, reader.info, writing))
                with naming(name):
                    joint.begin(reader.info, grid)
                for _, block in blocks or reader.blocks():
                    _write(writer, name, joint.add(block))
                last = number == len(sources)
                _write(writer, name, joint.end(reader.length or 0, last=last))
        if joint is None or writer is None:
            raise FormatError("there are no codes to join")
        writer.finish(joint.length)
    return Edited(joint.info, joint.length)


def _write(writer: CodesWriter, name: str, blocks: Iterator[Block]) -> None:
    """Write blocks; what is wrong with them is said of the file of that name."""
    with naming(name):
        certain = list(blocks)
    for block in certain:
        writer.write(block)


def thinning(
    source: PathOrStream, target: PathOrStream, codebooks: int, reading: Reading, writing: Writing
) -> Edited:
    """Write the codes of the first codebooks of a file alone, as `Codes.thin`.

    Raises:
        FormatError: as `Codes.thin`, the source is damaged, or the target cannot be written.
        CodecError: the codec does not take this number of codebooks.
    """
    with reading_codes(source, reading) as reader:
        with naming(name_of(source)):
            info = thinned(reader.info, codebooks, reading.codec)
        with writing_codes(target, info, writing) as writer:
            for _, block in reader.blocks():
                writer.write(Block(block.data[:, : info.codebooks], block.segments))
            length = reader.length or 0
            writer.finish(length)
    return Edited(info, length)
