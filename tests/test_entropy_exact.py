"""Arithmetic whose every bit is the same in any order, with any library, on any machine."""

from __future__ import annotations

import math
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from engines_here import torch_threads
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from acomp.entropy import exact
from acomp.entropy.encodec import PERIOD, WIDTH
from acomp.entropy.exact import GRID, MAX_INPUTS, TOTAL, WEIGHT_LIMIT, LayerNorm, Linear

mpmath: Any = import_module("mpmath")  # it has no types

Numbers = NDArray[Any]
EXTREMES = [0.0, -0.0, 5e-324, -1e-310, 1e-31, 1e-30, 1.0, -127.0, 1 / 3, 1e9, 1e30, -1e30]


class Foreign(np.ndarray[Any, Any]):
    """A right-hand side that torch multiplies with, on so many threads."""

    threads = 1

    def __rmatmul__(self, left: Any) -> Any:
        with torch_threads(self.threads):
            return torch.matmul(torch.from_numpy(left), torch.from_numpy(np.array(self))).numpy()


class ForeignOnTwo(Foreign):
    threads = 2


def magnitudes() -> st.SearchStrategy[float]:
    return st.sampled_from(EXTREMES) | st.floats(-1e30, 1e30)


@st.composite
def rows(draw: st.DrawFn, width: int) -> Numbers:
    """A few rows of numbers of any size; one row may be all zeros."""
    x = draw(arrays(np.float64, (draw(st.integers(1, 5)), width), elements=magnitudes()))
    if draw(st.booleans()):
        x[draw(st.integers(0, len(x) - 1))] = 0
    return x


def whole(random: np.random.Generator, *shape: int) -> Numbers:
    """Whole numbers to the limit; every other matrix is nothing but the limit, where sums are
    greatest.
    """
    if random.integers(2):
        return np.full(shape, WEIGHT_LIMIT, np.float32)
    return random.integers(-WEIGHT_LIMIT, WEIGHT_LIMIT + 1, shape).astype(np.float32)


def assert_equal(found: Numbers, expected: Numbers) -> None:
    """To the last bit."""
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(np.asarray(found), np.asarray(expected))


# Sums


