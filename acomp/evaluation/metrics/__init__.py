"""The metrics of `acomp eval`, a record each, and measuring with them.

A new metric is a record beside its like in one of the files here. Each compares two recordings of
the same rate, channels and length that are in step (see evaluation/alignment.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import isfinite

from acomp.audio import Audio
from acomp.errors import AcompError, did_you_mean
from acomp.evaluation.metrics import ears, recognition, spectra, speech, waveform
from acomp.evaluation.metrics.record import NOT_INSTALLED, DoesNotApply, Method, Metric

__all__ = [
    "METRICS",
    "NOT_INSTALLED",
    "DoesNotApply",
    "Method",
    "Metric",
    "choose",
    "fast",
    "measure",
    "packages",
]

_KINDS = (waveform, speech, ears, recognition, spectra)
METRICS: dict[str, Metric] = {metric.name: metric for kind in _KINDS for metric in kind.METRICS}
"""All metrics by their names, in the order in which they are shown."""


def fast() -> list[Metric]:
    """The metrics that are measured unless others are asked for."""
    return [metric for metric in METRICS.values() if metric.method.cost == "fast"]


def choose(names: str) -> list[Metric]:
    """The metrics that `--metrics` names, with commas between the names; `fast` stands for those
    that are measured by default, and `full` for all.

    Raises:
        AcompError: there is no metric of a name.
    """
    groups = {"fast": fast(), "full": list(METRICS.values())}
    asked: list[Metric] = []
    for name in map(str.strip, names.split(",")):
        if name not in groups and name not in METRICS:
            raise AcompError(
                f"there is no metric {name!r}{did_you_mean(name, [*groups, *METRICS])}"
            )
        asked += groups.get(name) or [METRICS[name]]
    return [metric for metric in METRICS.values() if metric in asked]


def packages(metrics: Iterable[Metric]) -> dict[str, list[str]]:
    """The modules that metrics need, each once, by the extra of acomp that brings them."""
    found: dict[str, list[str]] = {}
    for metric in metrics:
        of_extra = found.setdefault(metric.method.extra, [])
        of_extra += [module for module in metric.method.packages if module not in of_extra]
    return found


def measure(
    reference: Audio, decoded: Audio, content: str, metrics: Iterable[Metric] | None = None
) -> tuple[dict[str, float], dict[str, str]]:
    """Every metric that applies to a recording.

    Args:
        reference: the audio that was coded.
        decoded: what came back, of the same rate, channels and length, and in step.
        content: speech or other; some metrics are for speech only.
        metrics: what to measure; by default the fast ones.

    Returns:
        The figures by the names of their metrics; and of the metrics that were left out the
        reasons, such as `not speech`, by their names.
    """
    by_method: dict[Method, list[Metric]] = {}
    for metric in fast() if metrics is None else metrics:
        by_method.setdefault(metric.method, []).append(metric)
    figures: dict[str, float] = {}
    left_out: dict[str, str] = {}
    with _one_thread():
        for method, members in by_method.items():
            try:
                _refuse(method, content)
                found = method.figures(reference, decoded)
            except DoesNotApply as reason:
                left_out |= dict.fromkeys((metric.name for metric in members), _one_reason(reason))
                continue
            for metric in members:
                figure = metric.among(found)
                if isfinite(figure):
                    figures[metric.name] = figure
                else:
                    left_out[metric.name] = "it has no finite value"
    return figures, left_out


def _refuse(method: Method, content: str) -> None:
    """Raise DoesNotApply where there is no use in listening."""
    if not method.is_installed:
        raise DoesNotApply(NOT_INSTALLED)
    if method.content == "speech" and content != "speech":
        raise DoesNotApply("not speech")


def _one_reason(reason: DoesNotApply) -> str:
    """The reason as results.csv can hold it: reasons are in one line there, with "; " between."""
    return " ".join(str(reason).split()).replace("; ", ", ")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, so that figures do not depend on the number of threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
