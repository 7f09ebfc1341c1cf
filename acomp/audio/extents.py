"""Detection of truncated files: the size that the headers state, against the size of the file.

Most decoders take whatever is there for the whole file. Each form states its size in its own way;
this module reads only what that takes, going from header to header.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Literal

from acomp.audio.findings import Findings
from acomp.audio.streams import Window
from acomp.audio.wav import UNKNOWN_SIZE
from acomp.errors import AudioError

_OGG_HEADER = 27
_MAX_OGG_PAGE = _OGG_HEADER + 255 + 255 * 255
_MAX_OGG_STREAMS = 64
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in the other order."""
_MAX_STEPS = 1_000_000
_EBML_HEADER, _EBML_SEGMENT, _EBML_CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
_EBML_PARTS = (
    *(_EBML_HEADER, _EBML_SEGMENT, _EBML_CLUSTER, 0xBF, 0xEC, 0x1043A770, 0x114D9B74, 0x1254C367),
    *(0x1549A966, 0x1654AE6B, 0x1941A469, 0x1C53BB6B),
    *(0x5854, 0xA0, 0xA3, 0xA7, 0xAB, 0xE7),  # those in a cluster
)
_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_HEAD_BYTES = 1 << 16
_MP4_BOXES = (
    *(b"emsg", b"free", b"ftyp", b"idat", b"mdat", b"meta", b"mfra", b"moof", b"moov", b"pdin"),
    *(b"pnot", b"prft", b"sidx", b"skip", b"ssix", b"styp", b"udta", b"uuid", b"wide"),
)
_CAF_CHUNKS = (
    *(b"chan", b"data", b"desc", b"edct", b"free", b"info", b"inst", b"kuki", b"mark", b"midi"),
    *(b"ovvw", b"pakt", b"peak", b"regn", b"strg", b"umid", b"uuid"),
)
_FLV_TAGS = (8, 9, 18)
_TS_PACKETS = {0: 188, 4: 192}
"""Bytes of a packet of an MPEG transport stream, by the offset of the sync byte in the packet."""

Extents = Iterator[int]
"""The byte at which each part of a file ends by its header, in order, up to the first thing
that is no part, because bytes appended to a file are no loss."""


def check_extent(file: IO[bytes], head: bytes, findings: Findings) -> None:
    """Tell `findings` what is missing at the end of a file that begins with `head`.

    Raises:
        AudioError: something is, and is not to be recovered, or nothing can be read without it.
    """
    size = os.fstat(file.fileno()).st_size
    if head.startswith(b"OggS"):
        _check_ogg(file, size, findings)
    end = 0
    for _, end in zip(range(_MAX_STEPS), _extents(file, head, size), strict=False):
        if end > size + 1:  # a missing pad byte is no loss
            break
    if end > size + 1:
        what = f"truncated: the header promises {end} bytes, {size} are there"
        if head[4:8] in _MP4_BOXES and not _has_index(file, size):
            raise AudioError(
                f"{findings.name} is {what}, and the index, without which nothing can be read, is "
                "among what is missing; fetch or make it again"
            )
        findings.lost(what)


def end_of_sound(head: bytes, size: int) -> int:
    """The byte at which the audio of a file of `size` bytes ends.

    It matters for Wave64, which libsndfile would read beyond the end that its header states.
    """
    stated = _wave64(head) if head.startswith(b"riff") else 0
    return min(stated or size, size)


def _extents(file: IO[bytes], head: bytes, size: int) -> Extents:
    walks: list[tuple[bool, Callable[[], Extents]]] = [
        (head.startswith(b"FORM"), lambda: iter([_within(head[4:8], 8)])),
        (head.startswith(b".snd"), lambda: iter([_within(head[8:12], int.from_bytes(head[4:8]))])),
        (head.startswith(b"riff"), lambda: iter([_wave64(head)])),
        (head.startswith((b".SoX", b"XoS.")), lambda: iter([_sox(head)])),
        (head.startswith(b"RIFF") and head[8:11] == b"AVI", lambda: _avi(file, size)),
        (head.startswith(b"\x1a\x45\xdf\xa3"), lambda: _matroska(file, size)),
        (head.startswith(b"FLV\x01"), lambda: _flv(file, size)),
        (head.startswith(_ASF_HEADER), lambda: iter([_asf(file)])),
        (head.startswith(b"caff"), lambda: _caf(file, size)),
        (head[4:8] in _MP4_BOXES, lambda: _mp4(file, size)),
    ]
    for is_it, walk in walks:
        if is_it:
            return walk()
    for at, length in _TS_PACKETS.items():
        if len(head) > 3 * length and set(head[at : 3 * length : length]) == {0x47}:
            return _transport(file, size, at, length)
    return iter(())


