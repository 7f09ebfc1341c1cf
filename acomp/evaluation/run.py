"""The evaluation itself: what is done already, and doing the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from acomp.batch.processes import each
from acomp.errors import AcompError
from acomp.evaluation.measuring import evaluate
from acomp.evaluation.metrics import METRICS, NOT_INSTALLED
from acomp.evaluation.plan import Task
from acomp.evaluation.results import TABLE, Results
from acomp.evaluation.rows import Row, columns, read_rows, row_line, unknown_columns, write_rows
from acomp.files import append, make_folder, reason_of, remove_leftovers

LOCK = ".lock"


def check_folder(folder: Path) -> None:
    """See that a folder for results is new, empty, or that of an earlier run.

    Raises:
        AcompError: it holds something else, or is no folder.
    """
    try:
        names = {path.name for path in folder.iterdir()} - {LOCK}
    except FileNotFoundError:
        return
    except OSError as error:
        raise AcompError(f"cannot use the folder {folder}: {reason_of(error)}") from error
    if names and TABLE not in names:
        raise AcompError(f"{folder} holds other files and no {TABLE}: name a new folder")


@contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Make the folder of results, and keep other runs out of it.

    Half-written files of a run that was killed are removed, at the beginning and at the end.

    Raises:
        AcompError: it cannot be made, or another run is at work in it.
    """
    from filelock import FileLock, Timeout

    make_folder(folder, AcompError)
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise AcompError(f"another acomp eval is at work in {folder}") from error
    except OSError as error:
        raise AcompError(f"cannot use the folder {folder}: {reason_of(error)}") from error
    try:
        remove_leftovers(folder)
        yield
    finally:
        remove_leftovers(folder)
        lock.release()


def run(
    tasks: Sequence[Task],
    folder: Path,
    jobs: int,
    done: Callable[[Task, AcompError | None], None],
) -> Results:
    """Do what is not done yet; each row is in the table of `folder` as soon as it is known.

    Rows of other files and settings that the table has are kept.

    Args:
        tasks: what there is to do.
        folder: of the results, in sole use.
        jobs: how many processes work side by side.
        done: told of each task that is done, and of its failure.

    Raises:
        AcompError: the table cannot be read or written.
    """
    results = Results(folder)
    known = read_rows(results.table) if results.table.exists() else []
    asked = {(task.setting.label, task.file): task for task in tasks}
    kept = {
        (row.setting, row.file): row
        for row in known
        if _stands(row, asked.get((row.setting, row.file)), results)
    }
    write_rows(results.table, list(kept.values()))
    names = columns(unknown_columns(kept.values()))
    rest = []
    for task in tasks:
        row = kept.get((task.setting.label, task.file))
        if row is not None and _is_whole(row, task):
            done(task, None)
        else:
            rest.append(task)
    for task, outcome in _outcomes(rest, jobs):
        if isinstance(outcome, Row):
            earlier = kept.get((outcome.setting, outcome.file))
            line = row_line(_with_earlier(outcome, earlier), names)
            append(results.table, line, AcompError)
        done(task, outcome if isinstance(outcome, AcompError) else None)
    others = [row for row in known if (row.setting, row.file) not in asked]
    settings = _positions([row.setting for row in others] + [task.setting.label for task in tasks])
    files = _positions([row.file for row in others] + [task.file for task in tasks])
    rows = read_rows(results.table)
    ordered = sorted(rows, key=lambda row: (settings[row.setting], files[row.file]))
    write_rows(results.table, ordered)
    return Results(folder, ordered)


def _stands(row: Row, task: Task | None, results: Results) -> bool:
    """Whether the figures of an earlier run still stand: none are asked for, or nothing that they
    depend on has changed.
    """
    if task is None:
        return True
    left = (results.reference(row.file), results.coded(row.setting, row.file))
    there = all(path.is_file() for path in (*left, results.decoded(row.setting, row.file)))
    return there and row.key == task.key


def _is_whole(row: Row, task: Task) -> bool:
    """Whether a row has every metric that is asked for, or why it has not."""
    for name in task.conditions.metrics:
        reason = row.left_out.get(name)
        was_missing = reason == NOT_INSTALLED and METRICS[name].method.is_installed
        if name not in row.metrics and (reason is None or was_missing):
            return False
    return True


def _with_earlier(row: Row, earlier: Row | None) -> Row:
    """A new row with what the earlier one, of the same key, has of other metrics."""
    if earlier is None:
        return row
    metrics = {**earlier.metrics, **row.metrics}
    left_out = {**earlier.left_out, **row.left_out}
    reasons = {name: reason for name, reason in left_out.items() if name not in metrics}
    return replace(row, metrics=metrics, left_out=reasons, unknown=earlier.unknown)


def _positions(names: Sequence[str]) -> dict[str, int]:
    """Where each name comes first."""
    return {name: index for index, name in enumerate(dict.fromkeys(names))}


def _outcomes(tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Row | AcompError]]:
    """What comes of each task: in order, or as they end where several processes work."""
    for task, outcome in each(tasks, _evaluator, jobs):
        said = str(outcome)
        is_named = str(task.path) in said or task.setting.label in said
        if isinstance(outcome, AcompError) and not is_named:
            outcome = AcompError(f"{task.path} in {task.setting.label}: {said}")
        yield task, outcome


def _evaluator() -> Callable[[Task], Row]:
    return evaluate
