from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from acomp.formats.bits import Order, pack, packed_size, unpack

ORDERS: list[Order] = ["msb", "lsb"]


def slow_pack(codes: list[int], bits: int, order: Order) -> bytes:
    """Bit by bit, as the specification says it."""
    if order == "lsb":
        value = sum(code << (bits * place) for place, code in enumerate(codes))
        return value.to_bytes(packed_size(len(codes), bits), "little")
    text = "".join(f"{code:0{bits}b}" for code in codes)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))


@given(st.data(), st.integers(1, 16), st.sampled_from(ORDERS))
def test_equals_packing_bit_by_bit(data: st.DataObject, bits: int, order: Order) -> None:
    codes = data.draw(st.lists(st.integers(0, (1 << bits) - 1), max_size=60))
    packed = pack(np.array(codes, np.uint16), bits, order)
    assert packed == slow_pack(codes, bits, order)
    assert unpack(packed, bits, len(codes), order).tolist() == codes


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bits", [bits for bits in range(1, 16) if bits != 8])
def test_bits_after_the_last_code_must_be_zero(bits: int, order: Order) -> None:
    count = next(n for n in range(1, 9) if n * bits % 8)
    packed = pack(np.zeros(count, np.uint16), bits, order)
    padding = -count * bits % 8
    for bit in range(padding):
        flip = 1 << bit if order == "msb" else 0x80 >> bit
        with pytest.raises(ValueError, match="not zero"):
            unpack(packed[:-1] + bytes([packed[-1] | flip]), bits, count, order)


def test_too_few_bytes_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        unpack(bytes(4), 10, 4)


@pytest.mark.parametrize("bits", [0, 17])
def test_other_widths_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match="cannot be packed"):
        pack(np.zeros(1, np.uint16), bits)