def _transport(file: IO[bytes], size: int, at: int, length: int) -> Extents:
    last = size // length * length
    if _at(file, last + at, 1) == b"\x47":
        yield last + length


def _sox(head: bytes) -> int:
    order: Literal["little", "big"] = "little" if head[0] == ord(".") else "big"
    return 4 + int.from_bytes(head[4:8], order) + 4 * int.from_bytes(head[8:16], order)


def _within(field: bytes, before: int) -> int:
    """The end that a 32-bit size field states, `before` bytes into the file; 0 if it is unknown."""
    length = int.from_bytes(field)
    return 0 if length in (UNKNOWN_SIZE, 0x80000000, 0x7FFFFFFF) else before + length


def _wave64(head: bytes) -> int:
    length = int.from_bytes(head[16:24], "little")
    return 0 if length >= (1 << 63) - 1 else length


def _avi(file: IO[bytes], size: int) -> Extents:
    position = 0
    while position < size and (head := _at(file, position, 12))[:4] == b"RIFF":
        length = int.from_bytes(head[4:8], "little")
        if length in (0, UNKNOWN_SIZE):  # nobody came back to fill it in
            return
        position += 8 + length + length % 2
        yield position


def _mp4(file: IO[bytes], size: int) -> Extents:
    """Boxes (ISO/IEC 14496-12, section 4.2)."""
    position = 0
    while position < size:
        head = _at(file, position, 16)
        length = int.from_bytes(head[:4])
        if length == 1:
            length = int.from_bytes(head[8:16])
        if length < 8 or head[4:8] not in _MP4_BOXES:  # up to the end, or no box
            return
        position += length
        yield position


def _has_index(file: IO[bytes], size: int) -> bool:
    """Whether an MP4 has its index, the box `moov`, before where it was cut off."""
    begin = 0
    for _, end in zip(range(_MAX_STEPS), _mp4(file, size), strict=False):
        if _at(file, begin, 8)[4:8] == b"moov":
            return end <= size
        begin = end
    return False


def _caf(file: IO[bytes], size: int) -> Extents:
    position = 8
    while position < size:
        head = _at(file, position, 12)
        length = int.from_bytes(head[4:12], signed=True)
        if length < 0 or head[:4] not in _CAF_CHUNKS:  # up to the end, or no chunk
            return
        position += 12 + length
        yield position


def _flv(file: IO[bytes], size: int) -> Extents:
    """Tags, each followed by a field with its own size."""
    position = int.from_bytes(_at(file, 5, 4)) + 4
    while position < size:
        head = _at(file, position, 11)
        if head[0] not in _FLV_TAGS or any(head[8:]):
            return
        position += 11 + int.from_bytes(head[1:4]) + 4
        yield position


def _asf(file: IO[bytes]) -> int:
    """The size in the file properties; 0 if it is unknown, as in a broadcast."""
    head = _at(file, 0, _ASF_HEAD_BYTES)
    at = head.find(_ASF_FILE)
    is_live = at < 0 or int.from_bytes(head[at + 88 : at + 92], "little") & 1
    return 0 if is_live else int.from_bytes(head[at + 40 : at + 48], "little")


def _matroska(file: IO[bytes], size: int) -> Extents:
    """Elements of the first two levels, and of the third where a length is unknown (RFC 8794)."""
    position = 0
    while position < size:
        head = _at(file, position, 12)
        kind, after = _ebml_number(head, 0, keep_mark=True)
        length, after = _ebml_number(head, after)
        if not after or kind not in _EBML_PARTS:
            return
        unknown = length is None
        if kind == _EBML_SEGMENT or (kind == _EBML_CLUSTER and unknown):
            position += after
        elif length is None:
            return
        else:
            position += after + length
        if length is not None:
            yield position if kind != _EBML_SEGMENT else position + length


