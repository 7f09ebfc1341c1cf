"""Frames of AAC (ADTS) and AC-3 in a stream of bytes: their positions and sizes.

The headers are those of ISO/IEC 13818-7, section 6.2, and of ETSI TS 102 366, sections 4.3 and E.1.
"""

from __future__ import annotations

import re

_ADTS_BYTES, _AC3_BYTES = 7, 6
_AC3_SYNC = b"\x0b\x77"
_SYNC = re.compile(rb"\xff[\xf0\xf1\xf8\xf9]|\x0b\x77")
_AC3_RATES = (
    *(32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640),
)
"""Bit rates in kbit/s; two size codes in a header stand for each."""
_LAST_AC3 = 10
"""The highest version of the bit stream that is AC-3; those above are E-AC-3."""


def find_frames(data: bytes) -> tuple[int, int]:
    """Offset of the first frame in `data`, and of the end of the frames that follow without a gap.

    Both are 0 if there is no frame. A frame that is cut ends at the end of `data`.
    """
    places = (found.start() for found in _SYNC.finditer(data))
    begin = end = next((at for at in places if _frame_bytes(data, at)), 0)
    while size := _frame_bytes(data, end):
        if end > begin and end + size > len(data):
            break  # it only looks like a frame
        end += size
    return begin, min(end, len(data))


def _frame_bytes(data: bytes, at: int) -> int:
    """Bytes of the frame whose header is at offset `at`; 0 if there is no header."""
    head = data[at : at + _ADTS_BYTES]
    if len(head) == _ADTS_BYTES and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return size if size >= _ADTS_BYTES else 0
    if len(head) < _AC3_BYTES or not head.startswith(_AC3_SYNC):
        return 0
    if head[5] >> 3 > _LAST_AC3:
        return 2 * (((head[2] & 7) << 8 | head[3]) + 1)
    rate, code = head[4] >> 6, head[4] & 63
    if rate == 3 or code >= 2 * len(_AC3_RATES):
        return 0
    kilobits = _AC3_RATES[code // 2]
    sizes = (4 * kilobits, 2 * (kilobits * 96_000 // 44_100 + code % 2), 6 * kilobits)
    return sizes[rate]
