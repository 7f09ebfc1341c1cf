"""The figures of each setting over its files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from acomp import __version__
from acomp.analysis.usage import code_counts, perplexity, utilisation
from acomp.errors import AcompError
from acomp.evaluation.results import METRICS, Results, Row
from acomp.formats import read_codes


@dataclass(frozen=True)
class Figure:
    """A metric over the files to which it applies."""

    mean: float
    deviation: float | None
    """Standard deviation over the files; None for a single one."""
    files: int


@dataclass(frozen=True)
class Codebook:
    """The use of one codebook over all files."""

    utilisation: float
    """Share of its entries that were used."""
    perplexity: float


@dataclass(frozen=True)
class Summary:
    """One setting over its files."""

    setting: str
    codec: str
    files: int
    seconds: float
    kbps: float
    """Bits of all coded files over their seconds."""
    tokens_per_second: float | None
    encode_speed: float
    """Times real time, over all files."""
    decode_speed: float
    metrics: dict[str, Figure]
    left_out: dict[str, dict[str, int]]
    """For each metric that was left out, the reasons and how many files each."""
    codebooks: dict[str, list[Codebook]]
    """Of each codec that the setting stands for: two for `encodec`, none for a yardstick."""

    @property
    def use(self) -> Codebook | None:
        """The means over all codebooks; None where there are none."""
        books = [book for found in self.codebooks.values() for book in found]
        if not books:
            return None
        return Codebook(
            float(np.mean([book.utilisation for book in books])),
            float(np.mean([book.perplexity for book in books])),
        )


Usage = Mapping[str, NDArray[np.int64]]
"""How often the files of a setting used each entry of each codec: `[codebooks, size]`."""


def summarise(results: Results, usage: Mapping[str, Usage]) -> list[Summary]:
    """The figures of each setting over its files, in order; `usage` is `count_usage(results)`."""
    by_setting: dict[str, list[Row]] = {name: [] for name in results.settings}
    for row in results.rows:
        by_setting[row.setting].append(row)
    return [_summary(rows, usage[setting]) for setting, rows in by_setting.items()]


def as_dict(summaries: Sequence[Summary]) -> dict[str, object]:
    """What summary.json holds."""
    return {"acomp": __version__, "settings": [asdict(each) for each in summaries]}


def count_usage(results: Results) -> dict[str, Usage]:
    """The usage of each setting, which takes reading all files of codes.

    Raises:
        AcompError: a file of codes is missing or damaged.
    """
    usage: dict[str, dict[str, NDArray[np.int64]]] = {name: {} for name in results.settings}
    for row in results.rows:
        if row.tokens_per_second is not None:
            counts = code_counts(read_codes(results.coded(row.setting, row.file)))
            of_setting = usage[row.setting]
            before = of_setting.get(row.codec, np.zeros_like(counts))
            if before.shape != counts.shape:
                raise AcompError(
                    f"{results.coded(row.setting, row.file)} has other codebooks than the other "
                    f"files of {row.setting}"
                )
            of_setting[row.codec] = counts + before
    return dict(usage)


def left_out(summaries: Sequence[Summary]) -> Iterator[str]:
    """A line for each metric and reason why it was left out of some files."""
    labels = {metric.name: metric.label for metric in METRICS}
    found: dict[str, list[str]] = {}
    for each in summaries:
        for metric, reasons in each.left_out.items():
            for reason, files in reasons.items():
                what = f"{labels[metric]} left out of {files} of {each.files} files: {reason}"
                found.setdefault(what, []).append(each.setting)
    for what, settings in found.items():
        yield what if len(settings) == len(summaries) else f"{what} ({', '.join(settings)})"


def _summary(rows: list[Row], usage: Usage) -> Summary:
    seconds = np.array([row.seconds for row in rows])
    total = float(seconds.sum())
    tokens = [row.tokens_per_second * row.seconds for row in rows if row.tokens_per_second]
    return Summary(
        setting=rows[0].setting,
        codec=rows[0].codec,
        files=len(rows),
        seconds=total,
        kbps=sum(row.bytes for row in rows) * 8 / total / 1000,
        tokens_per_second=sum(tokens) / total if tokens else None,
        encode_speed=total / float(sum(seconds / [row.encode_speed for row in rows])),
        decode_speed=total / float(sum(seconds / [row.decode_speed for row in rows])),
        metrics=_figures(rows),
        left_out=_left_out(rows),
        codebooks={codec: _codebooks(counts) for codec, counts in usage.items()},
    )


def _codebooks(counts: NDArray[np.int64]) -> list[Codebook]:
    figures = zip(utilisation(counts), perplexity(counts), strict=True)
    return [Codebook(float(share), float(hard)) for share, hard in figures]


def _figures(rows: list[Row]) -> dict[str, Figure]:
    found = {}
    for metric in METRICS:
        values = [value for row in rows if (value := getattr(row, metric.name)) is not None]
        if values:
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
            found[metric.name] = Figure(float(np.mean(values)), deviation, len(values))
    return found


def _left_out(rows: list[Row]) -> dict[str, dict[str, int]]:
    reasons = Counter(reason for row in rows for reason in row.left_out)
    found: dict[str, dict[str, int]] = {}
    for reason, files in reasons.items():
        metric, _, why = reason.partition(": ")
        found.setdefault(metric, {})[why] = files
    return found