def _ebml_number(data: bytes, at: int, *, keep_mark: bool = False) -> tuple[int | None, int]:
    """The variable-length number at offset `at`, and the offset of its end (0 if there is none).

    The number is None if all its bits are set, which stands for an unknown length.
    """
    if at >= len(data) or not data[at]:
        return None, 0
    width = 9 - data[at].bit_length()
    field = data[at : at + width]
    if len(field) < width:
        return None, 0
    marked = int.from_bytes(field)
    value = marked - (1 << (7 * width))
    unknown = value == (1 << (7 * width)) - 1
    return (marked if keep_mark else None if unknown else value), at + width


def _check_ogg(file: IO[bytes], size: int, findings: Findings) -> None:
    """Check that the last page is complete and marked as its stream's end (RFC 3533, section 6)."""
    page = _last_page(Window(file, 0, size))
    if len(page) < _OGG_HEADER or len(page) < _page_bytes(page):
        findings.lost("truncated: its last Ogg page is not there")
    elif not page[5] & 4:
        findings.remark("has no end mark on its last Ogg page: more may have been there")


def ogg_is_ended(window: Window) -> bool:
    """Whether the last page of an Ogg file is marked as the last."""
    page = _last_page(window)
    return len(page) >= _OGG_HEADER and bool(page[5] & 4)


def _last_page(window: Window) -> bytes:
    window.seek(max(window.size - _MAX_OGG_PAGE, 0))
    tail = window.read(_MAX_OGG_PAGE)
    return tail[max(tail.rfind(b"OggS"), 0) :]


def ogg_links(file: IO[bytes], size: int, findings: Findings) -> list[tuple[int, int]]:
    """First and last byte of each file that was joined to an Ogg file (RFC 3533, section 4).

    All streams of a file begin on its first pages, so a page further on that begins a stream begins
    the next file. On the way this reports what decoders skip silently: pages with a wrong checksum,
    and pages that are missing where there are bytes that are no page.
    """
    begins, position, is_among_first = [0], 0, True
    expected: dict[bytes, int] = {}
    """Number of the next page of each stream."""
    has_strays = False
    while position < size:
        page = _at(file, position, _MAX_OGG_PAGE)
        if not page.startswith(b"OggS") or len(page) < _OGG_HEADER:
            position = _next_page(file, position + 1, size)
            has_strays = True
            continue
        page = page[: _page_bytes(page)]
        is_first = bool(page[5] & 2)
        if is_first and not is_among_first:
            begins.append(position)
        is_among_first = is_first
        stream, number = page[14:18], int.from_bytes(page[18:22], "little")
        if has_strays and not is_first and expected.get(stream, number) != number:
            findings.lost(f"damaged: pages are missing before byte {position}")
        elif len(page) == _page_bytes(page) and _ogg_checksum(page) != page[22:26]:
            findings.lost(f"damaged: the page at byte {position} does not fit its checksum")
        if len(expected) < _MAX_OGG_STREAMS or stream in expected:
            expected[stream] = number + 1
        has_strays = False
        position += _page_bytes(page)
    return list(zip(begins, [*begins[1:], size], strict=True))


def _ogg_checksum(page: bytes) -> bytes:
    """The CRC-32 of a page with its checksum set to 0, most significant bit first (RFC 3533).

    zlib's CRC-32 begins with ones, takes the least significant bit first, and is inverted.
    """
    content = page[:22] + bytes(4) + page[26:]
    found = zlib.crc32(content.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return found.to_bytes(4, "big").translate(_REVERSED)


def _page_bytes(page: bytes) -> int:
    return _OGG_HEADER + page[26] + sum(page[_OGG_HEADER : _OGG_HEADER + page[26]])


def _next_page(file: IO[bytes], position: int, size: int) -> int:
    """The offset of the next page mark from `position` on; `size` if there is none."""
    while position < size:
        found = _at(file, position, _MAX_OGG_PAGE).find(b"OggS")
        if found >= 0:
            return position + found
        position += _MAX_OGG_PAGE - 3
    return size


def _at(file: IO[bytes], position: int, count: int) -> bytes:
    file.seek(position)
    return file.read(count)
