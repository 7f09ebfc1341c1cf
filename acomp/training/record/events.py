"""Files of events, which TensorBoard reads."""

from __future__ import annotations

import io
import time
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from acomp.audio.samples import Samples
from acomp.errors import TrainingError
from acomp.files import make_folder, reason_of
from acomp.quiet import quiet
from acomp.training.record.curves import is_validation
from acomp.training.record.table import Row


def has_tensorboard() -> bool:
    """Whether the package is installed; a mere folder of that name, as runs have, is none."""
    spec = find_spec("tensorboard")
    return spec is not None and spec.origin is not None


class Events:
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
        make_folder(folder, TrainingError)
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


def _unwritable(path: Path, failure: OSError) -> TrainingError:
    return TrainingError(f"cannot write {path}: {reason_of(failure)}")
