"""Codes of 1 to 16 bits, packed without gaps into bytes and back."""

from __future__ import annotations

from collections.abc import Iterator
from math import gcd
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Order = Literal["msb", "lsb"]
"""Which end of a byte is filled first: the most or the least significant bit."""


def packed_size(count: int, bits: int) -> int:
    """Bytes that `count` codes of `bits` bits take."""
    return (count * bits + 7) // 8


def pack(codes: NDArray[np.uint16], bits: int, order: Order = "msb") -> bytes:
    """Pack `codes` (`[count]`, each below 2**bits); the last byte's unused bits are zero."""
    group, width = _group(bits)
    groups = -(-len(codes) // group)
    columns = np.zeros((groups, group), np.uint16)
    columns.reshape(-1)[: len(codes)] = codes
    packed = np.zeros((groups, width), np.uint8)
    for code, byte, shift in _overlaps(bits, order):
        column = columns[:, code]
        packed[:, byte] |= (column << shift if shift >= 0 else column >> -shift).astype(np.uint8)
    return packed.tobytes()[: packed_size(len(codes), bits)]


def unpack(data: bytes, bits: int, count: int, order: Order = "msb") -> NDArray[np.uint16]:
    """The first `count` codes in `data`, `[count]`.

    Raises:
        ValueError: `data` is too short for them, or a bit after the last code is not zero.
    """
    size = packed_size(count, bits)
    if len(data) < size:
        raise ValueError(f"{len(data)} bytes are too few for {count} codes of {bits} bits")
    group, width = _group(bits)
    groups = -(-count // group)
    packed = np.zeros((groups, width), np.uint16)
    packed.reshape(-1)[:size] = np.frombuffer(data, np.uint8, size)
    columns = np.zeros((groups, group), np.uint16)
    for code, byte, shift in _overlaps(bits, order):
        column = packed[:, byte]
        columns[:, code] |= column >> shift if shift >= 0 else column << -shift
    # Bytes that two codes share have left bits of the neighbour above this code's own.
    columns &= np.uint16((1 << bits) - 1)
    codes = columns.reshape(-1)
    padding = size * 8 - count * bits
    unused = (1 << padding) - 1 if order == "msb" else 0xFF00 >> padding & 0xFF
    if (padding and data[size - 1] & unused) or any(data[size:]):
        raise ValueError("the bits after the last code are not zero")
    return codes[:count]


def _group(bits: int) -> tuple[int, int]:
    """The fewest codes that fill whole bytes, and those bytes: 4 and 5 for 10 bits."""
    if not 1 <= bits <= 16:
        raise ValueError(f"codes of {bits} bits cannot be packed")
    common = gcd(bits, 8)
    return 8 // common, bits // common


def _overlaps(bits: int, order: Order) -> Iterator[tuple[int, int, int]]:
    """Each code and byte of a group that share bits, and the left shift from code to byte.

    Working column by column over all groups at once is what makes packing fast: numpy touches
    each code two or three times, and never a single bit.
    """
    group, _ = _group(bits)
    for code in range(group):
        begin, end = code * bits, (code + 1) * bits
        for byte in range(begin // 8, (end + 7) // 8):
            yield code, byte, 8 * (byte + 1) - end if order == "msb" else begin - 8 * byte