@given(st.data(), st.sampled_from([1, 2, 7, 40]), st.integers(0, 99))
def test_a_product_is_the_same_in_any_order_and_library(
    data: st.DataObject, width: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    x, y = data.draw(rows(width)), whole(random, width, 3)
    expected = exact.product(x, y)
    order = random.permutation(width)
    assert_equal(exact.product(x[:, order], y[order]), expected)
    assert_equal(exact.product(x, y.astype(np.float64)), expected)
    assert_equal(exact.product(x, y.view(Foreign)), expected)
    for number, row in enumerate(x):
        assert_equal(exact.product(row[np.newaxis], y)[0], expected[number])


@pytest.mark.parametrize("width", [500, 512, 1000, MAX_INPUTS])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_greatest_sums_are_not_rounded(width: int, sign: int) -> None:
    """All products as large as can be, but one, so that each sum needs its last bit."""
    x = np.ones((300, width))
    x[np.arange(300), np.arange(300) % width] = 1 / np.arange(2, 302)
    y = np.full((width, 64), sign * WEIGHT_LIMIT, np.float32)
    y[:, ::2] -= sign
    expected = exact.product(x, y.astype(np.float64))
    assert_equal(exact.product(x, y), expected)
    assert_equal(exact.product(x, y.view(Foreign)), expected)
    assert_equal(exact.product(x, y.view(ForeignOnTwo)), expected)
    assert_equal(exact.product(x[:, ::-1], y[::-1]), expected)
    for number in (0, 123, 299):
        assert_equal(exact.product(x[number : number + 1], y)[0], expected[number])
    limit = (exact.COUNTED - 1) // (WEIGHT_LIMIT * width)
    assert limit >= 128
    assert limit * WEIGHT_LIMIT * width < exact.COUNTED


def test_a_product_is_near_that_of_reals() -> None:
    random = np.random.default_rng(0)
    x, weight = random.standard_normal((50, 400)), random.standard_normal((30, 400))
    bias = random.standard_normal(30)
    found = Linear.of(weight, bias)(x)
    error = found - (x @ weight.T + bias)
    assert error.std() < 0.01 * (x @ weight.T).std()


@given(st.data(), st.integers(0, 99))
def test_a_linear_map_works_row_by_row(data: st.DataObject, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = data.draw(rows(12))
    weight = random.standard_normal((5, 12)) * 10.0 ** random.integers(-40, 38, (5, 1))
    linear = Linear.of(weight.astype(np.float32), random.standard_normal(5))
    expected = linear(x)
    stacked = linear(np.stack([x, x[::-1]]))
    assert_equal(stacked[0], expected)
    assert_equal(stacked[1], expected[::-1])
    for number in range(len(x)):
        assert_equal(linear(x[number : number + 1])[0], expected[number])


def test_weights_that_are_all_0_or_all_but_0_are_numbers() -> None:
    for size in (0.0, 1e-40, 1e-30):
        weight = np.full((2, 3), size, np.float32)
        found, scale = exact.quantise(weight)
        assert np.abs(found).max() <= WEIGHT_LIMIT
        np.testing.assert_allclose(found * scale, weight, rtol=0, atol=1e-32)
        assert_equal(Linear.of(weight)(np.zeros((1, 3))), np.zeros((1, 2)))


@given(st.integers(0, 1 << 32), st.sampled_from([1, 2, 200, 1000]), st.integers(0, 30))
@settings(max_examples=40, deadline=None)
def test_layer_norm_is_the_same_in_any_order(seed: int, width: int, octaves: int) -> None:
    """Numbers on the grid whose sums are just below 2**40."""
    random = np.random.default_rng(seed)
    x = exact.snap(random.uniform(-1, 1, (4, width)) * 2.0**octaves)
    x[random.integers(4)] = 0
    x[0, 0] = 2.0**octaves
    weight, bias = random.standard_normal((2, width))
    expected = LayerNorm(weight, bias)(x)
    order = random.permutation(width)
    assert_equal(LayerNorm(weight[order], bias[order])(x[:, order]), expected[:, order])
    for number in range(4):
        assert_equal(LayerNorm(weight, bias)(x[number]), expected[number])


def test_layer_norm_and_gelu_are_near_torchs() -> None:
    random = np.random.default_rng(0)
    x = exact.snap(random.standard_normal((20, 200)) * random.uniform(0.1, 30, (20, 1)))
    weight, bias = random.standard_normal((2, 200))
    official = torch.nn.functional.layer_norm(
        *(torch.from_numpy(x), [200], torch.from_numpy(weight), torch.from_numpy(bias)),
        LayerNorm.EPSILON,
    )
    np.testing.assert_allclose(LayerNorm(weight, bias)(x), official, rtol=0, atol=0.01)
    x = np.concatenate([np.linspace(-20, 20, 5001), [-1e30, 1e30, -8.0, 8.0, -0.0]])
    official = torch.nn.functional.gelu(torch.from_numpy(x))
    # Half a step of the argument, where GELU is steepest, and half a step of the table.
    np.testing.assert_allclose(exact.gelu(x), official, rtol=0, atol=1.13 / 2048 + 2**-15)


# What attention gathers


@given(st.integers(0, 1 << 32), st.integers(1, 40), st.booleans())
def test_what_attention_gathers_is_the_same_in_any_order_and_library(
    seed: int, keys: int, hidden: bool
) -> None:
    random = np.random.default_rng(seed)
    scores = random.standard_normal((3, keys)) * 10.0 ** random.integers(-3, 4)
    if hidden:
        scores[:, random.integers(keys, size=keys // 2)] = -np.inf
        scores[:, random.integers(keys)] = 1.0
    scales = 10.0 ** random.uniform(-30, 30, (1, keys))
    values = whole(random, keys, 5)
    expected = exact.softmax_product(scores, values, scales, keys)
    order = random.permutation(keys)
    permuted = exact.softmax_product(scores[:, order], values[order], scales[:, order], keys)
    assert_equal(permuted, expected)
    assert_equal(exact.softmax_product(scores, values.view(Foreign), scales, keys), expected)
    assert_equal(exact.softmax_product(scores, values.astype(np.float64), scales, keys), expected)
    for number in range(3):
        alone = exact.softmax_product(scores[number : number + 1], values, scales, keys)
        assert_equal(alone[0], expected[number])
    if hidden:  # a key that is not seen is as one that is not there
        seen = np.isfinite(scores[0])
        fewer = exact.softmax_product(scores[:, seen], values[seen], scales[:, seen], keys)
        assert_equal(fewer, expected)


def test_what_attention_gathers_is_near_that_of_reals() -> None:
    random = np.random.default_rng(0)
    scores, values = random.standard_normal((9, 60)) * 3, random.standard_normal((60, 25))
    numbers, scales = exact.quantise(values)
    found = exact.softmax_product(scores, numbers, scales.T, 60)
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(found, weights @ values, rtol=0, atol=0.02)


# Frequencies


@st.composite
def logits(draw: st.DrawFn) -> Numbers:
    size = draw(st.sampled_from([2, 3, 7, 16, 64]))
    elements = magnitudes() | st.floats(-30, 30) | st.just(-np.inf)
    x = draw(arrays(np.float64, (draw(st.integers(1, 4)), size), elements=elements))
    x[~np.isfinite(x).any(axis=1)] = 0
    return x


@given(logits())
@settings(max_examples=200, deadline=None)
def test_frequencies_add_up_and_none_is_negative(x: Numbers) -> None:
    counts = exact.frequencies(x)
    assert counts.dtype == np.float32
    assert_equal(np.rint(counts), counts)
    assert counts.min() >= 0
    assert (counts.sum(axis=-1, dtype=np.float64) + x.shape[-1] == TOTAL).all()
    for number, row in enumerate(x):
        assert_equal(exact.frequencies(row), counts[number])
        # Entries that differ by less than a step are as likely; the first gets what is left, which
        # is less than 1 each.
        assert counts[number, row.argmax()] > counts[number].max() - len(row)
        assert (counts[number][np.isneginf(row)] == 0).all()


@pytest.mark.parametrize("size", [1000, 1024, 4096, 65536])
def test_frequencies_of_many_entries(size: int) -> None:
    random = np.random.default_rng(size)
    kinds = np.array([0, 1e-9, 0.1, 3, 1000])
    x = random.standard_normal((5, size)) * kinds[:, np.newaxis]
    counts = exact.frequencies(x)
    assert counts.min() >= 0
    assert (counts.sum(axis=-1, dtype=np.float64) + size == TOTAL).all()
    assert np.ptp(counts[0, 1:]) == 0, "the likeliest first one alone takes what is left"
    # The order of all but the likeliest does not matter.
    order = np.argsort(random.random(size))
    x[np.arange(5), random.integers(size, size=5)] += 20
    for row, expected in zip(x, exact.frequencies(x), strict=True):
        assert_equal(exact.frequencies(row[order]), expected[order])


def test_frequencies_cost_next_to_nothing() -> None:
    """Beside the probabilities that logits stand for."""
    random = np.random.default_rng(0)
    for spread in (0.5, 2, 5):
        x = random.standard_normal((200, 1024)) * spread
        chances = np.exp(x - x.max(axis=-1, keepdims=True))
        chances /= chances.sum(axis=-1, keepdims=True)
        found = (exact.frequencies(x).astype(np.float64) + 1) / TOTAL
        loss = (chances * np.log2(chances / found)).sum(axis=-1)
        assert -1e-9 < loss.mean() < 2e-4


# Tables: what libraries round otherwise is far from where it would matter

ULP = 2.0**-52
"""What a function of a library may be off, of its value: somewhat more than any that is in use
(https://members.loria.fr/PZimmermann/papers/accuracy.pdf)."""


def from_tie(x: Any) -> float:
    """How far a number is from the next one that lies halfway between whole numbers."""
    return float(abs(x - mpmath.floor(x) - mpmath.mpf(1) / 2))


def assert_rounds_alike(found: float, value: Any, off: float) -> float:
    """A table's entry, whole, is `value` rounded, and were so if it was 1000 times `off` away.

    Returns how many times `off` it could be away.
    """
    assert found == int(mpmath.nint(value))
    margin = from_tie(value) / off
    assert margin > 1000
    return margin


def test_powers_round_alike_everywhere() -> None:
    table = exact.powers()
    assert table[-1] == 0 and table[0] == 2**30
    with mpmath.workdps(40):
        margins = []
        for step, found in enumerate(table[:-1].tolist()):
            # The exponent is exact: a whole number of 64ths.
            value = mpmath.mpf(2) ** (30 - mpmath.mpf(step) / 64)
            if step % 64:  # at whole octaves there is nothing to round
                margins.append(assert_rounds_alike(found, value, float(value) * ULP))
            else:
                assert found == value
    assert min(margins) > 10_000


def test_gelu_rounds_alike_everywhere() -> None:
    x = np.arange(-8 * 1024, 8 * 1024 + 1) / 1024
    table = exact.gelu(x) * 2**14
    values = np.array([exact.gelu_value(number) for number in x])
    assert_equal(np.rint(values), table)
    # Of those that floats tell to be far from ties a proof needs no more digits: they are within
    # 1e-6 of the truth.
    near = np.abs(values - np.floor(values) - 0.5) < 1e-3
    assert 5 < near.sum() < 100
    with mpmath.workdps(40):
        for number, found in zip(x[near].tolist(), table[near].tolist(), strict=True):
            # math.erfc's own error, and that of its argument, whose square is in the exponent.
            value = 2**14 * number * mpmath.erfc(-number / mpmath.sqrt(2)) / 2
            off = abs(float(value)) * ULP * (2 + number * number)
            assert_rounds_alike(found, value, off)


def test_turns_round_alike_everywhere() -> None:
    frames, half = 768, WIDTH // 2
    table = exact.turns(frames, WIDTH, PERIOD) / GRID
    rates = [PERIOD ** (i / (half - 1)) for i in range(half)]
    phases = np.arange(frames)[:, np.newaxis] / np.array(rates)
    values = np.concatenate([np.cos(phases), np.sin(phases)], axis=1) / GRID
    assert_equal(np.rint(values), table)
    # Floats are within 1e-8 of the truth, so that no other entry is nearer to a tie than this.
    near = np.argwhere(np.abs(values - np.floor(values) - 0.5) < 1e-4)
    assert 10 < len(near) < 200
    with mpmath.workdps(40):
        for frame, column in near.tolist():
            # The exponent is a float that is the same everywhere, being a quotient.
            rate = mpmath.mpf(PERIOD) ** mpmath.mpf(column % half / (half - 1))
            phase = frame / rate
            value = (mpmath.cos if column < half else mpmath.sin)(phase) / mpmath.mpf(GRID)
            # The power's error turns the phase, by as much of it; then there is the function's.
            off = (float(phase) + 1) * ULP / GRID
            assert_rounds_alike(table[frame, column], value, off)


def test_tables_hold_what_they_say() -> None:
    assert exact.powers()[64] == 2**29
    assert math.isclose(exact.powers()[32], 2**29.5, rel_tol=1e-9)
    assert exact.exponentials(np.array([[0.0, -math.log(2), -np.inf, -50]])).tolist() == [
        [2**30, 2**29, 0, 0]
    ]
