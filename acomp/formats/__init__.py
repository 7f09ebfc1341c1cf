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
from typing import Any, BinaryIO, get_args

from acomp.codecs import CodecSpec
from acomp.codes import Codes, CodesInfo, check_codes
from acomp.errors import FormatError, check_type
from acomp.files import atomic_write, check_path, check_place, reason_of
from acomp.formats.base import (
    CodesReader,
    CodesWriter,
    Reading,
    Writing,
    info_to_dict,
    naming,
)
from acomp.formats.registry import (
    CODES_FORMS,
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
    "CODES_FORMS",
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
    """Open a file or a binary stream of codes, to read them block by block.

    The form is found by the first bytes, or else by the suffix.

        >>> codes = acomp.load("nano").encode(acomp.read_audio("speech.flac"), bandwidth=6)
        >>> acomp.write_codes("speech.nac", codes)
        >>> with acomp.open_codes("speech.nac") as reader:
        ...     print(reader.info.codec, [block.frames for _, block in reader.blocks()])
        nano-2 [174]

    Args:
        source: a path, or a binary stream, which need not seek.
        recover: pass over damaged blocks of a `.nac` file; `damage` of the reader names them.
        language_model: file of the language model that the codes were entropy-coded with, where it
            is not the codec's own.
        codec: the codec that made the codes, for files that do not say it (`.dac`, plain `.txt`):
            the `spec` of a `Codec`.

    Raises:
        FormatError: it cannot be read, is of no known form, is damaged, or is of another codec.
    """
    return reading_codes(source, Reading(recover, language_model, codec))


def reading_codes(source: PathOrStream, how: Reading) -> CodesReader:
    """As `open_codes`, with all that says how codes are read as one value."""
    check_place(source, "read", FormatError)
    if how.codec is not None:
        check_type(how.codec, CodecSpec, FormatError, "an acomp.CodecSpec is", "codec.spec is one")
    _check_model(how.language_model)
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


def _check_model(language_model: object) -> None:
    if language_model is not None:
        check_path(language_model, "the path of a language model", FormatError)


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

    A file appears when the body ends, and not at all if the body fails.

        >>> codes = acomp.load("nano").encode(acomp.read_audio("speech.flac"), bandwidth=6)
        >>> with acomp.create_codes("speech.txt", codes.info) as writer:
        ...     writer.write(codes.block)
        ...     writer.finish(codes.length)

    Args:
        target: a path, or a binary stream.
        info: what the codes are of.
        form: the file form, where no suffix says it: nac, txt, npz, dac or ecdc.
        live: write and flush each block at once, for a pipe.
        entropy: "lm" makes `.nac` and `.ecdc` smaller by the codec's language model.
        language_model: file of the language model, where it is not the codec's own.
        replace: whether a file that exists is replaced.

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
    check_place(target, "write", FormatError)
    check_type(info, CodesInfo, FormatError, "an acomp.CodesInfo is", "codes.info is one")
    _check_model(how.language_model)
    name = name_of(target)
    chosen = _target_form(target, name, how.form)
    if how.entropy not in chosen.entropies:
        if how.entropy not in get_args(Entropy):
            raise FormatError(f"entropy is {' or '.join(get_args(Entropy))}, not {how.entropy!r}")
        offering = " and ".join(each.name for each in FORMS if how.entropy in each.entropies)
        raise FormatError(
            f"{name}: codes are not entropy-coded by {how.entropy!r} as {chosen.name}, but as "
            f"{offering}"
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
    """Read all codes of a file or a binary stream; arguments as for `open_codes`.

        >>> codes = acomp.load("nano").encode(acomp.read_audio("speech.flac"), bandwidth=6)
        >>> acomp.write_codes("speech.nac", codes)
        >>> acomp.read_codes("speech.nac") == codes
        True

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

    A file that exists is replaced, as numpy and soundfile do; the command line refuses to, unless
    it is told otherwise. `entropy` and `language_model` are as for `create_codes`.

        >>> codes = acomp.load("nano").encode(acomp.read_audio("speech.flac"), bandwidth=6)
        >>> acomp.write_codes("speech.npz", codes)

    Raises:
        FormatError: the form is unknown, or the target cannot be written.
    """
    check_codes(codes, FormatError)
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
    """Copy codes into another file form, block by block; no model is needed.

        >>> codes = acomp.load("nano").encode(acomp.read_audio("speech.flac"), bandwidth=6)
        >>> acomp.write_codes("speech.nac", codes)
        >>> acomp.convert("speech.nac", "speech.txt")

    Args:
        source: a path, or a binary stream, of codes in any form.
        target: a path, or a binary stream.
        form: the form of the target, where no suffix says it.
        codec: as for `open_codes`.
        entropy: as for `create_codes`.
        language_model: as for both.
        replace: whether a file that exists is replaced.

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
