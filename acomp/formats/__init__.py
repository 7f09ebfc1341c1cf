"""Codes in files and pipes: `.nac`, `.txt`, `.npz`, `.dac` and `.ecdc`, read and written block by
block.

with open_codes("speech.nac") as reader, create_codes("speech.txt", reader.info) as writer:
    for _, block in reader.blocks():
        writer.write(block)
    writer.finish(reader.length)
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from acomp.codecs import CodecSpec
from acomp.codes import Codes, CodesInfo
from acomp.errors import FormatError
from acomp.files import atomic_write, reason_of
from acomp.formats.base import (
    CodesReader,
    CodesWriter,
    Reading,
    Writing,
    info_to_dict,
    naming,
)
from acomp.formats.registry import (
    FORMS,
    MAGIC_BYTES,
    Form,
    form_by_magic,
    form_by_name,
    form_by_suffix,
    form_names,
)
from acomp.formats.source import Source, name_of
from acomp.formats.tokens import SUFFIXES
from acomp.settings import Entropy, FormName

__all__ = [
    "FORMS",
    "CodesReader",
    "CodesWriter",
    "Form",
    "Reading",
    "Writing",
    "convert",
    "converting",
    "create_codes",
    "describe",
    "is_codes_name",
    "open_codes",
    "read_codes",
    "reading_codes",
    "write_codes",
    "writing_codes",
]

PathOrStream = str | os.PathLike[str] | BinaryIO


def open_codes(
    source: PathOrStream,
    *,
    recover: bool = False,
    language_model: Path | None = None,
    codec: CodecSpec | None = None,
) -> CodesReader:
    """Open a file or a binary stream of codes; its form is found by its first bytes or its suffix.

    With `recover`, damaged blocks of a `.nac` file are passed over, and `damage` of the reader
    names them. `language_model` is the file of the one that the codes were entropy-coded with,
    where it is not the codec's own. `codec`, for example the `spec` of a `Codec`, is the one that
    made the codes, for files that do not say it (`.dac`).

    Raises:
        FormatError: it cannot be read, is of no known form, is damaged, or is of another codec.
    """
    return reading_codes(source, Reading(recover, language_model, codec))


def reading_codes(source: PathOrStream, how: Reading) -> CodesReader:
    """As `open_codes`, with all that says how codes are read as one value."""
    name = name_of(source)
    with naming(name):
        opened = Source(source)
        try:
            form = form_by_magic(opened.peek(MAGIC_BYTES)) or form_by_suffix(Path(name).suffix)
            if form is None:
                raise FormatError(f"it is not a file of codes ({form_names()})")
            reader = form.read(opened, name, how)
            _check_codec(reader, how.codec)
            return reader
        except BaseException:
            opened.close()
            raise


def _check_codec(reader: CodesReader, codec: CodecSpec | None) -> None:
    if codec is not None and reader.info.codec != codec.name:
        raise FormatError(f"its codes are of {reader.info.codec}, not of {codec.name}")


@contextmanager
def create_codes(
    target: PathOrStream,
    info: CodesInfo,
    *,
    form: FormName | None = None,
    live: bool = False,
    entropy: Entropy = "none",
    language_model: Path | None = None,
    replace: bool = True,
) -> Iterator[CodesWriter]:
    """Give a writer of codes to a file or a binary stream; the body must call its `finish`.

    A file appears when the body ends, and not at all if it fails. `form` is needed where no suffix
    tells it. With `live` each block is written and flushed at once, for a pipe. The entropy coding
    `lm` makes the file smaller by the codec's language model, or by that of a file. A file that
    exists is replaced, unless `replace` is False.

    Raises:
        ExistsError: the file exists and is not to be replaced.
        FormatError: the form is unknown, the target cannot be written, or `finish` was not called.
            BrokenPipeError of a stream is passed on as it is.
    """
    how = Writing(form, entropy, language_model, live, replace)
    with writing_codes(target, info, how) as writer:
        yield writer


@contextmanager
def writing_codes(target: PathOrStream, info: CodesInfo, how: Writing) -> Iterator[CodesWriter]:
    """As `create_codes`, with all that says how codes are written as one value."""
    name = name_of(target)
    chosen = _target_form(target, name, how.form)
    if how.entropy not in chosen.entropies:
        offering = " and ".join(each.name for each in FORMS if how.entropy in each.entropies)
        raise FormatError(
            f"{name}: codes are not entropy-coded by {how.entropy!r} as {chosen.name}, but as "
            f"{offering or 'nothing'}"
        )
    if isinstance(target, str | os.PathLike):
        with atomic_write(Path(target), FormatError, replace=how.replace) as stream:
            yield from _writing(chosen, stream, name, info, how)
        return
    try:
        yield from _writing(chosen, target, name, info, how)
    except BrokenPipeError:
        raise
    except OSError as failure:
        raise FormatError(f"cannot write {name}: {reason_of(failure)}") from failure


def _target_form(target: PathOrStream, name: str, form: str | None) -> Form:
    if form is not None:
        return form_by_name(form)
    by_suffix = None
    if isinstance(target, str | os.PathLike):
        by_suffix = form_by_suffix(Path(target).suffix)
    if by_suffix is None:
        raise FormatError(f"{name}: the suffix tells no form for codes; name one of {form_names()}")
    return by_suffix


def _writing(
    form: Form, stream: BinaryIO, name: str, info: CodesInfo, how: Writing
) -> Iterator[CodesWriter]:
    writer = form.write(stream, name, info, how)
    if how.live:
        stream.flush()  # the header says which codec to load: its reader need not wait for codes
    yield writer
    if not writer.finished:
        raise FormatError(f"{name}: the codes were not finished")


def read_codes(
    source: PathOrStream,
    *,
    recover: bool = False,
    language_model: Path | None = None,
    codec: CodecSpec | None = None,
) -> Codes:
    """Read all codes of a file or a binary stream; settings as for `open_codes`.

    Raises:
        FormatError: it cannot be read, is of no known form, or is damaged.
    """
    with open_codes(source, recover=recover, language_model=language_model, codec=codec) as reader:
        blocks = [block for _, block in reader.blocks()]
        return Codes.from_blocks(reader.info, blocks, reader.length or 0)


def write_codes(
    target: PathOrStream,
    codes: Codes,
    *,
    form: FormName | None = None,
    entropy: Entropy = "none",
    language_model: Path | None = None,
) -> None:
    """Write all codes to a file or a binary stream, in the form of its suffix or in `form`.

    A file that exists is replaced, as numpy and soundfile do; the command line asks first.
    `entropy` and `language_model` are as for `create_codes`.

    Raises:
        FormatError: the form is unknown, or the target cannot be written.
    """
    how = Writing(form, entropy, language_model)
    with writing_codes(target, codes.info, how) as writer:
        writer.write(codes.block)
        writer.finish(codes.length)


def convert(
    source: PathOrStream,
    target: PathOrStream,
    form: FormName | None = None,
    *,
    codec: CodecSpec | None = None,
    entropy: Entropy = "none",
    language_model: Path | None = None,
    replace: bool = True,
) -> None:
    """Copy codes into another form, block by block.

    `codec` is as for `open_codes`, `entropy` and `replace` as for `create_codes`, and
    `language_model` is for both.

    Raises:
        FormatError: the source is damaged, or the target cannot be written.
    """
    reading = Reading(language_model=language_model, codec=codec)
    converting(source, target, reading, Writing(form, entropy, language_model, replace=replace))


def converting(
    source: PathOrStream, target: PathOrStream, reading: Reading, writing: Writing
) -> None:
    """As `convert`, with all that says how codes are read and written as one value each."""
    with (
        reading_codes(source, reading) as reader,
        writing_codes(target, reader.info, writing) as writer,
    ):
        for _, block in reader.blocks():
            writer.write(block)
        writer.finish(reader.length or 0)


def describe(source: PathOrStream, *, codec: CodecSpec | None = None) -> dict[str, Any]:
    """What a file of codes holds, all of it read and checked; plain values, as JSON has them.

    `codec` is as for `open_codes`.

    Raises:
        FormatError: as `open_codes`, or the codes are damaged.
    """
    segments = frames = 0
    segmented = False
    with open_codes(source, codec=codec) as reader:
        for of_block, in_segments in reader.counts():
            frames += of_block
            if in_segments is not None:
                segmented = True
                segments += in_segments
        info, length = reader.info, reader.length or 0
    return {
        "form": reader.form,
        "language_model": reader.language_model,
        **info_to_dict(info),
        "length": length,
        "duration": length / info.source_rate,
        "frames": frames,
        "segments": segments if segmented else None,
        "bits": info.bits,
        "frame_rate": info.frame_rate,
        "bandwidth": info.bandwidth,
    }


def is_codes_name(path: Path, *, bare: bool = False) -> bool:
    """Whether a file's name ends as those of codes do; `bare` takes those of bare codes too."""
    return form_by_suffix(path.suffix) is not None or (bare and path.suffix.lower() in SUFFIXES)
