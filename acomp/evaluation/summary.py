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
from acomp.evaluation.confidence import interval
from acomp.evaluation.metrics import METRICS, Metric
from acomp.evaluation.results import Results
from acomp.evaluation.rows import Row
from acomp.formats import read_codes

NOT_MEASURED = "not measured"
"""Why a metric is left out of a file that was measured without it, as by an older acomp."""


@dataclass(frozen=True)
class Figure:
    """A metric over the files to which it applies.

    Attributes:
        mean: over the files.
        deviation: standard deviation over the files; None for a single one.
        interval: ends of the mean's 95 % interval, by a bootstrap over the files; None for fewer
            than five.
        files: how many they are.
    """

    mean: float
    deviation: float | None
    interval: tuple[float, float] | None
    files: int


@dataclass(frozen=True)
class Codebook:
    """The use of one codebook over all files.

    Attributes:
        utilisation: share of its entries that were used.
        perplexity: two to the entropy of its codes in bits.
    """

    utilisation: float
    perplexity: float


@dataclass(frozen=True)
class Summary:
    """One setting over its files.

    Attributes:
        setting: as the user wrote it.
        codec: of its first file.
        files: how many.
        seconds: of all of them.
        kbps: bits of all coded files over their seconds.
        tokens_per_second: codes of all files over their seconds; None where there are none.
        encode_speed: times real time, over all files.
        decode_speed: times real time, over all files.
        metrics: by their names, those that any file has.
        left_out: for each metric that was left out, the reasons and how many files each.
        codebooks: of each codec that the setting stands for: two for `encodec`, none for a
            yardstick.
    """

    setting: str
    codec: str
    files: int
    seconds: float
    kbps: float
    tokens_per_second: float | None
    encode_speed: float
    decode_speed: float
    metrics: dict[str, Figure]
    left_out: dict[str, dict[str, int]]
    codebooks: dict[str, list[Codebook]]

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


Counts = Mapping[str, NDArray[np.int64]]
"""How often the files of a setting used each entry of each codec: `[codebooks, size]`."""


def summarise(results: Results, usage: Mapping[str, Counts]) -> list[Summary]:
    """The figures of each setting over its files, in order; `usage` is `count_usage(results)`."""
    by_setting: dict[str, list[Row]] = {name: [] for name in results.settings}
    for row in results.rows:
        by_setting[row.setting].append(row)
    metrics = results.metrics
    return [_summary(rows, usage[setting], metrics) for setting, rows in by_setting.items()]


def as_dict(summaries: Sequence[Summary]) -> dict[str, object]:
    """What summary.json holds."""
    return {"acomp": __version__, "settings": [asdict(each) for each in summaries]}


def count_usage(results: Results) -> dict[str, Counts]:
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
    found: dict[str, list[str]] = {}
    for each in summaries:
        for metric, reasons in each.left_out.items():
            for reason, files in reasons.items():
                label = METRICS[metric].label if metric in METRICS else metric
                what = f"{label} left out of {files} of {each.files} files: {reason}"
                found.setdefault(what, []).append(each.setting)
    for what, settings in found.items():
        yield what if len(settings) == len(summaries) else f"{what} ({', '.join(settings)})"


def _summary(rows: list[Row], usage: Counts, metrics: Sequence[Metric]) -> Summary:
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
        metrics=_figures(rows, metrics),
        left_out=_left_out(rows, metrics),
        codebooks={codec: _codebooks(counts) for codec, counts in usage.items()},
    )


def _codebooks(counts: NDArray[np.int64]) -> list[Codebook]:
    figures = zip(utilisation(counts), perplexity(counts), strict=True)
    return [Codebook(float(share), float(hard)) for share, hard in figures]


def _figures(rows: list[Row], metrics: Sequence[Metric]) -> dict[str, Figure]:
    found = {}
    for metric in metrics:
        values = [row.metrics[metric.name] for row in rows if metric.name in row.metrics]
        if values:
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
            found[metric.name] = Figure(
                float(np.mean(values)), deviation, interval(values), len(values)
            )
    return found


def _left_out(rows: list[Row], metrics: Sequence[Metric]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for row in rows:
        missing = [metric.name for metric in metrics if metric.name not in row.metrics]
        for metric, why in {**dict.fromkeys(missing, NOT_MEASURED), **row.left_out}.items():
            found.setdefault(metric, Counter())[why] += 1
    return {metric: dict(reasons) for metric, reasons in found.items()}
