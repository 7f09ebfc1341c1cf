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

from acomp.training.record.record import Record, write_samples
from acomp.training.record.table import Row, read_metrics, read_rows

__all__ = ["Record", "Row", "read_metrics", "read_rows", "write_samples"]
