"""The figures, pictures and audio of a run, written as it goes."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from acomp.audio import Audio, write_audio
from acomp.audio.samples import Samples
from acomp.errors import TrainingError
from acomp.files import Closing, append, atomic_write, make_folder
from acomp.tables import csv_lines
from acomp.training.record.curves import plot_losses, plot_metrics
from acomp.training.record.events import Events, has_tensorboard
from acomp.training.record.table import Row, read_metrics, read_rows

TABLE = "metrics.csv"
LOSSES, METRICS = "losses.png", "metrics.png"
SAMPLES = "samples"
EVENTS = "tensorboard"


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
            file.write(csv_lines([Row._fields, *kept]))
        self._seconds_before = kept[-1].seconds if kept else 0.0
        self._opened = time.monotonic()
        self._events: Events | None = None
        if has_tensorboard():
            self._events = Events(folder / EVENTS, step)

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
        append(self._table, csv_lines(rows), TrainingError)
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
    make_folder(folder, TrainingError)
    for name, clips in {"original": originals, **decoded}.items():
        for number, samples in enumerate(clips, 1):
            audio = Audio(samples, sample_rate)
            write_audio(folder / f"{number}-{name}.wav", audio, subtype="PCM_24")
