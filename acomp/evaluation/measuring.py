"""Measuring one file in one setting: it is coded, decoded, and compared with what it was."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from acomp.analysis.usage import code_counts, perplexity, utilisation
from acomp.audio import Audio, read_audio, write_audio
from acomp.backends import load
from acomp.batch.processes import as_error
from acomp.errors import AcompError
from acomp.evaluation.alignment import find_delay, moved, same_channels
from acomp.evaluation.coding import NeuralCoder
from acomp.evaluation.content import content_of
from acomp.evaluation.metrics import METRICS, Metric, measure
from acomp.evaluation.metrics.recognition import WORD_ERROR, word_error
from acomp.evaluation.plan import Task
from acomp.evaluation.results import Results
from acomp.evaluation.rows import Row
from acomp.evaluation.settings import Setting
from acomp.evaluation.yardsticks import YARDSTICKS, Coder
from acomp.files import make_folder
from acomp.formats import read_codes
from acomp.settings import Running


def evaluate(task: Task) -> Row:
    """Code one file, decode it, compare the two, and leave all three in the folder of results.

    Raises:
        AcompError: the file cannot be read or coded.
    """
    coder = _coder(task.setting, task.codec, task.weights, task.conditions.running)
    if isinstance(coder, AcompError):
        raise coder
    try:
        return _evaluate(task, coder, Results(task.folder))
    except Exception as failure:
        error = as_error(failure)
        if str(task.path) in str(error):
            raise error from None
        raise AcompError(f"{task.path} in {task.setting.label}: {error}") from failure


@dataclass(frozen=True)
class _Coded:
    """What came of coding a recording.

    Attributes:
        reference: the clean recording, of the channels that are compared.
        decoded: what came back, of the reference's shape and in step with it.
        delay: samples by which it was late, and was moved back.
        encoding: seconds.
        decoding: seconds.
    """

    reference: Audio
    decoded: Audio
    delay: int
    encoding: float
    decoding: float


def _evaluate(task: Task, coder: Coder, results: Results) -> Row:
    audio = read_audio(task.path)
    if audio.length == 0:
        raise AcompError("it holds no samples")
    path = results.coded(task.setting.label, task.file)
    coded = _code(audio, _heard(task, audio), coder, path)
    _save(results.decoded(task.setting.label, task.file), coded.decoded)
    _save(results.reference(task.file), audio)
    asked = task.conditions.content
    content = content_of(audio) if asked == "auto" else asked
    metrics = [_metric(name, task) for name in task.conditions.metrics]
    figures, left_out = measure(coded.reference, coded.decoded, content, metrics)
    codes = None if task.setting.is_yardstick else read_codes(path)
    counts = np.zeros((0, 1), np.int64) if codes is None else code_counts(codes)
    size = path.stat().st_size
    return Row(
        setting=task.setting.label,
        file=task.file,
        codec=task.codec,
        content=content,
        seconds=audio.duration,
        sample_rate=audio.sample_rate,
        channels=coded.reference.channels,
        bytes=size,
        kbps=size * 8 / audio.duration / 1000,
        tokens_per_second=None if codes is None else codes.data.size / audio.duration,
        encode_speed=audio.duration / coded.encoding,
        decode_speed=audio.duration / coded.decoding,
        delay_ms=1000 * coded.delay / audio.sample_rate,
        metrics=figures,
        utilisation=tuple(map(float, utilisation(counts))),
        perplexity=tuple(map(float, perplexity(counts))),
        left_out=left_out,
        key=task.key,
    )


def _metric(name: str, task: Task) -> Metric:
    if name == WORD_ERROR and task.transcript is not None:
        return word_error(transcript=task.transcript)
    return METRICS[name]


def _heard(task: Task, audio: Audio) -> Audio:
    """What is coded: the recording, or its noisy version.

    Raises:
        AcompError: the noisy version is of another rate or length.
    """
    if task.heard == task.path:
        return audio
    heard = read_audio(task.heard)
    if (heard.sample_rate, heard.length) != (audio.sample_rate, audio.length):
        raise AcompError(
            f"its noisy version {task.heard} has {heard.length} samples at {heard.sample_rate} Hz, "
            f"and it has {audio.length} at {audio.sample_rate} Hz"
        )
    return heard


def _code(audio: Audio, heard: Audio, coder: Coder, path: Path) -> _Coded:
    """Code what is heard into a file, decode the file, and put what came back beside the audio."""
    make_folder(path.parent, AcompError)
    encoding = coder.encode(heard, path)
    found, decoding = coder.decode(path, audio.sample_rate)
    reference, found = same_channels(audio, found)
    delay = find_delay(reference, found)
    return _Coded(reference, moved(found, delay, audio.length), delay, encoding, decoding)


@lru_cache(maxsize=1)
def _coder(
    setting: Setting, codec: str, weights: Path | None, running: Running
) -> Coder | AcompError:
    """The coder of a setting, or why there is none, which is then so for all its files."""
    try:
        if setting.is_yardstick:
            return YARDSTICKS[setting.codec].coder(setting.bandwidth or 0)
        if setting.is_exported:
            from acomp.export.running import Exported  # whose packages are those of an extra

            assert weights is not None
            return NeuralCoder(Exported(weights), setting.bandwidth)
        loaded = load(
            codec,
            weights=weights,
            engine=running.engine,
            precision=running.precision,
            device=running.device,
        )
        return NeuralCoder(loaded, setting.bandwidth)
    except AcompError as error:
        return AcompError(f"{setting.label}: {error}")


def _save(path: Path, audio: Audio) -> None:
    make_folder(path.parent, AcompError)
    write_audio(path, audio, subtype="PCM_24")
