"""Frames of MPEG audio (MP1, MP2, MP3) in a stream of bytes: positions, sizes and durations.

The header is that of ISO/IEC 11172-3, section 2.4.1.3, and 13818-3.
"""

from __future__ import annotations

from acomp.audio.streams import Window

HEADER_BYTES = 4
_RATES = (44100, 48000, 32000)
_DIVISORS = {3: 1, 2: 2, 0: 4}
"""Divisors of `_RATES` by version number: MPEG-1 (3), MPEG-2 (2), MPEG-2.5 (0)."""
_BIT_RATES = {
    # By (is MPEG-1, layer): bit rates in kbit/s for the indices from 1 on.
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_SUMMARIES = (b"Xing", b"Info", b"VBRI")
_SUMMARY_BYTES = 80
_HEAD_BYTES = 4096


def find_frame(data: bytes) -> int:
    """The offset of the first frame header in `data`; -1 if there is none."""
    at = data.find(b"\xff")
    while at >= 0:
        if frame_bytes(data[at : at + HEADER_BYTES]) is not None:
            return at
        at = data.find(b"\xff", at + 1)
    return -1


def frame_bytes(header: bytes) -> int | None:
    """Bytes of the frame that a header begins; 0 if they are left open, None if it is no header."""
    if len(header) < HEADER_BYTES or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    bit_rate, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or bit_rate == 15 or rate == 3:
        return None
    if bit_rate == 0:
        return 0
    first = version == 3
    bits = 1000 * _BIT_RATES[first, layer if first else min(layer, 2)][bit_rate - 1]
    hertz = _RATES[rate] // _DIVISORS[version]
    if layer == 1:
        return (12 * bits // hertz + padding) * 4
    return (144 if first or layer == 2 else 72) * bits // hertz + padding


def is_summary(frame: bytes) -> bool:
    """Whether a frame holds facts about the file, such as its number of frames, and no audio."""
    return any(mark in frame[:_SUMMARY_BYTES] for mark in _SUMMARIES)


def counted_seconds(window: Window) -> float | None:
    """Seconds of an MP3 according to its first frame; None if that does not say.

    The encoder's padding before and after the audio is included.
    """
    window.seek(0)
    tag = window.read(10)
    begin = 0
    if tag.startswith(b"ID3") and len(tag) == 10:  # ID3v2.4, section 3.1: seven bits to a byte
        sizes = zip(tag[6:], (21, 14, 7, 0), strict=True)
        begin = 10 + sum((byte & 0x7F) << shift for byte, shift in sizes)
    window.seek(begin)
    start = window.read(_HEAD_BYTES)
    frame = start[max(find_frame(start), 0) :]
    if frame_bytes(frame) is None:
        return None
    count = _counted(frame[:_SUMMARY_BYTES])
    return count * frame_seconds(frame) if count else None


def frame_seconds(header: bytes) -> float:
    """Seconds of audio in the frame that a header begins."""
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    hertz = _RATES[header[2] >> 2 & 3] // _DIVISORS[version]
    samples = {1: 384, 2: 1152, 3: 1152 if version == 3 else 576}[layer]
    return samples / hertz


def _counted(frame: bytes) -> int | None:
    """The number of frames that the first frame states, itself excluded; None if it does not."""
    for mark, at, flags in ((b"Xing", 8, True), (b"Info", 8, True), (b"VBRI", 14, False)):
        found = frame.find(mark)
        whole = found >= 0 and len(frame) >= found + at + 4
        if whole and (not flags or frame[found + 7] & 1):
            return int.from_bytes(frame[found + at : found + at + 4])
    return None
