"""Token streams for training language models: all recordings of a dataset, one after the other.

A stream is `NAME.bin`, tokens of one unsigned type in little-endian order without a header, which
can be mapped into memory, and `NAME.json`, which says what they are; or `NAME.bin` and `NAME.idx`
as Megatron-LM's indexed datasets have them (megatron/core/datasets/indexed_dataset.py).
"""

from __future__ import annotations

import json
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from acomp import layouts
from acomp.codes import Codes, CodesInfo
from acomp.datasets.description import is_dataset
from acomp.datasets.reading import Dataset
from acomp.errors import AcompError, CodecError, FormatError
from acomp.files import atomic_write
from acomp.formats import read_codes
from acomp.layouts import Vocabulary
from acomp.settings import PackForm, TokenLayout

Recording = tuple[str, Codes]
"""Its name, which messages say, and its codes."""

_MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
_MEGATRON_TYPES = {"uint16": 8, "int32": 4}
_MEGATRON_LARGEST = 65_500
"""Vocabularies below this have two bytes a token in Megatron."""


@dataclass(frozen=True)
class Numbering:
    """How codes become tokens, whatever codec they are of.

    Attributes:
        layout: the order of the codes.
        offset: token of the first entry of the first codebook; None for the layout's own, which is
            Orpheus' for `orpheus` and 0 for the others.
        shared: whether all codebooks have the same tokens.
        bos: token before each recording, in the layouts of one row; None for none.
        eos: token after each recording, likewise.
        pad: token where a delayed codebook has no code.
        delays: of each codebook in frames, for `delayed`; None for 0, 1, 2 and so on.
    """

    layout: TokenLayout = "flat"
    offset: int | None = None
    shared: bool = False
    bos: int | None = None
    eos: int | None = None
    pad: int | None = None
    delays: tuple[int, ...] | None = None

    def vocabulary(self, info: CodesInfo) -> Vocabulary:
        """Of codes of a codec.

        Raises:
            CodecError: they cannot have it.
        """
        if self.layout in ("parallel", "delayed") and (self.bos, self.eos) != (None, None):
            raise CodecError(
                f"bos and eos have no place in the layout {self.layout}: leave them out"
            )
        own = layouts.ORPHEUS_OFFSET if self.layout == "orpheus" else 0
        offset = own if self.offset is None else self.offset
        special = (self.bos, self.eos, self.pad)
        return Vocabulary(info.codebooks, info.codebook_size, offset, self.shared, *special)

    def tokens(self, codes: NDArray[Any], vocabulary: Vocabulary) -> layouts.Tokens:
        """Those of a stream of codes `[codebooks, frames]`; of layouts of several rows step by
        step, in each the codebooks in order.
        """
        if self.layout == "delayed":
            return layouts.delayed(codes, vocabulary, self.delays).T.reshape(-1)
        if self.layout == "parallel":
            return layouts.parallel(codes, vocabulary).T.reshape(-1)
        into: dict[str, Callable[..., layouts.Tokens]] = {
            "flat": layouts.flat,
            "coarse-first": layouts.coarse_first,
            "orpheus": layouts.orpheus,
        }
        return into[self.layout](codes, vocabulary)


@dataclass(frozen=True)
class Packed:
    """What was written.

    Attributes:
        documents: recordings.
        tokens: of all of them.
        dtype: type of a token.
        empty: recordings that were left out as they have no frames.
    """

    documents: int
    tokens: int
    dtype: str
    empty: int


def recordings(paths: Iterable[Path]) -> Iterator[Recording]:
    """The recordings of datasets and of files of codes, in the order given.

    Raises:
        FormatError: one cannot be read.
    """
    for path in paths:
        if is_dataset(path):
            for row in Dataset(path):
                yield f"{row.id} in {path}", row.codes
        else:
            yield str(path), read_codes(path)


