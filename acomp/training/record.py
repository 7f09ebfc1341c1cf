"""What a run leaves for its user to look at and listen to, beside its weights.

    metrics.csv               every figure of training and validation
    losses.png, metrics.png   the same as pictures
    samples/1-original.wav    audio of the validation set, and what became of it
    samples/1-nano@6.wav
    tensorboard/              figures and audio for TensorBoard, where that is installed

metrics.csv is in long form: a line for each figure, `step,seconds,name,value`. Different figures
are known at different steps, which in a line for each step would leave most cells empty, and a
figure that is new needs no new column. As a table of a column each, in pandas:

    pd.read_csv("metrics.csv").pivot_table(index="step", columns="name", values="value")
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from acomp.audio import Audio, write_audio
from acomp.audio.samples import Samples
from acomp.errors import TrainingError
from acomp.files import Closing, atomic_write, reason_of
from acomp.quiet import quiet
from acomp.training.curves import is_validation, plot_losses, plot_metrics

TABLE = "metrics.csv"
LOSSES, METRICS = "losses.png", "metrics.png"
SAMPLES = "samples"
EVENTS = "tensorboard"


class Row(NamedTuple):
    """A line of metrics.csv."""

    step: int
    """Steps of gradient descent done; 0 is before the first."""
    seconds: float
    """Since training began; when it was interrupted, without the time between."""
    name: str
    value: float


class Record(Closing):
    """The figures, pictures and audio of a run: a context manager.

    What an earlier session wrote of later steps than `step` is dropped: those steps are done again.
    With `step` 0 nothing is kept.

    Args:
        folder: of the run, which is there.
        step: the one after which training begins or goes on.

    Raises:
        TrainingError: the table of an earlier session is damaged, files cannot be written, or
            TensorBoard is installed but does not work.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self._folder = folder
        self._table = folder / TABLE
        kept: list[Row] = []
        if step and self._table.exists():
            kept = [row for row in read_rows(self._table) if row.step <= step]
        with atomic_write(self._table, TrainingError) as file:
            file.write(_lines([Row._fields, *kept]))
        self._seconds_before = kept[-1].seconds if kept else 0.0
        self._opened = time.monotonic()
        self._events: _Events | None = None
        if _has_tensorboard():
            self._events = _Events(folder / EVENTS, step)

    @property
    def has_tensorboard(self) -> bool:
        """Whether TensorBoard is installed, and so is written for."""
        return self._events is not None

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Add figures of a step; when this returns they are in the files.

        Names of validation metrics are `validation`, the one that decides which weights are best
        (less is better), and `METRIC@KBPS`, such as `si_sdr@6`.

        Raises:
            TrainingError: they cannot be written; the table is left as it was.
        """
        seconds = round(self._seconds_before + time.monotonic() - self._opened, 3)
        rows = [Row(step, seconds, name, float(value)) for name, value in values.items()]
        _append(self._table, _lines(rows))
        if self._events is not None:
            self._events.add_scalars(rows)

    def add_samples(
        self,
        step: int,
        sample_rate: int,
        originals: Sequence[Samples],
        decoded: Mapping[str, Sequence[Samples]],
    ) -> None:
        """Write audio as `write_samples`, in place of that of earlier steps.

        TensorBoard gets the first clip alone, because its files keep every step's.

        Raises:
            AcompError: as `write_samples`.
        """
        write_samples(self._folder / SAMPLES, sample_rate, originals, decoded)
        if self._events is not None:
            first = {
                "original": originals[0],
                **{name: clips[0] for name, clips in decoded.items()},
            }
            self._events.add_audio(step, sample_rate, first)

    def draw(self) -> None:
        """Draw the figures so far, as losses.png and metrics.png.

        Raises:
            TrainingError: the pictures cannot be written.
        """
        metrics = read_metrics(self._table)
        plot_losses(metrics, self._folder / LOSSES)
        plot_metrics(metrics, self._folder / METRICS)

    def close(self) -> None:
        if self._events is not None:
            self._events.close()


def read_metrics(table: Path) -> dict[str, list[tuple[int, float]]]:
    """Every figure of a metrics.csv: its steps and values, in the order they were written.

    Raises:
        TrainingError: as `read_rows`.
    """
    metrics: dict[str, list[tuple[int, float]]] = {}
    for row in read_rows(table):
        metrics.setdefault(row.name, []).append((row.step, row.value))
    return metrics


def read_rows(table: Path) -> list[Row]:
    """The whole lines of a metrics.csv; a last one that a killed run left cut is passed over.

    Raises:
        TrainingError: it cannot be read, or another line is none of such a table.
    """
    try:
        text = table.read_text("utf-8")
    except OSError as error:
        raise TrainingError(f"cannot read {table}: {reason_of(error)}") from error
    except UnicodeDecodeError as error:
        raise TrainingError(f"{table} is not text in UTF-8: remove it") from error
    whole = text[: text.rfind("\n") + 1]
    lines = csv.reader(io.StringIO(whole), strict=True)
    if whole and tuple(next(lines)) != Row._fields:
        raise TrainingError(f"{table} has other columns than {','.join(Row._fields)}: remove it")
    try:
        return [
            Row(int(step), float(seconds), name, float(value))
            for step, seconds, name, value in lines
        ]
    except (ValueError, csv.Error) as error:
        raise TrainingError(
            f"{table}, line {lines.line_num} is damaged: correct or remove it"
        ) from error


def write_samples(
    folder: Path,
    sample_rate: int,
    originals: Sequence[Samples],
    decoded: Mapping[str, Sequence[Samples]],
) -> None:
    """Write clips as WAV of 24 bits: `1-original.wav`, `1-nano@6.wav` and so on.

    Args:
        folder: made if it is not there.
        sample_rate: in Hz.
        originals: clips `[channels, time]`.
        decoded: what became of each of them, by setting, such as `nano@6`.

    Raises:
        AcompError: a file cannot be written, or samples are not finite.
    """
    _make_folder(folder)
    for name, clips in {"original": originals, **decoded}.items():
        for number, samples in enumerate(clips, 1):
            audio = Audio(samples, sample_rate)
            write_audio(folder / f"{number}-{name}.wav", audio, subtype="PCM_24")


def _has_tensorboard() -> bool:
    """Whether the package is installed; a mere folder of that name, as runs have, is none."""
    spec = find_spec("tensorboard")
    return spec is not None and spec.origin is not None


class _Events:
    """A file of events for TensorBoard.

    It is written with what tensorboard itself is made of, and not by torch's SummaryWriter: that
    one imports TensorFlow where there is one, and writes in a thread, where a full disk is noticed
    late and with a traceback.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            with quiet():
                from tensorboard.compat.proto.event_pb2 import Event, SessionLog
                from tensorboard.compat.proto.summary_pb2 import Summary
                from tensorboard.summary.writer.record_writer import RecordWriter
        except Exception as error:  # a protobuf that does not fit raises TypeError, among others
            raise TrainingError(
                f"tensorboard is installed but cannot be imported ({' '.join(str(error).split())}):"
                " repair it, or uninstall it"
            ) from error
        self._event, self._summary = Event, Summary
        _make_folder(folder)
        # TensorBoard reads files that have `tfevents` in their names, in the names' order.
        self._path = folder / f"events.out.tfevents.{time.time_ns()}"
        try:
            self._file = self._path.open("xb")
        except OSError as failure:
            raise _unwritable(self._path, failure) from failure
        self._writer = RecordWriter(self._file)
        # From version 2 on, the start of a session tells which events of earlier ones are void:
        # those of its own step and later.
        start = SessionLog(status=SessionLog.START)
        self._write(
            [
                Event(wall_time=time.time(), file_version="brain.Event:2"),
                Event(wall_time=time.time(), step=step + 1 if step else 0, session_log=start),
            ]
        )

    def add_scalars(self, rows: Iterable[Row]) -> None:
        self._write(
            self._of_step(row.step, tag=_tag(row.name), simple_value=row.value) for row in rows
        )

    def add_audio(self, step: int, sample_rate: int, clips: Mapping[str, Samples]) -> None:
        """Add clips `[channels, time]`, as WAV of 16 bits."""
        import soundfile

        events = []
        for name, samples in clips.items():
            content = io.BytesIO()
            soundfile.write(content, samples.T, sample_rate, format="WAV", subtype="PCM_16")
            audio = self._summary.Audio(
                sample_rate=sample_rate,
                num_channels=samples.shape[0],
                length_frames=samples.shape[1],
                encoded_audio_string=content.getvalue(),
                content_type="audio/wav",
            )
            events.append(self._of_step(step, tag=f"samples/{name}", audio=audio))
        self._write(events)

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as failure:
            raise _unwritable(self._path, failure) from failure

    def _of_step(self, step: int, **value: Any) -> Any:
        summary = self._summary(value=[self._summary.Value(**value)])
        return self._event(wall_time=time.time(), step=step, summary=summary)

    def _write(self, events: Iterable[Any]) -> None:
        try:
            for event in events:
                self._writer.write(event.SerializeToString())
            self._writer.flush()
        except OSError as failure:
            raise _unwritable(self._path, failure) from failure


def _tag(name: str) -> str:
    """TensorBoard groups what has the same name before a slash."""
    return f"{'validation' if is_validation(name) else 'training'}/{name}"


def _lines(rows: Iterable[Sequence[object]]) -> bytes:
    """Lines of CSV; floats are written so that they are read back the same."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _append(path: Path, data: bytes) -> None:
    """Append all of `data` to a file, or nothing.

    Raises:
        TrainingError: it cannot be written.
    """
    try:
        with path.open("ab", buffering=0) as file:
            size = file.tell()
            rest = memoryview(data)
            try:
                while rest:  # a disk that is nearly full takes a part
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(size)
                raise
    except OSError as failure:
        raise _unwritable(path, failure) from failure


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as failure:
        raise TrainingError(f"cannot make the folder {folder}: {reason_of(failure)}") from failure


def _unwritable(path: Path, failure: OSError) -> TrainingError:
    return TrainingError(f"cannot write {path}: {reason_of(failure)}")
