"""What to measure: `CODEC@KBPS:WEIGHTS`, `onnx:FOLDER@KBPS`, and yardsticks such as `opus@KBPS`."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import isfinite
from pathlib import Path

from acomp.backends import resolve
from acomp.errors import AcompError
from acomp.evaluation.yardsticks import YARDSTICKS
from acomp.packages import require_packages

PCM = "pcm"
NOISY = "noisy"
"""Label of noisy recordings as they are, in 16-bit PCM."""
ONNX = "onnx:"
"""Begins a setting that is a folder of `acomp export`."""
_FORM = re.compile(r"(?P<codec>[^@:]+)(@(?P<kbps>[^:]+))?(:(?P<weights>.+))?", re.DOTALL)
_FOLDER = re.compile(r"(?P<folder>.+?)(@(?P<kbps>[0-9.]+))?", re.DOTALL)


@dataclass(frozen=True)
class Setting:
    """A codec at a bandwidth, with weights.

    Attributes:
        label: what the user wrote.
        codec: a name that `acomp.load` takes, or that of a yardstick.
        bandwidth: in kbps, of each stream for a codec of acomp, of all channels for a yardstick;
            None is the codec's default.
        weights: file of weights, or the folder of an exported codec; None for the published ones.
        is_exported: whether what codes it is what `acomp export` made of the codec.
        is_noisy: whether what it codes is the noisy version of a recording, which is compared with
            the clean one.
    """

    label: str
    codec: str
    bandwidth: float | None
    weights: Path | None
    is_exported: bool = False
    is_noisy: bool = False

    @property
    def is_yardstick(self) -> bool:
        """Whether what codes it is no codec of acomp's."""
        return self.codec in YARDSTICKS


def parse_setting(label: str) -> Setting:
    """Read `encodec-24khz@6`, `nano`, `nano@3:runs/x/best.safetensors`, `onnx:out@6`, `opus@12`.

    Raises:
        AcompError: it is none of these.
    """
    if label.startswith(ONNX):
        return _exported(label)
    found = _FORM.fullmatch(label)
    if found is None:
        raise AcompError(f"{label!r} is no setting; write CODEC@KBPS, as in nano@6")
    codec, weights = found["codec"], found["weights"]
    path = Path(weights) if weights else None
    setting = Setting(in_text(label), codec, _kbps(label, found["kbps"]), path)
    if not setting.is_yardstick:
        resolve(codec)
    elif weights:
        raise AcompError(f"{label}: {codec} has no weights")
    else:
        YARDSTICKS[codec].check(label, setting.bandwidth)
    return setting


def _exported(label: str) -> Setting:
    found = _FOLDER.fullmatch(label.removeprefix(ONNX))
    if found is None:
        raise AcompError(f"{label!r} is no setting; write onnx:FOLDER@KBPS")
    require_packages(label, "onnx", "onnxruntime", extra="export")
    from acomp.export.running import spec_of

    folder, kbps = Path(found["folder"]), _kbps(label, found["kbps"])
    spec = spec_of(folder)
    if kbps is not None and kbps not in spec.bandwidths:
        offered = " and ".join(f"{each:g}" for each in spec.bandwidths)
        raise AcompError(
            f"{label}: {spec.name} was exported for {offered} kbps; export it with -k {kbps:g}"
        )
    return Setting(in_text(label), spec.name, kbps, folder, is_exported=True)


def with_noisy(settings: Sequence[Setting]) -> list[Setting]:
    """Settings, what is noisy uncoded, and each codec once more, as it codes what is noisy."""
    coded = [
        replace(each, label=f"{each.label}+noise", is_noisy=True)
        for each in settings
        if not each.is_yardstick
    ]
    return [*settings, Setting(NOISY, PCM, None, None, is_noisy=True), *coded]


def short_labels(labels: Sequence[str], width: int) -> dict[str, str]:
    """Short forms of labels, each of at most `width` characters and no two the same.

    Labels that fit stay as they are. The others keep the beginning of the codec's name, and the
    bandwidth: soun@3.2, and enco@6~2 where there is an enco@6 already.
    """
    width = max(width, 6)
    short = {label: label for label in labels if len(label) <= width}
    for label in labels:
        if label in short:
            continue
        name, at, rest = label.partition("@")
        bandwidth = at + rest.partition(":")[0]
        for number in count(1):
            mark = "" if number == 1 else f"~{number}"
            kept = name[: max(1, width - len(bandwidth) - len(mark))]
            candidate = f"{kept}{bandwidth}"[: width - len(mark)] + mark
            if candidate not in short.values():
                short[label] = candidate
                break
    return short


def in_text(name: str) -> str:
    r"""A name from the file system as text in UTF-8; bytes that are none are written as `\xe9`."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _kbps(label: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        kbps = float(text)
    except ValueError:
        kbps = float("nan")
    if not (isfinite(kbps) and kbps > 0):
        raise AcompError(f"{label}: {text!r} is no bandwidth in kbps")
    return kbps