def pack(
    found: Iterable[Recording],
    target: Path,
    numbering: Numbering,
    form: PackForm = "flat",
    *,
    replace: bool = False,
    done: Callable[[], None] = lambda: None,
) -> Packed:
    """Write recordings as a stream of tokens. Memory does not grow with their number but for
    twelve bytes each that Megatron's index takes.

    Args:
        found: recordings of one codec, its weights and number of codebooks, of one stream each.
        target: path of the files without their suffixes, `.bin` and `.json` or `.idx`.
        numbering: of the tokens.
        form: of the files.
        replace: whether files that are there may be replaced.
        done: called after each recording.

    Raises:
        CodecError: the codes are not of the vocabulary.
        FormatError: recordings differ in their codec, or one has several streams.
        ExistsError: a file exists, and is not to be replaced.
        AcompError: a file cannot be written, or there is no recording.
    """
    first, rest = _first_of(found)
    info = first[1].info
    vocabulary = numbering.vocabulary(info)
    dtype = _dtype(vocabulary, form)
    lengths, empty = array("i"), 0
    into, side = files_of(target, form)
    # The stream is put in its place first: a description is never there without it.
    with (
        atomic_write(side, AcompError, replace=replace) as about,
        atomic_write(into, AcompError, replace=replace) as stream,
    ):
        for name, codes in rest:
            _check(name, codes, first)
            if codes.frames:
                tokens = numbering.tokens(codes.data[0], vocabulary)
                stream.write(tokens.astype(dtype).tobytes())
                lengths.append(len(tokens))
            else:
                empty += 1
            done()
        packed = Packed(len(lengths), sum(lengths), dtype.name, empty)
        if form == "flat":
            about.write(_description(info, numbering, vocabulary, packed))
        else:
            _write_index(about, lengths, dtype)
    return packed


def files_of(target: Path, form: PackForm) -> tuple[Path, Path]:
    """The files of a stream: its tokens, and what describes them.

    Raises:
        AcompError: `target` has no name that they could have.
    """
    if target.name in ("", ".."):
        raise AcompError(f"{target} is a folder: give the files a name, such as {target / 'train'}")
    suffixes = "bin", "json" if form == "flat" else "idx"
    stream, side = (target.with_name(f"{target.name}.{suffix}") for suffix in suffixes)
    return stream, side


def _first_of(found: Iterable[Recording]) -> tuple[Recording, Iterator[Recording]]:
    """The first recording, and all of them."""
    iterator = iter(found)
    first = next(iterator, None)
    if first is None:
        raise AcompError("there is nothing to pack: name a dataset or files of codes")

    def every() -> Iterator[Recording]:
        yield first
        yield from iterator

    return first, every()


def _check(name: str, codes: Codes, first: Recording) -> None:
    info, due = codes.info, first[1].info
    if info.streams > 1:
        raise FormatError(
            f"{name} has {info.streams} streams, and a sequence of tokens takes one: encode with "
            "--channels mono"
        )
    for what in ("codec", "fingerprint", "codebooks", "codebook_size"):
        one, other = getattr(info, what), getattr(due, what)
        if one != other:
            raise FormatError(
                f"{name} has the {what.replace('_', ' ')} {one}, and {first[0]} has {other}: pack "
                "them apart"
            )


def _dtype(vocabulary: Vocabulary, form: PackForm) -> np.dtype[Any]:
    """The smallest type that holds every token, of those that the form has."""
    special = (vocabulary.bos, vocabulary.eos, vocabulary.pad)
    count = max(vocabulary.end, *(1 + token for token in special if token is not None), 0)
    if form == "megatron":
        return np.dtype("<u2" if count < _MEGATRON_LARGEST else "<i4")
    return np.min_scalar_type(count - 1).newbyteorder("<")


def _description(
    info: CodesInfo, numbering: Numbering, vocabulary: Vocabulary, packed: Packed
) -> bytes:
    """What `NAME.json` holds."""
    facts = {
        "format": "acomp tokens",
        "dtype": packed.dtype,
        "documents": packed.documents,
        "tokens": packed.tokens,
        "layout": numbering.layout,
        "delays": numbering.delays,
        "vocabulary": asdict(vocabulary),
        "codec": info.codec,
        "weights": info.fingerprint,
    }
    return (json.dumps(facts, indent=2) + "\n").encode()


def _write_index(file: BinaryIO, lengths: array[int], dtype: np.dtype[Any]) -> None:
    """Megatron's index: types, and the length and place of each sequence, a document each."""
    sizes = np.frombuffer(lengths, np.int32) if lengths else np.zeros(0, np.int32)
    ends = np.cumsum(sizes, dtype=np.int64)
    places = (ends - sizes) * dtype.itemsize
    documents = np.arange(len(sizes) + 1, dtype=np.int64)
    kind = _MEGATRON_TYPES[dtype.name]
    file.write(_MEGATRON_MAGIC + struct.pack("<QB", 1, kind))
    file.write(struct.pack("<QQ", len(sizes), len(documents)))
    for numbers, order in ((sizes, "<i4"), (places, "<i8"), (documents, "<i8")):
        file.write(numbers.astype(order).tobytes())
