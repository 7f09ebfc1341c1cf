"""Statistics of codebooks and of codes, each beside a plainer computation of the same."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from codes_samples import Pipe, all_codes, encodec_24khz, to_bytes
from hypothesis import given, strategies as st
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from scipy.stats import entropy as scipy_entropy

import acomp
from acomp.analysis.codebooks import codebook_statistics, nearest_distances, projection
from acomp.analysis.usage import (
    code_counts,
    count_codes,
    entropy,
    perplexity,
    usage_statistics,
    utilisation,
)
from acomp.backends.base import Codec
from acomp.codes import Codes
from acomp.errors import AcompError, CodecError, FormatError
from acomp.formats import write_codes


@pytest.fixture(scope="module")
def nano() -> Codec:
    return acomp.load("nano-1")


def nano_codes(nano: Codec, codebooks: int = 3, frames: int = 50, seed: int = 0) -> Codes:
    info = replace(
        encodec_24khz().info, codec="nano-1", codebooks=codebooks, fingerprint=nano.fingerprint
    )
    random = np.random.default_rng(seed)
    data = random.integers(0, 1024, (1, codebooks, frames), np.uint16)
    return Codes(info, data, frames * 320)


def gaussian(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal(shape) * np.linspace(3, 0.1, shape[-1])


# codes


@given(all_codes())
def test_counts_are_those_of_each_code(codes: Codes) -> None:
    counts = code_counts(codes)
    assert counts.shape == (codes.info.codebooks, codes.info.codebook_size)
    for level, found in enumerate(counts):
        values, times = np.unique(codes.data[:, level], return_counts=True)
        np.testing.assert_array_equal(np.flatnonzero(found), values)
        np.testing.assert_array_equal(found[values], times)


def test_uniform_constant_and_no_codes() -> None:
    counts = np.zeros((3, 64), np.int64)
    counts[0] = 7
    counts[1, 5] = 100
    np.testing.assert_allclose(perplexity(counts), [64, 1, 0])
    np.testing.assert_allclose(entropy(counts), [6, 0, 0])
    np.testing.assert_allclose(utilisation(counts), [1, 1 / 64, 0])
    assert not np.signbit(entropy(counts)).any()


@given(st.lists(st.integers(0, 10**9), min_size=2, max_size=40).filter(any))
def test_perplexity_is_between_one_and_the_used_entries(times: list[int]) -> None:
    counts = np.array([times])
    [found] = perplexity(counts)
    assert 1 - 1e-9 <= found <= np.count_nonzero(counts) * (1 + 1e-9)
    assert found == pytest.approx(np.exp(scipy_entropy(times)))


def test_usage_statistics_know_nothing_without_codes() -> None:
    counts = np.array([[1, 1, 1, 1], [8, 0, 0, 0], [0, 0, 0, 0]])
    assert usage_statistics(counts) == [
        {"codes": 4, "utilisation": 1, "perplexity": 4, "entropy_bits": 2},
        {"codes": 8, "utilisation": 0.25, "perplexity": 1, "entropy_bits": 0},
        {"codes": 0, "utilisation": None, "perplexity": None, "entropy_bits": None},
    ]


# files of codes


def test_files_are_counted_together(tmp_path: Path, nano: Codec) -> None:
    long, short = nano_codes(nano, 3, 20_000), nano_codes(nano, 2, 40, seed=1)
    names = [str(tmp_path / name) for name in ("a.nac", "b.txt")]
    write_codes(names[0], long)
    write_codes(names[1], short)
    usage = count_codes([*names, Pipe(to_bytes(short, "npz"))], lambda _: nano)
    assert (usage.codec, usage.files, usage.frames) == ("nano-1", 3, 20_080)
    assert usage.counts.shape == (16, 1024)
    expected = np.zeros((16, 1024), np.int64)
    expected[:3] += code_counts(long)
    expected[:2] += 2 * code_counts(short)
    np.testing.assert_array_equal(usage.counts, expected)


def test_more_files_than_can_be_open_at_once(tmp_path: Path, nano: Codec) -> None:
    codes = nano_codes(nano, 2, 5)
    write_codes(tmp_path / "0.nac", codes)
    for number in range(1, 1500):
        shutil.copy(tmp_path / "0.nac", tmp_path / f"{number}.nac")
    usage = count_codes(map(str, sorted(tmp_path.iterdir())), lambda _: nano)
    assert (usage.files, usage.frames) == (1500, 7500)
    np.testing.assert_array_equal(usage.counts[:2], 1500 * code_counts(codes))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"codec": "encodec-24khz"}, "codes of encodec-24khz, not of nano-1"),
        ({"fingerprint": "0" * 16}, "weights 0000000000000000"),
        ({"codebook_size": 2048}, "shape"),
        ({"codebooks": 17}, "shape"),
    ],
)
def test_codes_that_do_not_fit(
    tmp_path: Path, nano: Codec, change: dict[str, object], said: str
) -> None:
    good = nano_codes(nano, 17)
    info = replace(good.info, **{"codebooks": 3, **change})  # type: ignore[arg-type]
    write_codes(tmp_path / "a.nac", nano_codes(nano))
    write_codes(tmp_path / "b.nac", Codes(info, good.data[:, : info.codebooks], good.length))
    with pytest.raises(CodecError, match=f"b.nac: .*{said}"):
        count_codes(map(str, sorted(tmp_path.iterdir())), lambda _: nano)


def test_codes_of_unknown_weights_fit(nano: Codec) -> None:
    codes = nano_codes(nano)
    codes = replace(codes, info=replace(codes.info, fingerprint=None))
    assert count_codes([Pipe(to_bytes(codes))], lambda _: nano).frames == 50


def test_nothing_to_count(nano: Codec) -> None:
    empty = Pipe(to_bytes(nano_codes(nano, frames=0)))
    for sources in ([], [empty]):
        with pytest.raises(AcompError, match="not a single frame"):
            count_codes(sources, lambda _: nano)


def test_a_damaged_file_is_named(tmp_path: Path, nano: Codec) -> None:
    content = to_bytes(nano_codes(nano, 3, 9000))
    (tmp_path / "a.nac").write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match=r"a\.nac"):
        count_codes([str(tmp_path / "a.nac")], lambda _: nano)


# codebooks


@pytest.mark.parametrize("shape", [(2, 1), (50, 1), (300, 8), (16, 64)])
def test_nearest_distances_are_those_of_all_pairs(shape: tuple[int, int]) -> None:
    book = gaussian(*shape)
    pairs = cdist(book, book)
    np.fill_diagonal(pairs, np.inf)
    np.testing.assert_allclose(nearest_distances(book), pairs.min(axis=1), rtol=1e-6)
    [found] = codebook_statistics(book[None].astype(np.float32))
    assert found["nearest_min"] == pytest.approx(pairs.min(), rel=1e-4)
    assert found["nearest_mean"] == pytest.approx(pairs.min(axis=1).mean(), rel=1e-4)


def test_equal_entries_have_no_distance() -> None:
    book = gaussian(20, 8)
    book[7] = book[3]
    assert set(np.flatnonzero(nearest_distances(book) < 1e-6)) == {3, 7}


@pytest.mark.parametrize("shape", [(50, 2), (300, 8), (16, 64)])
def test_the_projection_is_that_of_the_covariance(shape: tuple[int, int]) -> None:
    book = 5 + gaussian(*shape)
    variances, axes = np.linalg.eigh(np.cov(book.T, ddof=0))
    points, share = projection(book)
    np.testing.assert_allclose(share, variances[:-3:-1] / variances.sum())
    expected = (book - book.mean(axis=0)) @ axes[:, :-3:-1]
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-9)
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=1e-12)


def test_the_projection_does_not_hang_on_the_order_of_the_entries() -> None:
    book = gaussian(40, 6)
    order = np.random.default_rng(1).permutation(40)
    np.testing.assert_allclose(projection(book[order])[0], projection(book)[0][order], atol=1e-9)


def test_projections_of_lines_and_points() -> None:
    line, share = projection(gaussian(30, 1))
    np.testing.assert_allclose(share, [1, 0])
    assert line[:, 0].std() > 0 and not line[:, 1].any()
    point, share = projection(np.full((30, 5), 1.1))
    assert not point.any() and not share.any()
